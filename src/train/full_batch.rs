//! Training on all rows at once by a method of `solve`: the run's own plans are its problem, and the losses and gradients of
//! their micro-batches add up on the device.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::engine::{Engine, StepInputs};
use super::evaluate::{contents, uploads};
use super::event::{Event, StepRecord};
use super::program::{Feed, direction};
use super::trainer::{Session, TRAIN, Trainer};
use crate::data::{Dataset, Order, Position, Stream, StreamOptions};
use crate::gpu::{BufferUse, Gpu};
use crate::minimize::Status;
use crate::plan::memory::Needs;
use crate::plan::{Plan, Precision, StepUniform, ThetaLayout};
use crate::solve::{
    Curvature, Descended, Descent, Ending, Method, MethodMemory, ONE, Problem, Slot, Space, Tolerances,
    Vector,
};
use crate::{Error, Result};

/// Roundings that a mean over many rows is known to.
const NOISE: f64 = 8.0;

/// Roundings that a product's elements are known to, which are sums over many rows of either sign.
const ROUNDINGS: f64 = 64.0;

/// Losses of micro-batches that lie together, so that a list of them is a vector of whole workgroups.
const LOSSES: usize = 64;

/// What a method has done, and how it ended.
///
/// ```
/// use downhill::{Method, TrainOptions};
/// # use downhill::{Gpu, GpuOptions, Trainer, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// let options = TrainOptions::by_method("linear".parse()?, Method::new("lbfgs")?)?;
/// let mut trainer = Trainer::new(&gpu, rows, options)?;
/// trainer.run_steps(2)?;
/// let report = trainer.method_report().expect("two steps were made");
/// assert!(report.evaluations >= 2);
/// println!("‖∇L‖ = {}", report.gradient_norm);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct MethodReport {
    /// How it ended; none while it goes on.
    pub status: Option<Status>,
    /// Losses with their gradients, on all rows each.
    pub evaluations: u64,
    /// Products of a matrix of second derivatives with a vector, on all rows each.
    pub products: u64,
    /// How often the host waited for numbers of the device.
    pub readbacks: u64,
    /// ‖∇L‖ where it stands.
    pub gradient_norm: f64,
}

/// The name under which a memory holds how the method ended: the place of a status in this list.
const ENDING: &str = "ending";
const ENDINGS: [Status; 4] = [Status::Converged, Status::MaxSteps, Status::Diverged, Status::Stalled];

fn place_of(status: Status) -> Option<usize> {
    ENDINGS.iter().position(|known| *known == status)
}

impl MethodReport {
    /// Of a run that was restored and has not gone on.
    fn remembered(memory: &MethodMemory) -> Option<Self> {
        let [place] = memory.numbers(ENDING).unwrap_or([f64::NAN]);
        let status = ENDINGS.iter().enumerate().find(|(known, _)| *known as f64 == place);
        let report = MethodReport::of(&Descended::remembered(memory).ok()?);
        Some(MethodReport { status: status.map(|(_, status)| *status), ..report })
    }

    fn of(descended: &Descended) -> Self {
        let Descended { evaluations, products, readbacks, gradient_norm, .. } = *descended;
        MethodReport { status: None, evaluations, products, readbacks, gradient_norm }
    }
}

/// A method under way on an engine.
pub(super) struct FullBatch {
    method: Method,
    descent: Descent,
    rows: Rows,
    ending: Option<Ending>,
}

/// The rows, and the vectors that their sums go to.
struct Rows {
    stream: Stream,
    feed: Feed,
    /// The plan of the product, behind those of training and evaluation.
    product: usize,
    layout: ThetaLayout,
    theta: Vector,
    gradient: Vector,
    /// The loss of each micro-batch, weighed as its rows, and as many ones.
    losses: Vector,
    ones: Vector,
    /// Whether a pass over the rows was broken off.
    broken_off: bool,
    /// How long rows were waited for since that was asked last.
    waited: Duration,
}

/// The loss over all rows.
struct Objective<'a> {
    engine: &'a mut Engine,
    rows: &'a mut Rows,
    /// Ends what is under way once it is set: a step may be thousands of passes over the rows.
    interrupted: &'a AtomicBool,
}

/// What became of a step.
enum Stepped {
    Whole,
    /// There was none: the method has ended.
    None,
    /// It was broken off; θ is where it began.
    Interrupted,
}

/// Adds to `needs` what `method` allocates beside the plans, of which `training` is one, for so many rows.
pub(super) fn count(needs: &mut Needs, method: &Method, training: &Plan, rows: usize) {
    // The gradient at θ is kept, for products overwrite that of the plans.
    let vectors = method.vectors() as u64 + 1;
    needs.state += vectors * needs.shards.iter().sum::<u64>();
    let parts = rows.div_ceil(training.batch);
    needs.other += Space::own_bytes(&training.theta.shards) + 2 * 4 * losses(parts) as u64;
}

