//! Small results of every few steps, such as losses, read without waiting for the device.

use wgpu::{COPY_BUFFER_ALIGNMENT, CommandEncoder, MapMode, SubmissionIndex};

use super::buffer::BufferUse;
use super::device::Gpu;
use super::fault::device_error;
use super::mapping::{Mapping, Turn};
use crate::Result;

/// How long [`ReadbackRing::collect`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all: only what is there.
    None,
    /// For the oldest reading, if there is one: makes room.
    Oldest,
    /// For all of them.
    All,
}

/// A ring of equal download buffers.
#[derive(Debug)]
pub(crate) struct ReadbackRing {
    gpu: Gpu,
    slots: Vec<Slot>,
    /// The oldest reading that is not collected.
    oldest: usize,
    /// Readings that are recorded and not collected.
    pending: usize,
}

#[derive(Debug)]
struct Slot {
    mapping: Mapping,
    tag: u64,
    bytes: u64,
}

impl ReadbackRing {
    /// A ring of `slots` buffers of `bytes` each (rounded up to a multiple of 4), accounted as `role`.
    ///
    /// Errors: as [`Gpu::buffer`].
    pub(crate) fn new(gpu: &Gpu, role: &str, bytes: u64, slots: usize) -> Result<Self> {
        let bytes = bytes.next_multiple_of(COPY_BUFFER_ALIGNMENT);
        let slot = |_| {
            let buffer = gpu.buffer(role, bytes, BufferUse::Download)?;
            Ok(Slot { mapping: Mapping::new(buffer, MapMode::Read, Turn::Held), tag: 0, bytes: 0 })
        };
        let slots = (0..slots).map(slot).collect::<Result<_>>()?;
        Ok(Self { gpu: gpu.clone(), slots, oldest: 0, pending: 0 })
    }

    /// Whether another reading can be recorded without collecting one first.
    pub(crate) fn has_room(&self) -> bool {
        self.pending < self.slots.len()
    }

    /// Records the reading of `bytes` bytes of `source` from the byte `at` on (both multiples of 4), to be
    /// collected under `tag`.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) without room, or for more than a slot holds.
    pub(crate) fn record(
        &mut self,
        encoder: &mut CommandEncoder,
        source: &wgpu::Buffer,
        at: u64,
        bytes: u64,
        tag: u64,
    ) -> Result<()> {
        let index = (self.oldest + self.pending) % self.slots.len();
        let has_room = self.has_room();
        let slot = &mut self.slots[index];
        if !has_room || bytes > slot.mapping.buffer.bytes() {
            let (pending, capacity) = (self.pending, slot.mapping.buffer.bytes());
            let message = format!("{bytes} bytes, {pending} readings waiting, slots of {capacity} bytes");
            return Err(device_error("recording a reading", message));
        }
        encoder.copy_buffer_to_buffer(source, at, slot.mapping.buffer.raw(), 0, bytes);
        (slot.tag, slot.bytes) = (tag, bytes);
        slot.mapping.turn.set(Turn::Recorded);
        self.pending += 1;
        Ok(())
    }

    /// All that was recorded since the last call went to the device with `submission`.
    pub(crate) fn submitted(&mut self, submission: &SubmissionIndex) {
        for slot in &mut self.slots {
            if slot.mapping.turn.get() == Turn::Recorded {
                slot.mapping.submitted(submission);
            }
        }
    }

    /// Hands each finished reading to `take` with its tag, oldest first.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) when the device failed.
    pub(crate) fn collect(&mut self, patience: Patience, mut take: impl FnMut(u64, &[u8])) -> Result<()> {
        let mut patient = patience != Patience::None;
        while self.pending > 0 {
            let slot = &self.slots[self.oldest];
            if !slot.mapping.is_host(&self.gpu, patient, &mut 0)? {
                break;
            }
            let buffer = slot.mapping.buffer.raw();
            let view = (buffer.get_mapped_range(..slot.bytes))
                .map_err(|error| device_error("reading a result back", error.to_string()))?;
            take(slot.tag, &view);
            drop(view);
            buffer.unmap();
            slot.mapping.turn.set(Turn::Held);
            self.oldest = (self.oldest + 1) % self.slots.len();
            self.pending -= 1;
            patient = patience == Patience::All;
        }
        Ok(())
    }
}
