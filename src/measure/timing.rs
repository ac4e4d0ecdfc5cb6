//! How long launches take.

use std::time::Instant;

use crate::Result;
use crate::gpu::{BindingKind, Buffer, Gpu, GpuTimer, KernelSource, Kernels};
use crate::plan::fold_groups;
use crate::plan::replay::{Launch, part};

/// Seconds of one compute pass, on the device's own clock where it has one.
pub(crate) fn timed(gpu: &Gpu, work: impl FnOnce(&mut wgpu::ComputePass)) -> Result<f64> {
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

/// Copies four floats an invocation; as plain as a kernel can be.
const COPY: &str = "
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> target_vector: array<vec4<f32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 256u;
    if (i < arrayLength(&target_vector)) {
        target_vector[i] = source[i];
    }
}
";

/// A launch for each buffer of `to`, which copies all of it from its twin in `from`.
pub(crate) fn copies(gpu: &Gpu, from: &[Buffer], to: &[Buffer]) -> Result<Vec<Launch>> {
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

/// The middle of `values`, or the mean of the two in the middle; none of none.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}
