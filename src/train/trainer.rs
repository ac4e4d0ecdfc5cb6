//! The training loop: minibatches in, events out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::clock::{Bound, Clock};
use super::engine::{Engine, Results};
use super::epoch::Closing;
use super::evaluate::Sums;
use super::event::{Event, PlanReport};
use super::full_batch::FullBatch;
use super::memory_model::MemoryModel;
use super::options::TrainOptions;
use super::pace::Pace;
use super::profile::LaunchTime;
use super::program::Feed;
use super::replays::{Progress, Sent};
use super::state::origin;
use super::tensors::{Snapshot, check_rows};
use crate::data::{Split, Stream, batches_per_epoch};
use crate::gpu::{Gpu, Patience};
use crate::nn::Loss;
use crate::plan::MemoryMap;
use crate::solve::MethodMemory;
use crate::{Error, Result};

/// The plans of a run, in their order in the engine.
pub(super) const TRAIN: usize = 0;
pub(super) const EVALUATE: usize = 1;

/// A model in training. The crate's page shows one at work.
///
/// What waits for the device says so; nothing else does.
///
/// ```
/// use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// let mut trainer = Trainer::new(&gpu, rows, TrainOptions::new("linear".parse()?, Optimizer::new("adam")?))?;
/// trainer.run_steps(5)?;
/// assert_eq!((trainer.steps(), trainer.total_steps()), (5, 10));
/// println!("{:?}", trainer.parameters()?);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Trainer {
    pub(super) gpu: Gpu,
    pub(super) model: MemoryModel,
    pub(super) data: Split,
    pub(super) origin: BTreeMap<String, String>,
    /// Everything on the device.
    pub(super) session: Session,
    pub(super) progress: Progress,
    /// The last whole step on the host, while nothing of it is on the device.
    pub(super) rescued: Option<Snapshot>,
    pub(super) stream: Option<Stream>,
    /// Replays whose results have not arrived, oldest first.
    pub(super) sent: VecDeque<Sent>,
    /// What is sent in stretches and not to its end.
    pub(super) under_way: Option<Sent>,
    /// The epoch whose steps are all sent, while its end is not.
    pub(super) closing: Option<Closing>,
    /// What has arrived of the evaluation under way.
    pub(super) sums: Sums,
    /// Kept for its memory.
    pub(super) arrived: Vec<Results>,
    pub(super) events: VecDeque<Event>,
    /// Whether the end of a run that ends within an epoch is sent.
    pub(super) is_closed: bool,
    pub(super) is_cancelled: bool,
    pub(super) is_paused: bool,
    pub(super) finished: bool,
    pub(super) has_told_the_end: bool,
    pub(super) began: Instant,
    /// When the training of the epoch under way began here, and how many rows this trainer has trained of it.
    pub(super) epoch_began: (Instant, u64),
    /// What was waited for, and what had been when the epoch began.
    pub(super) clock: Clock,
    pub(super) epoch_clock: Clock,
}

/// A run as it is laid out on the device; another takes its place where memory runs out.
pub(super) struct Session {
    /// None once memory ran out for good.
    pub(super) engine: Option<Engine>,
    /// The method under way, from its first step on.
    pub(super) full_batch: Option<FullBatch>,
    /// What the method goes on from at its next step, where none is under way.
    pub(super) method_memory: Option<MethodMemory>,
    pub train_feed: Feed,
    pub test_feed: Feed,
    pub report: PlanReport,
    /// Updates that the engine skipped so far.
    pub skipped: u32,
    /// What its launches cost, once somebody grants them time.
    pub pace: Option<Pace>,
}

impl Session {
    pub fn new(engine: Engine, train_feed: Feed, test_feed: Feed, report: PlanReport) -> Self {
        Session {
            engine: Some(engine),
            full_batch: None,
            method_memory: None,
            train_feed,
            test_feed,
            report,
            skipped: 0,
            pace: None,
        }
    }

    /// # Errors
    /// [`Error::OutOfMemory`] where it ran out and the run did not fit in what was left.
    pub fn engine(&mut self) -> Result<&mut Engine> {
        self.engine.as_mut().ok_or_else(Session::gone)
    }

    /// As [`Session::engine`], to look at.
    pub fn laid_out(&self) -> Result<&Engine> {
        self.engine.as_ref().ok_or_else(Session::gone)
    }

    pub fn gone() -> Error {
        Error::OutOfMemory("memory ran out, and the run did not fit in what was left".to_owned())
    }

    /// Gives all memory back.
    pub fn free(&mut self) {
        self.full_batch = None;
        self.pace = None;
        self.engine = None;
    }
}

impl Trainer {
    /// What the run would take on a device, before anything is allocated. Waits for nothing.
    ///
    /// # Errors
    /// As [`Trainer::new`], for what is wrong with the request.
    pub fn plan(gpu: &Gpu, data: &Split, options: &TrainOptions) -> Result<PlanReport> {
        let model = MemoryModel::new(data, options, gpu.profile())?;
        Ok(model.report(gpu.budget().bytes, &gpu.adapter_info().name)?.0)
    }

