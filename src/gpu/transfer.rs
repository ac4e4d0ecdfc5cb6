//! Whole ranges of buffers to the device and back, once and waiting: initial parameters, checkpoints,
//! tests. What happens in every step goes through the rings instead.

use std::ops::Range;
use std::sync::PoisonError;

use wgpu::{COPY_BUFFER_ALIGNMENT, MapMode, SubmissionIndex};

use super::buffer::BufferUse;
use super::device::Gpu;
use super::fault::device_error;
use super::mapping::{Mapping, Turn};
use crate::Result;

/// Bytes moved at a time: small, since they are taken of the memory budget as long as the device lives.
const PIECE: u64 = 512 << 10;

/// Bytes of the two buffers through which all transfers of a device go.
pub(crate) const TRANSFER_BYTES: u64 = 2 * PIECE;

/// The buffers through which all transfers of a device go. Each is in the host's hands between two pieces.
#[derive(Debug)]
pub(super) struct Transfers {
    /// Mapped between two pieces.
    upload: Mapping,
    /// Unmapped between two pieces.
    download: Mapping,
}

impl Gpu {
    /// Makes the buffers of all later transfers, [`TRANSFER_BYTES`] under the role `staging`. The first transfer
    /// does it where it was not done before.
    ///
    /// Errors: as [`Gpu::buffer`].
    pub(crate) fn prepare_transfers(&self) -> Result<()> {
        self.with_transfers(|_| Ok(()))
    }

    /// The bytes of `buffer` in `range`, which must lie inside of it. Waits for all work before it.
    ///
    /// Errors: as [`Gpu::prepare_transfers`], [`Error::Device`](crate::Error::Device) where the device fails.
    pub(crate) fn read_buffer(&self, buffer: &wgpu::Buffer, range: Range<u64>) -> Result<Vec<u8>> {
        // Copies start and end at multiples of 4.
        let start = range.start - range.start % COPY_BUFFER_ALIGNMENT;
        let end = range.end.next_multiple_of(COPY_BUFFER_ALIGNMENT);
        let mut bytes = Vec::with_capacity((end - start) as usize);
        self.with_transfers(|transfers| {
            while start + (bytes.len() as u64) < end {
                transfers.download(self, buffer, start + bytes.len() as u64..end, &mut bytes)?;
            }
            Ok(())
        })?;
        bytes.truncate((range.end - start) as usize);
        bytes.drain(..(range.start - start) as usize);
        Ok(bytes)
    }

    /// Copies `bytes` to `buffer` from the byte `at` (a multiple of 4) on, and waits until they are there.
    /// Where their number is no multiple of 4, the rest of the last word becomes zero.
    ///
    /// Errors: as [`Gpu::read_buffer`].
    pub(crate) fn write_buffer(&self, buffer: &wgpu::Buffer, at: u64, bytes: &[u8]) -> Result<()> {
        self.with_transfers(|transfers| {
            let piece = transfers.upload.buffer.bytes();
            for (index, part) in bytes.chunks(piece as usize).enumerate() {
                transfers.upload(self, part, buffer, at + index as u64 * piece)?;
            }
            Ok(())
        })
    }

    /// Runs `work` with the transfer buffers. They are dropped where it fails, for then nobody knows whose turn
    /// they have, and made anew by the next transfer.
    fn with_transfers(&self, work: impl FnOnce(&mut Transfers) -> Result<()>) -> Result<()> {
        // They are taken out while they are used, so a panic elsewhere leaves none behind.
        let mut kept = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut transfers = match kept.take() {
            Some(transfers) => transfers,
            None => Transfers::new(self)?,
        };
        work(&mut transfers)?;
        *kept = Some(transfers);
        Ok(())
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
}

impl Transfers {
    fn new(gpu: &Gpu) -> Result<Self> {
        let bytes = PIECE.min(gpu.profile().max_buffer_size);
        let buffer = |use_| gpu.buffer("staging", bytes, use_);
        Ok(Self {
            upload: Mapping::new(buffer(BufferUse::Upload)?, MapMode::Write, Turn::Host),
            download: Mapping::new(buffer(BufferUse::Download)?, MapMode::Read, Turn::Held),
        })
    }

