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
        let resolved = gpu.buffer("timer", u64::from(count) * TIMESTAMP, BufferUse::Timestamps)?;
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

    /// Nanoseconds of each pass. Waits for what was submitted.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device).
    pub(crate) fn nanoseconds(&self) -> Result<Vec<f64>> {
        let bytes = self.gpu.read_buffer(self.resolved.raw(), 0..self.resolved.bytes())?;
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let passes: &[[[u8; 8]; 2]] = bytemuck::cast_slice(&bytes);
        let nanoseconds = passes.iter().map(|pass| {
            let [begin, end] = pass.map(u64::from_ne_bytes);
            // Counters of some drivers wrap, or stand still over a short pass: no huge time may come of it.
            end.saturating_sub(begin) as f64 * period
        });
        Ok(nanoseconds.collect())
    }
}