fn losses(parts: usize) -> usize {
    parts.next_multiple_of(LOSSES)
}

impl FullBatch {
    /// Evaluates the start, which is θ as it stands, or goes on from what is remembered of it.
    ///
    /// Errors: what the device or the rows fail with; [`Error::Shape`] where `memory` is of another model.
    fn new(
        gpu: &Gpu,
        engine: &mut Engine,
        dataset: &Dataset,
        feed: &Feed,
        (method, tolerances): (&Method, Tolerances),
        memory: Option<&MethodMemory>,
    ) -> Result<Self> {
        let training = engine.plan(TRAIN);
        let (micro_batch, layout) = (training.batch, training.theta.clone());
        let space = Space::new(gpu, &layout.shards, Precision::F32)?;
        let count = losses(dataset.rows().div_ceil(micro_batch));
        let list = || Ok(Vector(vec![gpu.buffer("scalars", 4 * count as u64, BufferUse::Storage)?]));
        let (losses, ones): (Vector, Vector) = (list()?, list()?);
        gpu.write_buffer(ones.0[0].raw(), 0, &space.bytes(&vec![1.0; count]))?;
        let options = StreamOptions {
            batch: dataset.rows(),
            micro_batch,
            order: Order::AsStored,
            contents: contents(feed),
            start: Position::default(),
            end_epoch: u64::MAX,
        };
        let mut rows = Rows {
            stream: Stream::new(dataset.clone(), options)?,
            feed: feed.clone(),
            product: engine.plans() - 1,
            layout,
            theta: Vector(engine.theta().into_iter().cloned().collect()),
            gradient: space.vector()?,
            losses,
            ones,
            broken_off: false,
            waited: Duration::ZERO,
        };
        let how = method.options(u64::MAX, tolerances, NOISE * space.roundoff());
        let interrupted = &AtomicBool::new(false);
        let mut problem = Objective { engine, rows: &mut rows, interrupted };
        let direction = method.direction();
        let descent = match memory {
            Some(memory) => Descent::resumed(space, &mut problem, direction, how, memory)?,
            None => Descent::new(space, &mut problem, direction, how)?,
        };
        Ok(FullBatch { method: method.clone(), descent, rows, ending: None })
    }

    /// Where the method stands and what it has learnt.
    fn memory(&mut self, engine: &mut Engine) -> Result<MethodMemory> {
        let interrupted = &AtomicBool::new(false);
        let mut memory = self.descent.memory(&Objective { engine, rows: &mut self.rows, interrupted })?;
        memory.method = self.method.to_string();
        if let Some(place) = self.ending.map(Status::from).and_then(place_of) {
            memory.put(ENDING, [place as f64]);
        }
        Ok(memory)
    }

    /// One more step, where there is one. After one that was broken off, this is of no more use but for its memory.
    fn step(&mut self, engine: &mut Engine, interrupted: &AtomicBool) -> Result<Stepped> {
        let before = self.descent.steps();
        let mut problem = Objective { engine, rows: &mut self.rows, interrupted };
        match self.descent.advance(&mut problem, before + 1) {
            Ok(ending) => self.ending = ending,
            Err(error) => {
                // What is saved is the last step and no trial.
                self.descent.go_back(&problem);
                return if self.rows.broken_off { Ok(Stepped::Interrupted) } else { Err(error) };
            }
        }
        Ok(if self.descent.steps() > before { Stepped::Whole } else { Stepped::None })
    }

    fn report(&self) -> MethodReport {
        MethodReport { status: self.ending.map(Status::from), ..MethodReport::of(&self.descent.descended()) }
    }
}

impl Objective<'_> {
    /// Replays a plan on all rows.
    fn replay(&mut self, part: usize, keeps_losses: bool) -> Result<()> {
        let Rows { stream, feed, losses, waited, broken_off, .. } = &mut *self.rows;
        for number in 0.. {
            if self.interrupted.load(Ordering::Relaxed) {
                *broken_off = true;
                return Err(Error::shape("training", "the step was broken off"));
            }
            let began = Instant::now();
            let Some(batch) = stream.next_batch()? else {
                return Err(Error::shape("training", "the stream of rows ended early"));
            };
            *waited += began.elapsed();
            let uniform = StepUniform::new(0, 0, batch.rows, 1.0 / batch.batch_rows as f64)
                .within_batch(batch.first_row, batch.first_row > 0);
            let keep_loss = keeps_losses.then_some((&losses.0[0], 4 * number));
            let uploads = uploads(feed, batch);
            self.engine.step(part, &StepInputs { uniform, update: None, uploads: &uploads, keep_loss })?;
            // The losses go their own way.
            self.engine.drop_history();
            if batch.ends_batch {
                break;
            }
        }
        self.engine.flush();
        Ok(())
    }

    fn sum(&self) -> Vector {
        Vector(self.engine.gradient().to_vec())
    }
}

