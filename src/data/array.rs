//! Rows of an array that lies in a [`Store`], of any element type and order, read one by one.

use super::element::Element;
use super::schema::Encoding;
use super::store::Store;
use crate::{Error, Result};

/// An array whose first dimension counts the rows.
pub(super) struct RowArray {
    pub store: Store,
    /// The byte at which the elements begin.
    pub start: u64,
    pub element: Element,
    /// Rows first; at least one dimension.
    pub shape: Vec<usize>,
    /// Whether the first dimension runs fastest (Fortran's order), not the last (C's).
    pub first_fastest: bool,
}

/// Elements that are looked at at once when all are.
const CHUNK: usize = 1 << 14;

impl RowArray {
    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Elements a row.
    pub fn width(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The encoding of the elements as they are: bytes as bytes between 0 and 1, all else as floats.
    pub fn encoding(&self) -> Encoding {
        if self.element == Element::U8 { Encoding::U8 { scale: 1.0 / 255.0 } } else { Encoding::F32 }
    }

    /// The bytes of a row's elements, in C's order.
    pub fn read_row(&self, row: usize, out: &mut [u8]) -> Result<()> {
        if !self.first_fastest {
            return self.store.read(self.offset(row, 0), out);
        }
        let mut elements = out.chunks_exact_mut(self.element.bytes()).enumerate();
        elements.try_for_each(|(column, out)| self.store.read(self.offset(row, column), out))
    }

    /// One element of a row, counted in C's order.
    pub fn value(&self, row: usize, column: usize) -> Result<f64> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..self.element.bytes()];
        self.store.read(self.offset(row, column), bytes)?;
        Ok(self.element.value(bytes))
    }

    fn offset(&self, row: usize, column: usize) -> u64 {
        let at = if self.first_fastest {
            row + self.stored_column(column) * self.rows()
        } else {
            row * self.width() + column
        };
        self.start + at as u64 * self.element.bytes() as u64
    }

    /// Where an element of a row, counted in C's order, stands in Fortran's order of the dimensions past the
    /// first.
    fn stored_column(&self, mut column: usize) -> usize {
        let dimensions = &self.shape[1..];
        let mut stride: usize = dimensions.iter().product();
        let mut stored = 0;
        for dimension in dimensions.iter().rev() {
            stride /= dimension;
            stored += column % dimension * stride;
            column /= dimension;
        }
        stored
    }

    /// The element of a row in C's order of which Fortran's order is `stored`: [`stored_column`] backwards.
    fn column_stored_at(&self, mut stored: usize) -> usize {
        let dimensions = &self.shape[1..];
        let mut stride: usize = dimensions.iter().product();
        let mut column = 0;
        for dimension in dimensions {
            stride /= dimension;
            column += stored % dimension * stride;
            stored /= dimension;
        }
        column
    }

    /// Refuses elements that are not finite as 32-bit numbers, but in the column `but`. All are read once, in
    /// the order in which they lie there.
    pub fn check_finite(&self, but: Option<usize>) -> Result<()> {
        if !self.element.may_be_infinite() {
            return Ok(());
        }
        let (count, size) = (self.rows() * self.width(), self.element.bytes());
        let mut bytes = vec![0; CHUNK * size];
        for first in (0..count).step_by(CHUNK) {
            let bytes = &mut bytes[..CHUNK.min(count - first) * size];
            self.store.read(self.start + (first * size) as u64, bytes)?;
            for (at, value) in self.element.values(bytes).enumerate() {
                if (value as f32).is_finite() {
                    continue;
                }
                let (row, column) = self.place_of(first + at);
                if but != Some(column) {
                    let message = format!("{value} is not a finite 32-bit number");
                    let place = format!("row {row}, column {column}");
                    return Err(Error::data(self.store.path(), place, message));
                }
            }
        }
        Ok(())
    }

    /// Row and column, both from 0, of the element that is stored as the `at`th.
    fn place_of(&self, at: usize) -> (usize, usize) {
        if self.first_fastest {
            (at % self.rows(), self.column_stored_at(at / self.rows()))
        } else {
            (at / self.width(), at % self.width())
        }
    }
}

/// The features of an array's rows: all elements, or all but the target's column.
pub(super) struct ArrayFeatures {
    pub array: RowArray,
    pub but: Option<usize>,
    pub encoding: Encoding,
}

impl ArrayFeatures {
    /// Features a row.
    pub fn width(&self) -> usize {
        self.array.width() - usize::from(self.but.is_some())
    }

    /// Copies rows as the GPU takes them; `out` has their bytes exactly.
    pub fn copy_rows(&self, rows: &[usize], out: &mut [u8]) -> Result<()> {
        let element = self.array.element;
        let stored_as_taken = match self.encoding {
            Encoding::U8 { .. } => true,
            Encoding::F32 => element.is_packed_f32() && self.but.is_none(),
        };
        let out = out.chunks_exact_mut(self.width() * self.encoding.bytes());
        if stored_as_taken {
            return rows.iter().zip(out).try_for_each(|(row, out)| self.array.read_row(*row, out));
        }
        let mut bytes = vec![0; self.array.width() * element.bytes()];
        for (row, out) in rows.iter().zip(out) {
            self.array.read_row(*row, &mut bytes)?;
            let values = element.values(&bytes).enumerate().filter(|(column, _)| Some(*column) != self.but);
            for (out, (_, value)) in out.chunks_exact_mut(size_of::<f32>()).zip(values) {
                out.copy_from_slice(&(value as f32).to_le_bytes());
            }
        }
        Ok(())
    }
}
