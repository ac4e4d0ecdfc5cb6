//! The training loop: minibatches in, events out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::engine::{Engine, StepInputs};
use super::evaluate::{contents, evaluate, uploads};
use super::event::{EpochRecord, Event, PlanReport, StepRecord};
use super::layout::{Layout, lay_out};
use super::options::{Length, TrainOptions};
use super::program::{Feed, Recipe, resident_names};
use super::tensors::{NamedTensor, Snapshot, check, check_rows, read_vector, write_vector};
use crate::data::{Dataset, Order, Position, Split, Stream, StreamOptions, batches_per_epoch};
use crate::gpu::{Gpu, Patience};
use crate::graph::ParameterInfo;
use crate::nn::Loss;
use crate::plan::StepUniform;
use crate::{Error, Result};

/// The plans of a run, in their order in the engine.
const TRAIN: usize = 0;
const EVALUATE: usize = 1;

/// Rows of a resident data set that are uploaded at a time; a multiple of four, so that bytes stay aligned.
const FILL_ROWS: usize = 4096;

/// A model in training. The crate's page shows one at work.
pub struct Trainer {
    gpu: Gpu,
    engine: Engine,
    data: Split,
    options: TrainOptions,
    loss: Loss,
    train_feed: Feed,
    test_feed: Feed,
    parameters: Vec<ParameterInfo>,
    report: PlanReport,
    progress: Progress,
    stream: Option<Stream>,
    events: VecDeque<Event>,
    finished: bool,
    began: Instant,
    /// When the training of the epoch under way began here, and how many rows this trainer has trained of it.
    epoch_began: (Instant, u64),
}

/// How far a run is.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Steps done since the start of the run.
    step: u64,
    /// Epochs done.
    epoch: u64,
    /// Batches done in the epoch under way.
    batch: u64,
    /// Σ loss·rows over the epoch's batches whose loss has arrived, and those rows.
    loss_sum: f64,
    loss_rows: u64,
    /// The first step whose loss was not finite.
    diverged: Option<u64>,
}

impl Trainer {
    /// Plans the run, checks it against the budget, allocates, and sets θ to its initial values.
    ///
    /// # Errors
    /// [`Error::Setting`] for options that no run can have or that do not go with the data,
    /// [`Error::DoesNotFit`] where it is more than the budget, [`Error::Device`] where the device fails.
    pub fn new(gpu: &Gpu, data: Split, options: TrainOptions) -> Result<Self> {
        options.check()?;
        for rows in [Some(&data.train), data.test.as_ref()].into_iter().flatten() {
            check_rows(rows, data.train.schema(), true)?;
        }
        let loss = Loss::for_task(options.loss, data.train.schema())?;
        let recipe = Recipe { model: &options.model, schema: data.train.schema(), loss };
        let layout = lay_out(gpu, &recipe, &data, &options)?;
        let Layout { plans, needs, upload_bytes, train_feed, test_feed, parameters, report } = layout;
        let engine = Engine::new(gpu, plans, &needs, Some(&options.optimizer), upload_bytes)?;
        let now = Instant::now();
        let mut trainer = Trainer {
            gpu: gpu.clone(),
            engine,
            data,
            options,
            loss,
            train_feed,
            test_feed,
            parameters,
            report,
            progress: Progress::default(),
            stream: None,
            events: VecDeque::new(),
            finished: false,
            began: now,
            epoch_began: (now, 0),
        };
        trainer.fill()?;
        Ok(trainer)
    }

    /// What the run takes.
    pub fn report(&self) -> &PlanReport {
        &self.report
    }

    /// The loss that is minimised.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Steps that the run will have when it is finished.
    pub fn total_steps(&self) -> u64 {
        match self.options.length {
            Length::Epochs(epochs) => epochs * self.batches_per_epoch(),
            Length::Steps(steps) => steps,
        }
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.progress.step
    }

