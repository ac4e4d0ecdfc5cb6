//! The element types of arrays in files, each read as the number that it is.

/// What the elements of an array are, and in which order their bytes stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Element {
    kind: Kind,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

/// NumPy's codes of the types that are read, with their sizes.
const CODES: [(&str, Kind, usize); 12] = [
    ("b1", Kind::Bool, 1),
    ("i1", Kind::I8, 1),
    ("i2", Kind::I16, 2),
    ("i4", Kind::I32, 4),
    ("i8", Kind::I64, 8),
    ("u1", Kind::U8, 1),
    ("u2", Kind::U16, 2),
    ("u4", Kind::U32, 4),
    ("u8", Kind::U64, 8),
    ("f2", Kind::F16, 2),
    ("f4", Kind::F32, 4),
    ("f8", Kind::F64, 8),
];

impl Element {
    pub const U8: Element = Element { kind: Kind::U8, big_endian: false };
    #[cfg(feature = "parquet")]
    pub const F32: Element = Element { kind: Kind::F32, big_endian: false };

    /// The type of a NumPy description such as `<f4`, if it is one of numbers.
    pub fn parse(description: &str) -> Option<Self> {
        let (order, code) = description.split_at_checked(1)?;
        let (_, kind, bytes) = CODES.iter().find(|(known, ..)| *known == code)?;
        let big_endian = match order {
            "<" => false,
            ">" => true,
            "=" => cfg!(target_endian = "big"),
            // Written of types that have no byte order.
            "|" if *bytes == 1 => false,
            _ => return None,
        };
        Some(Element { kind: *kind, big_endian: big_endian && *bytes > 1 })
    }

    /// Bytes that one element takes.
    pub fn bytes(self) -> usize {
        CODES.iter().find(|(_, kind, _)| *kind == self.kind).map_or(1, |(_, _, bytes)| *bytes)
    }

    /// Whether there are values that are not finite as 32-bit numbers.
    pub fn may_be_infinite(self) -> bool {
        matches!(self.kind, Kind::F16 | Kind::F32 | Kind::F64)
    }

    /// Whether the bytes are what the GPU takes as 32-bit floats.
    pub fn is_packed_f32(self) -> bool {
        self.kind == Kind::F32 && !self.big_endian
    }

    /// The numbers of `bytes`, in order.
    pub fn values(self, bytes: &[u8]) -> impl Iterator<Item = f64> {
        bytes.chunks_exact(self.bytes()).map(move |element| self.value(element))
    }

    /// The number of one element's bytes.
    pub fn value(self, bytes: &[u8]) -> f64 {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        if self.big_endian {
            word[..bytes.len()].reverse();
        }
        let bits = u64::from_le_bytes(word);
        match self.kind {
            Kind::Bool => f64::from(bits != 0),
            Kind::I8 => f64::from(bits as i8),
            Kind::I16 => f64::from(bits as i16),
            Kind::I32 => f64::from(bits as i32),
            Kind::I64 => bits as i64 as f64,
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => bits as f64,
            Kind::F16 => half(bits as u16),
            Kind::F32 => f64::from(f32::from_bits(bits as u32)),
            Kind::F64 => f64::from_bits(bits),
        }
    }
}

/// IEEE 754 binary16: a sign, five bits of exponent with bias 15, ten bits of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3ff);
    match i32::from(bits >> 10 & 0x1f) {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        exponent => sign * (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_those_of_the_standard() {
        let table = [
            (0x0000, 0.0),
            (0x0001, 5.960464477539063e-8),
            (0x03ff, 6.097555160522461e-5),
            (0x0400, 6.103515625e-5),
            (0x3555, 0.333251953125),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f64::NEG_INFINITY),
        ];
        for (bits, value) in table {
            assert_eq!(half(bits), value, "{bits:04x}");
        }
        assert!(half(0x7e00).is_nan());
    }
}
