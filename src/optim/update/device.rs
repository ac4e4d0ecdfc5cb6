//! An update on a device: its buffers, pipelines and bind groups, made once, and its launches to record every step.

use super::{Home, ReadOut, Stage, StateVector, UpdateLaunch, UpdatePlan};
use crate::gpu::{Buffer, BufferUse, Gpu, Kernel, KernelSource, Kernels};
use crate::plan::memory::ALIGNMENT;
use crate::plan::replay::{Launch, Memory, Replay, part, record};
use crate::{Error, Result};

/// An update at work on the θ and gradient of a run.
pub(crate) struct Updater {
    plan: UpdatePlan,
    own: Vec<Buffer>,
    stages: Vec<Recorded>,
    /// Those of a trial of a line search that the host runs.
    evaluation: Vec<Recorded>,
    readout: Option<Vec<Launch>>,
    /// The uniforms of the launches, alive as long as the bind groups.
    _words: Buffer,
}

enum Recorded {
    Launch(Launch),
    Replay(Replay),
    Trial,
}

impl Updater {
    /// Allocates, compiles and binds `plan` for the θ and gradient of `memory`, whose uniforms have room for its scalars
    /// behind the step's.
    pub fn new(gpu: &Gpu, kernels: &Kernels, plan: UpdatePlan, memory: &Memory) -> Result<Self> {
        let own = plan.buffers.iter().map(|buffer| gpu.buffer(buffer.role, buffer.bytes, buffer.uses));
        let own: Vec<Buffer> = own.collect::<Result<_>>()?;
        for (buffer, planned) in own.iter().zip(&plan.buffers) {
            if !planned.contents.is_empty() {
                gpu.write_buffer(buffer.raw(), 0, bytemuck::cast_slice(&planned.contents))?;
            }
        }
        let sources: Vec<KernelSource> = plan
            .kernels
            .iter()
            .map(|kernel| KernelSource {
                label: &kernel.label,
                wgsl: &kernel.wgsl,
                bindings: &kernel.bindings,
            })
            .collect();
        let compiled = kernels.compile_all(&sources)?;
        let words = gpu.buffer("uniforms", plan.words_bytes(), BufferUse::Uniform)?;
        let gradient: Vec<&Buffer> = memory.gradient.iter().collect();
        let mut binder = Binder { gpu, plan: &plan, compiled, own: &own, words: &words, memory, next: 0 };
        let mut bind = |stage: &Stage| {
            Ok(match stage {
                Stage::Launch(launch) => Recorded::Launch(binder.bind(launch)?),
                Stage::Replay(inner) => {
                    Recorded::Replay(Replay::new(gpu, kernels, inner, memory, &gradient)?)
                }
                Stage::Trial => Recorded::Trial,
            })
        };
        let stages = plan.stages.iter().map(&mut bind).collect::<Result<_>>()?;
        let evaluation = plan.search.iter().flat_map(|search| &search.evaluation);
        let evaluation = evaluation.map(&mut bind).collect::<Result<_>>()?;
        let launches = plan.readout.iter().flat_map(|readout| &readout.launches);
        let launches: Vec<Launch> = launches.map(|launch| binder.bind(launch)).collect::<Result<_>>()?;
        let readout = plan.readout.is_some().then_some(launches);
        Ok(Updater { plan, own, stages, evaluation, readout, _words: words })
    }

    /// What it was made from.
    pub fn plan(&self) -> &UpdatePlan {
        &self.plan
    }

    /// Records the whole update. `trial` is the forward pass at the point of [`Updater::trial`], where there is one.
    pub fn record(&self, pass: &mut wgpu::ComputePass, trial: Option<&Replay>) {
        record(self.launches(trial), pass);
    }

    /// The launches of the whole update, in their order; [`UpdatePlan::described`] says what each is.
    pub fn launches<'a>(&'a self, trial: Option<&'a Replay>) -> impl Iterator<Item = &'a Launch> {
        launches(&self.stages, trial)
    }

    /// Records a trial of a line search that the host runs.
    pub fn record_evaluation(&self, pass: &mut wgpu::ComputePass, trial: Option<&Replay>) {
        record(launches(&self.evaluation, trial), pass);
    }

    /// The shards of θ as the user reads it, where that is not the theta vector.
    pub fn readout(&self) -> Option<Vec<&Buffer>> {
        let readout = self.plan.readout.as_ref()?;
        Some(readout.buffers.iter().map(|&buffer| &self.own[buffer]).collect())
    }

