//! Train neural networks on any GPU that wgpu reaches.

#![warn(missing_docs)]

pub mod data;
mod error;
mod gpu;
mod graph;
mod nn;
mod optim;
mod plan;
mod run;
mod train;

#[cfg(feature = "cli")]
pub mod cli;

pub use error::{Error, Result};
pub use gpu::{
    AdapterChoice, AdapterClass, AdapterFeatures, AdapterLimits, AdapterReport, Budget, Gpu, GpuOptions,
    LimitOverrides, MatrixShape, MemoryHeap, MemoryLimit, Profile, adapters,
};
pub use graph::{Array, Dim, Element, Graph, Initial, ParameterInfo, Shape, StepContext, TensorType, Var};
pub use nn::{Activation, Initialisation, Layer, Loss, Mode, ModelSpec, linear, model_help};
pub use optim::{Hyper, HyperKind, HyperRange, HyperValue, Optimizer, UPDATE_RULES, UpdateRule};
pub use plan::memory::ByteCounts;
#[cfg(feature = "cli")]
pub use run::RunConfig;
pub use run::{
    EpochMetrics, Record, Run, RunFolder, read_checkpoint, read_model, write_checkpoint, write_model,
};
pub use train::{
    EpochRecord, Evaluation, Event, Length, NamedTensor, PlanReport, Predictions, Predictor, Resident,
    Snapshot, StepRecord, TrainOptions, Trainer,
};
pub use wgpu;