impl Problem for Objective<'_> {
    fn theta(&self) -> &Vector {
        &self.rows.theta
    }

    fn gradient(&self) -> &Vector {
        &self.rows.gradient
    }

    fn evaluate(&mut self, space: &mut Space, value: Slot) -> Result<()> {
        space.submit();
        self.replay(TRAIN, true)?;
        space.copy(&self.rows.gradient, &self.sum());
        space.dot(value, ONE, &self.rows.losses, &self.rows.ones)
    }

    fn product(&mut self, space: &mut Space, _: Curvature, vector: &Vector, product: &Vector) -> Result<()> {
        for (number, pieces) in self.rows.layout.pieces.iter().enumerate() {
            // Frozen parameters have none.
            let Ok(input) = self.engine.input(&direction(number)) else { continue };
            for piece in pieces {
                let [from, to, bytes] = [piece.offset, piece.start, piece.elements].map(|of| 4 * of as u64);
                let of_shard = vector.0[piece.shard].raw();
                space.encoder().copy_buffer_to_buffer(of_shard, from, input.raw(), to, bytes);
            }
        }
        space.submit();
        self.replay(self.rows.product, false)?;
        space.copy(product, &self.sum());
        Ok(())
    }

    fn roundings(&self) -> f64 {
        ROUNDINGS
    }

    fn layout(&self) -> &ThetaLayout {
        &self.rows.layout
    }
}

impl Session {
    /// What the method under way has learnt, or what it is to go on from.
    pub(super) fn method_memory(&mut self) -> Result<Option<MethodMemory>> {
        match (&mut self.full_batch, &mut self.engine) {
            (Some(full_batch), Some(engine)) => full_batch.memory(engine).map(Some),
            _ => Ok(self.method_memory.clone()),
        }
    }
}

impl Trainer {
    /// What the method has done since the run began; none for a run by an update rule, and before the first step.
    pub fn method_report(&self) -> Option<MethodReport> {
        let Session { full_batch, method_memory, .. } = &self.session;
        let remembered = || method_memory.as_ref().and_then(MethodReport::remembered);
        let report = full_batch.as_ref().map(FullBatch::report).or_else(remembered)?;
        let made_all = self.finished.then_some(Status::MaxSteps);
        Some(MethodReport { status: report.status.or(made_all), ..report })
    }

    /// Whether the run is one by a method on all rows.
    pub(crate) fn is_by_method(&self) -> bool {
        self.options().method.is_some()
    }

    /// Whether a method has nothing left to do.
    pub(super) fn method_ended(&self) -> bool {
        self.session.full_batch.as_ref().is_some_and(|under_way| under_way.ending.is_some())
    }

    /// One step of the method, which is an epoch.
    pub(super) fn method_step(&mut self, method: &Method, interrupted: &AtomicBool) -> Result<()> {
        let began = Instant::now();
        let tolerances = self.options().tolerances;
        let session = &mut self.session;
        let engine = session.engine.as_mut().ok_or_else(Session::gone)?;
        let full_batch = match &mut session.full_batch {
            Some(full_batch) => full_batch,
            none => none.insert(FullBatch::new(
                &self.gpu,
                engine,
                &self.data.train,
                &session.train_feed,
                (method, tolerances),
                session.method_memory.as_ref(),
            )?),
        };
        // Only now: where there was no memory for the method, a smaller plan goes on from it.
        session.method_memory = None;
        let stepped = full_batch.step(engine, interrupted)?;
        let (descended, ending) = (full_batch.descent.descended(), full_batch.ending);
        let data = std::mem::take(&mut full_batch.rows.waited);
        self.clock.waited_for_data(data);
        // All else waits for numbers of the device, but for the little that the host computes.
        self.clock.waited_for_device(began.elapsed().saturating_sub(data));
        if matches!(ending, Some(Ending::Diverged | Ending::NotFinite)) {
            return Err(Error::Diverged(format!(
                "the loss is not finite {} step {}; look for outliers in the data, or begin with some steps of an update rule",
                if ending == Some(Ending::NotFinite) { "at" } else { "after" },
                self.progress.step
            )));
        }
        match stepped {
            Stepped::Whole => {}
            Stepped::None => return Ok(()),
            Stepped::Interrupted => {
                self.session.method_memory = self.session.method_memory()?;
                self.session.full_batch = None;
                return Ok(());
            }
        }
        let rows = self.data.train.rows() as u64;
        self.progress.step += 1;
        self.progress.batch += 1;
        (self.progress.loss_sum, self.progress.loss_rows) = (descended.value * rows as f64, rows);
        self.epoch_began = (began, rows);
        let step = self.progress.step;
        if self.is_logged(step) {
            self.events.push_back(Event::Step(StepRecord {
                step,
                epoch: step,
                loss: descended.value,
                lr: descended.step_size,
                gradient_norm: Some(descended.gradient_norm as f32),
                loss_scale: None,
            }));
        }
        self.end_epoch(true)
    }
}
