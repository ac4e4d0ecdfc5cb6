//! A run's memory and plans on a device: what a step uploads, records and reads back.
//!
//! A step writes its part of a slot of the staging ring, records the copies out of it, the plan's launches and the
//! optimizer's, and copies its results into a ring on the GPU that is read back every [`HISTORY`] steps. Short steps share
//! a submit (`submits`); whatever looks at what they did submits them first. After construction a step makes no buffer,
//! bind group or pipeline, and waits only for the staging slot of three submits ago.

use std::mem::offset_of;
use std::time::Duration;

use super::profile::{LaunchTime, Profiler};
use super::submits::{Submits, slot_bytes};
use crate::gpu::{
    Buffer, BufferUse, Gpu, GpuTimer, Kernels, Patience, ReadbackRing, STAGING_SLOTS, StagedCopy,
    TRANSFER_BYTES,
};
use crate::optim::{SearchPlan, UpdatePlan, Updater};
use crate::plan::memory::{ALIGNMENT, Needs, result_offsets};
use crate::plan::replay::{Memory, Replay, record};
use crate::plan::{Plan, Precision, StepUniform};
use crate::{Error, Result};

/// Steps whose results wait on the GPU before they are read back together.
pub(super) const HISTORY: u64 = 64;

/// Results that a plan gives; those of the update's `control` stand behind them.
const PLAN_RESULTS: usize = 2;

/// Readbacks that may be under way at once.
const READBACKS: usize = 2;

const RECORD_BYTES: u64 = size_of::<Results>() as u64;

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
    update: Option<Updater>,
    /// The forward pass at the trial points of a line search.
    trial: Option<(Plan, Replay)>,
    /// Bytes at the head of a step's part of a staging slot: its uniform and the optimizer's scalars.
    uniforms: u64,
    submits: Submits,
    history: Buffer,
    readback: ReadbackRing,
    /// Times a step, where the device can.
    timer: Option<GpuTimer>,
    /// Whether the next step is to be timed, and whether one was whose times were not asked for.
    timing: bool,
    has_times: bool,
    /// Times every launch of the replays to come by itself.
    profiler: Option<Profiler>,
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

/// The results of one replay.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Results {
    /// The mean loss over the micro-batch, weighed as the step says.
    pub loss: f32,
    /// Rows that are right, in an evaluation of classes.
    pub right: f32,
    /// Updates that were skipped since the engine was made, and the norm of this one's gradient: after an update that
    /// looks at it.
    pub skipped: u32,
    pub gradient_norm: f32,
    /// What the loss is multiplied by in the next step.
    pub loss_scale: f32,
    /// The step size that a line search chose, as a factor of the learning rate.
    pub step_factor: f32,
}

/// What one step of a plan does.
pub(super) struct StepInputs<'a> {
    pub uniform: StepUniform,
    /// The rule's own step number from 1 and its learning rate, where the optimizer is to update θ.
    pub update: Option<(u64, f64)>,
    /// Bytes of each input slot that is uploaded.
    pub uploads: &'a [(&'a str, &'a [u8])],
    /// Where the loss is to be kept besides, and at which byte.
    pub keep_loss: Option<(&'a Buffer, u64)>,
}

/// Everything that a run allocates: the plans' needs, what the update keeps, and the transfers of steps that upload
/// `upload_bytes`.
pub(super) fn needs(plans: &[&Plan], update: Option<&UpdatePlan>, upload_bytes: u64) -> Needs {
    let inner = update.into_iter().flat_map(UpdatePlan::plans);
    let mut needs = Needs::of(&plans.iter().copied().chain(inner).collect::<Vec<_>>());
    // Counted even where the device has no timestamps, and then no timer.
    needs.other = HISTORY * RECORD_BYTES + GpuTimer::bytes(TIMED_PASSES);
    if let Some(update) = update {
        needs.scalars = update.scalars_bytes();
        needs.state = update.bytes("state");
        needs.other += update.bytes("other") + update.words_bytes();
    }
    let slot = slot_bytes(needs.uniforms() + upload_bytes);
    let rings = STAGING_SLOTS as u64 * slot + READBACKS as u64 * HISTORY * RECORD_BYTES;
    needs.staging = rings + TRANSFER_BYTES;
    needs
}

