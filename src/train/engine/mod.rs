//! A run's memory and plans on a device: what a step uploads, records and reads back.
//!
//! A step writes its part of a slot of the staging ring, records the copies out of it, the plan's launches and the
//! optimizer's, and copies its results into a ring on the GPU that is read back every [`HISTORY`] steps. Short steps share
//! a submit (`submits`); whatever looks at what they did submits them first. After construction a step makes no buffer,
//! bind group or pipeline, and waits only for the staging slot of three submits ago.

mod search;
mod step;

pub(super) use step::StepInputs;
use step::UnderWay;

use super::profile::{LaunchTime, Profiler};
use super::submits::{Submits, slot_bytes};
use crate::gpu::{
    Buffer, BufferUse, Gpu, GpuTimer, Kernels, Patience, ReadbackRing, STAGING_SLOTS, SpanTimer,
    TRANSFER_BYTES,
};
use crate::optim::{UpdatePlan, Updater};
use crate::plan::Plan;
use crate::plan::memory::{ALIGNMENT, Needs, result_offsets};
use crate::plan::replay::{Memory, Replay};
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
    under_way: Option<UnderWay>,
    history: Buffer,
    readback: ReadbackRing,
    /// Times a step, where the device can.
    timer: Option<GpuTimer>,
    /// Whether the next step is to be timed, and whether one was whose times were not asked for.
    timing: bool,
    has_times: bool,
    /// Times every launch of the replays to come by itself.
    profiler: Option<Profiler>,
    /// Times stretches of steps, where the device can.
    pub spans: Option<SpanTimer>,
    /// Updates so far.
    updates: u64,
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

/// Everything that a run allocates: the plans' needs, what the update keeps, and the transfers of steps that upload
/// `upload_bytes`.
pub(super) fn needs(plans: &[&Plan], update: Option<&UpdatePlan>, upload_bytes: u64) -> Needs {
    let inner = update.into_iter().flat_map(UpdatePlan::plans);
    let mut needs = Needs::of(&plans.iter().copied().chain(inner).collect::<Vec<_>>());
    // Counted even where the device has no timestamps, and then no timers.
    needs.other = HISTORY * RECORD_BYTES + GpuTimer::bytes(TIMED_PASSES);
    if let Some(update) = update {
        needs.scalars = update.scalars_bytes();
        needs.state = update.bytes("state");
        needs.other += SpanTimer::BYTES + update.bytes("other") + update.words_bytes();
    }
    let slot = slot_bytes(needs.uniforms() + upload_bytes);
    let rings = STAGING_SLOTS as u64 * slot + READBACKS as u64 * HISTORY * RECORD_BYTES;
    needs.staging = rings + TRANSFER_BYTES;
    needs
}

impl Engine {
    /// Allocates `needs` and compiles `plans` and the update's kernels. The first plan is trained; the others read θ as
    /// the user does. `lent` are inputs that are in no needs, with their names.
    pub fn new(
        gpu: &Gpu,
        plans: Vec<Plan>,
        trial: Option<Plan>,
        needs: &Needs,
        update: Option<UpdatePlan>,
        upload_bytes: u64,
        lent: Vec<(String, Buffer)>,
    ) -> Result<Self> {
        gpu.prepare_transfers()?;
        let mut memory = Memory::new(gpu, needs)?;
        memory.inputs.extend(lent);
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
        let spans = if update.is_some() { SpanTimer::new(gpu)? } else { None };
        Ok(Engine {
            gpu: gpu.clone(),
            memory,
            parts,
            update,
            trial,
            uniforms: needs.uniforms(),
            submits,
            under_way: None,
            history: gpu.buffer("results", HISTORY * RECORD_BYTES, BufferUse::Storage)?,
            readback: ReadbackRing::new(gpu, "staging", HISTORY * RECORD_BYTES, READBACKS)?,
            timer: GpuTimer::new(gpu, TIMED_PASSES)?,
            timing: false,
            has_times: false,
            profiler: None,
            spans,
            updates: 0,
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

    /// Has `steps` replays share a submit, as far as a staging slot has room for them; with none, as many as pays. Returns
    /// what was asked for before.
    pub fn share_submits(&mut self, steps: Option<u64>) -> Option<u64> {
        self.submits.ask(steps)
    }

    /// Replays that share a submit now.
    pub fn steps_per_submit(&self) -> u64 {
        self.submits.steps()
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
        let first = self.replays - count;
        let at = (first % HISTORY) * RECORD_BYTES;
        let mut encoder = self.submits.close();
        let recorded =
            self.readback.record(&mut encoder, self.history.raw(), at, count * RECORD_BYTES, first);
        let submission = self.submits.send(encoder);
        self.readback.submitted(&submission);
        recorded
    }

    /// Submits what is recorded, with the reading of the times of its stretches, to be collected from [`Engine::spans`] under `tag`.
    pub fn end_round(&mut self, tag: u64) -> Result<()> {
        let mut encoder = self.submits.close();
        let ended = self.spans.as_mut().map_or(Ok(()), |spans| spans.end_round(&mut encoder, tag));
        let submission = self.submits.send(encoder);
        if let Some(spans) = &mut self.spans {
            spans.submitted(&submission);
        }
        ended
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
    /// Waits where it does and no update was made yet: the read-out's scalars, which are the same in every step, are then
    /// not there.
    pub fn refresh_readout(&mut self) -> Result<()> {
        self.submits.flush();
        let Some(update) = &self.update else { return Ok(()) };
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        if update.record_readout(&mut encoder, &self.memory.theta) {
            if self.updates == 0 {
                let rate = update.plan().optimizers[0].learning_rate();
                let scalars = update.plan().scalars(1, rate);
                let scalars = bytemuck::cast_slice(&scalars);
                self.gpu.write_buffer(self.memory.uniforms.raw(), ALIGNMENT, scalars)?;
            }
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

    /// Whether anything was replayed.
    pub fn has_begun(&self) -> bool {
        self.replays > 0 || self.under_way.is_some()
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
        self.profiler = Profiler::new(&self.gpu, self.described(part, true))?;
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

/// The slot of an input.
fn input<'a>(memory: &'a Memory, name: &str) -> Result<&'a Buffer> {
    let found = memory.inputs.get(name);
    found.ok_or_else(|| Error::shape("step", format!("the plan has no input `{name}`")))
}
