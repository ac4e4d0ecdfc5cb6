//! What a run has to say, as values.

use serde::{Deserialize, Serialize};

use crate::plan::memory::ByteCounts;

/// What happened in a run since the last event.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A step whose loss was asked for.
    Step(StepRecord),
    /// An epoch is over.
    Epoch(EpochRecord),
    /// The caller's flag was set; the step is done and the trainer can go on or be saved.
    Interrupted,
    /// All steps are done.
    Finished,
}

/// One optimizer update.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepRecord {
    /// Its number, from 1.
    pub step: u64,
    /// The epoch that it belongs to, from 1.
    pub epoch: u64,
    /// The loss of its minibatch, before the update.
    pub loss: f64,
    /// The learning rate that it used.
    pub lr: f64,
}

/// One pass over the training set.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct EpochRecord {
    /// Its number, from 1.
    pub epoch: u64,
    /// Steps done since the start of the run.
    pub step: u64,
    /// The mean of the losses of its rows, each before the update that it took part in.
    pub train_loss: f64,
    /// The test set, where there is one and it was this epoch's turn.
    pub test: Option<Evaluation>,
    /// Training rows a second, evaluation not counted.
    pub samples_per_second: f64,
    /// Seconds of training and evaluation since this trainer began.
    pub seconds: f64,
}

/// A model on a data set.
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
}