    /// Optimizer updates in one pass over the training set.
    pub fn batches_per_epoch(&self) -> u64 {
        batches_per_epoch(self.data.train.rows(), self.report.batch) as u64
    }

    /// Bytes of GPU memory that are allocated, as wgpu's allocator tells, else by our own account.
    pub fn measured_bytes(&self) -> u64 {
        let account = || self.gpu.account().values().sum();
        self.gpu.allocator_total().map_or_else(account, |total| total.allocated)
    }

    /// Trains until there is something to say. `interrupted` is looked at before every step.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss is not finite, [`Error::Device`] when the device fails.
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
            } else if self.progress.step >= self.total_steps() {
                self.finish()?;
            } else {
                self.advance()?;
            }
        }
    }

    /// Trains `steps` more steps, whatever the run's length, and waits for them; what they have to say is dropped.
    /// This is how speed is measured.
    ///
    /// # Errors
    /// As [`Trainer::next_event`].
    pub fn run_steps(&mut self, steps: u64) -> Result<()> {
        for _ in 0..steps {
            self.advance()?;
            self.events.clear();
        }
        self.settle()?;
        self.events.clear();
        self.sound()
    }

    /// One more step and the seconds that it took on the GPU, where the device has timestamps.
    ///
    /// # Errors
    /// As [`Trainer::next_event`].
    pub fn time_step(&mut self) -> Result<Option<f64>> {
        self.engine.start_timing()?;
        self.run_steps(1)?;
        self.engine.stop_timing()
    }

    /// How often a step waited because as many steps as may be were in flight: where the GPU is the limit, nearly
    /// every one did.
    pub fn waits(&self) -> u64 {
        self.engine.waits()
    }

    /// One step, and the end of the epoch where it is the last.
    fn advance(&mut self) -> Result<()> {
        if self.stream.is_none() {
            self.stream = Some(self.open_stream()?);
            self.epoch_began = (Instant::now(), 0);
        }
        let Some(batch) = self.stream.as_mut().map_or(Ok(None), Stream::next_batch)? else {
            return Err(Error::shape("training", "the stream of minibatches ended early"));
        };
        let Progress { step, .. } = self.progress;
        let (rows, ends_epoch) = (batch.rows, batch.ends_epoch);
        let uniform = StepUniform::new(self.options.seed, step, rows, 1.0 / batch.batch_rows as f64);
        let update = Some((step + 1, self.options.optimizer.learning_rate()));
        let inputs = StepInputs { uniform, update, uploads: &uploads(&self.train_feed, batch) };
        self.engine.step(TRAIN, step, &inputs)?;
        self.progress.step += 1;
        self.progress.batch += 1;
        self.epoch_began.1 += rows as u64;
        let logged = self.is_logged(self.progress.step);
        if self.engine.history_is_full() || logged {
            if !self.engine.has_room() {
                self.collect(Patience::Oldest)?;
            }
            self.engine.fetch_history()?;
        }
        self.collect(Patience::None)?;
        if ends_epoch && self.progress.diverged.is_none() { self.end_epoch() } else { Ok(()) }
    }

    fn is_logged(&self, step: u64) -> bool {
        self.options.log_every > 0 && step.is_multiple_of(self.options.log_every)
    }

    /// Waits for all steps so far and takes note of their losses.
    fn settle(&mut self) -> Result<()> {
        self.collect(Patience::All)?;
        self.engine.fetch_history()?;
        self.collect(Patience::All)
    }

    fn collect(&mut self, patience: Patience) -> Result<()> {
        let (batches, batch, rows) =
            (self.batches_per_epoch(), self.report.batch as u64, self.data.train.rows() as u64);
        let (options, progress, events) = (&self.options, &mut self.progress, &mut self.events);
        self.engine.collect(patience, |tag, [loss, _]| {
            let weight = (rows - (tag % batches) * batch).min(batch);
            let (loss, step) = (f64::from(loss), tag + 1);
            progress.loss_sum += loss * weight as f64;
            progress.loss_rows += weight;
            if !loss.is_finite() {
                progress.diverged.get_or_insert(step);
                return;
            }
            if options.log_every > 0 && step.is_multiple_of(options.log_every) {
                let lr = options.optimizer.learning_rate();
                events.push_back(Event::Step(StepRecord { step, epoch: tag / batches + 1, loss, lr }));
            }
        })
    }

    /// Errors once a loss was not finite.
    fn sound(&self) -> Result<()> {
        match self.progress.diverged {
            None => Ok(()),
            Some(step) => Err(self.diverged(&format!("the loss is not finite at step {step}"))),
        }
    }

    fn diverged(&self, what: &str) -> Error {
        let rate = self.options.optimizer.learning_rate();
        Error::Diverged(format!(
            "{what}; try a learning rate below {rate:?} or look for outliers in the data"
        ))
    }

    fn end_epoch(&mut self) -> Result<()> {
        self.settle()?;
        if self.progress.diverged.is_some() {
            return Ok(());
        }
        let rate = self.epoch_rate();
        self.progress.epoch += 1;
        let last = self.progress.step >= self.total_steps();
        let due = last || self.progress.epoch.is_multiple_of(self.options.eval_every);
        self.record_epoch(self.progress.epoch, rate, due)?;
        self.progress.batch = 0;
        (self.progress.loss_sum, self.progress.loss_rows) = (0.0, 0);
        self.epoch_began = (Instant::now(), 0);
        Ok(())
    }

    /// The end of the run. Where it is in the middle of an epoch, that is evaluated as far as it went.
    fn finish(&mut self) -> Result<()> {
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

    fn epoch_rate(&self) -> f64 {
        self.epoch_began.1 as f64 / self.epoch_began.0.elapsed().as_secs_f64().max(1e-9)
    }

    fn record_epoch(&mut self, epoch: u64, samples_per_second: f64, evaluated: bool) -> Result<()> {
        let test = match &self.data.test {
            Some(test) if evaluated => {
                Some(evaluate(&mut self.engine, EVALUATE, &self.test_feed, test, self.loss)?)
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
            test,
            samples_per_second,
            seconds: self.began.elapsed().as_secs_f64(),
        }));
        Ok(())
    }

    fn open_stream(&self) -> Result<Stream> {
        let options = StreamOptions {
            batch: self.report.batch,
            micro_batch: self.report.micro_batch,
            order: Order::Shuffled { seed: self.options.seed },
            contents: contents(&self.train_feed),
            start: Position { epoch: self.progress.epoch, batch: self.progress.batch },
            end_epoch: u64::MAX,
        };
        Stream::new(self.data.train.clone(), options)
    }

    /// Initial parameters, and the data sets that live on the GPU.
    fn fill(&mut self) -> Result<()> {
        let initial: Vec<NamedTensor> = self
            .parameters
            .iter()
            .enumerate()
            .map(|(number, info)| NamedTensor {
                name: info.name.clone(),
                shape: info.shape.clone(),
                values: info.initial_values(self.options.seed, number),
            })
            .collect();
        let layout = &self.engine.plan(TRAIN).theta;
        write_vector(&self.gpu, layout, &self.parameters, self.engine.theta(), &initial)?;
        let sets = [(&self.train_feed, Some(&self.data.train)), (&self.test_feed, self.data.test.as_ref())];
        for (feed, dataset) in sets {
            if let (Feed::Resident { part, .. }, Some(dataset)) = (feed, dataset) {
                fill_resident(&self.engine, part, dataset)?;
            }
        }
        Ok(())
    }

    /// All that resuming needs, bit for bit. Waits for the steps under way.
    ///
    /// # Errors
    /// [`Error::Diverged`] where θ or the optimizer's state is not finite: such a state is not worth keeping.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        self.settle()?;
        self.sound()?;
        let layout = &self.engine.plan(TRAIN).theta;
        let read = |shards| read_vector(&self.gpu, layout, &self.parameters, shards);
        let theta = read(self.engine.theta())?;
        let state = self.engine.state().into_iter();
        let state: Vec<(String, Vec<NamedTensor>)> =
            state.map(|(slot, shards)| Ok((slot.to_owned(), read(shards)?))).collect::<Result<_>>()?;
        let vectors = state.iter().map(|(slot, tensors)| (slot.as_str(), tensors));
        for (what, tensors) in [("parameter", &theta)].into_iter().chain(vectors) {
            if tensors.iter().any(|tensor| tensor.values.iter().any(|value| !value.is_finite())) {
                return Err(
                    self.diverged(&format!("a {what} is not finite after step {}", self.progress.step))
                );
            }
        }
        let Progress { step, epoch, batch, loss_sum, loss_rows, .. } = self.progress;
        Ok(Snapshot { step, epoch, batch, loss_sum, loss_rows, theta, state })
    }

    /// Goes on from a snapshot of a run with the same options.
    ///
    /// # Errors
    /// [`Error::Shape`] where it is of another model, optimizer, batch or number of rows; the trainer is then as it
    /// was.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let slots: Vec<&str> = self.engine.state().iter().map(|(slot, _)| *slot).collect();
        let found: Vec<&str> = snapshot.state.iter().map(|(slot, _)| slot.as_str()).collect();
        if slots != found {
            let message = format!("the optimizer keeps {slots:?}, and {found:?} are given");
            return Err(Error::shape("loading the optimizer's state", message));
        }
        let Snapshot { step, epoch, batch, .. } = *snapshot;
        let batches = self.batches_per_epoch();
        if epoch.checked_mul(batches).and_then(|steps| steps.checked_add(batch)) != Some(step) {
            let message =
                format!("{step} steps are not {epoch} epochs of {batches} batches and {batch} more");
            return Err(Error::shape("loading a snapshot", message));
        }
        for tensors in snapshot.state.iter().map(|(_, tensors)| tensors).chain([&snapshot.theta]) {
            check(&self.parameters, tensors)?;
        }
        self.settle()?;
        let layout = &self.engine.plan(TRAIN).theta;
        let write = |shards, tensors| write_vector(&self.gpu, layout, &self.parameters, shards, tensors);
        write(self.engine.theta(), &snapshot.theta)?;
        for ((_, shards), (_, tensors)) in self.engine.state().into_iter().zip(&snapshot.state) {
            write(shards, tensors)?;
        }
        let Snapshot { step, epoch, batch, loss_sum, loss_rows, .. } = *snapshot;
        self.progress = Progress { step, epoch, batch, loss_sum, loss_rows, diverged: None };
        self.stream = None;
        self.events.clear();
        self.finished = false;
        Ok(())
    }

    /// θ as the user reads it, by name. Waits for the steps under way.
    pub fn parameters(&mut self) -> Result<Vec<NamedTensor>> {
        self.settle()?;
        self.engine.refresh_readout()?;
        let layout = &self.engine.plan(TRAIN).theta;
        read_vector(&self.gpu, layout, &self.parameters, self.engine.readout())
    }
}

/// Puts all rows of a data set where the plans gather them from.
fn fill_resident(engine: &Engine, part: &str, dataset: &Dataset) -> Result<()> {
    let names = resident_names(part);
    let widths = [dataset.features_bytes_per_row(), dataset.targets_bytes_per_row()];
    for first in (0..dataset.rows()).step_by(FILL_ROWS) {
        let indices: Vec<u32> =
            (first..(first + FILL_ROWS).min(dataset.rows())).map(|row| row as u32).collect();
        let [mut features, mut targets] = widths.map(|width| vec![0; indices.len() * width]);
        dataset.copy_rows(&indices, &mut features, &mut targets)?;
        for ((name, width), bytes) in names.iter().zip(widths).zip([&features, &targets]) {
            engine.fill_input(name, (first * width) as u64, bytes)?;
        }
    }
    Ok(())
}
