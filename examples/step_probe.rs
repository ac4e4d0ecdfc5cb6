use downhill::{Event, Gpu, GpuOptions, Length, Optimizer, Resident, Result, TrainOptions, Trainer, data};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
fn main() -> Result<()> {
    let t0 = Instant::now();
    let gpu = Gpu::new(&GpuOptions::default())?;
    println!("gpu {:.3}", t0.elapsed().as_secs_f64());
    let batch: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let steps: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let set = data::load(&"random:4096x784:10".parse()?, None, None, 0)?;
    println!("data {:.3}", t0.elapsed().as_secs_f64());
    let options = TrainOptions {
        model: "mlp:512,512".parse()?,
        loss: None,
        optimizer: Optimizer::new("adam")?,
        batch,
        length: Length::Steps(steps),
        seed: 1,
        eval_every: 1,
        log_every: 1,
        resident: Resident::Auto,
    };
    let mut trainer = Trainer::new(&gpu, set, options)?;
    println!("trainer {:.3}", t0.elapsed().as_secs_f64());
    let never = AtomicBool::new(false);
    let mut times = vec![];
    loop {
        match trainer.next_event(&never)? {
            Event::Finished => break,
            Event::Step(s) => {
                times.push(t0.elapsed().as_secs_f64());
                if s.step == 1 {
                    println!("first step {:.3}", t0.elapsed().as_secs_f64());
                }
            }
            _ => {}
        }
    }
    println!("steps/s {:.2}", (times.len() - 5) as f64 / (times[times.len() - 1] - times[4]));
    Ok(())
}
