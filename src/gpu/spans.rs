//! How long stretches of work take on the device, told without a wait: rounds of timed passes, whose times come back while
//! later work goes on.

use wgpu::{COPY_BUFFER_ALIGNMENT, ComputePassTimestampWrites, QuerySet, QueryType, SubmissionIndex};

use super::buffer::{Buffer, BufferUse};
use super::device::Gpu;
use super::readback::{Patience, ReadbackRing};
use crate::Result;

/// Passes that a round can time.
pub(crate) const SPANS: u32 = 64;

/// Rounds whose times may be under way at once.
const ROUNDS: u32 = 4;

const SPAN_BYTES: u64 = 2 * size_of::<u64>() as u64;
const ROUND_BYTES: u64 = SPANS as u64 * SPAN_BYTES;

/// Times of passes, round after round.
#[derive(Debug)]
pub(crate) struct SpanTimer {
    gpu: Gpu,
    queries: QuerySet,
    resolved: Buffer,
    readback: ReadbackRing,
    round: u32,
    /// Passes of the round that is being recorded.
    spans: u32,
}

impl SpanTimer {
    /// Bytes of its buffers.
    pub(crate) const BYTES: u64 = 2 * ROUNDS as u64 * ROUND_BYTES;

    /// A timer, or none where the device has no timestamps.
    ///
    /// Errors: as [`Gpu::buffer`].
    pub(crate) fn new(gpu: &Gpu) -> Result<Option<Self>> {
        if !gpu.profile().timestamps {
            return Ok(None);
        }
        let queries = gpu.scoped("making a timer", || {
            gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("spans"),
                ty: QueryType::Timestamp,
                count: 2 * SPANS * ROUNDS,
            })
        })?;
        let resolved = gpu.buffer("timer", u64::from(ROUNDS) * ROUND_BYTES, BufferUse::Timestamps)?;
        let readback = ReadbackRing::new(gpu, "timer", ROUND_BYTES, ROUNDS as usize)?;
        Ok(Some(Self { gpu: gpu.clone(), queries, resolved, readback, round: 0, spans: 0 }))
    }

    /// Whether another round can be recorded.
    pub(crate) fn has_room(&self) -> bool {
        self.readback.has_room()
    }

    /// Whether another pass of the round that is being recorded can be timed.
    pub(crate) fn has_spans(&self) -> bool {
        self.spans < SPANS
    }

    /// What the descriptor of the round's next pass takes; there must be room.
    pub(crate) fn next(&mut self) -> ComputePassTimestampWrites<'_> {
        let at = 2 * (self.round * SPANS + self.spans);
        self.spans += 1;
        ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(at),
            end_of_pass_write_index: Some(at + 1),
        }
    }

    /// Records, behind the round's passes, that their times are read, to be collected under `tag`. `encoder` must be submitted,
    /// and [`SpanTimer::submitted`] told.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) without room.
    pub(crate) fn end_round(&mut self, encoder: &mut wgpu::CommandEncoder, tag: u64) -> Result<()> {
        let first = 2 * self.round * SPANS;
        let at = u64::from(self.round) * ROUND_BYTES;
        encoder.resolve_query_set(&self.queries, first..first + 2 * self.spans, self.resolved.raw(), at);
        let bytes = (u64::from(self.spans) * SPAN_BYTES).next_multiple_of(COPY_BUFFER_ALIGNMENT);
        self.readback.record(encoder, self.resolved.raw(), at, bytes, tag)?;
        (self.round, self.spans) = ((self.round + 1) % ROUNDS, 0);
        Ok(())
    }

    /// The round that ended last went to the device with `submission`.
    pub(crate) fn submitted(&mut self, submission: &SubmissionIndex) {
        self.readback.submitted(submission);
    }

    /// Hands the seconds of the passes of each round whose times have come to `take` with its tag, oldest first. Waits for
    /// nothing.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) when the device failed.
    pub(crate) fn collect(&mut self, mut take: impl FnMut(u64, &[f64])) -> Result<()> {
        let period = f64::from(self.gpu.queue().get_timestamp_period()) * 1e-9;
        self.readback.collect(Patience::None, |tag, bytes| {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(bytes);
            // Counters of some drivers wrap, or stand still over a short pass: no negative time may come of it.
            let seconds = |pass: &[u64; 2]| pass[1].saturating_sub(pass[0]) as f64 * period;
            let seconds: Vec<f64> = ticks.as_chunks().0.iter().map(seconds).collect();
            take(tag, &seconds);
        })
    }
}
