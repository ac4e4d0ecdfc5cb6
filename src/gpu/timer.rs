//! How long compute passes take on the device itself, by timestamps at their borders.

use wgpu::{ComputePassTimestampWrites, QuerySet, QueryType};

use super::buffer::{Buffer, BufferUse};
use super::device::Gpu;
use crate::Result;

/// Bytes of one timestamp.
const TIMESTAMP: u64 = size_of::<u64>() as u64;

/// Times a fixed number of passes, numbered from 0.
#[derive(Debug)]
pub(crate) struct GpuTimer {
    gpu: Gpu,
    queries: QuerySet,
    resolved: Buffer,
    passes: u32,
}

impl GpuTimer {
    /// A timer for `passes` passes (at most 2,048), or `None` where the device has no timestamps.
    ///
    /// Errors: as [`Gpu::buffer`].
    pub(crate) fn new(gpu: &Gpu, passes: u32) -> Result<Option<Self>> {
        if !gpu.profile().timestamps {
            return Ok(None);
        }
        let count = 2 * passes;
        let queries = gpu.scoped("making a timer", || {
            gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timer"),
                ty: QueryType::Timestamp,
                count,
            })
        })?;
        let resolved = gpu.buffer("timer", Self::bytes(passes), BufferUse::Timestamps)?;
        Ok(Some(Self { gpu: gpu.clone(), queries, resolved, passes }))
    }

    /// What the descriptor of pass number `pass` takes.
    pub(crate) fn writes(&self, pass: u32) -> ComputePassTimestampWrites<'_> {
        ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * pass),
            end_of_pass_write_index: Some(2 * pass + 1),
        }
    }

    /// Records, after the passes, the collecting of their timestamps.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2 * self.passes, self.resolved.raw(), 0);
    }

    /// When each pass began and ended, in nanoseconds since some moment. Waits for what was submitted.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device).
    pub(crate) fn nanoseconds(&self) -> Result<Vec<[f64; 2]>> {
        let bytes = self.gpu.read_buffer(self.resolved.raw(), 0..self.resolved.bytes())?;
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let passes: &[[[u8; 8]; 2]] = bytemuck::cast_slice(&bytes);
        Ok(passes.iter().map(|pass| pass.map(|ticks| u64::from_ne_bytes(ticks) as f64 * period)).collect())
    }

    /// Bytes of the buffer of a timer for `passes` passes.
    pub(crate) fn bytes(passes: u32) -> u64 {
        2 * u64::from(passes) * TIMESTAMP
    }
}
