//! Where the bytes of a data file are: in memory, in a mapped file, or in a file that is read by position.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::gpu::format_bytes;
use crate::host::HostMemory;
use crate::{Error, Result};

/// Bytes that can be read at any position, and the file that they are of.
pub(super) struct Store {
    path: PathBuf,
    bytes: Bytes,
}

enum Bytes {
    Owned(Vec<u8>),
    Mapped(Mmap),
    /// Where the process has too few addresses to map the file.
    File {
        file: File,
        length: u64,
    },
}

impl Store {
    pub fn owned(path: &Path, bytes: Vec<u8>) -> Self {
        Store { path: path.to_owned(), bytes: Bytes::Owned(bytes) }
    }

    /// A file as it lies there: mapped if the address space allows, else read by position.
    pub fn open(path: &Path, memory: HostMemory) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::read(path, error))?;
        Self::of_file(path, file, memory)
    }

    /// [`open`](Store::open) for a file that is open; `path` names it in errors.
    pub fn of_file(path: &Path, file: File, memory: HostMemory) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| Error::read(path, error))?;
        if metadata.is_dir() {
            return Err(Error::read(path, io::ErrorKind::IsADirectory.into()));
        }
        let length = metadata.len();
        let bytes = match memory.maps(length).then(|| map(&file)) {
            Some(Ok(map)) => Bytes::Mapped(map),
            _ => {
                let size = format_bytes(length);
                log::info!("{}: no room to map {size}; rows are read by position", path.display());
                Bytes::File { file, length }
            }
        };
        Ok(Store { path: path.to_owned(), bytes })
    }

    /// The file that errors name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in all.
    pub fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::Owned(bytes) => bytes.len() as u64,
            Bytes::Mapped(map) => map.len() as u64,
            Bytes::File { length, .. } => *length,
        }
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// A file that cannot be read, or bytes beyond its end.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let read = match &self.bytes {
            Bytes::Owned(bytes) => copy(bytes, offset, out),
            Bytes::Mapped(map) => copy(map, offset, out),
            Bytes::File { file, .. } => read_exact_at(file, offset, out),
        };
        read.map_err(|error| Error::read(&self.path, error))
    }

    /// Tells the system that rows will be read in random order from now on, so that it reads no pages ahead.
    pub fn expect_random_reads(&self) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.bytes {
            // Only advice: where the system does not take it, the same bytes are read.
            let _ = map.advise(memmap2::Advice::Random);
        }
    }
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private to this process and only read. Should another process shorten or rewrite the
    // file meanwhile, the rows change or the read faults; that holds for every mapped file, and the alternative
    // is a copy of the whole data set.
    unsafe { Mmap::map(file) }
}

fn copy(bytes: &[u8], offset: u64, out: &mut [u8]) -> io::Result<()> {
    let start = usize::try_from(offset).ok();
    let found = start.and_then(|start| bytes.get(start..)?.get(..out.len()));
    out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                offset += read as u64;
                out = &mut out[read..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
