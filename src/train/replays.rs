//! Steps on their way: sent to the device in parts, and taken note of when their results arrive.

use std::time::{Duration, Instant};

use super::engine::{Engine, Results, StepInputs};
use super::epoch::Ended;
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

/// What is on its way to the device and back, in its order.
pub(super) enum Sent {
    /// A micro-batch of a step.
    Part(SentPart),
    /// A micro-batch of a test set.
    Evaluation { rows: usize },
    /// No replay, but the end of those of an epoch.
    EndOfEpoch(Ended),
}

#[derive(Clone, Copy)]
pub(super) struct SentPart {
    /// The update that it is a part of and its epoch, both from 1.
    step: u64,
    epoch: u64,
    batch_rows: u64,
    ends_batch: bool,
    learning_rate: f64,
}

/// How a replay is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// All of it.
    Whole,
    /// Its beginning: its launches are recorded bit by bit.
    InStretches,
}

impl Way {
    /// Sends a replay of a plan; returns how long it waited for a staging slot.
    pub fn send(self, engine: &mut Engine, plan: usize, inputs: &StepInputs) -> Result<Duration> {
        match self {
            Way::Whole => engine.step(plan, inputs),
            Way::InStretches => engine.begin(plan, inputs, false),
        }
    }
}

/// What was not finite.
#[derive(Clone, Copy)]
pub(super) enum Divergence {
    Loss {
        step: u64,
    },
    /// For so long that it will not become finite.
    Gradient {
        step: u64,
    },
    TestLoss {
        epoch: u64,
    },
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
    /// The first number that was not finite.
    pub diverged: Option<Divergence>,
}

impl Progress {
    fn skip(&mut self) {
        self.skipped += 1;
        self.skipped_in_row += 1;
        self.skipped_first += u64::from(!self.begun);
    }
}

impl Trainer {
    /// Sends what is left of the micro-batches of the next batch, the last one with the update, which is then a step that is
    /// done.
    pub(super) fn replay_batch(&mut self) -> Result<()> {
        loop {
            let part = self.send_part(Way::Whole)?;
            if let Some(search) = self.model.options.search {
                self.session.engine()?.search(search)?;
            }
            if part.ends_batch {
                return Ok(());
            }
        }
    }

    /// Sends, or begins, the next micro-batch.
    pub(super) fn send_part(&mut self, way: Way) -> Result<SentPart> {
        let Progress { step, epoch, skipped_first, .. } = self.progress;
        let learning_rate = self.learning_rate(step + 1);
        let waited = Instant::now();
        let Some(part) = self.stream.as_mut().map_or(Ok(None), Stream::next_batch)? else {
            return Err(Error::shape("training", "the stream of minibatches ended early"));
        };
        self.clock.waited_for_data(waited.elapsed());
        let weight = 1.0 / part.batch_rows as f64;
        let uniform = StepUniform::new(self.model.options.seed, step, part.rows, weight)
            .within_batch(part.first_row, part.first_row > 0);
        let update = part.ends_batch.then(|| (step + 1 - skipped_first, learning_rate));
        let uploads = uploads(&self.session.train_feed, part);
        let inputs = StepInputs { uniform, update, uploads: &uploads, keep_loss: None };
        let engine = self.session.engine.as_mut().ok_or_else(Session::gone)?;
        self.clock.waited_for_device(way.send(engine, TRAIN, &inputs)?);
        let (batch_rows, ends_batch) = (part.batch_rows as u64, part.ends_batch);
        let sent = SentPart { step: step + 1, epoch: epoch + 1, batch_rows, ends_batch, learning_rate };
        self.take_note(Sent::Part(sent), way)?;
        Ok(sent)
    }

    /// Takes note of a replay that was sent: in stretches, when it is complete.
    pub(super) fn take_note(&mut self, sent: Sent, way: Way) -> Result<()> {
        if way == Way::InStretches {
            self.under_way = Some(sent);
            return Ok(());
        }
        if let Sent::Part(part) = sent {
            self.progress.step += u64::from(part.ends_batch);
            self.progress.batch += u64::from(part.ends_batch);
            self.epoch_began.1 += if part.ends_batch { part.batch_rows } else { 0 };
        }
        self.sent.push_back(sent);
        if self.session.engine()?.history_is_full() { self.fetch() } else { Ok(()) }
    }

