//! A run's memory and plans on a device: what a step uploads, records and reads back.
//!
//! A step writes one slot of the staging ring, records the copies out of it, the plan's launches and the
//! optimizer's, and copies its results into a ring on the GPU that is read back every [`HISTORY`] steps. After
//! construction it makes no buffer, bind group or pipeline, and waits only for the staging slot of three steps ago.

use std::time::{Duration, Instant};

use crate::gpu::{
    BindingKind, Buffer, BufferUse, Gpu, GpuTimer, KernelSource, Kernels, Patience, ReadbackRing,
    STAGING_SLOTS, StagedCopy, StagingRing, TRANSFER_BYTES,
};
use crate::optim::Optimizer;
use crate::plan::memory::{ALIGNMENT, Needs, UNIFORM_BYTES, result_offsets};
use crate::plan::replay::{Launch, Memory, Replay, part, record};
use crate::plan::{Plan, StepUniform, fold_groups};
use crate::{Error, Result};

/// Steps whose results wait on the GPU before they are read back together.
pub(super) const HISTORY: u64 = 64;

/// Results of a step that are kept: the loss, and what stands beside it.
pub(super) const RESULTS: u64 = 2;

/// Readbacks that may be under way at once.
const READBACKS: usize = 2;

const RECORD_BYTES: u64 = 4 * RESULTS;

/// The optimizer on a device.
struct Update {
    optimizer: Optimizer,
    state: Vec<Vec<Buffer>>,
    launches: Vec<Launch>,
    /// θ as the user reads it, where the theta vector holds another point, and what writes it.
    readout: Option<(Vec<Buffer>, Vec<Launch>)>,
    _params: Buffer,
}

/// One plan of the run, and where its results begin.
struct Part {
    plan: Plan,
    replay: Replay,
    results: Vec<u64>,
}

/// The plans of a run on a device.
pub(super) struct Engine {
    gpu: Gpu,
    memory: Memory,
    parts: Vec<Part>,
    update: Option<Update>,
    staging: StagingRing,
    history: Buffer,
    readback: ReadbackRing,
    /// Times a step, where the device can.
    timer: Option<GpuTimer>,
    /// Whether the next step is to be timed, and whether one was whose times were not asked for.
    timing: bool,
    has_times: bool,
    /// Replays so far, and how many of the last ones have results that are not on their way to the host yet.
    replays: u64,
    pending: u64,
}

/// The passes of a step that is timed.
const BEFORE_COPIES: u32 = 0;
const KERNELS: u32 = 1;
const TIMED_PASSES: u32 = 2;

/// Seconds of a step on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepTimes {
    /// Copies out of the staging slot.
    pub upload: f64,
    /// All kernels.
    pub compute: f64,
}

/// What one step of a plan does.
pub(super) struct StepInputs<'a> {
    pub uniform: StepUniform,
    /// The step's number from 1 and learning rate, where the optimizer is to update θ.
    pub update: Option<(u64, f64)>,
    /// Bytes of each input slot that is uploaded.
    pub uploads: &'a [(&'a str, &'a [u8])],
}

/// Bytes of staging, history and readback for steps that upload `upload_bytes`: (staging, other).
pub(super) fn transfer_bytes(upload_bytes: u64) -> (u64, u64) {
    let slot = UNIFORM_BYTES + upload_bytes;
    (STAGING_SLOTS as u64 * slot + READBACKS as u64 * HISTORY * RECORD_BYTES, HISTORY * RECORD_BYTES)
}

/// Everything that a run allocates: the plans' needs, the optimizer's state and uniforms, and the transfers.
pub(super) fn needs(plans: &[&Plan], optimizer: Option<&Optimizer>, upload_bytes: u64) -> Needs {
    let state_vectors = optimizer.map_or(0, |optimizer| {
        optimizer.state_slots().len() + usize::from(optimizer.readout_wgsl().is_some())
    });
    let mut needs = Needs::of(plans, state_vectors);
    let (staging, history) = transfer_bytes(upload_bytes);
    needs.staging = staging + TRANSFER_BYTES;
    needs.other = history;
    // Counted even where the device has no timestamps, and then no timer.
    needs.other += GpuTimer::bytes(TIMED_PASSES);
    if optimizer.is_some() {
        needs.other += needs.shards.len() as u64 * ALIGNMENT;
    }
    needs
}