    /// Records what brings [`Updater::readout`] up to date; whether there is something to record.
    pub fn record_readout(&self, encoder: &mut wgpu::CommandEncoder, theta: &[Buffer]) -> bool {
        let (Some(ReadOut { buffers, copies, .. }), Some(launches)) = (&self.plan.readout, &self.readout)
        else {
            return false;
        };
        for &(shard, offset, bytes) in copies {
            let to = self.own[buffers[shard]].raw();
            encoder.copy_buffer_to_buffer(theta[shard].raw(), offset, to, offset, bytes);
        }
        record(launches, &mut encoder.begin_compute_pass(&Default::default()));
        !(copies.is_empty() && launches.is_empty())
    }

    /// Records that the vectors which follow θ begin as θ.
    pub fn record_start(&self, encoder: &mut wgpu::CommandEncoder, theta: &[Buffer]) {
        for buffers in &self.plan.shadows {
            for (&buffer, theta) in buffers.iter().zip(theta) {
                encoder.copy_buffer_to_buffer(theta.raw(), 0, self.own[buffer].raw(), 0, theta.bytes());
            }
        }
    }

    /// The state vectors.
    pub fn state(&self) -> &[StateVector] {
        &self.plan.state
    }

    /// A buffer of the plan.
    pub fn buffer(&self, number: usize) -> &Buffer {
        &self.own[number]
    }

    /// The shards of a line search's trial point.
    pub fn trial(&self) -> Option<Vec<&Buffer>> {
        let search = self.plan.search.as_ref()?;
        Some(search.trial.iter().map(|&buffer| &self.own[buffer]).collect())
    }

    /// Whether the step is the host's to find.
    pub fn is_searched_by_host(&self) -> bool {
        !self.evaluation.is_empty()
    }

    /// What a line search remembers; [`SearchPlan`](super::SearchPlan) says where.
    pub fn search(&self) -> Option<&Buffer> {
        self.plan.search.as_ref().map(|search| &self.own[search.state])
    }

    /// Where in [`Updater::control`] the number of skipped steps begins, and behind it the gradient's norm: bytes.
    pub const SKIPPED: u64 = 8;

    /// Where in it the loss scale begins, and behind it the steps since that changed: bytes.
    pub const LOSS_SCALE: u64 = 16;

    /// [`Updater::control`], where the loss is scaled.
    pub fn loss_scale(&self) -> Option<&Buffer> {
        self.control().filter(|_| self.plan.modifiers.loss_scale.is_some())
    }

    /// What the gradient's norm decides, `Control` of `shaders/update/shared.wgsl`, where it is looked at.
    pub fn control(&self) -> Option<&Buffer> {
        self.plan.control.map(|buffer| &self.own[buffer])
    }
}

fn launches<'a>(stages: &'a [Recorded], trial: Option<&'a Replay>) -> impl Iterator<Item = &'a Launch> {
    stages.iter().flat_map(move |stage| match stage {
        Recorded::Launch(launch) => std::slice::from_ref(launch),
        Recorded::Replay(replay) => replay.launches(),
        Recorded::Trial => trial.map_or(&[][..], Replay::launches),
    })
}

/// Makes bind groups; each launch has the next slot of the uniforms.
struct Binder<'a> {
    gpu: &'a Gpu,
    plan: &'a UpdatePlan,
    compiled: Vec<Kernel>,
    own: &'a [Buffer],
    words: &'a Buffer,
    memory: &'a Memory,
    next: u64,
}

impl Binder<'_> {
    fn bind(&mut self, launch: &UpdateLaunch) -> Result<Launch> {
        let at = self.next * ALIGNMENT;
        self.next += 1;
        self.gpu.write_buffer(self.words.raw(), at, bytemuck::cast_slice(&launch.words))?;
        let mut ranges = Vec::with_capacity(1 + launch.places.len());
        for place in &launch.places {
            let (buffer, offset) = match place.home {
                Home::Scalars(group) => (Some(&self.memory.uniforms), ALIGNMENT * (1 + group as u64)),
                Home::Theta(shard) => (self.memory.theta.get(shard), place.offset),
                Home::Gradient(shard) => (self.memory.gradient.get(shard), place.offset),
                Home::Result => (Some(&self.memory.results), place.offset),
                Home::Own(number) => (self.own.get(number), place.offset),
            };
            let missing = || Error::shape("update", "a vector has no memory");
            ranges.push(part(buffer.ok_or_else(missing)?, offset, place.bytes));
        }
        ranges.insert(1, part(self.words, at, 16));
        let kernel = self.compiled[launch.kernel].clone();
        let label = &self.plan.kernels[launch.kernel].label;
        let bind_group = self.gpu.bind_group(&kernel, label, &ranges)?;
        Ok(Launch { kernel, bind_group, groups: launch.workgroups })
    }
}
