//! Everything that speaks to wgpu: adapters and their memory, devices, kernels, buffers and transfers.
//!
//! The rest of the engine plans against a [`Profile`], which is plain data; only what is here, and the
//! replay of a plan, holds a device.

mod adapter;
mod buffer;
mod device;
mod double;
mod fault;
mod host_time;
mod kernel;
mod mapping;
mod memory;
mod pipeline_cache;
mod profile;
mod readback;
mod spans;
mod staging;
mod survey;
mod timer;
mod transfer;
mod tuning;

#[cfg(test)]
mod tests;

pub use adapter::{AdapterChoice, AdapterFeatures, AdapterLimits, AdapterReport, MatrixShape, adapters};
pub use device::{Gpu, GpuOptions};
pub use host_time::HostTimes;
pub use memory::{Budget, MemoryHeap, MemoryLimit};
pub use profile::{AdapterClass, LimitOverrides, Profile, RowRuns};
pub use survey::Survey;
pub use tuning::{TunedProduct, Tuning};

#[cfg(feature = "cli")]
pub(crate) use adapter::listed as listed_adapters;
pub(crate) use buffer::{Buffer, BufferUse};
pub(crate) use double::in_double;
pub(crate) use kernel::{BindingKind, Kernel, KernelSource, Kernels};
pub(crate) use memory::format_bytes;
pub(crate) use readback::{Patience, ReadbackRing};
pub(crate) use spans::SpanTimer;
pub(crate) use staging::{STAGING_SLOTS, StagedCopy, StagingRing, StagingSlot};
pub(crate) use timer::GpuTimer;
pub(crate) use transfer::TRANSFER_BYTES;
pub(crate) use tuning::UNITS;