impl Engine {
    /// Allocates `needs` and compiles `plans` and the optimizer's kernels. The first plan is trained; the others
    /// read θ as the user does.
    pub fn new(
        gpu: &Gpu,
        plans: Vec<Plan>,
        needs: &Needs,
        optimizer: Option<&Optimizer>,
        upload_bytes: u64,
    ) -> Result<Self> {
        gpu.prepare_transfers()?;
        let memory = Memory::new(gpu, needs)?;
        let kernels = Kernels::new(gpu);
        let update = optimizer.map(|optimizer| Update::new(gpu, &kernels, &memory, optimizer)).transpose()?;
        let mut parts = Vec::with_capacity(plans.len());
        for (number, plan) in plans.into_iter().enumerate() {
            let readout = update.as_ref().and_then(|update| update.readout.as_ref()).filter(|_| number > 0);
            let theta = readout.map_or(&memory.theta, |(theta, _)| theta);
            let replay = Replay::new(gpu, &kernels, &plan, &memory, theta)?;
            let results = result_offsets(&plan).0;
            parts.push(Part { plan, replay, results });
        }
        log::info!("{} kernels in {} plans", kernels.count(), parts.len());
        let slot = UNIFORM_BYTES + upload_bytes;
        Ok(Engine {
            gpu: gpu.clone(),
            memory,
            parts,
            update,
            staging: StagingRing::new(gpu, "staging", slot, STAGING_SLOTS)?,
            history: gpu.buffer("results", HISTORY * RECORD_BYTES, BufferUse::Storage)?,
            readback: ReadbackRing::new(gpu, "staging", HISTORY * RECORD_BYTES, READBACKS)?,
            timer: GpuTimer::new(gpu, TIMED_PASSES)?,
            timing: false,
            has_times: false,
            replays: 0,
            pending: 0,
        })
    }

    pub fn plan(&self, part: usize) -> &Plan {
        &self.parts[part].plan
    }