    /// Plans the run, checks it against the budget, allocates, and sets θ to its initial values. Waits until they and
    /// the rows that are to lie there are on the device.
    ///
    /// # Errors
    /// [`Error::Setting`] for options that no run can have or that do not go with the data,
    /// [`Error::DoesNotFit`] where it is more than the budget, [`Error::OutOfMemory`] where nothing fits what the device
    /// has, [`Error::Device`] where the device fails.
    pub fn new(gpu: &Gpu, data: Split, options: TrainOptions) -> Result<Self> {
        for rows in [Some(&data.train), data.test.as_ref()].into_iter().flatten() {
            check_rows(rows, data.train.schema(), true)?;
        }
        let mut model = MemoryModel::new(&data, &options, gpu.profile())?;
        let mut events = VecDeque::new();
        let session = Session::open(gpu, &mut model, &data, gpu.budget().bytes, &mut events)?;
        let origin = origin(&options, model.loss(), session.report.batch, &data)?;
        let now = Instant::now();
        let mut trainer = Trainer {
            gpu: gpu.clone(),
            model,
            data,
            origin,
            session,
            progress: Progress::default(),
            rescued: None,
            stream: None,
            sent: VecDeque::new(),
            under_way: None,
            closing: None,
            sums: Sums::default(),
            arrived: Vec::new(),
            events,
            is_closed: false,
            is_cancelled: false,
            is_paused: false,
            finished: false,
            has_told_the_end: false,
            began: now,
            epoch_began: (now, 0),
            clock: Clock::default(),
            epoch_clock: Clock::default(),
        };
        trainer.set_initial_parameters()?;
        Ok(trainer)
    }

    /// What the run takes.
    pub fn report(&self) -> &PlanReport {
        &self.session.report
    }

    /// The loss that is minimised.
    pub fn loss(&self) -> Loss {
        self.model.loss()
    }

    /// Steps that the run will have when it is finished.
    pub fn total_steps(&self) -> u64 {
        self.options().length.steps(self.batches_per_epoch())
    }

    /// Steps that changed nothing because their gradient was not finite, as far as they are known.
    pub fn skipped_steps(&self) -> u64 {
        self.progress.skipped
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.progress.step
    }

    /// The learning rate of step `step`, from 1, as far as the losses so far decide it.
    pub(super) fn learning_rate(&self, step: u64) -> f64 {
        let TrainOptions { optimizer, schedule, .. } = self.options();
        let base = optimizer.learning_rate() * self.progress.plateau.factor;
        schedule.rate(base, step, self.total_steps(), self.batches_per_epoch())
    }

    /// Optimizer updates in one pass over the training set.
    pub fn batches_per_epoch(&self) -> u64 {
        batches_per_epoch(self.data.train.rows(), self.report().batch) as u64
    }

    /// Bytes of GPU memory that are allocated, as wgpu's allocator tells, else by our own account.
    pub fn measured_bytes(&self) -> u64 {
        let account = || self.gpu.account().values().sum();
        self.gpu.allocator_total().map_or_else(account, |total| total.allocated)
    }

    /// Bytes of device memory that this process takes by the driver's own count, where it tells.
    pub fn driver_bytes(&self) -> Option<u64> {
        self.gpu.driver_bytes()
    }

    /// Who holds which memory at which dispatch of a training step.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where it ran out for good.
    pub fn memory_map(&self) -> Result<MemoryMap> {
        Ok(self.session.laid_out()?.plan(TRAIN).memory_map())
    }

    pub(super) fn options(&self) -> &TrainOptions {
        &self.model.options
    }

