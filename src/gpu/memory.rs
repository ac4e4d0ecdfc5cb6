//! How much memory an adapter has and how much of it a run may take.
//!
//! wgpu tells neither. Vulkan's heaps and `VK_EXT_memory_budget` are asked through the handles that
//! wgpu lends; on other backends there is an assumption, and [`Budget::source`] says so.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{Error, Result};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let free = Self::free(&heaps(adapter), adapter.get_info().backend);
        match limit {
            None => Ok(free),
            Some(limit) => Ok(Self {
                bytes: limit.resolve(free.total)?,
                source: format!("the memory limit asked for ({limit})"),
                ..free
            }),
        }
    }

    /// What is free in `heaps`, less a margin. Of several device-local heaps the largest counts: buffers
    /// are placed in one of them, and the others are windows onto it or scraps.
    pub(crate) fn free(heaps: &[MemoryHeap], backend: wgpu::Backend) -> Self {
        let heap = heaps.iter().filter(|heap| heap.device_local).max_by_key(|heap| heap.bytes);
        let (free, origin) = match heap {
            Some(heap) if heap.budget.is_some() => (heap.free(), "free of the driver's budget".to_owned()),
            Some(heap) => (heap.free(), "the size of the heap (the driver tells no budget)".to_owned()),
            None => (ASSUMED_FREE, format!("assumed, as {backend} does not tell; set a memory limit")),
        };
        let margin = (free / 100 * MARGIN_PERCENT).max(MARGIN_BYTES);
        Self {
            bytes: free.saturating_sub(margin),
            total: heap.map(|heap| heap.bytes),
            source: format!("{origin}, less a margin of {}", format_bytes(margin)),
        }
    }
}

/// A limit on device memory as a user writes it: `2GiB`, `500MB`, `1073741824` or `75%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MemoryLimit {
    /// That many bytes.
    Bytes(u64),
    /// That part of the adapter's own memory, above 0 and at most 1.
    Fraction(f64),
}

/// Units of [`MemoryLimit`], longest name first, so that `B` does not match the end of `GiB`.
const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

impl MemoryLimit {
    /// The limit in bytes on an adapter with `total` bytes of its own.
    ///
    /// Errors: a percentage where the total is not known.
    pub fn resolve(self, total: Option<u64>) -> Result<u64> {
        match (self, total) {
            (Self::Bytes(bytes), _) => Ok(bytes),
            (Self::Fraction(fraction), Some(total)) => Ok((total as f64 * fraction) as u64),
            (Self::Fraction(_), None) => Err(limit_error(
                "this adapter does not tell how much memory it has; give bytes, such as 2GiB".to_owned(),
            )),
        }
    }
}

impl FromStr for MemoryLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let number = |digits: &str| {
            let value: f64 = digits.trim_end().parse().ok()?;
            (digits.starts_with(|first: char| first.is_ascii_digit()) && value.is_finite()).then_some(value)
        };
        let malformed = || limit_error(format!("`{text}` is no size; write 2GiB, 500MB, 75% or plain bytes"));
        if let Some(digits) = lower.strip_suffix('%') {
            let percent = number(digits).ok_or_else(malformed)?;
            return if percent > 0.0 && percent <= 100.0 {
                Ok(Self::Fraction(percent / 100.0))
            } else {
                Err(limit_error(format!("`{text}` is not above 0% and at most 100%")))
            };
        }
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| lower.strip_suffix(name).map(|digits| (digits, *unit)))
            .unwrap_or((&lower, 1));
        // Whole byte counts are read as integers: f64 would round above 2^53.
        let bytes = match digits.trim_end().parse::<u64>() {
            Ok(count) => count.checked_mul(unit),
            Err(_) => Some(number(digits).ok_or_else(malformed)? * unit as f64)
                .filter(|bytes| *bytes < u64::MAX as f64)
                .map(|bytes| bytes as u64),
        };
        match bytes {
            None => Err(limit_error(format!("`{text}` is more than any adapter can have"))),
            Some(0) => Err(limit_error(format!("`{text}` leaves no memory at all"))),
            Some(bytes) => Ok(Self::Bytes(bytes)),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&format_bytes(*bytes)),
            Self::Fraction(fraction) => write!(f, "{}%", fraction * 100.0),
        }
    }
}

