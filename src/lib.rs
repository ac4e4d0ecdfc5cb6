//! Trains neural networks on any GPU that wgpu reaches: Vulkan, Metal, DX12.
//!
//! A model and its loss are a [`Graph`] of operations on shapes with a symbolic batch; it is differentiated as a
//! graph, planned for one adapter and one micro-batch size without allocating anything, and then replayed every
//! step. A [`Trainer`] takes a data set, a model and an [`Optimizer`] and hands out what happens as [`Event`]s:
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use downhill::{Event, Gpu, GpuOptions, Length, Optimizer, TrainOptions, Trainer, data};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let digits = data::load(&"digits".parse()?, None, None, 0)?;
//! let optimizer = Optimizer::new("adam")?.with("lr", 1e-3)?;
//! let options = TrainOptions { length: Length::Epochs(20), ..TrainOptions::new("mlp:64".parse()?, optimizer) };
//! let mut trainer = Trainer::new(&gpu, digits, options)?;
//! println!("{} bytes of GPU memory", trainer.report().bytes.total);
//! let never = AtomicBool::new(false);
//! loop {
//!     match trainer.next_event(&never)? {
//!         Event::Epoch(epoch) => println!("epoch {}: loss {:.3}", epoch.epoch, epoch.train_loss),
//!         Event::Finished => break,
//!         _ => {}
//!     }
//! }
//! # Ok::<(), downhill::Error>(())
//! ```
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
