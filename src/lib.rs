//! Trains neural networks on any GPU that wgpu reaches: Vulkan, Metal, DX12.
//!
//! A model and its loss are a [`Graph`] of operations on shapes with a symbolic batch; it is differentiated as a
//! graph, planned for one adapter and one micro-batch size without allocating anything, and then replayed every
//! step. The whole use, from rows in memory to an answer:
//!
//! ```
//! use downhill::data::{Dataset, Split, Targets, Task};
//! use downhill::{Event, Gpu, GpuOptions, Inference, Length, Optimizer, TrainOptions, Trainer};
//!
//! let features: Vec<f32> = (0..2000).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
//! let labels = features.chunks(2).map(|row| u32::from(row[0] > row[1])).collect();
//! let rows = Dataset::from_f32(features, &[2], Task::classes(2), Targets::Labels(labels))?;
//! let (train, test) = rows.split(0.2, 1)?;
//! let data = Split { train, test: Some(test) };
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let options = TrainOptions {
//!     length: Length::Epochs(20),
//!     ..TrainOptions::new("mlp:16:tanh".parse()?, Optimizer::new("adam")?.with("lr", 0.01)?)
//! };
//! println!("{} bytes of GPU memory", Trainer::plan(&gpu, &data, &options)?.bytes.total);
//! let mut trainer = Trainer::new(&gpu, data, options)?;
//! while trainer.next_event(&false.into())? != Event::Finished {}
//! let answer = Inference::of(&mut trainer, 1)?.predict(&[0.9, -0.9])?;
//! assert!(answer[1] > 0.9, "{answer:?}");
//! # Ok::<(), downhill::Error>(())
//! ```
//!
//! An app trains on the device that it draws with ([`Gpu::from_wgpu`]) in a share of each frame ([`Trainer::advance`]), on rows that
//! its own passes made ([`Dataset::from_buffers`](data::Dataset::from_buffers)), and asks the network between them ([`Inference`]).
//!
//! Errors are values ([`Error`]); the library never prints, and it does not panic on bad input.

#![warn(missing_docs)]

mod atomic;
mod background;
#[cfg(feature = "capi")]
pub mod capi;
pub mod data;
mod error;
mod expression;
mod fit;
mod gpu;
mod graph;
mod host;
pub mod linear;
mod measure;
mod minimize;
mod nn;
#[cfg(feature = "onnx")]
mod onnx;
mod optim;
mod plan;
#[cfg(feature = "cli")]
mod plot;
mod race;
mod run;
mod solve;
mod train;

#[cfg(feature = "cli")]
pub mod cli;

pub use background::{Background, in_background};
pub use error::{Error, Result};
pub use fit::{
    FIT_METHODS, FitBound, FitData, FitMethod, FitModel, FitOptions, Fitted, ManyFitted, OpenDirection,
    RobustLoss, fit, fit_many,
};
pub use gpu::{
    AdapterChoice, AdapterClass, AdapterFeatures, AdapterLimits, AdapterReport, Budget, Gpu, GpuOptions,
    HostTimes, LimitOverrides, MatrixShape, MemoryHeap, MemoryLimit, Profile, RowRuns, Survey, TunedProduct,
    Tuning, adapters,
};
pub use graph::{Array, Dim, Element, Graph, Initial, ParameterInfo, Shape, StepContext, TensorType, Var};
pub use measure::{
    Ceilings, KernelBench, KernelCase, KernelTiming, TuneStep, Tuned, Yardstick, kernel_cases, tune,
};
pub use minimize::{
    MethodOptions, MinimizeOptions, Minimum, Objective, Solved, Status, TracePoint, minimize, minimize_by,
};
pub use nn::{Activation, Initialisation, Layer, Loss, Mode, ModelSpec, linear, model_help};
#[cfg(feature = "onnx")]
pub use onnx::{OPSET, onnx_graph, onnx_model};
pub use optim::{
    Average, Group, Hyper, HyperKind, HyperRange, HyperValue, Lookahead, Modifiers, Optimizer, PlateauState,
    Schedule, Stepper, UPDATE_RULES, UpdateRule, UpdateTiming, schedule_help,
};
pub use plan::memory::ByteCounts;
pub use plan::{MemoryMap, PlacedTensor, Precision};
pub use race::{Gait, Lap, Racer, TrainingRace, race_training};
#[cfg(feature = "cli")]
pub use run::RunConfig;
pub use run::{
    EpochMetrics, Record, Run, RunFolder, checkpoint_from_bytes, checkpoint_to_bytes, model_from_bytes,
    model_to_bytes, read_checkpoint, read_model, write_checkpoint, write_model,
};
pub use solve::{METHODS, Method, MethodMemory, MethodRule, Test, Tolerances};
pub use train::{
    Advance, BatchSize, Bound, Choice, EpochRecord, Evaluation, Event, Inference, LaunchTime, Length,
    LimitedBy, LineSearch, LossScale, MemoryModel, MethodReport, NamedTensor, NextEvent, PlanReport,
    Predictions, Predictor, RangeTest, RateCurve, RatePoint, RateRange, Renaming, Replan, Snapshot,
    StepRecord, Stopped, TensorBytes, TrainOptions, Trainer, rename,
};
pub use wgpu;