    /// Submits one replay of a plan; its results go into the history. Returns how long it waited for the staging slot
    /// of three replays ago.
    pub fn step(&mut self, part: usize, inputs: &StepInputs) -> Result<Duration> {
        let (began, waits) = (Instant::now(), self.staging.waits());
        let mut slot = self.staging.acquire()?;
        let waited = if self.staging.waits() > waits { began.elapsed() } else { Duration::ZERO };
        slot.write(0, bytemuck::bytes_of(&inputs.uniform))?;
        if let (Some((number, rate)), Some(update)) = (inputs.update, &self.update) {
            slot.write(ALIGNMENT as usize, bytemuck::cast_slice(&update.optimizer.scalars(number, rate)))?;
        }
        let mut copies = Vec::with_capacity(1 + inputs.uploads.len());
        // The optimizer's half goes along only where it was written: a read-out looks at it later.
        let bytes = if inputs.update.is_some() { UNIFORM_BYTES } else { ALIGNMENT };
        copies.push(StagedCopy { from: 0, to: self.memory.uniforms.raw(), at: 0, bytes });
        let mut from = UNIFORM_BYTES;
        for (name, bytes) in inputs.uploads {
            let to = input(&self.memory, name)?.raw();
            slot.write(from as usize, bytes)?;
            copies.push(StagedCopy { from, to, at: 0, bytes: bytes.len() as u64 });
            from += (bytes.len() as u64).next_multiple_of(4);
        }
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let timer = self.timer.as_ref().filter(|_| std::mem::take(&mut self.timing));
        let descriptor = |pass| wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: timer.map(|timer| timer.writes(pass)),
        };
        if timer.is_some() {
            // Timestamps stand at the borders of passes, so an empty one tells when the copies begin.
            drop(encoder.begin_compute_pass(&descriptor(BEFORE_COPIES)));
        }
        self.staging.record(slot, &mut encoder, copies);
        let part = &self.parts[part];
        {
            let mut pass = encoder.begin_compute_pass(&descriptor(KERNELS));
            part.replay.record(&mut pass);
            if let (Some(_), Some(update)) = (inputs.update, &self.update) {
                record(&update.launches, &mut pass);
            }
        }
        if let Some(timer) = timer {
            self.has_times = true;
            timer.resolve(&mut encoder);
        }
        let row = (self.replays % HISTORY) * RECORD_BYTES;
        for (number, &at) in part.results.iter().take(RESULTS as usize).enumerate() {
            let (results, history) = (self.memory.results.raw(), self.history.raw());
            encoder.copy_buffer_to_buffer(results, at, history, row + 4 * number as u64, 4);
        }
        let submission = self.gpu.submit(encoder);
        self.staging.submitted(&submission);
        self.replays += 1;
        self.pending += 1;
        Ok(waited)
    }

    /// Whether the history must be fetched before another step, lest it is overwritten.
    pub fn history_is_full(&self) -> bool {
        self.pending > 0 && self.replays.is_multiple_of(HISTORY)
    }

    /// Sends the history on its way to the host.
    pub fn fetch_history(&mut self) -> Result<()> {
        let count = std::mem::take(&mut self.pending);
        if count == 0 {
            return Ok(());
        }
        if !self.readback.has_room() {
            return Err(Error::Device {
                doing: "reading results back".to_owned(),
                message: "both readings are still under way".to_owned(),
            });
        }
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let first = self.replays - count;
        let at = (first % HISTORY) * RECORD_BYTES;
        self.readback.record(&mut encoder, self.history.raw(), at, count * RECORD_BYTES, first)?;
        let submission = self.gpu.submit(encoder);
        self.readback.submitted(&submission);
        Ok(())
    }

    /// Hands the results of every replay that have arrived to `take`, oldest first.
    pub fn collect(
        &mut self,
        patience: Patience,
        mut take: impl FnMut([f32; RESULTS as usize]),
    ) -> Result<()> {
        self.readback.collect(patience, |_, bytes| {
            bytes.chunks_exact(RECORD_BYTES as usize).for_each(|row| take(bytemuck::pod_read_unaligned(row)));
        })
    }

    /// Whether [`Engine::fetch_history`] can be called.
    pub fn has_room(&self) -> bool {
        self.readback.has_room()
    }

    /// Fills an input once, before any step: a resident data set.
    pub fn fill_input(&self, name: &str, at: u64, bytes: &[u8]) -> Result<()> {
        self.gpu.write_buffer(input(&self.memory, name)?.raw(), at, bytes)
    }

    /// Writes θ as the user reads it to where the other plans read it; costs nothing where that is θ itself.
    ///
    /// Waits where it does: the read-out's scalars, which are the same in every step, are not there yet in a run
    /// that was restored and has done no step.
    pub fn refresh_readout(&self) -> Result<()> {
        let Some(update) = &self.update else { return Ok(()) };
        let Some((_, launches)) = &update.readout else { return Ok(()) };
        let scalars = update.optimizer.scalars(1, update.optimizer.learning_rate());
        self.gpu.write_buffer(self.memory.uniforms.raw(), ALIGNMENT, bytemuck::cast_slice(&scalars))?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        record(launches, &mut encoder.begin_compute_pass(&Default::default()));
        self.gpu.submit(encoder);
        Ok(())
    }

    /// The shards of θ as steps use it.
    pub fn theta(&self) -> &[Buffer] {
        &self.memory.theta
    }

    /// The shards of θ as the user reads it, as of the last [`Engine::refresh_readout`].
    pub fn readout(&self) -> &[Buffer] {
        let readout = self.update.as_ref().and_then(|update| update.readout.as_ref());
        readout.map_or(&self.memory.theta, |(theta, _)| theta)
    }

    /// The optimizer's state vectors by name, each in the shards of θ.
    pub fn state(&self) -> Vec<(&'static str, &[Buffer])> {
        let Some(update) = &self.update else { return Vec::new() };
        update.optimizer.state_slots().into_iter().zip(update.state.iter().map(Vec::as_slice)).collect()
    }

    /// The whole result number `number` of a plan, waiting for it.
    pub fn read_result(&self, part: usize, number: usize) -> Result<Vec<u8>> {
        let part = &self.parts[part];
        let at = part.results[number];
        self.gpu.read_buffer(self.memory.results.raw(), at..at + part.plan.results[number])
    }

    /// Times the next step, where the device has timestamps.
    pub fn time_next(&mut self) {
        self.timing = true;
    }

    /// The times of the step that was timed last, once, waiting for it.
    pub fn timed(&mut self) -> Result<Option<StepTimes>> {
        let has_times = std::mem::take(&mut self.has_times);
        let Some(timer) = self.timer.as_ref().filter(|_| has_times) else { return Ok(None) };
        let passes = timer.nanoseconds()?;
        let [[_, copies], [kernels, end]] = passes[..] else { return Ok(None) };
        // Counters of some drivers wrap, or stand still over a short pass: no negative time may come of it.
        let seconds = |from: f64, to: f64| (to - from).max(0.0) * 1e-9;
        Ok(Some(StepTimes { upload: seconds(copies, kernels), compute: seconds(kernels, end) }))
    }

    /// Forgets the steps whose results are not fetched: their caller does not want them.
    pub fn drop_history(&mut self) {
        self.pending = 0;
    }
}

