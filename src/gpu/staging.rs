//! Uploads of the steps of a submit: a ring of mapped buffers, filled on any thread and copied by the device.
//!
//! A [`StagingSlot`] is the mapped memory itself and may be sent to another thread. The ring is also what keeps the host from
//! running ahead: with three slots, one is filled while at most two submits are in flight.

use wgpu::{BufferViewMut, COPY_BUFFER_ALIGNMENT, CommandEncoder, MapMode, SubmissionIndex};

use super::buffer::BufferUse;
use super::device::Gpu;
use super::fault::device_error;
use super::mapping::{Mapping, SharedTurn, Turn};
use crate::Result;

/// Slots that let one be filled while two submits are in flight.
pub(crate) const STAGING_SLOTS: usize = 3;

/// A ring of equal upload buffers.
#[derive(Debug)]
pub(crate) struct StagingRing {
    gpu: Gpu,
    slots: Vec<Mapping>,
    next: usize,
    waits: u64,
}

/// One mapped buffer of a [`StagingRing`], to be filled. Dropped, it goes back to the ring unused.
#[derive(Debug)]
pub(crate) struct StagingSlot {
    index: usize,
    view: BufferViewMut,
    turn: SharedTurn,
}

/// A copy from a slot, in bytes; `from` and `at` are multiples of 4, and `bytes` is rounded up to one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StagedCopy<'a> {
    /// Where it starts in the slot.
    pub(crate) from: u64,
    /// The buffer it goes to.
    pub(crate) to: &'a wgpu::Buffer,
    /// Where it starts there.
    pub(crate) at: u64,
    /// How much.
    pub(crate) bytes: u64,
}

impl StagingSlot {
    /// Bytes of the slot.
    pub(crate) fn capacity(&self) -> usize {
        self.view.len()
    }

    /// Writes `bytes` from the byte `at` on. What is not written keeps what an earlier step left there.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) past the slot's end.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let end = at.checked_add(bytes.len()).filter(|end| *end <= self.capacity());
        let Some(end) = end else {
            let (count, capacity) = (bytes.len(), self.capacity());
            let message = format!("{count} bytes at {at} are past the end of a slot of {capacity}");
            return Err(device_error("filling a staging slot", message));
        };
        self.view.slice(at..end).copy_from_slice(bytes);
        Ok(())
    }
}

impl Drop for StagingSlot {
    fn drop(&mut self) {
        self.turn.release();
    }
}

impl StagingRing {
    /// A ring of `slots` buffers of `bytes` each (rounded up to a multiple of 4), accounted as `role`.
    ///
    /// Errors: as [`Gpu::buffer`].
    pub(crate) fn new(gpu: &Gpu, role: &str, bytes: u64, slots: usize) -> Result<Self> {
        let bytes = bytes.next_multiple_of(COPY_BUFFER_ALIGNMENT);
        let slot = |_| {
            let buffer = gpu.buffer(role, bytes, BufferUse::Upload)?;
            Ok(Mapping::new(buffer, MapMode::Write, Turn::Host))
        };
        let slots = (0..slots).map(slot).collect::<Result<_>>()?;
        Ok(Self { gpu: gpu.clone(), slots, next: 0, waits: 0 })
    }

    /// The next slot of the ring. Waits only where that one is still in flight, which is when all are.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) when the device failed or all slots are held.
    pub(crate) fn acquire(&mut self) -> Result<StagingSlot> {
        let index = self.next;
        let slot = &self.slots[index];
        slot.is_host(&self.gpu, true, &mut self.waits)?;
        let view = (slot.buffer.raw().get_mapped_range_mut(..))
            .map_err(|error| device_error("mapping a staging slot", error.to_string()))?;
        slot.turn.set(Turn::Held);
        self.next = (index + 1) % self.slots.len();
        Ok(StagingSlot { index, view, turn: slot.turn.clone() })
    }

    /// Records copies out of `slot`, whose bytes there must not change any more.
    pub(crate) fn copy<'a>(
        &self,
        slot: &StagingSlot,
        encoder: &mut CommandEncoder,
        copies: impl IntoIterator<Item = StagedCopy<'a>>,
    ) {
        let source = self.slots[slot.index].buffer.raw();
        for copy in copies {
            let bytes = copy.bytes.next_multiple_of(COPY_BUFFER_ALIGNMENT);
            encoder.copy_buffer_to_buffer(source, copy.from, copy.to, copy.at, bytes);
        }
    }

    /// Closes `slot`. The encoder with its copies must be submitted, and [`StagingRing::submitted`] told, before the slot
    /// comes round again.
    pub(crate) fn close(&self, slot: StagingSlot) {
        let mapping = &self.slots[slot.index];
        mapping.turn.set(Turn::Recorded);
        // A buffer is unmapped only when no view of it is left.
        drop(slot);
        mapping.buffer.raw().unmap();
    }

    /// All that was recorded since the last call went to the device with `submission`.
    pub(crate) fn submitted(&mut self, submission: &SubmissionIndex) {
        for slot in &mut self.slots {
            if slot.turn.get() == Turn::Recorded {
                slot.submitted(submission);
            }
        }
    }

    /// Whether [`StagingRing::acquire`] would wait for nothing.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) when the device failed.
    pub(crate) fn has_free(&self) -> Result<bool> {
        self.slots[self.next].is_host(&self.gpu, false, &mut 0)
    }

    /// How often [`StagingRing::acquire`] had to wait for the device so far.
    pub(crate) fn waits(&self) -> u64 {
        self.waits
    }
}