impl Engine {
    /// Allocates `needs` and compiles `plans` and the update's kernels. The first plan is trained; the others read θ as
    /// the user does.
    pub fn new(
        gpu: &Gpu,
        plans: Vec<Plan>,
        trial: Option<Plan>,
        needs: &Needs,
        update: Option<UpdatePlan>,
        upload_bytes: u64,
    ) -> Result<Self> {
        gpu.prepare_transfers()?;
        let memory = Memory::new(gpu, needs)?;
        let kernels = Kernels::new(gpu);
        let update = update.map(|update| Updater::new(gpu, &kernels, update, &memory)).transpose()?;
        let readout = update.as_ref().and_then(Updater::readout);
        let mut parts = Vec::with_capacity(plans.len());
        for (number, plan) in plans.into_iter().enumerate() {
            let own: Vec<&Buffer> = memory.theta.iter().collect();
            let theta = readout.as_ref().filter(|_| number > 0).unwrap_or(&own);
            let replay = Replay::new(gpu, &kernels, &plan, &memory, theta)?;
            let results = result_offsets(&plan).0;
            parts.push(Part { plan, replay, results });
        }
        let trial_point = update.as_ref().and_then(Updater::trial);
        let trial = trial.zip(trial_point).map(|(plan, point)| {
            let replay = Replay::new(gpu, &kernels, &plan, &memory, &point)?;
            Ok((plan, replay))
        });
        let trial = trial.transpose()?;
        log::info!("{} kernels in {} plans", kernels.count(), parts.len());
        gpu.keep_pipelines();
        let submits = Submits::new(gpu, needs.uniforms() + upload_bytes)?;
        Ok(Engine {
            gpu: gpu.clone(),
            memory,
            parts,
            update,
            trial,
            uniforms: needs.uniforms(),
            submits,
            history: gpu.buffer("results", HISTORY * RECORD_BYTES, BufferUse::Storage)?,
            readback: ReadbackRing::new(gpu, "staging", HISTORY * RECORD_BYTES, READBACKS)?,
            timer: GpuTimer::new(gpu, TIMED_PASSES)?,
            timing: false,
            has_times: false,
            profiler: None,
            replays: 0,
            pending: 0,
        })
    }

    /// How many plans there are.
    pub fn plans(&self) -> usize {
        self.parts.len()
    }

    pub fn plan(&self, part: usize) -> &Plan {
        &self.parts[part].plan
    }

