//! Steps on their way: sent to the device in parts, and taken note of when their results arrive.

use std::time::Instant;

use super::engine::StepInputs;
use super::evaluate::{contents, uploads};
use super::event::{Event, StepRecord};
use super::trainer::{Session, TRAIN, Trainer};
use crate::data::{Order, Position, Stream, StreamOptions};
use crate::gpu::Patience;
use crate::optim::PlateauState;
use crate::plan::{Precision, StepUniform};
use crate::{Error, Result};

/// Steps in a row that may change nothing: a gradient that is never finite will not become so.
const MOST_SKIPPED: u64 = 100;

/// A replay on its way.
pub(super) struct Sent {
    /// The update that it is a part of and its epoch, both from 1.
    step: u64,
    epoch: u64,
    batch_rows: u64,
    ends_batch: bool,
    learning_rate: f64,
}

/// How far a run is.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// Steps done since the start of the run.
    pub step: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Batches done in the epoch under way.
    pub batch: u64,
    /// Σ loss·rows over the epoch's batches whose loss has arrived, and those rows.
    pub loss_sum: f64,
    pub loss_rows: u64,
    /// The loss of the batch whose parts are arriving, as far as they have.
    pub batch_loss: f64,
    /// Steps that changed nothing because their gradient was not finite, and how many of the last ones did.
    pub skipped: u64,
    pub skipped_in_row: u64,
    /// How many were skipped before the first step that changed something, from which the rule counts its own, and
    /// whether there is one yet.
    pub skipped_first: u64,
    pub begun: bool,
    /// What the schedule remembers of the losses of epochs.
    pub plateau: PlateauState,
    /// The first step whose loss was not finite.
    pub diverged: Option<u64>,
}

impl Progress {
    fn skip(&mut self) {
        self.skipped += 1;
        self.skipped_in_row += 1;
        self.skipped_first += u64::from(!self.begun);
    }
}

impl Trainer {
    /// Sends all micro-batches of the next batch, the last one with the update, which is then a step that is done;
    /// returns the batch's rows.
    pub(super) fn replay_batch(&mut self) -> Result<u64> {
        let Progress { step, epoch, skipped_first, .. } = self.progress;
        let learning_rate = self.learning_rate(step + 1);
        loop {
            let stream = self.stream.as_mut();
            let waited = Instant::now();
            let Some(part) = stream.map_or(Ok(None), Stream::next_batch)? else {
                return Err(Error::shape("training", "the stream of minibatches ended early"));
            };
            self.clock.waited_for_data(waited.elapsed());
            let options = &self.model.options;
            let weight = 1.0 / part.batch_rows as f64;
            let uniform = StepUniform::new(options.seed, step, part.rows, weight)
                .within_batch(part.first_row, part.first_row > 0);
            let update = part.ends_batch.then(|| (step + 1 - skipped_first, learning_rate));
            let uploads = uploads(&self.session.train_feed, part);
            let inputs = StepInputs { uniform, update, uploads: &uploads, keep_loss: None };
            let engine = self.session.engine()?;
            self.clock.waited_for_device(engine.step(TRAIN, &inputs)?);
            let (batch_rows, ends_batch) = (part.batch_rows as u64, part.ends_batch);
            if let Some(search) = options.search {
                engine.search(search)?;
            }
            let (step, epoch) = (step + 1, epoch + 1);
            self.sent.push_back(Sent { step, epoch, batch_rows, ends_batch, learning_rate });
            self.progress.step += u64::from(ends_batch);
            self.progress.batch += u64::from(ends_batch);
            if engine.history_is_full() {
                self.fetch()?;
            }
            if ends_batch {
                return Ok(batch_rows);
            }
        }
    }

    pub(super) fn is_logged(&self, step: u64) -> bool {
        let every = self.options().log_every;
        every > 0 && step.is_multiple_of(every)
    }

    /// Sends the results so far on their way to the host.
    pub(super) fn fetch(&mut self) -> Result<()> {
        if !self.session.engine()?.has_room() {
            self.collect(Patience::Oldest)?;
        }
        self.session.engine()?.fetch_history()
    }

    /// Waits for all steps so far and takes note of their losses.
    pub(super) fn settle(&mut self) -> Result<()> {
        let began = Instant::now();
        self.collect(Patience::All)?;
        self.session.engine()?.fetch_history()?;
        self.collect(Patience::All)?;
        self.clock.waited_for_device(began.elapsed());
        Ok(())
    }

    pub(super) fn collect(&mut self, patience: Patience) -> Result<()> {
        let Trainer { model, session, progress, sent, events, .. } = self;
        let Session { engine, skipped, .. } = session;
        let engine = engine.as_mut().ok_or_else(Session::gone)?;
        let watched = model.update.control.is_some();
        engine.collect(patience, |results| {
            let Some(replay) = sent.pop_front() else { return };
            progress.batch_loss += f64::from(results.loss);
            if !replay.ends_batch || progress.diverged.is_some() {
                return;
            }
            let (step, epoch, loss) = (replay.step, replay.epoch, std::mem::take(&mut progress.batch_loss));
            if watched && results.skipped > *skipped {
                *skipped = results.skipped;
                progress.skip();
            } else {
                progress.skipped_in_row = 0;
                progress.begun = true;
            }
            if progress.skipped_in_row >= MOST_SKIPPED || (progress.skipped_in_row == 0 && !loss.is_finite())
            {
                progress.diverged = Some(step);
                return;
            }
            // The loss of a step that changed nothing may be anything.
            if loss.is_finite() {
                progress.loss_sum += loss * replay.batch_rows as f64;
                progress.loss_rows += replay.batch_rows;
            }
            let every = model.options.log_every;
            if every > 0 && step.is_multiple_of(every) {
                let searched = model.options.search.is_some();
                let factor = if searched { f64::from(results.step_factor) } else { 1.0 };
                let lr = replay.learning_rate * factor;
                let gradient_norm = watched.then_some(results.gradient_norm);
                let loss_scale = model.options.modifiers.loss_scale.map(|_| results.loss_scale);
                let record = StepRecord { step, epoch, loss, lr, gradient_norm, loss_scale };
                events.push_back(Event::Step(record));
            }
        })
    }

    /// Errors once a loss was not finite.
    pub(super) fn sound(&self) -> Result<()> {
        match self.progress.diverged {
            None => Ok(()),
            Some(step) if self.progress.skipped_in_row >= MOST_SKIPPED => Err(self.diverged(&format!(
                "the gradient was not finite in {MOST_SKIPPED} steps in a row, the last of them step {step}"
            ))),
            Some(step) => Err(self.diverged(&format!("the loss is not finite at step {step}"))),
        }
    }

    pub(super) fn diverged(&self, what: &str) -> Error {
        let rate = self.options().optimizer.learning_rate();
        let precision = match self.options().precision {
            Precision::F32 | Precision::F64 => "",
            Precision::F16 => ", or train in f32",
        };
        Error::Diverged(format!(
            "{what}; try a learning rate below {rate:?} or look for outliers in the data{precision}"
        ))
    }

    pub(super) fn open_stream(&self) -> Result<Stream> {
        let options = StreamOptions {
            batch: self.report().batch,
            micro_batch: self.report().micro_batch,
            order: Order::Shuffled { seed: self.options().seed },
            contents: contents(&self.session.train_feed),
            start: Position { epoch: self.progress.epoch, batch: self.progress.batch },
            end_epoch: u64::MAX,
        };
        Stream::new(self.data.train.clone(), options)
    }
}
