//! Whole ranges of buffers to the device and back, once and waiting: initial parameters, checkpoints,
//! tests. What happens in every step goes through the rings instead.

use std::ops::Range;

use wgpu::{COPY_BUFFER_ALIGNMENT, MapMode, SubmissionIndex};

use super::buffer::BufferUse;
use super::device::Gpu;
use super::fault::device_error;
use crate::Result;

/// Bytes moved at a time, so that reading θ back does not need its size again in mapped memory.
pub(super) const CHUNK: u64 = 64 << 20;

impl Gpu {
    /// The bytes of `buffer` in `range`, which must lie inside of it. Waits for all work before it.
    pub(crate) fn read_buffer(&self, buffer: &wgpu::Buffer, range: Range<u64>) -> Result<Vec<u8>> {
        // Copies start and end at multiples of 4.
        let start = range.start - range.start % COPY_BUFFER_ALIGNMENT;
        let end = range.end.next_multiple_of(COPY_BUFFER_ALIGNMENT);
        let mut bytes = Vec::with_capacity((end - start) as usize);
        if start < end {
            let chunk = self.chunk_size(end - start);
            let landing = self.buffer("reading back", chunk, BufferUse::Download)?;
            let mut at = start;
            while at < end {
                let size = chunk.min(end - at);
                let submission = self.copy(buffer, at, landing.raw(), 0, size, "reading a buffer back")?;
                self.append_mapped(landing.raw(), size, &submission, &mut bytes)?;
                at += size;
            }
        }
        bytes.truncate((range.end - start) as usize);
        bytes.drain(..(range.start - start) as usize);
        Ok(bytes)
    }

    /// Copies `bytes` to `buffer` from the byte `at` (a multiple of 4) on, and waits until they are there.
    /// Where their number is no multiple of 4, the rest of the last word becomes zero.
    pub(crate) fn write_buffer(&self, buffer: &wgpu::Buffer, at: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let chunk = self.chunk_size((bytes.len() as u64).next_multiple_of(COPY_BUFFER_ALIGNMENT));
        let doing = "filling a buffer";
        for (index, part) in bytes.chunks(chunk as usize).enumerate() {
            // wgpu's own staging of one chunk is given back before the next is asked for.
            let padded = (part.len() as u64).next_multiple_of(COPY_BUFFER_ALIGNMENT);
            let source = self.buffer("filling", padded, BufferUse::Upload)?;
            let mut view = (source.raw().get_mapped_range_mut(..))
                .map_err(|error| device_error(doing, error.to_string()))?;
            view.slice(..part.len()).copy_from_slice(part);
            drop(view);
            source.raw().unmap();
            let target = at + index as u64 * chunk;
            let submission = self.copy(source.raw(), 0, buffer, target, padded, doing)?;
            self.wait(&submission)?;
        }
        Ok(())
    }

    fn chunk_size(&self, bytes: u64) -> u64 {
        bytes.min(CHUNK).min(self.profile().max_buffer_size)
    }

    fn copy(
        &self,
        from: &wgpu::Buffer,
        from_byte: u64,
        to: &wgpu::Buffer,
        to_byte: u64,
        bytes: u64,
        doing: &str,
    ) -> Result<SubmissionIndex> {
        self.scoped(doing, || {
            let mut encoder = self.device().create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(from, from_byte, to, to_byte, bytes);
            self.submit(encoder)
        })
    }

    /// Waits for `submission`, then appends the first `size` bytes of `landing` to `bytes`.
    fn append_mapped(
        &self,
        landing: &wgpu::Buffer,
        size: u64,
        submission: &SubmissionIndex,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        // Whether mapping worked shows when the range is asked for.
        landing.map_async(MapMode::Read, ..size, |_| ());
        self.wait(submission)?;
        let view = (landing.get_mapped_range(..size))
            .map_err(|error| device_error("reading a buffer back", error.to_string()))?;
        bytes.extend_from_slice(&view);
        drop(view);
        landing.unmap();
        Ok(())
    }
}
