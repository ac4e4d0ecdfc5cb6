//! The speed of an update against that of a plain copy of as many bytes.

use std::time::Instant;

use super::Stepper;
use crate::Result;
use crate::gpu::{BindingKind, Buffer, Gpu, GpuTimer, KernelSource, Kernels};
use crate::plan::fold_groups;
use crate::plan::replay::{Launch, part, record};

/// How long an update takes, and a copy of the gradient over θ.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct UpdateTiming {
    /// Seconds of one update.
    pub update_seconds: f64,
    /// Bytes that it reads and writes.
    pub update_bytes: u64,
    /// Seconds of one copy.
    pub copy_seconds: f64,
    /// Bytes that it reads and writes.
    pub copy_bytes: u64,
}

impl UpdateTiming {
    /// Bytes a second of the update as a share of those of the copy.
    pub fn fraction_of_copy(&self) -> f64 {
        (self.update_bytes as f64 / self.update_seconds) / (self.copy_bytes as f64 / self.copy_seconds)
    }
}

const COPY: &str = "
@group(0) @binding(0) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> theta: array<vec4<f32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 256u;
    if (i < arrayLength(&theta)) {
        theta[i] = gradient[i];
    }
}
";

impl Stepper {
    /// Times `repeats` updates with the gradient that is there, and as many copies of it over θ; on the device's own
    /// clock, where it has one. θ is then of no use.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device fails.
    pub fn measure(&mut self, repeats: u32) -> Result<UpdateTiming> {
        let update_seconds = timed(&self.gpu, |pass| {
            (0..repeats).for_each(|_| self.updater.record(pass, None));
        })? / f64::from(repeats);
        let copies = copies(&self.gpu, &self.memory.gradient, &self.memory.theta)?;
        let copy_seconds = timed(&self.gpu, |pass| {
            (0..repeats).for_each(|_| record(&copies, pass));
        })? / f64::from(repeats);
        let theta: u64 = self.memory.theta.iter().map(Buffer::bytes).sum();
        let update_bytes = self.updater.plan().moved;
        Ok(UpdateTiming { update_seconds, update_bytes, copy_seconds, copy_bytes: 2 * theta })
    }
}

fn copies(gpu: &Gpu, from: &[Buffer], to: &[Buffer]) -> Result<Vec<Launch>> {
    let bindings = [BindingKind::ReadStorage, BindingKind::ReadWriteStorage];
    let kernel =
        Kernels::new(gpu).compile(&KernelSource { label: "copy", wgsl: COPY, bindings: &bindings })?;
    let launch = |(from, to): (&Buffer, &Buffer)| {
        let ranges = [from, to].map(|buffer| part(buffer, 0, buffer.bytes()));
        let workgroups = (to.bytes() as usize).div_ceil(16 * 256);
        let groups = fold_groups(workgroups, gpu.profile()).0;
        Ok(Launch { kernel: kernel.clone(), bind_group: gpu.bind_group(&kernel, "copy", &ranges)?, groups })
    };
    from.iter().zip(to).map(launch).collect()
}

/// Seconds of one compute pass.
fn timed(gpu: &Gpu, work: impl FnOnce(&mut wgpu::ComputePass)) -> Result<f64> {
    let timer = GpuTimer::new(gpu, 1)?;
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let timestamp_writes = timer.as_ref().map(|timer| timer.writes(0));
    work(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes }));
    if let Some(timer) = &timer {
        timer.resolve(&mut encoder);
    }
    let began = Instant::now();
    let submission = gpu.submit(encoder);
    gpu.wait(&submission)?;
    let wall = began.elapsed().as_secs_f64();
    let Some(timer) = timer else { return Ok(wall) };
    let [began, ended] = timer.nanoseconds()?[0];
    // Where the counter stands still or wraps, the host's clock must do.
    Ok(if ended > began { (ended - began) * 1e-9 } else { wall })
}
