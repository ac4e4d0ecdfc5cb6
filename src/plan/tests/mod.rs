//! Programs run on whatever adapter there is and compared with the f64 reference.

mod accumulation;
mod by_rows;
mod double;
pub(super) mod fusion;
mod half;
mod joined;
mod limits;
pub(crate) mod operations;
mod planning;
mod products;
mod recompute;
mod samples;
mod sums;
mod tilings;
pub(crate) mod translation;

use std::sync::OnceLock;

use super::memory::{Needs, result_offsets};
use super::replay::{Memory, Replay};
use super::{Blueprint, Destination, Gradients, Plan, Precision, Program, StepUniform};
use crate::gpu::{Buffer, Gpu, GpuOptions, Kernels, LimitOverrides, Profile, RowRuns};
use crate::graph::reference::{Array, StepContext, philox_uniform};
use crate::graph::{Element, Graph, Var};

/// One device for all tests of a process. Its plans have ordinary kernels, which most tests are about; those by rows are
/// asked for by a profile of one's own.
pub(crate) fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| lowered_gpu(LimitOverrides::default()))
}

pub(crate) fn lowered_gpu(overrides: LimitOverrides) -> Gpu {
    Gpu::new(&GpuOptions { overrides, row_runs: RowRuns::Never, ..GpuOptions::default() }).unwrap()
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
    run_with(gpu, gpu.profile(), graph, outputs, batch, step)
}

/// As [`run`], planned for a profile of one's own.
pub(crate) fn run_with(
    gpu: &Gpu,
    profile: &Profile,
    graph: &Graph,
    outputs: &[Var],
    batch: usize,
    step: &StepContext,
) -> Vec<Vec<f64>> {
    let program = results_program(graph, outputs);
    let loaded = Loaded::new(gpu, &Kernels::new(gpu), profile, &program, batch);
    loaded.step(step);
    loaded.values(&program)
}

/// As [`run`], planned in a precision.
fn run_in(
    precision: Precision,
    graph: &Graph,
    outputs: &[Var],
    batch: usize,
    step: &StepContext,
) -> Vec<Vec<f64>> {
    let program = results_program(graph, outputs);
    let blueprint = Blueprint::new(&program, gpu().profile(), Gradients::Overwrite, precision).unwrap();
    let loaded = Loaded::of(gpu(), &Kernels::new(gpu()), blueprint.plan(batch).unwrap());
    loaded.step(step);
    loaded.values(&program)
}

/// The program that gives `outputs` as its results.
pub(crate) fn results_program(graph: &Graph, outputs: &[Var]) -> Program {
    let outputs = outputs.iter().enumerate().map(|(i, &var)| (var, Destination::Result(i))).collect();
    Program { graph: graph.clone(), outputs }
}

/// A program planned and allocated on a device.
pub(crate) struct Loaded<'a> {
    gpu: &'a Gpu,
    pub plan: Plan,
    pub memory: Memory,
    replay: Replay,
}

impl<'a> Loaded<'a> {
    pub fn new(gpu: &'a Gpu, kernels: &Kernels, profile: &Profile, program: &Program, batch: usize) -> Self {
        Self::of(gpu, kernels, Plan::new(program, profile, batch).unwrap())
    }

    pub fn of(gpu: &'a Gpu, kernels: &Kernels, plan: Plan) -> Self {
        let memory = Memory::new(gpu, &Needs::of(&[&plan])).unwrap();
        let replay =
            Replay::new(gpu, kernels, &plan, &memory, &memory.theta.iter().collect::<Vec<_>>()).unwrap();
        Loaded { gpu, plan, memory, replay }
    }

    /// Fills everything that a step writes with `byte`.
    pub fn fill(&self, byte: u8) {
        for buffer in self.memory.arenas.iter().chain(&self.memory.gradient).chain([&self.memory.results]) {
            let contents = vec![byte; buffer.bytes() as usize];
            self.gpu.write_buffer(buffer.raw(), 0, &contents).unwrap();
        }
    }

