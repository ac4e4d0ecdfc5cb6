//! How fast kernels are on an adapter, against what the adapter itself does at best in the same run.
//!
//! A [`Yardstick`] measures the ceilings, a [`KernelCase`] is one kernel at one shape, prepared as a [`KernelBench`]. On
//! machines whose speed drifts, the ceilings are to be measured again beside every kernel.

mod bench;
mod cases;
mod ceilings;
mod timing;
mod tune;

pub use bench::{KernelBench, KernelTiming};
pub use cases::{KernelCase, kernel_cases};
#[cfg(test)]
pub(crate) use ceilings::matrices_wgsl;
pub use ceilings::{Ceilings, Yardstick};
pub(crate) use timing::{copies, median, timed};
pub use tune::{TuneStep, Tuned, tune};
