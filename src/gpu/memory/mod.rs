//! How much memory an adapter has and how much of it a run may take.
//!
//! wgpu tells neither, so each backend is asked through the handles that wgpu lends: a file a backend, each with
//! a function `heaps`. Where a backend does not tell, there is an assumption, and [`Budget::source`] says so.

#[cfg(windows)]
mod dxgi;
mod limit;
#[cfg(target_vendor = "apple")]
mod metal;
#[cfg(any(windows, target_os = "linux", target_os = "android"))]
mod vulkan;

use serde::Serialize;
use wgpu::{Backend, DeviceType};

use super::profile::AdapterClass;
use crate::{Result, host};

pub use limit::MemoryLimit;

const MIB: u64 = 1 << 20;

/// Part of the free memory that is left alone: other programs' windows grow while a run lasts, and the
/// driver needs room for its own pipelines, descriptors and command buffers.
const MARGIN_PERCENT: u64 = 5;
/// What the margin is at least, since a driver's own needs do not shrink with the card.
const MARGIN_BYTES: u64 = 64 * MIB;

/// Taken as free where the backend does not tell: less than any adapter that downhill meets there has
/// (Macs share at least 8 GiB with their GPU, DirectX 12 cards that reach wgpu's limits start at 2 GiB).
const ASSUMED_FREE: u64 = 2048 * MIB;

/// One memory heap of an adapter, in bytes.
///
/// ```
/// use downhill::adapters;
///
/// for heap in adapters().iter().flat_map(|adapter| &adapter.heaps) {
///     println!("{} bytes, {:?} of them used by this process", heap.bytes, heap.used);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryHeap {
    /// Size of the heap.
    pub bytes: u64,
    /// Whether it is the device's own memory (on integrated and software adapters all of it is shared).
    pub device_local: bool,
    /// What this process may have of it in all, where the driver tells.
    pub budget: Option<u64>,
    /// What this process has of it already, where the driver tells.
    pub used: Option<u64>,
}

impl MemoryHeap {
    fn free(&self) -> u64 {
        match (self.budget, self.used) {
            (Some(budget), Some(used)) => budget.saturating_sub(used),
            _ => self.bytes,
        }
    }
}

/// The bytes of device memory that a run may take, and where that number comes from.
///
/// ```
/// use downhill::{Budget, Survey};
///
/// let Budget { bytes, source, .. } = Survey::without_adapter(4 << 30).budget;
/// assert_eq!((bytes, source.as_str()), (4 << 30, "the memory limit asked for"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// Bytes that may be allocated.
    pub bytes: u64,
    /// The adapter's own memory in all, where the backend tells.
    pub total: Option<u64>,
    /// Where `bytes` comes from, for people.
    pub source: String,
}

impl Budget {
    /// The budget of `adapter`: what is free now, less a margin, or the limit that the user gave.
    pub(crate) fn of(adapter: &wgpu::Adapter, limit: Option<MemoryLimit>) -> Result<Self> {
        let free = AdapterMemory::of(adapter).budget();
        match limit {
            None => Ok(free),
            Some(limit) => Ok(Self {
                bytes: limit.resolve(free.total)?,
                source: format!("the memory limit asked for ({limit})"),
                ..free
            }),
        }
    }

    /// This budget under a limit of `bytes`, if there is one and it is the smaller.
    pub(crate) fn within(self, limit: Option<u64>) -> Self {
        match limit {
            Some(bytes) if bytes < self.bytes => {
                Self { bytes, source: "the memory limit set since the device was opened".to_owned(), ..self }
            }
            _ => self,
        }
    }
}

/// What is told of an adapter's memory at one moment.
#[derive(Clone, Debug)]
pub(crate) struct AdapterMemory {
    /// Its heaps; empty where the backend does not tell.
    pub(crate) heaps: Vec<MemoryHeap>,
    backend: Backend,
    /// Free bytes of the host, where the adapter computes in the host's memory and the system tells.
    host_free: Option<u64>,
}

impl AdapterMemory {
    /// The memory of `adapter` now.
    pub(crate) fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        Self {
            heaps: heaps(adapter, info.backend),
            backend: info.backend,
            host_free: host_free(info.device_type),
        }
    }

    /// What is free, less a margin. Of several device-local heaps the largest counts: buffers are placed in
    /// one of them, and the others are windows onto it or scraps.
    pub(crate) fn budget(&self) -> Budget {
        let heap = self.heaps.iter().filter(|heap| heap.device_local).max_by_key(|heap| heap.bytes);
        let told = match heap {
            Some(heap) if heap.budget.is_some() => (heap.free(), "free of the driver's budget".to_owned()),
            Some(heap) => (heap.free(), "the size of the heap (the driver tells no budget)".to_owned()),
            None => (ASSUMED_FREE, format!("assumed, as {} does not tell; set a memory limit", self.backend)),
        };
        let (free, origin) = match self.host_free {
            Some(free) if free < told.0 => {
                (free, "free of the host's memory, in which this adapter computes".to_owned())
            }
            _ => told,
        };
        let margin = (free / 100 * MARGIN_PERCENT).max(MARGIN_BYTES);
        Budget {
            bytes: free.saturating_sub(margin),
            total: heap.map(|heap| heap.bytes),
            source: format!("{origin}, less a margin of {}", format_bytes(margin)),
        }
    }

    /// What this process has of the device-local heaps, where the driver tells.
    pub(crate) fn used(&self) -> Option<u64> {
        let used = self.heaps.iter().filter(|heap| heap.device_local).map(|heap| heap.used);
        used.reduce(|sum, used| Some(sum? + used?)).flatten()
    }
}

