//! What a run has to say, as values.

use serde::{Deserialize, Serialize};

use super::clock::Bound;
use crate::plan::memory::ByteCounts;

/// What happened in a run since the last event.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::Event;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let (never, mut epochs) = (AtomicBool::new(false), 0);
/// loop {
///     match trainer.next_event(&never)? {
///         Event::Epoch(epoch) => epochs = epoch.epoch,
///         Event::Finished => break,
///         // There may be more kinds one day.
///         _ => {}
///     }
/// }
/// assert_eq!(epochs, 10);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A step whose loss was asked for.
    Step(StepRecord),
    /// An epoch is over.
    Epoch(EpochRecord),
    /// Memory ran out; the run goes on from its last step in smaller parts.
    Replanned(Replan),
    /// The caller's flag was set; the step is done and the trainer can go on or be saved.
    Interrupted,
    /// All steps are done.
    Finished,
}

/// A run that goes on with less memory than it began with.
///
/// ```
/// use downhill::{Event, Replan};
///
/// fn tell(event: &Event) {
///     if let Event::Replanned(Replan { step, reason, report, .. }) = event {
///         println!("{reason}; from step {step} on {} rows at once", report.micro_batch);
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Replan {
    /// Steps that were done; none of them is lost.
    pub step: u64,
    /// What ran out.
    pub reason: String,
    /// What the run takes from now on.
    pub report: PlanReport,
}

/// One optimizer update.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::Event;
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// let options = TrainOptions { log_every: 1, ..TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?) };
/// let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let Event::Step(step) = trainer.next_event(&AtomicBool::new(false))? else { panic!("a step is first") };
/// assert_eq!((step.step, step.epoch, step.lr), (1, 1, 1e-3));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepRecord {
    /// Its number, from 1.
    pub step: u64,
    /// The epoch that it belongs to, from 1.
    pub epoch: u64,
    /// The loss of its minibatch, before the update; where the step was skipped, it may be no number.
    pub loss: f64,
    /// The learning rate that it used.
    pub lr: f64,
    /// The norm of its gradient before it was clipped, where that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f32>,
    /// What the loss was multiplied by in the next step, where it is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
}

/// One pass over the training set.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::Event;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let never = AtomicBool::new(false);
/// let Event::Epoch(epoch) = trainer.next_event(&never)? else { panic!("steps are not logged") };
/// assert_eq!((epoch.epoch, epoch.step, epoch.test), (1, 1, None));
/// println!("loss {:.3}, {:.0} rows a second", epoch.train_loss, epoch.samples_per_second);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct EpochRecord {
    /// Its number, from 1.
    pub epoch: u64,
    /// Steps done since the start of the run.
    pub step: u64,
    /// The mean of the losses of its rows, each before the update that it took part in.
    pub train_loss: f64,
    /// Steps since the start of the run that changed nothing because their gradient was not finite.
    pub skipped: u64,
    /// The test set, where there is one and it was this epoch's turn.
    pub test: Option<Evaluation>,
    /// Training rows a second, evaluation not counted.
    pub samples_per_second: f64,
    /// What bounded that.
    pub bound: Bound,
    /// Seconds of training and evaluation since this trainer began.
    pub seconds: f64,
}

/// A model on a data set.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::Event;
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// let rows = data::load(&"random:64x4:2".parse()?, None, Some(&"25%".parse()?), 0)?;
/// let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let Event::Epoch(epoch) = trainer.next_event(&AtomicBool::new(false))? else { panic!("an epoch is first") };
/// let test = epoch.test.expect("there is a test set");
/// assert!(test.rows == 16 && test.accuracy.is_some() && test.rmse.is_none());
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Evaluation {
    /// The mean loss.
    pub loss: f64,
    /// The fraction of rows whose class was right, for classes.
    pub accuracy: Option<f64>,
    /// The root of the mean squared error, for numbers.
    pub rmse: Option<f64>,
    /// Rows.
    pub rows: usize,
}

/// What a run takes and how it is laid out, known before anything is allocated.
///
/// ```
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let report = trainer.report();
/// assert_eq!((report.batch, report.micro_batch * report.accumulate, report.parameters), (64, 64, 10));
/// println!("{} bytes: {}", report.bytes.total, report.why);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct PlanReport {
    /// Rows that one replay sees.
    pub micro_batch: usize,
    /// Rows that one update averages over.
    pub batch: usize,
    /// Micro-batches a batch.
    pub accumulate: usize,
    /// Bytes of GPU memory by role.
    pub bytes: ByteCounts,
    /// Bytes that one more row in the micro-batch takes.
    pub bytes_per_sample: u64,
    /// Bytes that the run may take.
    pub budget: u64,
    /// Numbers in θ, padding not counted.
    pub parameters: usize,
    /// Whether the data set lives on the GPU.
    pub resident: bool,
    /// The adapter's name.
    pub adapter: String,
    /// The most rows that could be computed at once within the budget and the adapter's limits.
    pub largest_micro_batch: usize,
    /// What keeps it from being more.
    pub limited_by: LimitedBy,
    /// Tensors of the forward pass that are made again in the backward pass.
    pub recomputed_tensors: usize,
    /// Where activations are stored in 16 bits: bytes that the run would take more if they had 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f16_saves: Option<u64>,
    /// Why the micro-batch is what it is, in words.
    pub why: String,
    /// The largest tensors of a step.
    pub largest_tensors: Vec<TensorBytes>,
}

/// What keeps a micro-batch from being larger.
///
/// ```
/// use downhill::LimitedBy;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// match trainer.report().limited_by {
///     LimitedBy::Rows => println!("all rows fit at once"),
///     LimitedBy::Budget => println!("more memory would hold more rows"),
///     LimitedBy::Adapter => println!("the adapter binds no more at once"),
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// There are no more rows.
    Rows,
    /// The memory that the run may take.
    Budget,
    /// What the adapter binds or counts at once.
    Adapter,
}

/// A tensor by name.
///
/// ```
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// for tensor in &trainer.report().largest_tensors {
///     println!("{}: {} bytes", tensor.tensor, tensor.bytes);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct TensorBytes {
    /// What it is, with its shape.
    pub tensor: String,
    /// Bytes of GPU memory.
    pub bytes: u64,
}
