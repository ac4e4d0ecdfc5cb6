//! Training: the loop with its evaluation, what it says, and what it leaves behind.

mod advance;
mod asynchronous;
mod clock;
mod engine;
mod epoch;
mod evaluate;
mod event;
mod find_rate;
mod fit;
mod full_batch;
mod inference;
mod layout;
mod line_search;
mod memory_model;
mod options;
mod pace;
mod predictor;
mod profile;
mod program;
mod renaming;
mod replays;
mod session;
mod state;
mod submits;
mod tensors;
mod trainer;

pub use advance::{Advance, Stopped};
pub use asynchronous::NextEvent;
pub use clock::Bound;
pub use event::{EpochRecord, Evaluation, Event, LimitedBy, PlanReport, Replan, StepRecord, TensorBytes};
pub use find_rate::{RangeTest, RateCurve, RatePoint, RateRange};
#[cfg(feature = "cli")]
pub(crate) use fit::powers_up_to;
pub use full_batch::MethodReport;
pub use inference::Inference;
pub use line_search::LineSearch;
pub use memory_model::MemoryModel;
pub use options::{BatchSize, Choice, Length, TrainOptions};
#[cfg(feature = "onnx")]
pub(crate) use predictor::prediction;
pub use predictor::{Predictions, Predictor};
pub use profile::LaunchTime;
pub(crate) use renaming::new_names;
pub use renaming::{Renaming, rename};
pub(crate) use state::DATA;
#[cfg(feature = "onnx")]
pub(crate) use tensors::check as check_parameters;
pub use tensors::{LossScale, NamedTensor, Snapshot};
pub use trainer::Trainer;

#[cfg(test)]
mod tests;