/// Free bytes of the host, where an adapter of this type computes in the host's memory and the system tells.
pub(crate) fn host_free(device_type: DeviceType) -> Option<u64> {
    match AdapterClass::of(device_type) {
        AdapterClass::Integrated | AdapterClass::Software => host::free_bytes(),
        AdapterClass::Discrete | AdapterClass::Other => None,
    }
}

/// The memory heaps of `adapter`; empty where the backend does not tell.
fn heaps(adapter: &wgpu::Adapter, backend: Backend) -> Vec<MemoryHeap> {
    match backend {
        #[cfg(any(windows, target_os = "linux", target_os = "android"))]
        Backend::Vulkan => vulkan::heaps(adapter),
        #[cfg(windows)]
        Backend::Dx12 => dxgi::heaps(adapter),
        #[cfg(target_vendor = "apple")]
        Backend::Metal => metal::heaps(adapter),
        _ => Vec::new(),
    }
}

/// A byte count for people: `1.50 GiB`, `57 B`.
pub(crate) fn format_bytes(bytes: u64) -> String {
    const NAMES: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut name = 0;
    while value >= 1024.0 && name + 1 < NAMES.len() {
        value /= 1024.0;
        name += 1;
    }
    format!("{value:.2} {}", NAMES[name])
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A heap of which 2 GiB are used already, where the driver tells its `budget`.
    fn heap(bytes: u64, device_local: bool, budget: Option<u64>) -> MemoryHeap {
        MemoryHeap { bytes, device_local, budget, used: budget.map(|_| 2 * GIB) }
    }

    #[test]
    fn the_budget_is_what_is_free_less_a_margin() {
        let card = 24 * GIB;
        let (size, driver) = ("the size of the heap", "free of the driver's budget");
        let (host, assumed) = ("free of the host's memory", "assumed, as metal does not tell");
        let window = vec![heap(64 * GIB, false, None), heap(GIB / 4, true, None), heap(card, true, None)];
        let rows = [
            ("heap size only", vec![heap(card, true, None)], None, card / 100 * 95, size),
            ("budget", vec![heap(card, true, Some(22 * GIB))], None, 20 * GIB / 100 * 95, driver),
            ("over its budget", vec![heap(card, true, Some(GIB))], None, 0, driver),
            ("host heap and window ignored", window, None, card / 100 * 95, size),
            ("a small heap", vec![heap(GIB, true, None)], None, GIB - MARGIN_BYTES, size),
            ("unknown", vec![], None, ASSUMED_FREE / 100 * 95, assumed),
            ("shared, host full", vec![heap(card, true, None)], Some(4 * GIB), 4 * GIB / 100 * 95, host),
            ("shared, host fuller", vec![heap(card, true, None)], Some(MIB), 0, host),
            ("shared, host empty", vec![heap(2 * GIB, true, None)], Some(9 * GIB), 2 * GIB / 100 * 95, size),
            (
                "shared, budget",
                vec![heap(card, true, Some(6 * GIB))],
                Some(9 * GIB),
                4 * GIB / 100 * 95,
                driver,
            ),
            ("shared, unknown", vec![], Some(GIB), GIB - MARGIN_BYTES, host),
        ];
        for (name, heaps, host_free, bytes, source) in rows {
            let total = heaps.last().map(|heap| heap.bytes);
            let budget = AdapterMemory { heaps, backend: Backend::Metal, host_free }.budget();
            // Percents are taken of whole hundreds: up to 100 bytes of rounding.
            assert!(budget.bytes.abs_diff(bytes) <= 100, "{name}: {budget:?}");
            assert_eq!(budget.total, total, "{name}");
            assert!(budget.source.starts_with(source), "{name}: {budget:?}");
        }
    }

    #[test]
    fn only_what_computes_in_the_hosts_memory_is_held_to_it() {
        let rows = [
            (DeviceType::DiscreteGpu, false),
            (DeviceType::IntegratedGpu, true),
            (DeviceType::Cpu, true),
            (DeviceType::VirtualGpu, false),
            (DeviceType::Other, false),
        ];
        for (device_type, shares) in rows {
            let told = shares && host::free_bytes().is_some();
            assert_eq!(host_free(device_type).is_some(), told, "{device_type:?}");
        }
    }

    #[test]
    fn the_drivers_counter_sums_the_devices_own_heaps() {
        let rows = [
            ("two heaps", vec![heap(GIB, true, Some(GIB)), heap(GIB, true, Some(GIB))], Some(4 * GIB)),
            ("host's", vec![heap(GIB, true, Some(GIB)), heap(GIB, false, Some(GIB))], Some(2 * GIB)),
            ("not told", vec![heap(GIB, true, None)], None),
            ("no heaps", vec![], None),
        ];
        for (name, heaps, used) in rows {
            let memory = AdapterMemory { heaps, backend: Backend::Vulkan, host_free: None };
            assert_eq!(memory.used(), used, "{name}");
        }
    }

    #[test]
    fn a_limit_set_later_only_lowers_the_budget() {
        let opened = Budget { bytes: 100, total: Some(200), source: "opened".to_owned() };
        let later = "the memory limit set since the device was opened";
        for (limit, bytes, source) in [(None, 100, "opened"), (Some(150), 100, "opened"), (Some(7), 7, later)]
        {
            let expected = Budget { bytes, total: Some(200), source: source.to_owned() };
            assert_eq!(opened.clone().within(limit), expected, "{limit:?}");
        }
    }

    #[test]
    fn bytes_are_written_for_people() {
        let rows = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (3 << 29, "1.50 GiB"),
            (u64::MAX, "16777216.00 TiB"),
        ];
        for (bytes, text) in rows {
            assert_eq!(format_bytes(bytes), text);
        }
    }
}
