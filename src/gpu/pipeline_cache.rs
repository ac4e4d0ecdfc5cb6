//! Compiled pipelines that are kept in a file from one process to the next, where the backend can (Vulkan). Most desktop
//! drivers have a cache of their own; those that have none, on Android above all, compile everything at each start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{AdapterInfo, Device, Features, PipelineCache, PipelineCacheDescriptor};

use super::device::Gpu;
use super::fault::scoped;
use crate::atomic;

/// What a file begins with, before the CRC-32 of what follows: drivers look at the head of their data and trust the rest.
const MAGIC: &[u8] = b"downhill pipelines\n";

/// Bytes beyond which a file is not read, so that a new one takes its place: a cache only grows.
const LARGEST: u64 = 256 << 20;

/// A device's cache and the file that keeps it.
#[derive(Clone, Debug)]
pub(super) struct PipelineFile {
    pub(super) cache: PipelineCache,
    path: Arc<Path>,
    /// What the file holds, as far as it is known.
    kept: Arc<Mutex<Vec<u8>>>,
}

impl PipelineFile {
    /// The cache of `device` with what the file in `folder` holds of it; none where the backend has no such thing.
    pub(super) fn open(device: &Device, info: &AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(Features::PIPELINE_CACHE) {
            return None;
        }
        let path = path(info, folder)?;
        let kept = read(&path).unwrap_or_default();
        let cache = make(device, (!kept.is_empty()).then_some(&kept[..])).or_else(|| {
            log::info!("{} is not of this device; it is begun anew", path.display());
            make(device, None)
        })?;
        Some(Self { cache, path: path.into(), kept: Arc::new(Mutex::new(kept)) })
    }

    /// Writes the file where there is more to keep than it holds. A file that cannot be written costs time at the next
    /// start and nothing else, so that is only logged.
    fn write(&self) {
        let Some(data) = self.cache.get_data() else { return };
        // Set whole, after the file: a panic elsewhere cannot spoil it.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept == data {
            return;
        }
        let crc = crc32fast::hash(&data).to_le_bytes();
        let folder = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = folder.map_err(|error| error.to_string()).and_then(|()| {
            atomic::write(&self.path, &[MAGIC, &crc, &data].concat()).map_err(|error| error.to_string())
        });
        match written {
            Ok(()) => log::info!("compiled pipelines are kept in {}", self.path.display()),
            Err(error) => log::warn!("compiled pipelines are not kept in {}: {error}", self.path.display()),
        }
        // Not tried again before there is something new.
        *kept = data;
    }
}

/// The file of an adapter: pipelines of another one, or of other kernels, are of no use.
fn path(info: &AdapterInfo, folder: &Path) -> Option<PathBuf> {
    let key = wgpu::util::pipeline_cache_key(info)?;
    Some(folder.join(format!("{key}-{}.bin", env!("CARGO_PKG_VERSION"))))
}

/// What the file at `path` holds, where that is what was written.
fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = match fs::metadata(path).map(|metadata| metadata.len()) {
        Ok(bytes) if bytes <= LARGEST => fs::read(path).ok()?,
        Ok(_) => Vec::new(),
        // The first time there is none.
        Err(_) => return None,
    };
    let data = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk());
    match data {
        Some((crc, data)) if u32::from_le_bytes(*crc) == crc32fast::hash(data) => Some(data.to_vec()),
        _ => {
            log::info!("{} holds no compiled pipelines, or is damaged; it is begun anew", path.display());
            None
        }
    }
}

/// A cache that begins with `data`; none where that is refused.
fn make(device: &Device, data: Option<&[u8]>) -> Option<PipelineCache> {
    let descriptor = PipelineCacheDescriptor { label: Some("downhill"), data, fallback: true };
    // SAFETY: the data is what `PipelineCache::get_data` gave, by the checksum that was written with it. Whoever forges both
    // can write to the folder that the user chose, and so to the user's programs. wgpu's own head tells what is of another
    // adapter or driver.
    scoped(device, "opening the pipeline cache", || unsafe { device.create_pipeline_cache(&descriptor) })
        .inspect_err(|error| log::info!("{error}"))
        .ok()
}

impl Gpu {
    /// Keeps what was compiled so far in the file of [`GpuOptions::cache`](super::GpuOptions::cache), where
    /// that was given.
    pub(crate) fn keep_pipelines(&self) {
        if let Some(file) = &self.pipelines {
            file.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{BindingKind, KernelSource, Kernels};
    use crate::{GpuOptions, Result};

    const HEAD: usize = MAGIC.len() + size_of::<u32>();

    /// Opens a device that keeps its pipelines in `folder`, compiles a kernel and keeps it; the file's path.
    fn compile(folder: &Path) -> Result<PathBuf> {
        let gpu = Gpu::new(&GpuOptions { cache: Some(folder.to_owned()), ..GpuOptions::default() })?;
        let wgsl = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
            @compute @workgroup_size(1) fn main() { x[0] = 1.0; }";
        let bindings = [BindingKind::ReadWriteStorage];
        Kernels::new(&gpu).compile(&KernelSource { label: "one", wgsl, bindings: &bindings })?;
        gpu.keep_pipelines();
        gpu.check()?;
        Ok(path(gpu.adapter_info(), folder).unwrap_or_else(|| folder.join("no cache on this backend")))
    }

    /// Whether the adapter has pipeline caches; where it has none, no file must be made.
    fn has_caches() -> bool {
        Gpu::new(&GpuOptions::default()).unwrap().adapter_info().backend == wgpu::Backend::Vulkan
    }

    #[test]
    fn pipelines_are_kept_in_a_folder_that_is_made_and_stay_as_they_are_where_nothing_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a").join("b");
        let file = compile(&inner).unwrap();
        assert_eq!(file.exists(), has_caches());
        if has_caches() {
            let (before, then) = (fs::read(&file).unwrap(), file.metadata().unwrap().modified().unwrap());
            assert!(read(&file).is_some_and(|data| !data.is_empty()));
            compile(&inner).unwrap();
            assert!(fs::read(&file).unwrap() == before, "the same kernels, another file");
            assert_eq!(file.metadata().unwrap().modified().unwrap(), then, "written again for nothing");
            assert_eq!(fs::read_dir(&inner).unwrap().count(), 1, "nothing is left beside it");
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_ignored_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = compile(folder.path()).unwrap();
        if !has_caches() {
            return;
        }
        let good = fs::read(&file).unwrap();
        let sealed = |data: &[u8]| [MAGIC, &crc32fast::hash(data).to_le_bytes(), data].concat();
        let mut other_device = good[HEAD..].to_vec();
        // wgpu's head: 8 bytes of magic, 4 of version, 4 of ABI, the backend, 15 bytes of vendor and device.
        other_device[20] ^= 1;
        let mut damaged = good.clone();
        damaged[HEAD + 3] ^= 1;
        let rows = [
            ("empty", Vec::new()),
            ("foreign", b"\x7fELF and so on, longer than any head of ours".to_vec()),
            ("cut off", good[..good.len() - 1].to_vec()),
            ("cut off in the head", good[..MAGIC.len() + 2].to_vec()),
            ("damaged", damaged),
            ("whole, but no cache", sealed(b"nothing that wgpu knows")),
            ("whole, but of another device", sealed(&other_device)),
        ];
        for (label, bytes) in rows {
            fs::write(&file, bytes).unwrap();
            compile(folder.path()).unwrap();
            assert!(fs::read(&file).unwrap() == good, "{label}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_does_not_stop_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "no folder").unwrap();
        for unusable in [file.clone(), file.join("below")] {
            compile(&unusable).unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), b"no folder");
    }
}
