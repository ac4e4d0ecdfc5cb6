//! How an epoch ends: the test set goes through the device behind the steps, and what there is to say of the epoch is said when
//! the last result of it has arrived.

use std::time::Instant;

use super::clock::Bound;
use super::evaluate::{in_order, send_next};
use super::event::{EpochRecord, Event};
use super::options::TrainOptions;
use super::replays::{Divergence, Sent, Way};
use super::trainer::{EVALUATE, Session, Trainer};
use crate::Result;
use crate::data::Stream;

/// An epoch all of whose steps are sent.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    epoch: u64,
    step: u64,
    samples_per_second: f64,
    bound: Bound,
    evaluated: bool,
    /// Whether the run went through all of it; where it did not, it ended on the way.
    is_whole: bool,
}

/// An epoch on whose end the trainer is at work.
pub(super) struct Closing {
    ended: Ended,
    /// The test set, where it is the epoch's turn.
    evaluation: Option<Stream>,
}

impl Trainer {
    /// Sends the whole end of the epoch under way, and waits for it. Where it fails, it can be done again.
    pub(super) fn end_epoch(&mut self, is_whole: bool) -> Result<()> {
        if self.closing.is_none() {
            self.settle()?;
            if self.progress.diverged.is_some() {
                return Ok(());
            }
            self.begin_closing(is_whole)?;
            if let Some(times) = self.session.engine()?.timed()? {
                self.clock.timed(times);
            }
        }
        while self.send_evaluation(Way::Whole)? {}
        self.settle()
    }

    /// Begins the end of the epoch under way, of which no step is left.
    pub(super) fn begin_closing(&mut self, is_whole: bool) -> Result<()> {
        let epoch = self.progress.epoch + 1;
        let last = !is_whole || self.is_over();
        let evaluated = last || epoch.is_multiple_of(self.options().eval_every);
        let test = self.data.test.as_ref().filter(|_| evaluated);
        let evaluation = match test {
            None => None,
            Some(test) => {
                let engine = self.session.engine.as_mut().ok_or_else(Session::gone)?;
                engine.refresh_readout()?;
                Some(in_order(test, &self.session.test_feed, engine.plan(EVALUATE).batch)?)
            }
        };
        let ended = Ended {
            epoch,
            step: self.progress.step,
            samples_per_second: self.epoch_began.1 as f64
                / self.epoch_began.0.elapsed().as_secs_f64().max(1e-9),
            bound: self.clock.bound_since(&self.epoch_clock),
            evaluated: evaluation.is_some(),
            is_whole,
        };
        self.closing = Some(Closing { ended, evaluation });
        Ok(())
    }

    /// Sends, or begins, the next micro-batch of the closing epoch's evaluation; false where there is none, and the epoch is
    /// closed.
    pub(super) fn send_evaluation(&mut self, way: Way) -> Result<bool> {
        let Some(Closing { ended, evaluation }) = &mut self.closing else { return Ok(false) };
        let engine = self.session.engine.as_mut().ok_or_else(Session::gone)?;
        let sent = match evaluation {
            Some(stream) => send_next(stream, &self.session.test_feed, |inputs| {
                way.send(engine, EVALUATE, inputs).map(drop)
            })?,
            None => None,
        };
        let Some(rows) = sent else {
            let ended = *ended;
            self.closing = None;
            self.close(ended);
            return Ok(false);
        };
        self.take_note(Sent::Evaluation { rows }, way)?;
        Ok(true)
    }

    /// Whether the next micro-batch of the evaluation lies ready.
    pub(super) fn evaluation_is_ready(&mut self) -> bool {
        let stream = self.closing.as_mut().and_then(|closing| closing.evaluation.as_mut());
        stream.is_none_or(Stream::is_ready)
    }

    /// Everything of an epoch is sent: what comes belongs to the next.
    fn close(&mut self, ended: Ended) {
        self.sent.push_back(Sent::EndOfEpoch(ended));
        if ended.is_whole {
            self.progress.epoch = ended.epoch;
            self.progress.batch = 0;
            (self.epoch_began, self.epoch_clock) = ((Instant::now(), 0), self.clock);
        } else {
            self.is_closed = true;
        }
    }

    /// Tells of the epochs of which everything has arrived.
    pub(super) fn tell_ended(&mut self) {
        while let Some(&Sent::EndOfEpoch(ended)) = self.sent.front() {
            self.sent.pop_front();
            if self.progress.diverged.is_none() {
                self.tell(ended);
            }
        }
    }

    fn tell(&mut self, ended: Ended) {
        let Ended { epoch, step, samples_per_second, bound, evaluated, is_whole } = ended;
        let sums = std::mem::take(&mut self.sums);
        let test = evaluated.then(|| sums.evaluation(self.loss()));
        if test.is_some_and(|test| !test.loss.is_finite()) {
            self.progress.diverged = Some(Divergence::TestLoss { epoch });
            return;
        }
        let progress = &mut self.progress;
        let train_loss = progress.loss_sum / progress.loss_rows.max(1) as f64;
        self.events.push_back(Event::Epoch(EpochRecord {
            epoch,
            step,
            train_loss,
            skipped: progress.skipped,
            test,
            samples_per_second,
            bound,
            seconds: self.began.elapsed().as_secs_f64(),
        }));
        if is_whole {
            (progress.loss_sum, progress.loss_rows) = (0.0, 0);
            self.observe(epoch, step, test.map_or(train_loss, |test| test.loss));
        }
    }

    /// Shows the schedule the loss that was just told. An evaluation that was due only because the run ended is not shown: a
    /// longer run would not have made it.
    fn observe(&mut self, epoch: u64, step: u64, loss: f64) {
        let (total, batches) = (self.total_steps(), self.batches_per_epoch());
        let Trainer { model, progress, .. } = self;
        let TrainOptions { schedule, eval_every, .. } = &model.options;
        if epoch.is_multiple_of(*eval_every) {
            schedule.observe(&mut progress.plateau, loss, step, total, batches);
        }
    }
}