    /// Records one replay of a plan, and submits it where those before it and this are enough for a submit; its results
    /// go into the history. Returns how long it waited for the staging slot of three submits ago.
    pub fn step(&mut self, part: usize, inputs: &StepInputs) -> Result<Duration> {
        let timer = self.timer.as_ref().filter(|_| std::mem::take(&mut self.timing));
        // Timestamps are taken once in a submit.
        let alone = timer.is_some() || self.profiler.is_some();
        if alone {
            self.submits.flush();
        }
        let (mut step, waited) = self.submits.next_step()?;
        step.write(0, &inputs.uniform.bytes(Precision::F32))?;
        if let (Some((number, rate)), Some(update)) = (inputs.update, &self.update) {
            step.write(ALIGNMENT, bytemuck::cast_slice(&update.plan().scalars(number, rate)))?;
        }
        let mut copies = Vec::with_capacity(1 + inputs.uploads.len());
        // The optimizer's half goes along only where it was written: a read-out looks at it later.
        let bytes = if inputs.update.is_some() { self.uniforms } else { ALIGNMENT };
        copies.push(StagedCopy { from: 0, to: self.memory.uniforms.raw(), at: 0, bytes });
        let mut from = self.uniforms;
        for (name, bytes) in inputs.uploads {
            let to = input(&self.memory, name)?.raw();
            step.write(from, bytes)?;
            copies.push(StagedCopy { from, to, at: 0, bytes: bytes.len() as u64 });
            from += (bytes.len() as u64).next_multiple_of(4);
        }
        // From here on nothing fails, so that a submit holds whole steps.
        let descriptor = |pass| wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: timer.map(|timer| timer.writes(pass)),
        };
        if timer.is_some() {
            // Timestamps stand at the borders of passes, so an empty one tells when the copies begin.
            drop(step.encoder().begin_compute_pass(&descriptor(BEFORE_COPIES)));
        }
        step.copy(copies);
        let encoder = step.encoder();
        if let Some(update) = &self.update {
            record_loss_scale(update, self.memory.uniforms.raw(), encoder);
        }
        let update = self.update.as_ref().filter(|_| inputs.update.is_some());
        let part = &self.parts[part];
        let trial = self.trial.as_ref().map(|(_, replay)| replay);
        let launches = part.replay.launches().iter();
        let launches = launches.chain(update.into_iter().flat_map(|update| update.launches(trial)));
        match &self.profiler {
            Some(profiler) => profiler.record(launches, encoder),
            None => record(launches, &mut encoder.begin_compute_pass(&descriptor(KERNELS))),
        }
        if let Some(timer) = timer {
            self.has_times = true;
            timer.resolve(encoder);
        }
        let row = (self.replays % HISTORY) * RECORD_BYTES;
        for (number, &at) in part.results.iter().take(PLAN_RESULTS).enumerate() {
            let (results, history) = (self.memory.results.raw(), self.history.raw());
            encoder.copy_buffer_to_buffer(results, at, history, row + 4 * number as u64, 4);
        }
        if let Some((kept, at)) = inputs.keep_loss {
            encoder.copy_buffer_to_buffer(self.memory.results.raw(), part.results[0], kept.raw(), at, 4);
        }
        if let Some(update) = update {
            record_update_results(update, encoder, self.history.raw(), row);
        }
        self.submits.end_step();
        if alone {
            self.submits.flush();
        }
        self.replays += 1;
        self.pending += 1;
        Ok(waited)
    }

    /// Has `steps` replays share a submit, as far as a staging slot has room for them; with none, as many as pays.
    pub fn share_submits(&mut self, steps: Option<u64>) {
        self.submits.ask(steps);
    }

    /// Replays that share a submit now.
    pub fn steps_per_submit(&self) -> u64 {
        self.submits.steps()
    }

    /// Two neighbouring numbers of what a line search remembers, from the byte `at` on.
    pub fn searched(&mut self, at: u64) -> Result<[f32; 2]> {
        self.submits.flush();
        let bytes = self.gpu.read_buffer(self.search_buffer()?.raw(), at..at + 8)?;
        Ok(bytemuck::pod_read_unaligned(&bytes))
    }

    /// Has the device make value and slope of the trial point at `factor`.
    pub fn send_trial(&mut self, factor: f32) -> Result<()> {
        self.submits.flush();
        self.gpu.write_buffer(self.search_buffer()?.raw(), SearchPlan::TRIAL, bytemuck::bytes_of(&factor))?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        if let Some(update) = &self.update {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            update.record_evaluation(&mut pass, self.trial.as_ref().map(|(_, replay)| replay));
        }
        self.gpu.submit(encoder);
        Ok(())
    }

    /// Ends the search of the step that was sent last: θ becomes the trial point unless `chosen` is 0, which is told in
    /// its results, and the next search begins at `factor`.
    pub fn end_search(&mut self, factor: f32, chosen: f32) -> Result<()> {
        self.submits.flush();
        // The trial of the next step's first value is θ.
        let told: [f32; 2] = [factor, 0.0];
        self.gpu.write_buffer(
            self.search_buffer()?.raw(),
            SearchPlan::FACTOR,
            bytemuck::cast_slice(&told),
        )?;
        let row = ((self.replays - 1) % HISTORY) * RECORD_BYTES;
        let at = row + offset_of!(Results, step_factor) as u64;
        self.gpu.write_buffer(self.history.raw(), at, bytemuck::bytes_of(&chosen))?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let trial = self.update.as_ref().and_then(Updater::trial).filter(|_| chosen > 0.0);
        for (from, to) in trial.into_iter().flatten().zip(&self.memory.theta) {
            encoder.copy_buffer_to_buffer(from.raw(), 0, to.raw(), 0, to.bytes());
        }
        self.gpu.submit(encoder);
        Ok(())
    }

    fn search_buffer(&self) -> Result<&Buffer> {
        let buffer = self.update.as_ref().and_then(Updater::search);
        buffer.ok_or_else(|| Error::shape("line search", "the plan has none"))
    }

    /// Whether the history must be fetched before another step, lest it is overwritten.
    pub fn history_is_full(&self) -> bool {
        self.pending > 0 && self.replays.is_multiple_of(HISTORY)
    }

    /// Sends the history on its way to the host, and with it the steps that are not submitted yet.
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
        let mut encoder = self.submits.close();
        let first = self.replays - count;
        let at = (first % HISTORY) * RECORD_BYTES;
        let recorded =
            self.readback.record(&mut encoder, self.history.raw(), at, count * RECORD_BYTES, first);
        let submission = self.submits.send(encoder);
        self.readback.submitted(&submission);
        recorded
    }

    /// Hands the results of every replay that have arrived to `take`, oldest first.
    pub fn collect(&mut self, patience: Patience, mut take: impl FnMut(Results)) -> Result<()> {
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
        self.gpu.write_buffer(self.input(name)?.raw(), at, bytes)
    }

    /// Writes θ as the user reads it to where the other plans read it; costs nothing where that is θ itself.
    ///
    /// Waits where it does: the read-out's scalars, which are the same in every step, are not there yet in a run
    /// that was restored and has done no step.
    pub fn refresh_readout(&mut self) -> Result<()> {
        self.submits.flush();
        let Some(update) = &self.update else { return Ok(()) };
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        if update.record_readout(&mut encoder, &self.memory.theta) {
            let rate = update.plan().optimizers[0].learning_rate();
            let scalars = update.plan().scalars(1, rate);
            self.gpu.write_buffer(self.memory.uniforms.raw(), ALIGNMENT, bytemuck::cast_slice(&scalars))?;
            self.gpu.submit(encoder);
        }
        Ok(())
    }

    /// The shards of θ as steps use it.
    pub fn theta(&self) -> Vec<&Buffer> {
        self.memory.theta.iter().collect()
    }

    /// The shards of the gradient.
    pub fn gradient(&self) -> &[Buffer] {
        &self.memory.gradient
    }

    /// The slot of an input.
    pub fn input(&self, name: &str) -> Result<&Buffer> {
        input(&self.memory, name)
    }

    /// Submits the steps that wait to share a submit.
    pub fn flush(&mut self) {
        self.submits.flush();
    }

    /// The shards of θ as the user reads it, as of the last [`Engine::refresh_readout`].
    pub fn readout(&self) -> Vec<&Buffer> {
        self.update.as_ref().and_then(Updater::readout).unwrap_or_else(|| self.theta())
    }

    /// Has the vectors that follow θ begin as θ.
    pub fn start_shadows(&self) -> Result<()> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        if let Some(update) = &self.update {
            update.record_start(&mut encoder, &self.memory.theta);
        }
        self.gpu.submit(encoder);
        Ok(())
    }

    /// The optimizer.
    pub fn update(&self) -> Option<&Updater> {
        self.update.as_ref()
    }

    /// The whole result number `number` of a plan, waiting for it.
    pub fn read_result(&mut self, part: usize, number: usize) -> Result<Vec<u8>> {
        self.submits.flush();
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

    /// Begins to time every launch of plan `part`, and of the update, by itself; false where the device has no timestamps.
    pub fn begin_profile(&mut self, part: usize) -> Result<bool> {
        let mut launches = self.parts[part].plan.described();
        let trial = self.trial.as_ref().map(|(plan, _)| plan);
        launches.extend(self.update.iter().flat_map(|update| update.plan().described(trial)));
        self.profiler = Profiler::new(&self.gpu, launches)?;
        Ok(self.profiler.is_some())
    }

    /// The times of the launches of the last replay since then, waiting for it; ends the timing.
    pub fn end_profile(&mut self) -> Result<Vec<LaunchTime>> {
        self.profiler.take().map_or(Ok(Vec::new()), |profiler| profiler.times())
    }

    /// Forgets the steps whose results are not fetched: their caller does not want them.
    pub fn drop_history(&mut self) {
        self.pending = 0;
    }
}

