//! Programs run on whatever adapter there is and compared with the f64 reference.

mod operations;
mod planning;

use std::sync::OnceLock;

use super::memory::{ALIGNMENT, Needs};
use super::replay::{Memory, Replay};
use super::{Destination, Plan, Program, StepUniform};
use crate::gpu::{Gpu, GpuOptions, Kernels, LimitOverrides, Profile};
use crate::graph::reference::{Array, StepContext, philox_uniform};
use crate::graph::{Element, Graph, Var};

/// One device for all tests of a process.
pub(crate) fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(&GpuOptions::default()).unwrap())
}

pub(crate) fn lowered_gpu(overrides: LimitOverrides) -> Gpu {
    Gpu::new(&GpuOptions { overrides, ..GpuOptions::default() }).unwrap()
}

/// Numbers on (low, high), a function of the seed alone.
pub(crate) fn random(seed: u64, count: usize, low: f64, high: f64) -> Vec<f64> {
    // Rounded to f32, so that the device and the reference start from the same numbers.
    (0..count)
        .map(|i| f64::from((low + (high - low) * philox_uniform(seed, 0, 0, i as u32)) as f32))
        .collect()
}

/// The outputs of a program on the device, each as f64.
pub(crate) fn run(
    gpu: &Gpu,
    graph: &Graph,
    outputs: &[Var],
    batch: usize,
    step: &StepContext,
) -> Vec<Vec<f64>> {
    run_with(gpu, gpu.profile(), graph, outputs, batch, step, 0)
}

/// As [`run`], for a profile of one's own and with all arenas filled with `poison` before.
pub(crate) fn run_with(
    gpu: &Gpu,
    profile: &Profile,
    graph: &Graph,
    outputs: &[Var],
    batch: usize,
    step: &StepContext,
    poison: u8,
) -> Vec<Vec<f64>> {
    let destinations = outputs.iter().enumerate().map(|(i, &var)| (var, Destination::Result(i))).collect();
    let program = Program { graph: graph.clone(), outputs: destinations };
    let plan = Plan::new(&program, profile, batch).unwrap();
    let memory = Memory::new(gpu, &Needs::of(&[&plan], 0)).unwrap();
    let kernels = Kernels::new(gpu);
    let replay = Replay::new(gpu, &kernels, &plan, &memory, &memory.theta).unwrap();
    for arena in &memory.arenas {
        gpu.write_buffer(arena.raw(), 0, &vec![poison; arena.bytes() as usize]).unwrap();
    }
    upload(gpu, &plan, &memory, step);
    let uniform = StepUniform::new(step.seed, step.step, step.valid_rows, step.row_weight);
    gpu.write_buffer(memory.uniforms.raw(), 0, bytemuck::bytes_of(&uniform)).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    replay.record(&mut encoder.begin_compute_pass(&Default::default()));
    gpu.submit(encoder);
    let bytes = gpu.read_buffer(memory.results.raw(), 0..memory.results.bytes()).unwrap();
    gpu.check().unwrap();
    let mut offset = 0;
    let results = outputs.iter().map(|&var| {
        let count = graph.shape(var).elements(batch);
        let words = &bytes[offset..offset + 4 * count];
        offset += (4 * count).next_multiple_of(ALIGNMENT as usize);
        match graph.element(var) {
            Element::U32 => {
                bytemuck::pod_collect_to_vec::<u8, u32>(words).into_iter().map(f64::from).collect()
            }
            _ => bytemuck::pod_collect_to_vec::<u8, f32>(words).into_iter().map(f64::from).collect(),
        }
    });
    results.collect()
}

fn upload(gpu: &Gpu, plan: &Plan, memory: &Memory, step: &StepContext) {
    for (pieces, values) in plan.theta.pieces.iter().zip(&step.theta) {
        for piece in pieces {
            let part: Vec<f32> =
                values[piece.start..piece.start + piece.elements].iter().map(|&v| v as f32).collect();
            let bytes = bytemuck::cast_slice(&part);
            gpu.write_buffer(memory.theta[piece.shard].raw(), 4 * piece.offset as u64, bytes).unwrap();
        }
    }
    for slot in &plan.inputs {
        let values = &step.inputs[&slot.name];
        let bytes: Vec<u8> = match slot.ty.element {
            Element::F32 => values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
            Element::U32 => values.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect(),
            Element::U8 => values.iter().map(|&v| v as u8).collect(),
        };
        gpu.write_buffer(memory.inputs[&slot.name].raw(), 0, &bytes).unwrap();
    }
}

/// ‖a − b‖ / max(‖b‖, tiny).
pub(crate) fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let size = norm(&mut b.iter().copied());
    if difference == 0.0 { 0.0 } else { difference / size.max(1e-30) }
}

pub(crate) fn data(arrays: Vec<Array>) -> Vec<Vec<f64>> {
    arrays.into_iter().map(|array| array.data).collect()
}