/// The slot of an input.
fn input<'a>(memory: &'a Memory, name: &str) -> Result<&'a Buffer> {
    let found = memory.inputs.get(name);
    found.ok_or_else(|| Error::shape("step", format!("the plan has no input `{name}`")))
}

impl Update {
    fn new(gpu: &Gpu, kernels: &Kernels, memory: &Memory, optimizer: &Optimizer) -> Result<Self> {
        let vector = || -> Result<Vec<Buffer>> {
            let shards = memory.theta.iter();
            shards.map(|shard| gpu.buffer("state", shard.bytes(), BufferUse::Storage)).collect()
        };
        let slots = optimizer.state_slots();
        let state: Vec<Vec<Buffer>> = slots.iter().map(|_| vector()).collect::<Result<_>>()?;
        let shards = memory.theta.len();
        let params = gpu.buffer("uniforms", shards as u64 * ALIGNMENT, BufferUse::Uniform)?;
        let mut grids = Vec::with_capacity(shards);
        for (shard, theta) in memory.theta.iter().enumerate() {
            let count = (theta.bytes() / 16) as usize;
            let (groups, along_x) =
                fold_groups(count.div_ceil(Optimizer::WORKGROUP_SIZE as usize), gpu.profile());
            let words = [count as u32, along_x * Optimizer::WORKGROUP_SIZE];
            gpu.write_buffer(params.raw(), shard as u64 * ALIGNMENT, bytemuck::cast_slice(&words))?;
            grids.push(groups);
        }
        let launches =
            |label: &str, wgsl: &str, vectors: &[&[Buffer]], writes_first: bool| -> Result<Vec<Launch>> {
                let kinds = vector_kinds(vectors.len(), writes_first);
                let kernel = kernels.compile(&KernelSource { label, wgsl, bindings: &kinds })?;
                let launch = |(shard, &groups): (usize, &[u32; 2])| {
                    let mut ranges = vec![
                        part(&memory.uniforms, ALIGNMENT, 4 * Optimizer::SCALARS as u64),
                        part(&params, shard as u64 * ALIGNMENT, 16),
                    ];
                    ranges
                        .extend(vectors.iter().map(|vector| part(&vector[shard], 0, vector[shard].bytes())));
                    let bind_group = gpu.bind_group(&kernel, label, &ranges)?;
                    Ok(Launch { kernel: kernel.clone(), bind_group, groups })
                };
                grids.iter().enumerate().map(launch).collect()
            };
        let mut vectors: Vec<&[Buffer]> = vec![&memory.gradient, &memory.theta];
        vectors.extend(state.iter().map(Vec::as_slice));
        let name = optimizer.rule().name;
        let updates = launches(name, &optimizer.wgsl(), &vectors, false)?;
        let readout = match optimizer.readout_wgsl() {
            None => None,
            Some(wgsl) => {
                let theta = vector()?;
                let mut vectors: Vec<&[Buffer]> = vec![&theta, &memory.theta];
                vectors.extend(state.iter().map(Vec::as_slice));
                let launches = launches("readout", &wgsl, &vectors, true)?;
                Some((theta, launches))
            }
        };
        Ok(Update { optimizer: optimizer.clone(), state, launches: updates, readout, _params: params })
    }
}

/// The bindings of the optimizer's kernels: two uniforms, then the vectors, of which the first is either all that
/// is written (a read-out) or all that is only read (an update, of the gradient).
fn vector_kinds(vectors: usize, writes_first: bool) -> Vec<BindingKind> {
    let (first, others) = match writes_first {
        true => (BindingKind::ReadWriteStorage, BindingKind::ReadStorage),
        false => (BindingKind::ReadStorage, BindingKind::ReadWriteStorage),
    };
    let mut kinds = vec![BindingKind::Uniform, BindingKind::Uniform, first];
    kinds.resize(2 + vectors, others);
    kinds
}