fn limit_error(message: String) -> Error {
    Error::setting("memory limit", message)
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

/// The memory heaps of `adapter`; empty where the backend does not tell.
#[cfg(any(windows, target_os = "linux", target_os = "android"))]
pub(crate) fn heaps(adapter: &wgpu::Adapter) -> Vec<MemoryHeap> {
    use ash::{ext, vk};

    // SAFETY: the handles lent here are only asked; nothing is created or destroyed through them.
    let Some(adapter) = (unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }) else {
        return Vec::new();
    };
    let instance = adapter.shared_instance();
    let capabilities = adapter.physical_device_capabilities();
    let physical_device = adapter.raw_physical_device();

    // `vkGetPhysicalDeviceMemoryProperties2` came with Vulkan 1.1, and ash panics on a function that the
    // instance did not load.
    let has_properties2 = instance.instance_api_version() >= vk::API_VERSION_1_1
        && capabilities.properties().api_version >= vk::API_VERSION_1_1;
    let tells_budget = has_properties2 && capabilities.supports_extension(ext::memory_budget::NAME);

    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let memory = if tells_budget {
        let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
        // SAFETY: the instance and the physical device are alive while `adapter` is, the function is
        // loaded (above), and the chained structure is one that the extension, supported, defines.
        unsafe {
            instance.raw_instance().get_physical_device_memory_properties2(physical_device, &mut properties);
        }
        properties.memory_properties
    } else {
        // SAFETY: the instance and the physical device are alive while `adapter` is.
        unsafe { instance.raw_instance().get_physical_device_memory_properties(physical_device) }
    };
    memory
        .memory_heaps_as_slice()
        .iter()
        .enumerate()
        .map(|(index, heap)| MemoryHeap {
            bytes: heap.size,
            device_local: heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL),
            budget: tells_budget.then_some(budget.heap_budget[index]),
            used: tells_budget.then_some(budget.heap_usage[index]),
        })
        .collect()
}

/// The memory heaps of `adapter`: none here, as no backend of this platform tells wgpu.
#[cfg(not(any(windows, target_os = "linux", target_os = "android")))]
pub(crate) fn heaps(_adapter: &wgpu::Adapter) -> Vec<MemoryHeap> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_limit_is_read_as_it_is_written() {
        let rows = [
            ("2GiB", Ok(2 << 30)),
            ("2 gib", Ok(2 << 30)),
            ("1.5MiB", Ok(3 << 19)),
            ("500MB", Ok(500_000_000)),
            ("0.5kb", Ok(500)),
            ("64B", Ok(64)),
            (" 9007199254740993 ", Ok((1 << 53) + 1)),
            ("75%", Ok(750)),
            ("100 %", Ok(1000)),
            ("0.1%", Ok(1)),
            ("", Err("is no size")),
            ("GiB", Err("is no size")),
            ("2 G", Err("is no size")),
            ("lots", Err("is no size")),
            ("nan", Err("is no size")),
            ("infGB", Err("is no size")),
            ("-1GiB", Err("is no size")),
            ("1e400", Err("is no size")),
            ("0", Err("leaves no memory")),
            ("0.1B", Err("leaves no memory")),
            ("0%", Err("is not above 0%")),
            ("101%", Err("is not above 0%")),
            ("99999999TiB", Err("more than any adapter")),
            ("99999999.5TiB", Err("more than any adapter")),
        ];
        for (text, expected) in rows {
            let resolved = text.parse::<MemoryLimit>().and_then(|limit| limit.resolve(Some(1000)));
            match (resolved, expected) {
                (Ok(bytes), Ok(expected)) => assert_eq!(bytes, expected, "`{text}`"),
                (Err(error), Err(part)) => {
                    let message = error.to_string();
                    assert!(message.starts_with("memory limit: ") && message.contains(part), "{message}");
                }
                (resolved, _) => panic!("`{text}` gave {resolved:?}"),
            }
        }
        let error = MemoryLimit::Fraction(0.5).resolve(None).unwrap_err();
        assert!(error.to_string().contains("give bytes"), "{error}");
    }

    #[test]
    fn the_budget_is_what_is_free_less_a_margin() {
        const GIB: u64 = 1 << 30;
        let heap = |bytes, device_local, free| MemoryHeap {
            bytes,
            device_local,
            budget: free,
            used: free.map(|_| 2 * GIB),
        };
        let card = 24 * GIB;
        let rows = [
            ("heap size only", vec![heap(card, true, None)], card / 100 * 95, Some(card)),
            ("the driver's budget", vec![heap(card, true, Some(22 * GIB))], 20 * GIB / 100 * 95, Some(card)),
            ("over its budget", vec![heap(card, true, Some(GIB))], 0, Some(card)),
            (
                "host heap and window ignored",
                { vec![heap(64 * GIB, false, None), heap(GIB / 4, true, None), heap(card, true, None)] },
                card / 100 * 95,
                Some(card),
            ),
            ("a small heap", vec![heap(GIB, true, None)], GIB - MARGIN_BYTES, Some(GIB)),
            ("unknown", vec![], ASSUMED_FREE / 100 * 95, None),
        ];
        for (name, heaps, bytes, total) in rows {
            let budget = Budget::free(&heaps, wgpu::Backend::Metal);
            // Percents are taken of whole hundreds: up to 100 bytes of rounding.
            assert!(budget.bytes.abs_diff(bytes) <= 100, "{name}: {budget:?}");
            assert_eq!(budget.total, total, "{name}");
            assert_eq!(budget.source.contains("assumed, as metal"), total.is_none(), "{name}: {budget:?}");
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
