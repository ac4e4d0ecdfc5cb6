//! Devices.

use std::ffi::c_char;
use std::path::PathBuf;

use super::handles::Table;
use super::status::{Failure, Outcome, array_mut, downhill_status, give, guard, optional_text, wanted};
use crate::{AdapterChoice, Error, Gpu, GpuOptions};

/// A device to train on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct downhill_gpu {
    /// 0 for none.
    pub id: u64,
}

static GPUS: Table<Gpu> = Table::new("gpu", 1);

/// The device behind a handle; clones are the same device.
pub(super) fn find(gpu: downhill_gpu) -> Outcome<Gpu> {
    GPUS.with(gpu.id, |gpu| Ok(gpu.clone()))
}

/// Opens a device. Waits until it is open.
///
/// adapter: a part of an adapter's name or its number; NULL for the best.
/// memory_limit: what may be taken of its memory, such as "2GiB" or "50%"; NULL for what is free, less a margin.
/// cache_folder: where compiled kernels are kept for the next start; NULL for nowhere.
/// gpu: receives the handle, which downhill_gpu_free() frees. Other objects keep what they need of it.
///
/// May be called from any thread.
///
/// # Safety
/// Texts end with a zero byte; gpu points to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_gpu_open(
    adapter: *const c_char,
    memory_limit: *const c_char,
    cache_folder: *const c_char,
    gpu: *mut downhill_gpu,
) -> downhill_status {
    guard(|| {
        wanted(gpu)?;
        // SAFETY: as the caller says.
        let [adapter, limit, cache] = unsafe {
            [
                optional_text(adapter, "adapter")?,
                optional_text(memory_limit, "memory_limit")?,
                optional_text(cache_folder, "cache_folder")?,
            ]
        };
        let options = GpuOptions {
            adapter: adapter.map_or(AdapterChoice::Best, |name| AdapterChoice::Matching(name.to_owned())),
            memory_limit: limit.map(str::parse).transpose()?,
            cache: cache.map(PathBuf::from),
            ..GpuOptions::default()
        };
        let id = GPUS.insert(Gpu::new(&options)?)?;
        // SAFETY: as the caller says.
        unsafe { give(gpu, downhill_gpu { id }) }
    })
}

/// Frees a device's handle; the device goes with the last object made with it. May be called from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_gpu_free(gpu: downhill_gpu) -> downhill_status {
    guard(|| GPUS.remove(gpu.id))
}

/// Limits the memory that runs on the device may take to so many bytes, also while they train: the next call of
/// downhill_trainer_advance() or downhill_trainer_next_event() then plans its run again. May be called from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_gpu_set_memory_limit(gpu: downhill_gpu, bytes: u64) -> downhill_status {
    guard(|| {
        find(gpu)?.set_memory_limit(bytes);
        Ok(())
    })
}

/// Writes the adapter's name into name, at most capacity bytes with the zero byte that ends it. Waits for nothing. May be
/// called from any thread.
///
/// # Safety
/// name points to capacity bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_gpu_name(
    gpu: downhill_gpu,
    name: *mut c_char,
    capacity: usize,
) -> downhill_status {
    guard(|| {
        let gpu = find(gpu)?;
        // SAFETY: as the caller says.
        let out = unsafe { array_mut(name.cast::<u8>(), capacity, "name") }?;
        let found = gpu.adapter_info().name.as_bytes();
        match out.split_at_mut_checked(found.len()) {
            Some((text, [end, ..])) => {
                text.copy_from_slice(found);
                *end = 0;
                Ok(())
            }
            _ => {
                let message =
                    format!("the name takes {} bytes, and there is room for {capacity}", found.len() + 1);
                Err(Failure::Engine(Error::shape("downhill_gpu_name", message)))
            }
        }
    })
}
