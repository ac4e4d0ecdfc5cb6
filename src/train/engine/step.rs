//! How a step is recorded: what it uploads, its launches, and what it leaves in the history. It may be recorded in stretches
//! that go to the device one by one.

use std::mem::offset_of;
use std::time::Duration;

use super::{BEFORE_COPIES, Engine, HISTORY, KERNELS, PLAN_RESULTS, Part, RECORD_BYTES, Results, input};
use crate::Result;
use crate::gpu::{Buffer, SpanTimer, StagedCopy};
use crate::optim::{SearchPlan, Updater};
use crate::plan::cost::LaunchWork;
use crate::plan::memory::ALIGNMENT;
use crate::plan::replay::{Launch, Replay, record};
use crate::plan::{Plan, Precision, StepUniform};

/// What one step of a plan does.
pub(in super::super) struct StepInputs<'a> {
    pub uniform: StepUniform,
    /// The rule's own step number from 1 and its learning rate, where the optimizer is to update θ.
    pub update: Option<(u64, f64)>,
    /// Bytes of each input slot that is uploaded.
    pub uploads: &'a [(&'a str, &'a [u8])],
    /// Where the loss is to be kept besides, and at which byte.
    pub keep_loss: Option<(&'a Buffer, u64)>,
}

/// A step that has begun and not ended.
pub(super) struct UnderWay {
    part: usize,
    updates: bool,
    keep_loss: Option<(wgpu::Buffer, u64)>,
    /// Its launches, and how many of them are recorded.
    launches: usize,
    recorded: usize,
}

impl Engine {
    /// Records one replay of a plan, and submits it where those before it and this are enough for a submit; its results
    /// go into the history. Returns how long it waited for the staging slot of three submits ago.
    pub fn step(&mut self, part: usize, inputs: &StepInputs) -> Result<Duration> {
        let timed = std::mem::take(&mut self.timing) && self.timer.is_some();
        // Timestamps are taken once in a submit.
        let alone = timed || self.profiler.is_some();
        if alone {
            self.submits.flush();
        }
        let waited = self.begin(part, inputs, timed)?;
        // From here on nothing fails, so that a submit holds whole steps.
        let timer = if timed { self.timer.take() } else { None };
        match self.profiler.take() {
            Some(profiler) => {
                let Engine { parts, update, trial, under_way, submits, .. } = self;
                let launches = under_way.iter().flat_map(|step| step.launches(parts, update, trial));
                profiler.record(launches, submits.encoder());
                self.profiler = Some(profiler);
            }
            None => self.record(usize::MAX, timer.as_ref().map(|timer| timer.writes(KERNELS))),
        }
        if let Some(timer) = timer {
            timer.resolve(self.submits.encoder());
            (self.timer, self.has_times) = (Some(timer), true);
        }
        self.end();
        if alone {
            self.submits.flush();
        }
        Ok(waited)
    }

    /// Whether a step can begin without a wait.
    pub fn has_slot(&self) -> Result<bool> {
        self.submits.has_room()
    }

    /// Begins a step: its uploads. Its launches are recorded by [`Engine::record`], and [`Engine::end`] ends it; no other step may
    /// begin before. Returns how long it waited for a staging slot. Where `timed`, the copies are.
    pub fn begin(&mut self, part: usize, inputs: &StepInputs, timed: bool) -> Result<Duration> {
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
        if let (true, Some(timer)) = (timed, &self.timer) {
            // Timestamps stand at the borders of passes, so an empty one tells when the copies begin.
            let timestamp_writes = Some(timer.writes(BEFORE_COPIES));
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            drop(step.encoder().begin_compute_pass(&descriptor));
        }
        step.copy(copies);
        if let Some(update) = &self.update {
            record_loss_scale(update, self.memory.uniforms.raw(), step.encoder());
        }
        let updates = inputs.update.is_some() && self.update.is_some();
        self.updates += u64::from(updates);
        let keep_loss = inputs.keep_loss.map(|(kept, at)| (kept.raw().clone(), at));
        let step = UnderWay { part, updates, keep_loss, launches: 0, recorded: 0 };
        let launches = step.launches(&self.parts, &self.update, &self.trial).count();
        self.under_way = Some(UnderWay { launches, ..step });
        Ok(waited)
    }

