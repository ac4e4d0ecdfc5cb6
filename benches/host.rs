//! What a step costs the host without any driver: `cargo bench --bench host`.
//!
//! wgpu's backend that does nothing stands in for one: what is left is this crate's own recording and wgpu's checks, its
//! tracking of buffers and its encoding. The kernels compute nothing, so every loss is 0 and width costs nothing; the last
//! model is narrow enough for one launch to do the work of many.

use downhill::wgpu::{
    self, BackendOptions, Backends, DeviceType, Features, InstanceDescriptor, NoopBackendOptions,
};
use downhill::{
    BatchSize, Error, Gpu, GpuOptions, Length, MemoryLimit, Optimizer, Result, TrainOptions, Trainer, data,
};

const ROUNDS: usize = 15;
const STEPS: u64 = 2000;

/// A test run only sees whether it runs.
fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn main() -> Result<()> {
    let (rounds, steps) = if is_measured() { (ROUNDS, STEPS) } else { (1, 20) };
    let gpu = open()?;
    let rows = data::load(&"random:60000x16:4".parse()?, None, None, 0)?;
    println!(
        "processor time of the training thread a step, in µs: the least and the median of {rounds} rounds"
    );
    for model in ["mlp:512", "mlp:512,512,512", "mlp:512,512,512,512,512,512,512,512", "mlp:64,64,64"] {
        let options = TrainOptions {
            batch: BatchSize::Rows(32),
            length: Length::Steps(u64::MAX),
            ..TrainOptions::new(model.parse()?, Optimizer::new("adam")?)
        };
        let mut trainer = Trainer::new(&gpu, rows.clone(), options)?;
        let launches = trainer.profile_step()?.map_or(0, |launches| launches.len());
        trainer.run_steps(100)?;
        let shares = [1, 16];
        let mut times = shares.map(|_| Vec::with_capacity(rounds));
        for _ in 0..rounds {
            for (share, times) in shares.into_iter().zip(&mut times) {
                trainer.share_submits(Some(share))?;
                times.push(a_step(&gpu, &mut trainer, steps)?);
            }
        }
        for (share, mut times) in shares.into_iter().zip(times) {
            times.sort_by(|[a, _], [b, _]| a.total_cmp(b));
            let told = [times[0], times[rounds / 2]]
                .map(|[total, submitting]| format!("{:.1} ({submitting:.1} of it in submits)", total));
            println!("{model}, {launches} launches, {share:2} steps a submit: {} / {}", told[0], told[1]);
        }
    }
    Ok(())
}

/// Microseconds of a step, and of its share of the submits.
fn a_step(gpu: &Gpu, trainer: &mut Trainer, steps: u64) -> Result<[f64; 2]> {
    gpu.time_host(clock);
    let began = clock();
    trainer.run_steps(steps)?;
    let total = clock() - began;
    Ok([total, gpu.host_times().submitting].map(|seconds| 1e6 * seconds / steps as f64))
}

/// Seconds of processor time of this thread, or where the system does not tell, of the world.
fn clock() -> f64 {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
    }
    #[cfg(not(unix))]
    std::time::UNIX_EPOCH.elapsed().map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// A device that does nothing.
fn open() -> Result<Gpu> {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::NOOP;
    let noop =
        NoopBackendOptions { device_type: Some(DeviceType::DiscreteGpu), ..NoopBackendOptions::enabled() };
    descriptor.backend_options = BackendOptions { noop, ..BackendOptions::default() };
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(Backends::NOOP));
    let adapter =
        adapters.first().ok_or_else(|| Error::Adapter("there is no backend that does nothing".to_owned()))?;
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: Features::TIMESTAMP_QUERY,
        required_limits: wgpu::Limits::defaults(),
        ..Default::default()
    });
    let (device, queue) = pollster::block_on(request).map_err(|error| Error::Adapter(error.to_string()))?;
    let options = GpuOptions { memory_limit: Some(MemoryLimit::Bytes(1 << 30)), ..GpuOptions::default() };
    Gpu::from_wgpu(adapter, device, queue, &options)
}