    /// Completes the replay that was sent in stretches, if there is one.
    pub(super) fn complete(&mut self) -> Result<()> {
        let Session { engine, pace, .. } = &mut self.session;
        let engine = engine.as_mut().ok_or_else(Session::gone)?;
        // What is submitted out of turn, the frames to come pay for.
        if let (Some(pace), Some((plan, recorded, left))) = (pace, engine.under_way()) {
            pace.charge(plan, recorded, left);
        }
        engine.complete();
        self.under_way.take().map_or(Ok(()), |sent| self.take_note(sent, Way::Whole))
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

    /// Waits for all steps so far and takes note of their losses. A replay under way is completed first.
    pub(super) fn settle(&mut self) -> Result<()> {
        let began = Instant::now();
        self.complete()?;
        self.collect(Patience::All)?;
        self.session.engine()?.fetch_history()?;
        self.collect(Patience::All)?;
        self.clock.waited_for_device(began.elapsed());
        Ok(())
    }

    /// Takes note of the results that have arrived.
    pub(super) fn collect(&mut self, patience: Patience) -> Result<()> {
        let mut arrived = std::mem::take(&mut self.arrived);
        let collected = self.session.engine()?.collect(patience, |results| arrived.push(results));
        for results in arrived.drain(..) {
            self.tell_ended();
            match self.sent.pop_front() {
                Some(Sent::Part(part)) => self.arrive(part, &results),
                Some(Sent::Evaluation { rows }) => self.sums.add(&results, rows),
                // There are no others.
                Some(Sent::EndOfEpoch(_)) | None => {}
            }
        }
        self.arrived = arrived;
        self.tell_ended();
        collected
    }

    /// The results of a micro-batch.
    fn arrive(&mut self, part: SentPart, results: &Results) {
        let Trainer { model, session, progress, events, .. } = self;
        progress.batch_loss += f64::from(results.loss);
        if !part.ends_batch || progress.diverged.is_some() {
            return;
        }
        let (step, epoch, loss) = (part.step, part.epoch, std::mem::take(&mut progress.batch_loss));
        let watched = model.update.control.is_some();
        if watched && results.skipped > session.skipped {
            session.skipped = results.skipped;
            progress.skip();
        } else {
            progress.skipped_in_row = 0;
            progress.begun = true;
        }
        if progress.skipped_in_row >= MOST_SKIPPED {
            progress.diverged = Some(Divergence::Gradient { step });
            return;
        }
        if progress.skipped_in_row == 0 && !loss.is_finite() {
            progress.diverged = Some(Divergence::Loss { step });
            return;
        }
        // The loss of a step that changed nothing may be anything.
        if loss.is_finite() {
            progress.loss_sum += loss * part.batch_rows as f64;
            progress.loss_rows += part.batch_rows;
        }
        let every = model.options.log_every;
        if every > 0 && step.is_multiple_of(every) {
            let searched = model.options.search.is_some();
            let factor = if searched { f64::from(results.step_factor) } else { 1.0 };
            let lr = part.learning_rate * factor;
            let gradient_norm = watched.then_some(results.gradient_norm);
            let loss_scale = model.options.modifiers.loss_scale.map(|_| results.loss_scale);
            let record = StepRecord { step, epoch, loss, lr, gradient_norm, loss_scale };
            events.push_back(Event::Step(record));
        }
    }

    /// Errors once something was not finite.
    pub(super) fn sound(&self) -> Result<()> {
        let Some(divergence) = self.progress.diverged else { return Ok(()) };
        Err(self.diverged(&match divergence {
            Divergence::Gradient { step } => format!(
                "the gradient was not finite in {MOST_SKIPPED} steps in a row, the last of them step {step}"
            ),
            Divergence::Loss { step } => format!("the loss is not finite at step {step}"),
            Divergence::TestLoss { epoch } => format!("the test loss is not finite after epoch {epoch}"),
        }))
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

    /// Has minibatches prepared from the next on.
    pub(super) fn open_stream(&mut self) -> Result<()> {
        let options = StreamOptions {
            batch: self.report().batch,
            micro_batch: self.report().micro_batch,
            order: Order::Shuffled { seed: self.options().seed },
            contents: contents(&self.session.train_feed),
            start: Position { epoch: self.progress.epoch, batch: self.progress.batch },
            end_epoch: u64::MAX,
        };
        self.stream = Some(Stream::new(self.data.train.clone(), options)?);
        self.epoch_began = (Instant::now(), 0);
        Ok(())
    }
}