    /// Copies `part`, at most a piece, to `target` from the byte `at` on, and waits until it is there.
    fn upload(&mut self, gpu: &Gpu, part: &[u8], target: &wgpu::Buffer, at: u64) -> Result<()> {
        let doing = "filling a buffer";
        let padded = part.len().next_multiple_of(COPY_BUFFER_ALIGNMENT as usize);
        let source = self.upload.buffer.raw();
        let mut view = (source.get_mapped_range_mut(..padded as u64))
            .map_err(|error| device_error(doing, error.to_string()))?;
        view.slice(..part.len()).copy_from_slice(part);
        view.slice(part.len()..).fill(0);
        drop(view);
        source.unmap();
        let submission = gpu.copy(source, 0, target, at, padded as u64, doing)?;
        self.upload.submitted(&submission);
        self.upload.is_host(gpu, true, &mut 0).map(drop)
    }

    /// Appends the first piece of `range` of `source` to `bytes`.
    fn download(
        &mut self,
        gpu: &Gpu,
        source: &wgpu::Buffer,
        range: Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let doing = "reading a buffer back";
        let size = (range.end - range.start).min(self.download.buffer.bytes());
        let submission = gpu.copy(source, range.start, self.download.buffer.raw(), 0, size, doing)?;
        self.download.submitted(&submission);
        self.download.is_host(gpu, true, &mut 0)?;
        let landing = self.download.buffer.raw();
        let view =
            (landing.get_mapped_range(..size)).map_err(|error| device_error(doing, error.to_string()))?;
        bytes.extend_from_slice(&view);
        drop(view);
        landing.unmap();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, GpuOptions};

    fn default_gpu() -> Gpu {
        Gpu::new(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn any_range_comes_back_as_it_was_written() {
        let gpu = default_gpu();
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        let buffer = gpu.buffer("bytes", 1000, BufferUse::Storage).unwrap();
        gpu.write_buffer(buffer.raw(), 0, &bytes).unwrap();
        for range in [0..1000, 0..0, 0..1, 3..5, 1..999, 997..1000, 4..8] {
            let expected = &bytes[range.start as usize..range.end as usize];
            assert_eq!(gpu.read_buffer(buffer.raw(), range.clone()).unwrap(), expected, "{range:?}");
        }
        gpu.write_buffer(buffer.raw(), 8, &[9; 5]).unwrap();
        let read = gpu.read_buffer(buffer.raw(), 4..20).unwrap();
        assert_eq!(read[4..12], [9, 9, 9, 9, 9, 0, 0, 0], "the rest of the last word is zero");
        assert_eq!((&read[..4], &read[12..]), (&bytes[4..8], &bytes[16..20]), "its neighbours stay");
    }

    #[test]
    fn transfers_go_in_pieces_through_two_buffers_that_are_kept() {
        let gpu = default_gpu();
        gpu.prepare_transfers().unwrap();
        let staging = [("staging".to_owned(), TRANSFER_BYTES)];
        assert_eq!(gpu.account().into_iter().collect::<Vec<_>>(), staging);

        // Neighbours of one piece, and several; each at the start, at the least offset and at an odd one.
        for bytes in [1, 3, 511 << 10, PIECE, PIECE + 4, 3 << 20] {
            for at in [0, 4, 1020] {
                let buffer = gpu.buffer("bytes", 4 << 20, BufferUse::Storage).unwrap();
                let written: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8 + 1).collect();
                gpu.write_buffer(buffer.raw(), at, &written).unwrap();
                assert!(gpu.read_buffer(buffer.raw(), at..at + bytes).unwrap() == written, "{bytes} at {at}");
                let whole = gpu.clone().read_buffer(buffer.raw(), 0..buffer.bytes()).unwrap();
                let kept = |byte: usize| (at as usize..(at + bytes) as usize).contains(&byte);
                let outside = whole.iter().enumerate().find(|(byte, value)| **value != 0 && !kept(*byte));
                assert_eq!(outside, None, "{bytes} at {at}");
            }
        }
        assert_eq!(gpu.account().into_iter().collect::<Vec<_>>(), staging, "clones share them");
    }

    #[test]
    fn a_failed_transfer_leaves_none_of_its_state_behind() {
        let gpu = default_gpu();
        let buffer = gpu.buffer("bytes", 16, BufferUse::Storage).unwrap();
        assert!(matches!(gpu.write_buffer(buffer.raw(), 12, &[1; 8]), Err(Error::Device { .. })));
        assert!(matches!(gpu.read_buffer(buffer.raw(), 12..20), Err(Error::Device { .. })));
        gpu.write_buffer(buffer.raw(), 12, &[5; 4]).unwrap();
        assert_eq!(gpu.read_buffer(buffer.raw(), 8..16).unwrap(), [0, 0, 0, 0, 5, 5, 5, 5]);
    }
}