/// Puts the loss scale, which only the device knows, into the step's uniform.
fn record_loss_scale(update: &Updater, uniforms: &wgpu::Buffer, encoder: &mut wgpu::CommandEncoder) {
    if let Some(control) = update.loss_scale() {
        let (from, to) = (Updater::LOSS_SCALE, StepUniform::LOSS_SCALE);
        encoder.copy_buffer_to_buffer(control.raw(), from, uniforms, to, 4);
    }
}

/// Copies what `update` has to say into the row of the history that begins at the byte `row`.
fn record_update_results(
    update: &Updater,
    encoder: &mut wgpu::CommandEncoder,
    history: &wgpu::Buffer,
    row: u64,
) {
    if let Some(control) = update.control() {
        let at = row + offset_of!(Results, skipped) as u64;
        encoder.copy_buffer_to_buffer(control.raw(), Updater::SKIPPED, history, at, 12);
    }
    // A search that the host runs has not begun yet.
    if let Some(search) = update.search().filter(|_| !update.is_searched_by_host()) {
        // The plan's own result is that of the last trial.
        let pairs = [
            (SearchPlan::LOSS, offset_of!(Results, loss)),
            (SearchPlan::CHOSEN, offset_of!(Results, step_factor)),
        ];
        for (from, to) in pairs {
            encoder.copy_buffer_to_buffer(search.raw(), from, history, row + to as u64, 4);
        }
    }
}

/// The slot of an input.
fn input<'a>(memory: &'a Memory, name: &str) -> Result<&'a Buffer> {
    let found = memory.inputs.get(name);
    found.ok_or_else(|| Error::shape("step", format!("the plan has no input `{name}`")))
}
