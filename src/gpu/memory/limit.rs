//! A limit on device memory as users write it.

use std::fmt;
use std::str::FromStr;

use super::format_bytes;
use crate::{Error, Result};

/// A limit on device memory as a user writes it: `2GiB`, `500MB`, `1073741824` or `75%`.
///
/// ```
/// use downhill::MemoryLimit;
///
/// assert_eq!("2GiB".parse::<MemoryLimit>()?, MemoryLimit::Bytes(2 << 30));
/// assert_eq!("75%".parse::<MemoryLimit>()?.resolve(Some(1000))?, 750);
/// # Ok::<(), downhill::Error>(())
/// ```
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
}
