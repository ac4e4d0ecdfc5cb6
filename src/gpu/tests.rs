//! What this folder promises, on whatever adapter there is.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::{Error, Result};

fn open(options: GpuOptions) -> Gpu {
    Gpu::new(&options).unwrap_or_else(|error| panic!("{error}"))
}

fn default_gpu() -> Gpu {
    open(GpuOptions::default())
}

/// y[i] = 3 x[i] + 1
const AFFINE: KernelSource<'static> = KernelSource {
    label: "affine",
    wgsl: "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&y) { y[id.x] = 3.0 * x[id.x] + 1.0; }
}",
    bindings: &[BindingKind::ReadStorage, BindingKind::ReadWriteStorage],
};

/// Records one pass of [`AFFINE`] from `x` to `y`.
fn record_affine(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    (x, y): (&Buffer, &Buffer),
    workgroups: u32,
    timer: Option<&GpuTimer>,
) -> Result<()> {
    let kernel = Kernels::new(gpu).compile(&AFFINE)?;
    let whole = [x, y].map(|buffer| buffer.raw().as_entire_buffer_binding());
    let group = gpu.bind_group(&kernel, "affine", &whole)?;
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: None,
        timestamp_writes: timer.map(|timer| timer.writes(0)),
    });
    pass.set_pipeline(&kernel.pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(workgroups, 1, 1);
    Ok(())
}

/// The bytes of 3 x + 1 for `values`, by the GPU.
fn run_affine(gpu: &Gpu, values: &[f32]) -> Result<Vec<u8>> {
    let bytes = size_of_val(values) as u64;
    let x = gpu.buffer("x", bytes, BufferUse::Storage)?;
    let y = gpu.buffer("y", bytes, BufferUse::Storage)?;
    gpu.write_buffer(x.raw(), 0, bytemuck::cast_slice(values))?;
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    record_affine(gpu, &mut encoder, (&x, &y), values.len().div_ceil(64) as u32, None)?;
    gpu.submit(encoder);
    let read = gpu.read_buffer(y.raw(), 0..bytes)?;
    gpu.check()?;
    Ok(read)
}

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32 * 0.25 - 40.0).collect()
}

#[test]
fn a_checked_kernel_gives_the_same_bytes_as_its_trusted_twin() {
    // Quarters below 2^9 times 3 plus 1 are exact in f32: no rounding is left to the driver.
    let values = ramp(257);
    let expected: Vec<f32> = values.iter().map(|x| 3.0 * x + 1.0).collect();
    for checked in [false, true] {
        let read = run_affine(&open(GpuOptions { checked, ..Default::default() }), &values).unwrap();
        assert_eq!(read, bytemuck::cast_slice::<_, u8>(&expected), "checked: {checked}");
    }
}

#[test]
fn two_devices_in_one_process_work_side_by_side() {
    let values = ramp(1000);
    let alone = run_affine(&default_gpu(), &values).unwrap();
    thread::scope(|scope| {
        let runs = [0, 1].map(|_| scope.spawn(|| run_affine(&default_gpu(), &values)));
        for run in runs {
            assert_eq!(run.join().unwrap().unwrap(), alone);
        }
    });
}

#[test]
fn an_apps_own_device_keeps_the_apps_error_handler() {
    let adapter = adapter::choose(&AdapterChoice::Best).unwrap();
    let request = adapter.request_device(&wgpu::DeviceDescriptor::default());
    let (device, queue) = pollster::block_on(request).unwrap();
    let (heard, errors) = mpsc::channel();
    device.on_uncaptured_error(std::sync::Arc::new(move |error: wgpu::Error| {
        heard.send(error.to_string()).unwrap();
    }));
    let gpu = Gpu::from_wgpu(&adapter, device.clone(), queue, &GpuOptions::default()).unwrap();
    assert_eq!(gpu.profile().max_buffer_size, wgpu::Limits::defaults().max_buffer_size);
    assert_eq!(run_affine(&gpu, &ramp(3)).unwrap().len(), 12);

    assert!(gpu.buffer("too big", 1 << 29, BufferUse::Storage).is_err());
    assert!(errors.try_recv().is_err(), "this crate's own errors are not the app's");
    let wrong = wgpu::BufferDescriptor {
        label: None,
        size: 4,
        usage: wgpu::BufferUsages::empty(),
        mapped_at_creation: false,
    };
    drop(device.create_buffer(&wrong));
    assert!(errors.try_recv().is_ok(), "the app's errors stay the app's");
}