    /// Trains until there is something to say. `interrupted` is looked at before every step. Waits for the device
    /// wherever that is behind, and for all steps at the end of an epoch and where it is interrupted.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss is not finite, [`Error::OutOfMemory`] when memory ran out and nothing fits what
    /// is left, [`Error::Device`] when the device fails.
    pub fn next_event(&mut self, interrupted: &AtomicBool) -> Result<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            // Only after what there was to say before it.
            self.sound()?;
            if self.finished {
                return Ok(Event::Finished);
            }
            if interrupted.load(Ordering::Relaxed) {
                self.settle()?;
                self.events.push_back(Event::Interrupted);
            } else if self.is_cancelled || (self.is_over() && self.progress.batch < self.batches_per_epoch())
            {
                self.finish()?;
            } else {
                self.train_on(interrupted)?;
            }
        }
    }

    /// Trains `steps` more steps, whatever the run's length, and waits for them; what they have to say is dropped. A method
    /// may end before.
    /// This is how speed is measured.
    ///
    /// # Errors
    /// As [`Trainer::next_event`].
    pub fn run_steps(&mut self, steps: u64) -> Result<()> {
        let end = self.progress.step + steps;
        while self.progress.step < end && !self.method_ended() {
            self.train_on(&AtomicBool::new(false))?;
            self.drop_events()?;
        }
        self.settle()?;
        self.drop_events()?;
        self.sound()
    }

    /// What is measured must be what was asked for: a smaller plan is not.
    fn drop_events(&mut self) -> Result<()> {
        let replan = |event| if let Event::Replanned(replan) = event { Some(replan.reason) } else { None };
        self.events.drain(..).find_map(replan).map_or(Ok(()), |reason| Err(Error::OutOfMemory(reason)))
    }

    /// Rows that the last `steps` steps trained on: batches of the set size, but for the last of an epoch.
    pub fn samples(&self, steps: u64) -> u64 {
        let batches = self.batches_per_epoch();
        let rows = |step: u64| {
            let batch = self.report().batch as u64;
            step / batches * self.data.train.rows() as u64 + step % batches * batch
        };
        rows(self.progress.step) - rows(self.progress.step.saturating_sub(steps))
    }

    /// One more step and the seconds that the kernels of its first micro-batch took on the GPU, where the device has timestamps.
    /// Waits for the step.
    ///
    /// # Errors
    /// As [`Trainer::next_event`].
    pub fn time_step(&mut self) -> Result<Option<f64>> {
        self.session.engine()?.time_next();
        self.run_steps(1)?;
        // Where the step ended an epoch, that took note of its times.
        let times = self.session.engine()?.timed()?.or(self.clock.last_times());
        Ok(times.map(|times| times.compute))
    }

    /// One more step, every launch of whose last micro-batch is timed on the GPU by itself; none where the device has no
    /// timestamps. All launches together take longer so than in one pass. Waits for the step.
    ///
    /// # Errors
    /// As [`Trainer::next_event`].
    pub fn profile_step(&mut self) -> Result<Option<Vec<LaunchTime>>> {
        if !self.session.engine()?.begin_profile(TRAIN)? {
            return Ok(None);
        }
        let done = self.run_steps(1);
        let times = self.session.engine()?.end_profile();
        done?;
        times.map(Some)
    }

    /// Has `steps` micro-batches share a submit from now on, as far as a staging slot has room for them; with none as many
    /// as make a submit last about two milliseconds, as from the start. Holds until memory runs out and the run is planned again.
    /// No bit of what is computed depends on it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where it ran out for good.
    pub fn share_submits(&mut self, steps: Option<u64>) -> Result<()> {
        self.session.engine()?.share_submits(steps);
        Ok(())
    }

    /// Micro-batches that share a submit now.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where memory ran out for good.
    pub fn steps_per_submit(&self) -> Result<u64> {
        Ok(self.session.laid_out()?.steps_per_submit())
    }

    /// How often a step waited because as many submits as may be were in flight: where the device is the limit, nearly
    /// every submit did.
    pub fn device_waits(&self) -> u64 {
        self.clock.device_waits()
    }

    /// What bounded the speed since the trainer was made.
    pub fn bound(&self) -> Bound {
        self.clock.bound_since(&Clock::default())
    }

    /// Whether no step is left to make.
    pub(super) fn is_over(&self) -> bool {
        self.progress.step >= self.total_steps() || self.method_ended()
    }

    /// The end of the run. Where it is in the middle of an epoch, that is evaluated as far as it went.
    fn finish(&mut self) -> Result<()> {
        self.settle()?;
        if self.progress.diverged.is_some() {
            return Ok(());
        }
        if self.progress.batch > 0 && !self.is_closed && !self.is_cancelled {
            self.end_epoch(false)?;
        }
        self.stream = None;
        self.finished = true;
        Ok(())
    }

    /// One step, or the end of an epoch; or, where memory runs out before that is done, a smaller plan for it.
    pub(super) fn train_on(&mut self, interrupted: &AtomicBool) -> Result<()> {
        self.within_memory(|trainer| trainer.go_on(interrupted)).map(drop)
    }

    /// Does `work`; or, where memory runs out or its limit is below what there is, plans again for less and returns none.
    pub(super) fn within_memory<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if let Some(live) = self.gpu.over_limit() {
            return self.replan_below_limit(live).map(|()| None);
        }
        match work(self) {
            Err(Error::OutOfMemory(reason)) => self.replan(reason).map(|()| None),
            done => done.map(Some),
        }
    }

    fn go_on(&mut self, interrupted: &AtomicBool) -> Result<()> {
        // A rule's first step starts its state, and only the device knows which one that is.
        if self.options().modifiers.skips() && !self.progress.begun {
            self.settle()?;
        }
        self.complete()?;
        self.sound()?;
        let batches = self.batches_per_epoch();
        // Where memory ran out in the evaluation, or it was begun in an app's frame, the epoch is still to be ended.
        if self.progress.batch == batches || self.closing.is_some() {
            return self.end_epoch(true);
        }
        if let Some(method) = self.options().method.clone() {
            return self.method_step(&method, interrupted);
        }
        if self.stream.is_none() {
            self.open_stream()?;
        }
        if self.progress.batch + 1 == batches && self.clock.wants_times() {
            self.session.engine()?.time_next();
        }
        self.replay_batch()?;
        if self.is_logged(self.progress.step) {
            self.fetch()?;
        }
        self.collect(Patience::None)?;
        if self.progress.batch == batches { self.end_epoch(true) } else { Ok(()) }
    }
}
