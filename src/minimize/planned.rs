//! An objective of any size: a plan of loss and gradient, then the optimizer's kernel, many steps a submit.

use super::{Advance, MinimizeOptions, Objective, Stop};
use crate::gpu::{Buffer, BufferUse, Kernels};
use crate::graph::Graph;
use crate::graph::ops::Lowering;
use crate::optim::{Grouping, UpdatePlan, Updater};
use crate::plan::memory::{ALIGNMENT, Needs, result_offsets};
use crate::plan::replay::{Memory, Replay};
use crate::plan::{Destination, Plan, Program, StepUniform};
use crate::{Gpu, Result};

/// Steps of a submit, between which nothing is read.
const SUBMIT_STEPS: u64 = 64;

/// Bytes of a loss.
const LOSS_BYTES: u64 = 4;

/// Operations that follow from one another in one kernel at most: the generator of kernels recurses through them.
const LONGEST_CHAIN: u32 = 64;

/// A run on a device.
pub(super) struct Planned<'a> {
    gpu: &'a Gpu,
    objective: &'a Objective,
    options: &'a MinimizeOptions,
    plan: Plan,
    memory: Memory,
    replay: Replay,
    update: Updater,
    /// The scalars of the steps of a submit, and their losses.
    schedule: Buffer,
    losses: Buffer,
    /// The shards of θ before the last update of a submit.
    before: Vec<Buffer>,
    done: u64,
    /// θ as the user reads it after them.
    theta: Vec<f64>,
    /// How many of the last updates left it and the theta vector as they are, as far as the last of each submit tells.
    unchanged: u64,
}

impl<'a> Planned<'a> {
    pub fn new(gpu: &'a Gpu, objective: &'a Objective, options: &'a MinimizeOptions) -> Result<Self> {
        let mut program = program(objective);
        let grouping = Grouping::new(&options.optimizer, &options.modifiers, program.graph.parameters())?;
        program.graph.set_groups(&grouping.of);
        let plan = Plan::new(&program, gpu.profile(), 1)?;
        log::info!("a step is {} dispatches and the update's", plan.dispatches.len());
        let (parameters, profile) = (program.graph.parameters(), gpu.profile());
        let update =
            UpdatePlan::new(&options.optimizer, &options.modifiers, parameters, &plan.theta, profile)?;
        let plans: Vec<&Plan> = std::iter::once(&plan).chain(update.plans()).collect();
        let memory = Memory::new(gpu, &Needs { scalars: update.scalars_bytes(), ..Needs::of(&plans) })?;
        let kernels = Kernels::new(gpu);
        let replay = Replay::new(gpu, &kernels, &plan, &memory, &memory.theta.iter().collect::<Vec<_>>())?;
        let update = Updater::new(gpu, &kernels, update, &memory)?;
        gpu.keep_pipelines();
        let step = StepUniform::new(0, 0, 1, 1.0);
        gpu.write_buffer(memory.uniforms.raw(), 0, &step.bytes(plan.precision))?;
        for (name, buffer) in &memory.inputs {
            let table: Vec<f32> =
                objective.tables.get(name).into_iter().flatten().map(|&x| x as f32).collect();
            gpu.write_buffer(buffer.raw(), 0, bytemuck::cast_slice(&table))?;
        }
        let storage = |bytes: u64| gpu.buffer("minimize", bytes, BufferUse::Storage);
        let planned = Planned {
            schedule: storage(SUBMIT_STEPS * update.plan().scalars_bytes())?,
            losses: storage(SUBMIT_STEPS * LOSS_BYTES)?,
            before: memory.theta.iter().map(|shard| storage(shard.bytes())).collect::<Result<_>>()?,
            gpu,
            objective,
            options,
            plan,
            memory,
            replay,
            update,
            done: 0,
            theta: Vec::new(),
            unchanged: 0,
        };
        planned.write_start()?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        planned.update.record_start(&mut encoder, &planned.memory.theta);
        gpu.submit(encoder);
        Ok(planned)
    }

    /// Makes the steps of one submit, which ends with a step that the trace asks for, and waits for them.
    pub fn advance(&mut self) -> Result<Advance> {
        let next_point = match self.options.trace {
            0 => u64::MAX,
            every => (self.done + 1).next_multiple_of(every),
        };
        let until = self.options.steps.min(self.done + SUBMIT_STEPS).min(next_point);
        self.submit(until)?;
        let losses = self.gpu.read_buffer(self.losses.raw(), 0..(until - self.done) * LOSS_BYTES)?;
        let losses: Vec<f32> = bytemuck::pod_collect_to_vec(&losses);
        let theta =
            self.read(&self.update.readout().unwrap_or_else(|| self.memory.theta.iter().collect()))?;
        // θ as the user reads it may stand still while the steps go on, and a way that goes to and fro may meet the ends
        // of submits at one place.
        let [before, after] =
            [&self.before, &self.memory.theta].map(|shards| self.read(&shards.iter().collect::<Vec<_>>()));
        let same = bits(&before?).eq(bits(&after?)) && bits(&self.theta).eq(bits(&theta));
        self.theta.clone_from(&theta);
        self.unchanged = if same { self.unchanged + until - self.done } else { 0 };
        // Each loss is that before its step.
        let lost = losses.iter().position(|loss| !loss.is_finite());
        let done = lost.map_or(until, |step| self.done + step as u64);
        let trace = if done == next_point { vec![(done, theta.clone())] } else { Vec::new() };
        self.done = done;
        let stop = if lost.is_some() || theta.iter().any(|x| !x.is_finite()) {
            Some(Stop::Diverged)
        } else {
            self.stop(&theta)
        };
        let evaluations = until;
        Ok(Advance { done, evaluations, unchanged: self.unchanged, stop, theta, trace })
    }

