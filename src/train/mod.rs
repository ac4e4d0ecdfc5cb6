//! Training: the loop with its evaluation, what it says, and what it leaves behind.

mod clock;
mod engine;
mod epoch;
mod evaluate;
mod event;
mod fit;
mod layout;
mod memory_model;
mod options;
mod predictor;
mod program;
mod session;
mod state;
mod tensors;
mod trainer;

pub use clock::Bound;
pub use event::{EpochRecord, Evaluation, Event, LimitedBy, PlanReport, Replan, StepRecord, TensorBytes};
#[cfg(feature = "cli")]
pub(crate) use fit::powers_up_to;
pub use memory_model::MemoryModel;
pub use options::{BatchSize, Choice, Length, TrainOptions};
pub use predictor::{Predictions, Predictor};
pub(crate) use state::DATA;
pub use tensors::{NamedTensor, Snapshot};
pub use trainer::Trainer;

#[cfg(test)]
mod tests;