    /// Records the next `count` launches of the step under way, or as many as are left, as one pass.
    pub fn record(&mut self, count: usize, timestamp_writes: Option<wgpu::ComputePassTimestampWrites>) {
        let Engine { parts, update, trial, under_way, submits, .. } = self;
        let Some(step) = under_way else { return };
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let launches = step.launches(parts, update, trial).skip(step.recorded).take(count);
        record(launches, &mut submits.encoder().begin_compute_pass(&descriptor));
        step.recorded = step.recorded.saturating_add(count).min(step.launches);
    }

    /// Whether [`Engine::record_stretch`] times the next stretch, as far as the device can.
    pub fn times_stretch(&self) -> bool {
        self.spans.as_ref().is_none_or(SpanTimer::has_spans)
    }

    /// As [`Engine::record`], timed where the device can and a round has room.
    pub fn record_stretch(&mut self, count: usize) {
        let mut spans = self.spans.take();
        let timed = spans.as_mut().filter(|spans| spans.has_spans());
        self.record(count, timed.map(SpanTimer::next));
        self.spans = spans;
    }

    /// Ends the step under way, all of whose launches are recorded: its results go into the history, and it is submitted where
    /// those before it and this are enough for a submit.
    pub fn end(&mut self) {
        let Some(UnderWay { part, updates, keep_loss, .. }) = self.under_way.take() else { return };
        let (results, history) = (self.memory.results.raw(), self.history.raw());
        let encoder = self.submits.encoder();
        let row = (self.replays % HISTORY) * RECORD_BYTES;
        let places = &self.parts[part].results;
        for (number, &at) in places.iter().take(PLAN_RESULTS).enumerate() {
            encoder.copy_buffer_to_buffer(results, at, history, row + 4 * number as u64, 4);
        }
        if let Some((kept, at)) = keep_loss {
            encoder.copy_buffer_to_buffer(results, places[0], &kept, at, 4);
        }
        if let Some(update) = self.update.as_ref().filter(|_| updates) {
            record_update_results(update, encoder, history, row);
        }
        self.submits.end_step();
        self.replays += 1;
        self.pending += 1;
    }

    /// Records what is left of the step under way, if there is one, and ends it.
    pub fn complete(&mut self) {
        if self.under_way.as_ref().is_some_and(|step| step.recorded < step.launches) {
            self.record(usize::MAX, None);
        }
        self.end();
    }

    /// The plan of the step under way, and how many of its launches are recorded and how many left.
    pub fn under_way(&self) -> Option<(usize, usize, usize)> {
        let told = |step: &UnderWay| (step.part, step.recorded, step.launches - step.recorded);
        self.under_way.as_ref().map(told)
    }

    /// Whether another step would have to wait for the results of those before it.
    pub fn is_out_of_history(&self) -> bool {
        (self.replays + 1).is_multiple_of(HISTORY) && !self.readback.has_room()
    }

    /// Whether the step under way has changed a part of θ already.
    pub fn is_updating(&self) -> bool {
        let begun =
            |step: &UnderWay| step.updates && step.recorded > self.parts[step.part].plan.dispatches.len();
        self.under_way.as_ref().is_some_and(begun)
    }

    /// What the launches of a step of plan `part` are, in their order.
    pub fn described(&self, part: usize, updates: bool) -> Vec<LaunchWork> {
        let mut launches = self.parts[part].plan.described();
        let trial = self.trial.as_ref().map(|(plan, _)| plan);
        let update = self.update.iter().filter(|_| updates);
        launches.extend(update.flat_map(|update| update.plan().described(trial)));
        launches
    }
}

impl UnderWay {
    /// All its launches.
    fn launches<'a>(
        &self,
        parts: &'a [Part],
        update: &'a Option<Updater>,
        trial: &'a Option<(Plan, Replay)>,
    ) -> impl Iterator<Item = &'a Launch> + use<'a> {
        let update = update.as_ref().filter(|_| self.updates);
        let trial = trial.as_ref().map(|(_, replay)| replay);
        let own = parts[self.part].replay.launches().iter();
        own.chain(update.into_iter().flat_map(move |update| update.launches(trial)))
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
