//! Train neural networks on any GPU that wgpu reaches.

#![warn(missing_docs)]

mod data;
mod error;
mod gpu;
mod graph;
mod nn;
mod optim;
mod plan;
mod train;

#[cfg(feature = "cli")]
pub mod cli;

pub use error::{Error, Result};
pub use wgpu;
