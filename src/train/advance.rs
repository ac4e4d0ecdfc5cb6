//! Training in the frames of an app: as much work as fits the time that a frame grants, without a wait for the device.

use std::time::Duration;

use super::event::Event;
use super::line_search::LineSearch;
use super::options::TrainOptions;
use super::pace::Pace;
use super::replays::{Sent, Way};
use super::trainer::{Session, Trainer};
use crate::gpu::{Patience, SpanTimer};
use crate::{Error, Result};

/// What a call of [`Trainer::advance`] did.
///
/// ```
/// use std::time::Duration;
/// use downhill::{Advance, Stopped};
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// // A frame grants four milliseconds.
/// let advance: Advance = trainer.advance(Duration::from_millis(4))?;
/// println!("{} steps, {} launches in {:?}", advance.steps, advance.launches, advance.expected);
/// assert_ne!(advance.stopped, Stopped::Paused);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Advance {
    /// Steps whose last part was submitted.
    pub steps: u64,
    /// Launches that were submitted, of training and of evaluation.
    pub launches: u64,
    /// How long they are expected to take on the device.
    pub expected: Duration,
    /// How long those of an earlier call took, where that became known in this one.
    pub took: Option<Duration>,
    /// Why there was not more.
    pub stopped: Stopped,
}

/// Why [`Trainer::advance`] submitted no more.
///
/// ```
/// use std::time::Duration;
/// use downhill::Stopped;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// trainer.pause();
/// assert_eq!(trainer.advance(Duration::from_millis(4))?.stopped, Stopped::Paused);
/// trainer.resume();
/// // In an app's frames, one after another:
/// while trainer.advance(Duration::from_millis(4))?.stopped != Stopped::Finished {}
/// assert_eq!(trainer.steps(), trainer.total_steps());
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stopped {
    /// The time granted is used up, or was by calls before it.
    Time,
    /// The device has not done yet what earlier calls submitted, or a result that decides how to go on is on its way.
    Device,
    /// The next rows are not ready: they are being read or decoded.
    Data,
    /// Memory ran out, or the app lowered the limit: the run was planned again.
    Replanned,
    /// The trainer is paused.
    Paused,
    /// All is done, or cancelled.
    Finished,
}

/// Whether a call goes on, with launches that were begun or whatever comes next.
enum Next {
    Goes,
    Stops(Stopped),
}

impl Trainer {
    /// Trains for about so long a time on the device, within a frame of an app: submits as much work as fits, 48 short steps
    /// or so at most, and does not wait for the device. A step that takes longer is divided between calls at any of its launches. What launches cost is learnt from
    /// timestamps: each is submitted by itself when it is first met, so the first calls do little. A launch that reaches beyond
    /// the time shortens the calls to come. On a device without timestamps the costs are estimates, which are corrected where
    /// work is seen to be done earlier, or to be under way later.
    ///
    /// Results come by [`Trainer::poll`], which an app calls in every frame: what there is to say is kept until then. The parameters are bit for bit those of [`Trainer::next_event`], with which calls may
    /// alternate.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn frame(trainer: &mut downhill::Trainer) -> downhill::Result<()> {
    /// // In the loop that draws, 60 times a second:
    /// trainer.advance(Duration::from_millis(4))?;
    /// while let Some(event) = trainer.poll()? {
    ///     println!("{event:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Only where memory ran out or the limit was lowered (then it plans again, see [`Stopped::Replanned`]), and before the first
    /// evaluation of a restored run that keeps an average, does it wait.
    ///
    /// # Errors
    /// [`Error::Setting`] for a method on all rows and for line searches that the host runs, whose every step waits for numbers;
    /// otherwise as [`Trainer::next_event`].
    pub fn advance(&mut self, granted: Duration) -> Result<Advance> {
        self.check_advance()?;
        let done =
            |stopped| Ok(Advance { steps: 0, launches: 0, expected: Duration::ZERO, took: None, stopped });
        if self.finished {
            return done(Stopped::Finished);
        }
        if self.is_paused {
            return done(Stopped::Paused);
        }
        let advanced = self.within_memory(|trainer| trainer.advance_within(granted))?;
        advanced.map_or_else(|| done(Stopped::Replanned), Ok)
    }

    /// What there is to say, if anything, without a wait; [`Event::Finished`] once. Also the steps of [`Trainer::advance`] whose
    /// results are on their way come nearer by it.
    ///
    /// # Errors
    /// As [`Trainer::next_event`], when all that happened before is told.
    pub fn poll(&mut self) -> Result<Option<Event>> {
        if self.events.is_empty() && self.session.engine.is_some() {
            self.collect(Patience::None)?;
            let engine = self.session.engine()?;
            if engine.has_room() {
                engine.fetch_history()?;
            }
            self.end_if_done();
        }
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        self.sound()?;
        let is_news = self.finished && !std::mem::replace(&mut self.has_told_the_end, self.finished);
        Ok(is_news.then_some(Event::Finished))
    }

    /// Has [`Trainer::advance`] submit nothing until [`Trainer::resume`]. What is under way is done and not
    /// waited for.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Goes on after [`Trainer::pause`].
    pub fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Ends the run with the last whole step, without another evaluation: [`Event::Finished`] comes next, behind what is under way.
    /// Launches of a step that is half submitted are submitted now; the device is not waited for. A trainer that is paused is no
    /// longer.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where memory ran out for good, [`Error::Device`] where the device fails.
    pub fn cancel(&mut self) -> Result<()> {
        self.complete()?;
        let engine = self.session.engine()?;
        engine.flush();
        if engine.has_room() {
            engine.fetch_history()?;
        }
        self.is_paused = false;
        self.closing = None;
        self.stream = None;
        self.is_cancelled = true;
        Ok(())
    }

