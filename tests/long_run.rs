//! A thousand epochs take no more memory than ten. Alone in its process, whose memory it looks at.

#![cfg(target_os = "linux")]

use std::fs;
use std::sync::atomic::AtomicBool;

use downhill::{BatchSize, Event, Gpu, GpuOptions, Length, Optimizer, TrainOptions, Trainer, data};

/// Bytes of this process that are in memory.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("what is in memory");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    1024 * kibibytes
}

#[test]
fn a_thousand_epochs_take_the_memory_of_ten() {
    let gpu = Gpu::new(&GpuOptions::default()).expect("an adapter");
    let digits = data::load(&"digits".parse().expect("a source"), None, None, 0).expect("built in");
    let optimizer = Optimizer::new("adam").expect("a rule");
    let options = TrainOptions {
        batch: BatchSize::Rows(256),
        length: Length::Epochs(1000),
        log_every: 7,
        ..TrainOptions::new("mlp:32".parse().expect("a model"), optimizer)
    };
    let mut trainer = Trainer::new(&gpu, digits, options).expect("a small run");
    let never = AtomicBool::new(false);
    let (mut on_gpu, mut on_host) = (Vec::new(), Vec::new());
    loop {
        match trainer.next_event(&never).expect("a sound run") {
            Event::Epoch(epoch) => {
                on_gpu.push(trainer.measured_bytes());
                on_host.push(resident_bytes());
                if epoch.epoch % 100 == 0 {
                    // What a run saves every epoch takes memory too.
                    drop(trainer.snapshot().expect("a sound run"));
                }
            }
            Event::Finished => break,
            _ => {}
        }
    }
    assert_eq!(on_gpu.len(), 1000);
    assert!(on_gpu[1..].iter().all(|bytes| *bytes == on_gpu[1]), "GPU bytes: {on_gpu:?}");
    assert!(trainer.report().bytes.total >= on_gpu[1]);
    let most = on_host[10..].iter().max().expect("epochs");
    assert!(*most <= on_host[10] + 5_000_000, "host bytes: {} after ten epochs, at most {most}", on_host[10]);
}