    fn stop(&self, theta: &[f64]) -> Option<Stop> {
        self.options.tolerance?;
        if self.options.is_within(self.objective, theta) {
            return Some(Stop::Converged);
        }
        (self.unchanged >= self.options.stalled_after()).then_some(Stop::Stalled)
    }

    fn submit(&self, until: u64) -> Result<()> {
        let update = self.update.plan();
        let scalars: Vec<f32> = (self.done + 1..=until)
            .flat_map(|number| update.scalars(number, self.options.learning_rate(number)))
            .collect();
        let bytes = update.scalars_bytes();
        self.gpu.write_buffer(self.schedule.raw(), 0, bytemuck::cast_slice(&scalars))?;
        let loss = result_offsets(&self.plan).0[0];
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        for step in 0..until - self.done {
            let (schedule, uniforms) = (self.schedule.raw(), self.memory.uniforms.raw());
            encoder.copy_buffer_to_buffer(schedule, step * bytes, uniforms, ALIGNMENT, bytes);
            if self.done + step + 1 == until {
                for (theta, before) in self.memory.theta.iter().zip(&self.before) {
                    encoder.copy_buffer_to_buffer(theta.raw(), 0, before.raw(), 0, theta.bytes());
                }
            }
            self.record_step(&mut encoder.begin_compute_pass(&Default::default()));
            let (results, losses) = (self.memory.results.raw(), self.losses.raw());
            encoder.copy_buffer_to_buffer(results, loss, losses, step * LOSS_BYTES, LOSS_BYTES);
        }
        self.update.record_readout(&mut encoder, &self.memory.theta);
        self.gpu.submit(encoder);
        Ok(())
    }

    fn record_step(&self, pass: &mut wgpu::ComputePass) {
        self.replay.record(pass);
        self.update.record(pass, None);
    }

    fn write_start(&self) -> Result<()> {
        let start: Vec<f32> = self.objective.start().iter().map(|&x| x as f32).collect();
        let mut rest = &start[..];
        for (pieces, (_, length)) in self.plan.theta.pieces.iter().zip(self.objective.unknowns()) {
            let (own, others) = rest.split_at(length);
            for piece in pieces {
                let bytes = bytemuck::cast_slice(&own[piece.start..piece.start + piece.elements]);
                let shard = self.memory.theta[piece.shard].raw();
                self.gpu.write_buffer(shard, 4 * piece.offset as u64, bytes)?;
            }
            rest = others;
        }
        Ok(())
    }

    /// The unknowns in `shards` that lie as those of θ.
    fn read(&self, shards: &[&Buffer]) -> Result<Vec<f64>> {
        let mut theta = Vec::with_capacity(self.objective.start().len());
        for piece in self.plan.theta.pieces.iter().flatten() {
            let start = 4 * piece.offset as u64;
            let range = start..start + 4 * piece.elements as u64;
            let floats: Vec<f32> =
                bytemuck::pod_collect_to_vec(&self.gpu.read_buffer(shards[piece.shard].raw(), range)?);
            theta.extend(floats.into_iter().map(f64::from));
        }
        Ok(theta)
    }
}

fn bits(theta: &[f64]) -> impl Iterator<Item = u64> {
    theta.iter().map(|x| x.to_bits())
}

/// Loss and gradient.
fn program(objective: &Objective) -> Program {
    let mut graph = objective.graph.clone();
    cut_chains(&mut graph);
    let gradient = objective.gradient.iter().enumerate();
    let gradient = gradient.map(|(unknown, &var)| (var, Destination::Gradient(unknown)));
    let outputs = std::iter::once((objective.loss, Destination::Result(0))).chain(gradient).collect();
    Program { graph, outputs }
}

/// Has a value stored wherever [`LONGEST_CHAIN`] operations follow from one another.
fn cut_chains(graph: &mut Graph) {
    let mut depths: Vec<u32> = Vec::with_capacity(graph.len());
    for var in graph.vars() {
        let node = graph.node(var);
        let before = node.inputs.iter().map(|input| depths[input.index()]).max().unwrap_or(0);
        let cut = before >= LONGEST_CHAIN && matches!(node.op.lower(), Lowering::Pointwise { .. });
        if cut {
            graph.store(var);
        }
        depths.push(if cut { 0 } else { before + 1 });
    }
}
