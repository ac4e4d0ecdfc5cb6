//! The host's memory, as far as the system tells, and what of it data may take.

use std::fs;

/// What this process may still take; none where the system does not tell (only Linux is asked).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HostMemory {
    /// Bytes that can be taken without swapping, or without being ended for it.
    pub free: Option<u64>,
    /// Bytes that can still be mapped, where the process is limited (`ulimit -v`).
    pub address_space: Option<u64>,
}

/// Addresses that the driver, its compiler and its threads will want: Mesa's llvmpipe takes most of a GiB.
const DRIVER: u64 = 1 << 30;

impl HostMemory {
    pub fn now() -> Self {
        HostMemory { free: least([available(), control_group_left()]), address_space: address_space_left() }
    }

    /// Whether rows of `bytes` are best held in memory: they take less than half of what there is, for lists
    /// that grow are copied, and the engine, the driver and other programs want their share.
    pub fn holds(self, bytes: u64) -> bool {
        least([self.free, self.beside_the_driver()]).is_none_or(|left| bytes < left / 2)
    }

    /// Whether a file of `bytes` can be mapped without taking the addresses that the driver will need.
    pub fn maps(self, bytes: u64) -> bool {
        self.beside_the_driver().is_none_or(|left| bytes < left / 2)
    }

    /// Data is opened before the driver is.
    fn beside_the_driver(self) -> Option<u64> {
        self.address_space.map(|left| left.saturating_sub(DRIVER))
    }
}

/// Bytes that can be taken without swapping; none where the system does not tell.
pub(crate) fn free_bytes() -> Option<u64> {
    let HostMemory { free, address_space } = HostMemory::now();
    least([free, address_space])
}

fn least<const COUNT: usize>(limits: [Option<u64>; COUNT]) -> Option<u64> {
    limits.into_iter().flatten().min()
}

fn available() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemAvailable:")
}

fn address_space_left() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let used = kibibytes("/proc/self/status", "VmSize:")?;
    Some(address_space_limit(&limits)?.saturating_sub(used))
}

/// The soft limit of the address space in `/proc/self/limits`; none where it says `unlimited`.
fn address_space_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the memory limit of the control group (version 2) leaves. Cached file pages that nobody has asked for
/// lately are counted as free, as the kernel drops them first.
fn control_group_left() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = std::path::Path::new("/sys/fs/cgroup").join(group);
    let number = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = statistics.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let cached = cached.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    let used = number("memory.current")?.saturating_sub(cached);
    Some(number("memory.max")?.saturating_sub(used))
}

/// The value behind `key` in a file of `key   value kB` lines, in bytes.
fn kibibytes(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_in_memory_below_half_of_the_lesser_limit() {
        // Free bytes, address space, rows, whether memory holds them, whether a file of that size is mapped.
        let table = [
            (None, None, u64::MAX, true, true),
            (Some(100), None, 49, true, true),
            (Some(100), None, 50, false, true),
            (Some(100), Some(DRIVER + 60), 30, false, false),
            (Some(100), Some(DRIVER + 60), 29, true, true),
            (Some(100), Some(DRIVER), 0, false, false),
            (Some(0), Some(0), 0, false, false),
        ];
        for (free, address_space, bytes, held, mapped) in table {
            let memory = HostMemory { free, address_space };
            assert_eq!((memory.holds(bytes), memory.maps(bytes)), (held, mapped), "{memory:?}, {bytes}");
        }
    }

    #[test]
    fn the_soft_limit_is_read() {
        let line = |soft| {
            format!("Limit   Soft Limit   Hard Limit   Units\nMax address space   {soft}   9   bytes\n")
        };
        assert_eq!(address_space_limit(&line("4096")), Some(4096));
        assert_eq!(address_space_limit(&line("unlimited")), None);
    }
}
