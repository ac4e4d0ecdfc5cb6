//! Buffers by role, and the account of what they take.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wgpu::BufferUsages;

use super::device::Gpu;
use super::memory::format_bytes;
use crate::{Error, Result};

/// What a buffer is for; it decides where the driver places it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferUse {
    /// Read and written by kernels, copied from and to.
    Storage,
    /// Small values that kernels read, copied to.
    Uniform,
    /// Filled by the host and copied from; mapped when made.
    Upload,
    /// Copied to and read by the host.
    Download,
    /// Takes resolved timestamps and is copied from.
    Timestamps,
}

impl BufferUse {
    fn usages(self) -> BufferUsages {
        match self {
            Self::Storage => BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            Self::Uniform => BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            Self::Upload => BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
            Self::Download => BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            Self::Timestamps => BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
        }
    }
}

/// Bytes of live buffers by role.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<BTreeMap<String, u64>>);

impl Account {
    fn roles(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        // A map of numbers is whole after every step of ours, so a panic elsewhere cannot spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, role: &str, bytes: u64) {
        *self.roles().entry(role.to_owned()).or_default() += bytes;
    }

    fn close(&self, role: &str, bytes: u64) {
        let mut roles = self.roles();
        if let Some(total) = roles.get_mut(role) {
            *total -= bytes;
            if *total == 0 {
                roles.remove(role);
            }
        }
    }
}

/// A wgpu buffer that stands in its device's account, under its role, as long as it lives.
#[derive(Debug)]
pub(crate) struct Buffer {
    raw: wgpu::Buffer,
    role: String,
    account: Arc<Account>,
}

impl Buffer {
    /// The wgpu buffer.
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.raw.size()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.account.close(&self.role, self.raw.size());
    }
}

/// What the driver's allocator holds for a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllocatorTotal {
    /// Taken by buffers, wgpu's own small ones included.
    pub(crate) allocated: u64,
    /// Taken from the driver in blocks, parts not yet given to any buffer included.
    pub(crate) reserved: u64,
}

impl Gpu {
    /// A zeroed buffer of `bytes` (a multiple of 4, above 0) for `role`.
    ///
    /// Errors: [`Error::DoesNotFit`] above the adapter's limit on one buffer or when memory is out,
    /// naming the role and the bytes; [`Error::Device`] otherwise.
    pub(crate) fn buffer(&self, role: &str, bytes: u64, use_: BufferUse) -> Result<Buffer> {
        let most = self.device().limits().max_buffer_size;
        if bytes > most {
            let message = format!(
                "{role} takes {} in one buffer ({bytes} bytes), and this adapter allows {} ({most} bytes)",
                format_bytes(bytes),
                format_bytes(most)
            );
            return Err(Error::DoesNotFit(message));
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some(role),
            size: bytes,
            usage: use_.usages(),
            mapped_at_creation: use_ == BufferUse::Upload,
        };
        let doing = format!("allocating {} for {role}", format_bytes(bytes));
        let raw = self.scoped(&doing, || self.device().create_buffer(&descriptor))?;
        self.account.open(role, bytes);
        Ok(Buffer { raw, role: role.to_owned(), account: Arc::clone(&self.account) })
    }

    /// Bytes of live buffers by role.
    pub(crate) fn account(&self) -> BTreeMap<String, u64> {
        self.account.roles().clone()
    }

    /// What the driver's allocator holds, where the backend tells.
    pub(crate) fn allocator_total(&self) -> Option<AllocatorTotal> {
        self.device().generate_allocator_report().map(|report| AllocatorTotal {
            allocated: report.total_allocated_bytes,
            reserved: report.total_reserved_bytes,
        })
    }
}