#[test]
fn lowered_limits_hold_in_the_profile_and_in_the_device() {
    let gpu = open(GpuOptions {
        overrides: LimitOverrides {
            max_buffer_size: Some(4096),
            max_binding_size: Some(1024),
            max_workgroups_per_dimension: Some(7),
        },
        ..Default::default()
    });
    let profile = gpu.profile();
    assert_eq!(profile.max_buffer_size, 4096);
    assert_eq!(profile.max_binding_size, 1024);
    assert_eq!(profile.max_workgroups_per_dimension, 7);

    let error = gpu.buffer("theta", 4100, BufferUse::Storage).unwrap_err();
    assert!(matches!(error, Error::DoesNotFit(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "theta takes 4.00 KiB in one buffer (4100 bytes), and this adapter allows 4.00 KiB (4096 bytes)"
    );

    let [x, y] = ["x", "y"].map(|role| gpu.buffer(role, 1024, BufferUse::Storage).unwrap());
    let large = gpu.buffer("large", 2048, BufferUse::Storage).unwrap();
    let kernel = Kernels::new(&gpu).compile(&AFFINE).unwrap();
    let whole = [&large, &y].map(|buffer| buffer.raw().as_entire_buffer_binding());
    let error = gpu.bind_group(&kernel, "affine", &whole).unwrap_err();
    assert!(error.to_string().contains("binding the buffers of `affine`"), "{error}");

    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    record_affine(&gpu, &mut encoder, (&x, &y), 8, None).unwrap();
    gpu.submit(encoder);
    let error = gpu.check().expect_err("eight workgroups are one more than the limit");
    assert!(matches!(error, Error::Device { .. }), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[test]
fn a_lost_device_is_an_error_and_no_panic() {
    let gpu = default_gpu();
    let buffer = gpu.buffer("theta", 1024, BufferUse::Storage).unwrap();
    gpu.device().destroy();
    let results = [
        ("read", gpu.read_buffer(buffer.raw(), 0..1024).map(drop)),
        ("write", gpu.write_buffer(buffer.raw(), 0, &[1; 64])),
        ("allocate", gpu.buffer("more", 64, BufferUse::Upload).map(drop)),
        ("compile", Kernels::new(&gpu).compile(&AFFINE).map(drop)),
        ("check", gpu.check()),
    ];
    for (doing, result) in results {
        assert!(matches!(result, Err(Error::Device { .. })), "{doing}: {result:?}");
    }
}

#[test]
fn a_kernel_that_does_not_compile_is_named_with_the_line() {
    let read_only = &AFFINE.bindings[..1];
    let rows: [(&str, &str, &[BindingKind], &str); 4] = [
        ("no WGSL", "\nfn main( {}", &[], "line 2"),
        ("wrong type", "@compute @workgroup_size(1)\nfn main() {\n let x: f32 = 1u; }", &[], "line 3"),
        ("unknown name", "@compute @workgroup_size(1)\nfn main() { _ = theta; }", &[], "line 2"),
        ("binding missing in the layout", AFFINE.wgsl, read_only, "ResourceBinding"),
    ];
    let gpu = default_gpu();
    let kernels = Kernels::new(&gpu);
    for (label, wgsl, bindings, expected) in rows {
        let error = kernels.compile(&KernelSource { label, wgsl, bindings }).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Device { .. }), "{message}");
        assert!(message.contains(&format!("`{label}`")) && message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    assert_eq!(kernels.count(), 0);
    gpu.check().unwrap();
}

#[test]
fn each_source_is_compiled_once() {
    let other = KernelSource { wgsl: &AFFINE.wgsl.replace("3.0", "2.0"), ..AFFINE };
    let kernels = Kernels::new(&default_gpu());
    let compiled = kernels.compile_all(&[AFFINE, other, AFFINE, other, AFFINE]).unwrap();
    assert_eq!((compiled.len(), kernels.count()), (5, 2));
    assert!(compiled[0].pipeline == compiled[4].pipeline && compiled[0].pipeline != compiled[1].pipeline);
    let wrong = KernelSource { label: "broken", wgsl: "fn", bindings: &[] };
    let error = kernels.compile_all(&[AFFINE, wrong, AFFINE]).unwrap_err();
    assert!(error.to_string().contains("`broken`"), "{error}");
}

#[test]
fn a_device_that_computes_in_the_hosts_memory_names_what_the_host_lacks() {
    let gpu = default_gpu();
    let shares = memory::host_free(gpu.adapter_info().device_type).is_some();
    assert_eq!(gpu.host_shortage(u64::MAX).is_some(), shares);
    assert_eq!(gpu.host_shortage(0), None);
}

#[test]
fn the_drivers_counter_is_told_where_the_driver_has_a_budget() {
    let gpu = default_gpu();
    let reports = adapters();
    let report = reports.iter().find(|report| report.name == gpu.adapter_info().name).unwrap();
    let tells = report.heaps.iter().any(|heap| heap.device_local && heap.budget.is_some());
    assert_eq!(gpu.driver_bytes().is_some(), tells, "{report:?}");
}

#[test]
fn a_worker_thread_feeds_many_steps_through_the_rings() {
    const STEPS: u32 = 200;
    const WORDS: usize = 1025;
    let gpu = default_gpu();
    let bytes = (WORDS * 4) as u64;
    let input = gpu.buffer("input", bytes, BufferUse::Storage).unwrap();
    let mut staging = StagingRing::new(&gpu, "staging", bytes + 4, STAGING_SLOTS).unwrap();
    let mut readback = ReadbackRing::new(&gpu, "readback", bytes, 2).unwrap();
    let row = |step: u32| -> Vec<u32> { (0..WORDS as u32).map(|word| step * 10_000 + word).collect() };

    let mut collected = 0;
    let mut check = |tag: u64, read: &[u8]| {
        assert_eq!(tag, collected, "readings come in order");
        assert_eq!(read, bytemuck::cast_slice::<_, u8>(&row(tag as u32)));
        collected += 1;
    };
    thread::scope(|scope| {
        let (empty, to_fill) = mpsc::channel::<(u32, super::staging::StagingSlot)>();
        let (full, filled) = mpsc::channel();
        scope.spawn(move || {
            for (step, mut slot) in to_fill {
                slot.write(4, bytemuck::cast_slice(&row(step))).unwrap();
                full.send(slot).unwrap();
            }
        });
        for step in 0..STEPS {
            empty.send((step, staging.acquire().unwrap())).unwrap();
            let slot = filled.recv().unwrap();
            if !readback.has_room() {
                readback.collect(Patience::Oldest, &mut check).unwrap();
            }
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let copy = StagedCopy { from: 4, to: input.raw(), at: 0, bytes: bytes - 2 };
            staging.copy(&slot, &mut encoder, [copy]);
            staging.close(slot);
            readback.record(&mut encoder, input.raw(), 0, bytes, u64::from(step)).unwrap();
            let submission = gpu.submit(encoder);
            staging.submitted(&submission);
            readback.submitted(&submission);
        }
        drop(empty);
    });
    readback.collect(Patience::All, &mut check).unwrap();
    assert_eq!(collected, u64::from(STEPS));
    gpu.check().unwrap();
}

#[test]
fn no_more_steps_are_in_flight_than_the_ring_has_slots() {
    let gpu = default_gpu();
    let [x, y] = ["x", "y"].map(|role| gpu.buffer(role, 4 << 20, BufferUse::Storage).unwrap());
    let mut staging = StagingRing::new(&gpu, "staging", 4, STAGING_SLOTS).unwrap();
    let mut readback = ReadbackRing::new(&gpu, "readback", 4, STAGING_SLOTS + 1).unwrap();
    let mut finished = 0;
    for step in 0..12 {
        let slot = staging.acquire().unwrap();
        // A slot that comes round again has been read: its step is done, and its reading is there.
        readback.collect(Patience::None, |_, _| finished += 1).unwrap();
        assert!(step - finished < STAGING_SLOTS, "at step {step} only {finished} are finished");
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let copy = StagedCopy { from: 0, to: x.raw(), at: 0, bytes: 4 };
        staging.copy(&slot, &mut encoder, [copy]);
        staging.close(slot);
        record_affine(&gpu, &mut encoder, (&x, &y), (1 << 20) / 64, None).unwrap();
        readback.record(&mut encoder, y.raw(), 0, 4, 0).unwrap();
        let submission = gpu.submit(encoder);
        staging.submitted(&submission);
        readback.submitted(&submission);
    }
    readback.collect(Patience::All, |_, _| finished += 1).unwrap();
    assert_eq!(finished, 12);
}

#[test]
fn rings_refuse_what_would_hang_or_overrun() {
    let gpu = default_gpu();
    let mut staging = StagingRing::new(&gpu, "staging", 16, 2).unwrap();
    let mut held = [staging.acquire().unwrap(), staging.acquire().unwrap()];
    let error = staging.acquire().unwrap_err();
    assert!(error.to_string().contains("still held"), "{error}");
    for (at, bytes) in [(0, 17), (16, 1), (usize::MAX, 2)] {
        assert!(held[0].write(at, &vec![0; bytes]).is_err(), "{bytes} bytes at {at}");
    }
    held[0].write(15, &[1]).unwrap();
    drop(held);
    drop(staging.acquire().unwrap());

    let source = gpu.buffer("source", 16, BufferUse::Storage).unwrap();
    let mut readback = ReadbackRing::new(&gpu, "readback", 8, 1).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    assert!(readback.record(&mut encoder, source.raw(), 0, 16, 0).is_err(), "more than a slot");
    readback.record(&mut encoder, source.raw(), 0, 8, 0).unwrap();
    assert!(readback.record(&mut encoder, source.raw(), 0, 8, 1).is_err(), "no room");
    let mut seen = 0;
    readback.collect(Patience::None, |_, _| seen += 1).unwrap();
    assert_eq!(seen, 0, "nothing is there before it is submitted");
    let error = readback.collect(Patience::All, |_, _| seen += 1).unwrap_err();
    assert!(error.to_string().contains("not submitted"), "{error}");
    readback.submitted(&gpu.submit(encoder));
    readback.collect(Patience::All, |_, _| seen += 1).unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn the_timer_times_a_pass_where_there_are_timestamps() {
    let gpu = default_gpu();
    let timer = GpuTimer::new(&gpu, 1).unwrap();
    assert_eq!(timer.is_some(), gpu.profile().timestamps);
    if let Some(timer) = timer {
        let [x, y] = ["x", "y"].map(|role| gpu.buffer(role, 1 << 20, BufferUse::Storage).unwrap());
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        record_affine(&gpu, &mut encoder, (&x, &y), (1 << 18) / 64, Some(&timer)).unwrap();
        timer.resolve(&mut encoder);
        gpu.submit(encoder);
        let passes = timer.nanoseconds().unwrap();
        gpu.check().unwrap();
        let [[begin, end]] = passes[..] else { panic!("{passes:?}") };
        // 2 MiB through memory takes over 100 ns on anything, and no device needs a minute for it.
        assert!((100.0..6e10).contains(&(end - begin)), "{passes:?}");
    }
}

/// wgpu hands the callbacks of finished work to whichever thread polls first.
#[test]
fn threads_that_share_a_device_do_not_miss_their_callbacks() {
    let gpu = default_gpu();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let gpu = &gpu;
            scope.spawn(move || {
                let buffer = gpu.buffer("bytes", 64, BufferUse::Storage).unwrap();
                for round in 0..300u32 {
                    let bytes = [thread ^ round as u8; 64];
                    let mut ring = StagingRing::new(gpu, "ring", 64, 1).unwrap();
                    let mut slot = ring.acquire().unwrap();
                    slot.write(0, &bytes).unwrap();
                    let mut encoder = gpu.device().create_command_encoder(&Default::default());
                    let copy = StagedCopy { from: 0, to: buffer.raw(), at: 0, bytes: 64 };
                    ring.copy(&slot, &mut encoder, [copy]);
                    ring.close(slot);
                    ring.submitted(&gpu.submit(encoder));
                    ring.acquire().unwrap();
                    assert_eq!(gpu.read_buffer(buffer.raw(), 0..64).unwrap(), bytes);
                }
            });
        }
    });
}
