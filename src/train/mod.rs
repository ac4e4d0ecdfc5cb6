//! Training: the loop with its evaluation, what it says, and what it leaves behind.

mod engine;
mod evaluate;
mod event;
mod layout;
mod options;
mod predictor;
mod program;
mod tensors;
mod trainer;

pub use event::{EpochRecord, Evaluation, Event, PlanReport, StepRecord};
pub use options::{Length, Resident, TrainOptions};
pub use predictor::{Predictions, Predictor};
pub use tensors::{NamedTensor, Snapshot};
pub use trainer::Trainer;

#[cfg(test)]
mod tests;