    /// Uploads what the step reads, and runs it.
    pub fn step(&self, step: &StepContext) {
        self.micro_step(step, false);
    }

    /// As [`Loaded::step`], with gradients added to those that are there where it does `accumulate`.
    pub fn micro_step(&self, step: &StepContext, accumulate: bool) {
        upload(self.gpu, &self.plan, &self.memory, step);
        let uniform = StepUniform::new(step.seed, step.step, step.valid_rows, step.row_weight)
            .within_batch(step.first_row, accumulate)
            .bytes(self.plan.precision);
        self.gpu.write_buffer(self.memory.uniforms.raw(), 0, &uniform).unwrap();
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.replay.record(&mut encoder.begin_compute_pass(&Default::default()));
        self.gpu.submit(encoder);
        self.gpu.check().unwrap();
    }

    /// The bytes of every output, as they lie.
    pub fn bytes(&self, program: &Program) -> Vec<Vec<u8>> {
        let read = |buffer: &Buffer| self.gpu.read_buffer(buffer.raw(), 0..buffer.bytes()).unwrap();
        let results = read(&self.memory.results);
        let gradient: Vec<Vec<u8>> = self.memory.gradient.iter().map(read).collect();
        let offsets = result_offsets(&self.plan).0;
        let width = self.plan.precision.float_bytes() as usize;
        let cut = |bytes: &[u8], start: usize, length: usize| bytes[start..start + length].to_vec();
        let outputs = program.outputs.iter().map(|(_, destination)| match *destination {
            Destination::Result(number) => {
                cut(&results, offsets[number] as usize, self.plan.results[number] as usize)
            }
            Destination::Gradient(number) => self.plan.theta.pieces[number]
                .iter()
                .flat_map(|piece| cut(&gradient[piece.shard], width * piece.offset, width * piece.elements))
                .collect(),
        });
        outputs.collect()
    }

    /// The elements of every output.
    pub fn values(&self, program: &Program) -> Vec<Vec<f64>> {
        let values = |(bytes, (var, _)): (Vec<u8>, &(Var, Destination))| -> Vec<f64> {
            match (program.graph.element(*var), self.plan.precision) {
                (Element::U32, _) => {
                    bytemuck::pod_collect_to_vec::<u8, u32>(&bytes).into_iter().map(f64::from).collect()
                }
                (Element::F32 | Element::U8, Precision::F64) => bytemuck::pod_collect_to_vec(&bytes),
                (Element::F32 | Element::U8, _) => {
                    bytemuck::pod_collect_to_vec::<u8, f32>(&bytes).into_iter().map(f64::from).collect()
                }
            }
        };
        self.bytes(program).into_iter().zip(&program.outputs).map(values).collect()
    }
}

fn upload(gpu: &Gpu, plan: &Plan, memory: &Memory, step: &StepContext) {
    for (pieces, values) in plan.theta.pieces.iter().zip(&step.theta) {
        for piece in pieces {
            let bytes = floats(plan.precision, &values[piece.start..piece.start + piece.elements]);
            let at = plan.precision.float_bytes() * piece.offset as u64;
            gpu.write_buffer(memory.theta[piece.shard].raw(), at, &bytes).unwrap();
        }
    }
    for slot in &plan.inputs {
        let values = &step.inputs[&slot.name];
        let bytes: Vec<u8> = match slot.ty.element {
            Element::F32 => floats(plan.precision, values),
            Element::U32 => values.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect(),
            Element::U8 => values.iter().map(|&v| v as u8).collect(),
        };
        gpu.write_buffer(memory.inputs[&slot.name].raw(), 0, &bytes).unwrap();
    }
}

/// Numbers as a plan has them.
fn floats(precision: Precision, values: &[f64]) -> Vec<u8> {
    match precision {
        Precision::F64 => bytemuck::cast_slice(values).to_vec(),
        Precision::F32 | Precision::F16 => values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
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