    /// Completes a step that has begun to change θ: who looks at θ sees whole steps.
    pub(super) fn make_whole(&mut self) -> Result<()> {
        if self.session.engine()?.is_updating() { self.complete() } else { Ok(()) }
    }

    /// Errors for runs whose every step waits for numbers.
    fn check_advance(&self) -> Result<()> {
        let TrainOptions { method, search, .. } = self.options();
        let refused = |name: &str, what: &str| {
            let message =
                format!("{what} waits for numbers of the device in every step; use `next_event` on a thread");
            Err(Error::setting(name, message))
        };
        match (method, search) {
            (Some(method), _) => refused("method", method.name()),
            (_, Some(LineSearch::Backtracking | LineSearch::StrongWolfe)) => {
                refused("line-search", "a search that the host runs")
            }
            _ => Ok(()),
        }
    }

    fn advance_within(&mut self, granted: Duration) -> Result<Advance> {
        self.collect(Patience::None)?;
        self.sound()?;
        let engine = self.session.engine.as_ref().ok_or_else(Session::gone)?;
        let mut pace = self.session.pace.take().unwrap_or_else(|| Pace::new(&self.gpu, engine));
        let advanced = self.advance_with(&mut pace, granted);
        self.session.pace = Some(pace);
        advanced
    }

    fn advance_with(&mut self, pace: &mut Pace, granted: Duration) -> Result<Advance> {
        let engine = self.session.engine()?;
        pace.begin(engine, granted)?;
        // All steps of a call share a submit, as far as a staging slot has room for them.
        let shared = engine.share_submits(Some(u64::MAX));
        let step = self.progress.step;
        let mut launches = 0;
        let stopped = self.fill(pace, &mut launches);
        let engine = self.session.engine()?;
        engine.share_submits(shared);
        // Also where something failed: what is recorded goes, and its times come back to whom they belong.
        pace.end(engine)?;
        let stopped = stopped?;
        if engine.has_room() {
            engine.fetch_history()?;
        }
        let steps = self.progress.step - step;
        Ok(Advance { steps, launches, expected: pace.expected(), took: pace.took(), stopped })
    }

    /// Records as much as `pace` has room for.
    fn fill(&mut self, pace: &mut Pace, launches: &mut u64) -> Result<Stopped> {
        loop {
            let engine = self.session.engine()?;
            let has_timers = engine.spans.as_ref().is_none_or(SpanTimer::has_room);
            if pace.is_behind() || !has_timers || engine.is_out_of_history() {
                return Ok(Stopped::Device);
            }
            let Some((plan, recorded, left)) = engine.under_way() else {
                match self.begin_next()? {
                    Next::Stops(stopped) => return Ok(stopped),
                    Next::Goes => continue,
                }
            };
            let count = pace.take(plan, recorded, left, engine.times_stretch());
            if count == 0 {
                return Ok(Stopped::Time);
            }
            engine.record_stretch(count);
            *launches += count as u64;
            if count == left {
                self.complete()?;
            }
        }
    }

    /// Begins the next replay, or what else comes next.
    fn begin_next(&mut self) -> Result<Next> {
        if !self.session.engine()?.has_slot()? {
            return Ok(Next::Stops(Stopped::Device));
        }
        if self.is_cancelled || self.is_closed {
            return Ok(self.when_all_is_done());
        }
        if self.closing.is_some() {
            return self.begin_evaluation();
        }
        let (batch, batches) = (self.progress.batch, self.batches_per_epoch());
        if batch == batches {
            return self.begin_closing(true).map(|()| Next::Goes);
        }
        if self.is_over() {
            return match batch {
                0 => Ok(self.when_all_is_done()),
                _ => self.begin_closing(false).map(|()| Next::Goes),
            };
        }
        if self.must_know_first() {
            return Ok(Next::Stops(Stopped::Device));
        }
        self.begin_part()
    }

    fn when_all_is_done(&mut self) -> Next {
        self.end_if_done();
        Next::Stops(if self.finished { Stopped::Finished } else { Stopped::Device })
    }

    /// Takes note of the end of a run of which nothing is left to send or to come.
    fn end_if_done(&mut self) {
        let is_over = self.is_cancelled || self.is_closed || (self.is_over() && self.progress.batch == 0);
        if is_over && self.closing.is_none() && self.under_way.is_none() && self.sent.is_empty() {
            self.stream = None;
            self.finished = true;
        }
    }

    /// Whether the next step depends on results that are on their way: on the loss of an epoch that the schedule watches, or
    /// on whether any step changed something, from which on a rule counts its own.
    fn must_know_first(&self) -> bool {
        let TrainOptions { schedule, modifiers, .. } = self.options();
        let is_first = modifiers.skips() && !self.progress.begun && !self.sent.is_empty();
        is_first || (schedule.watches() && self.sent.iter().any(|sent| matches!(sent, Sent::EndOfEpoch(_))))
    }

    fn begin_evaluation(&mut self) -> Result<Next> {
        if !self.evaluation_is_ready() {
            return Ok(Next::Stops(Stopped::Data));
        }
        self.send_evaluation(Way::InStretches).map(|_| Next::Goes)
    }

    fn begin_part(&mut self) -> Result<Next> {
        if self.stream.is_none() {
            self.open_stream()?;
        }
        if self.stream.as_mut().is_some_and(|stream| !stream.is_ready()) {
            return Ok(Next::Stops(Stopped::Data));
        }
        self.send_part(Way::InStretches).map(|_| Next::Goes)
    }
}
