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
    /// Small values that one kernel writes and others read as a uniform, copied from and to.
    StorageUniform,
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
            Self::StorageUniform => Self::Storage.usages() | BufferUsages::UNIFORM,
            Self::Upload => BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
            Self::Download => BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            Self::Timestamps => BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
        }
    }
}

/// Bytes of live buffers by role, and how many they may be.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    roles: BTreeMap<String, u64>,
    limit: Option<u64>,
}

impl Ledger {
    fn live(&self) -> u64 {
        self.roles.values().sum()
    }
}

impl Account {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A map of numbers is whole after every step of ours, so a panic elsewhere cannot spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What live buffers may take together, if that was limited.
    pub(super) fn limit(&self) -> Option<u64> {
        self.ledger().limit
    }
}

/// What stands in an account for one buffer, as long as it lives.
#[derive(Debug)]
struct Entry {
    account: Arc<Account>,
    role: String,
    bytes: u64,
}

impl Entry {
    fn open(account: &Arc<Account>, role: &str, bytes: u64) -> Result<Self> {
        let mut ledger = account.ledger();
        let live = ledger.live();
        if let Some(limit) = ledger.limit.filter(|limit| live.saturating_add(bytes) > *limit) {
            return Err(Error::OutOfMemory(format!(
                "{role} takes {} ({bytes} bytes) where {} are allocated and the memory limit is {} ({limit} bytes)",
                format_bytes(bytes),
                format_bytes(live),
                format_bytes(limit)
            )));
        }
        *ledger.roles.entry(role.to_owned()).or_default() += bytes;
        Ok(Self { account: Arc::clone(account), role: role.to_owned(), bytes })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let roles = &mut self.account.ledger().roles;
        if let Some(total) = roles.get_mut(&self.role) {
            *total -= self.bytes;
            if *total == 0 {
                roles.remove(&self.role);
            }
        }
    }
}

/// A wgpu buffer that stands in its device's account, under its role, as long as it lives. Clones are the same buffer.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    raw: wgpu::Buffer,
    /// None where an app lent it.
    _entry: Option<Arc<Entry>>,
}

impl Buffer {
    /// A buffer of an app's, in nobody's account.
    pub(crate) fn lent(raw: wgpu::Buffer) -> Self {
        Buffer { raw, _entry: None }
    }

    /// The wgpu buffer.
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.raw.size()
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
    /// Errors: [`Error::DoesNotFit`] above the adapter's limit on one buffer, [`Error::OutOfMemory`] above
    /// the limit of [`Gpu::set_memory_limit`] or when memory is out, each naming the role and the bytes;
    /// [`Error::Device`] otherwise.
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
        let entry = Entry::open(&self.account, role, bytes)?;
        let raw = self.scoped(&doing, || self.device().create_buffer(&descriptor))?;
        Ok(Buffer { raw, _entry: Some(Arc::new(entry)) })
    }

    /// Bytes of live buffers by role.
    pub(crate) fn account(&self) -> BTreeMap<String, u64> {
        self.account.ledger().roles.clone()
    }

    /// From now on this crate's buffers on the device, those of its clones too, take at most `bytes` together: what
    /// an app calls that needs memory back, or may give more. A buffer that would lift them above it is refused with
    /// [`Error::OutOfMemory`]; those that live already stay until their owner, such as a trainer between two steps,
    /// has made do with less.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.account.ledger().limit = Some(bytes);
    }

    /// The bytes of live buffers, where they are above the limit of [`Gpu::set_memory_limit`].
    pub(crate) fn over_limit(&self) -> Option<u64> {
        let ledger = self.account.ledger();
        let live = ledger.live();
        ledger.limit.filter(|limit| live > *limit).map(|_| live)
    }

    /// What the driver's allocator holds, where the backend tells.
    pub(crate) fn allocator_total(&self) -> Option<AllocatorTotal> {
        self.device().generate_allocator_report().map(|report| AllocatorTotal {
            allocated: report.total_allocated_bytes,
            reserved: report.total_reserved_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GpuOptions;

    fn default_gpu() -> Gpu {
        Gpu::new(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn buffers_stand_in_the_account_as_long_as_they_live() {
        let gpu = default_gpu();
        let before = gpu.allocator_total().map(|total| total.allocated);
        let theta = gpu.buffer("theta", 1 << 20, BufferUse::Storage).unwrap();
        let first = gpu.buffer("state", 1 << 16, BufferUse::Storage).unwrap();
        let second = gpu.buffer("state", 1 << 10, BufferUse::Storage).unwrap();
        let planned = (1 << 20) + (1 << 16) + (1 << 10);
        assert_eq!(
            gpu.account().into_iter().collect::<Vec<_>>(),
            [("state".to_owned(), (1 << 16) + (1 << 10)), ("theta".to_owned(), 1 << 20)]
        );
        let after = gpu.allocator_total().map(|total| total.allocated);
        if let (Some(before), Some(after)) = (before, after) {
            // Drivers round a buffer up to their alignment, at most a page each.
            assert!((planned..=planned + 3 * 4096).contains(&(after - before)), "{before} to {after}");
        }
        drop((theta, first));
        assert_eq!(gpu.account().into_iter().collect::<Vec<_>>(), [("state".to_owned(), 1 << 10)]);
        drop(second);
        assert!(gpu.account().is_empty());
    }

    #[test]
    fn a_limit_that_drops_refuses_buffers_and_names_those_above_it() {
        let gpu = default_gpu();
        let opened = gpu.budget();
        let first = gpu.buffer("theta", 1 << 20, BufferUse::Storage).unwrap();
        gpu.clone().set_memory_limit((1 << 20) + 1024);
        assert_eq!((gpu.budget().bytes, gpu.over_limit()), ((1 << 20) + 1024, None));

        let error = gpu.buffer("state", 1028, BufferUse::Storage).unwrap_err();
        assert_eq!(
            error.to_string(),
            "state takes 1.00 KiB (1028 bytes) where 1.00 MiB are allocated and the memory limit is 1.00 MiB (1049600 \
         bytes)"
        );
        assert!(matches!(error, Error::OutOfMemory(_)) && error.exit_code() == 1);
        assert_eq!(gpu.account().len(), 1, "what was refused is not in the account");
        gpu.check().unwrap();
        drop(gpu.buffer("state", 1024, BufferUse::Storage).unwrap());

        gpu.set_memory_limit(4096);
        assert_eq!(gpu.over_limit(), Some(1 << 20));
        drop(first);
        assert_eq!(gpu.over_limit(), None);
        gpu.set_memory_limit(u64::MAX);
        assert_eq!(gpu.budget(), opened, "a limit never lifts the budget");
    }
}
