//! The host's memory, as far as the system tells.

use std::fs;

/// Bytes that can be taken without swapping; none where the system does not tell (only Linux is asked).
pub(crate) fn free_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
