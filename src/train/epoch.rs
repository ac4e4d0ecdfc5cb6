//! How an epoch ends: what it has to say, the test set, and the end of the run.

use std::time::Instant;

use super::evaluate::evaluate;
use super::event::{EpochRecord, Event};
use super::options::TrainOptions;
use super::trainer::{EVALUATE, Trainer};
use crate::Result;

impl Trainer {
    /// The end of an epoch: its losses, its evaluation where that is due, and its event. Where it fails, it can be done
    /// again.
    pub(super) fn end_epoch(&mut self) -> Result<()> {
        self.settle()?;
        if self.progress.diverged.is_some() {
            return Ok(());
        }
        let rate = self.epoch_rate();
        if let Some(times) = self.session.engine()?.timed()? {
            self.clock.timed(times);
        }
        let last = self.progress.step >= self.total_steps() || self.method_ended();
        let epoch = self.progress.epoch + 1;
        let due = last || epoch.is_multiple_of(self.options().eval_every);
        self.record_epoch(epoch, rate, due)?;
        self.observe(epoch);
        self.progress.epoch = epoch;
        self.progress.batch = 0;
        (self.progress.loss_sum, self.progress.loss_rows) = (0.0, 0);
        (self.epoch_began, self.epoch_clock) = ((Instant::now(), 0), self.clock);
        Ok(())
    }

    /// The end of the run. Where it is in the middle of an epoch, that is evaluated as far as it went.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.settle()?;
        if self.progress.diverged.is_some() {
            return Ok(());
        }
        if self.progress.batch > 0 {
            let rate = self.epoch_rate();
            self.record_epoch(self.progress.epoch + 1, rate, true)?;
        }
        self.stream = None;
        self.finished = true;
        Ok(())
    }

    /// Shows the schedule the loss that was just recorded. An evaluation that was due only because the run ended is
    /// not shown: a longer run would not have made it.
    fn observe(&mut self, epoch: u64) {
        let (total, batches) = (self.total_steps(), self.batches_per_epoch());
        let Trainer { model, progress, events, .. } = self;
        let TrainOptions { schedule, eval_every, .. } = &model.options;
        if let (Some(Event::Epoch(record)), true) = (events.back(), epoch.is_multiple_of(*eval_every)) {
            let loss = record.test.map_or(record.train_loss, |test| test.loss);
            schedule.observe(&mut progress.plateau, loss, progress.step, total, batches);
        }
    }

    fn epoch_rate(&self) -> f64 {
        self.epoch_began.1 as f64 / self.epoch_began.0.elapsed().as_secs_f64().max(1e-9)
    }

    fn record_epoch(&mut self, epoch: u64, samples_per_second: f64, evaluated: bool) -> Result<()> {
        let loss = self.loss();
        let test_feed = self.session.test_feed.clone();
        let test = match &self.data.test {
            Some(test) if evaluated => {
                Some(evaluate(self.session.engine()?, EVALUATE, &test_feed, test, loss)?)
            }
            _ => None,
        };
        if test.is_some_and(|test| !test.loss.is_finite()) {
            return Err(self.diverged(&format!("the test loss is not finite after epoch {epoch}")));
        }
        self.events.push_back(Event::Epoch(EpochRecord {
            epoch,
            step: self.progress.step,
            train_loss: self.progress.loss_sum / self.progress.loss_rows.max(1) as f64,
            skipped: self.progress.skipped,
            test,
            samples_per_second,
            bound: self.clock.bound_since(&self.epoch_clock),
            seconds: self.began.elapsed().as_secs_f64(),
        }));
        Ok(())
    }
}
