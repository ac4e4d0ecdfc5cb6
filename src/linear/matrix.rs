//! Sparse matrices in compressed rows, on the host and in f64.

use crate::{Error, Result};

/// The most rows and columns that are handled: indices are 32 bits wide on the device, and a matrix whose rows alone take
/// gigabytes is more likely a damaged file.
const LARGEST: usize = 1 << 26;

/// Row and column, counted from 0, and value.
///
/// ```
/// use downhill::linear::{Entry, SparseMatrix};
///
/// let corner: Entry = (0, 1, 2.5);
/// let matrix = SparseMatrix::from_entries(2, 2, vec![(1, 1, 4.0), corner])?;
/// assert_eq!(matrix.entries().next(), Some(corner));
/// # Ok::<(), downhill::Error>(())
/// ```
pub type Entry = (usize, usize, f64);

/// A matrix in compressed rows: the entries of each row by ascending column, no place twice.
///
/// ```
/// use downhill::linear::SparseMatrix;
///
/// let matrix = SparseMatrix::from_dense(2, 3, &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0])?;
/// assert_eq!(matrix.stored(), 3);
/// assert_eq!(matrix.product(&[1.0, 1.0, 1.0]), [3.0, 3.0]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SparseMatrix {
    rows: usize,
    columns: usize,
    /// Where each row begins, and behind the last where it ends.
    pub(super) starts: Vec<u32>,
    pub(super) indices: Vec<u32>,
    pub(super) values: Vec<f64>,
}

impl SparseMatrix {
    /// A matrix of these entries (row, column, value), counted from 0. Entries at one place are added up.
    ///
    /// # Errors
    /// [`Error::Shape`] for a matrix without rows or columns or with too many, and for entries beside it or not finite.
    pub fn from_entries(rows: usize, columns: usize, mut entries: Vec<Entry>) -> Result<Self> {
        check_size(rows, columns, entries.len())?;
        let wrong = entries.iter().find(|(i, j, value)| *i >= rows || *j >= columns || !value.is_finite());
        if let Some((i, j, value)) = wrong {
            let message = format!(
                "the entry {value} at row {}, column {} is beside the {rows} × {columns} or not finite",
                i + 1,
                j + 1
            );
            return Err(Error::shape("matrix", message));
        }
        entries.sort_by_key(|(row, column, _)| (*row, *column));
        let mut matrix = SparseMatrix {
            rows,
            columns,
            starts: vec![0; rows + 1],
            indices: Vec::with_capacity(entries.len()),
            values: Vec::with_capacity(entries.len()),
        };
        let mut last = None;
        for (i, j, value) in entries {
            match (last == Some((i, j)), matrix.values.last_mut()) {
                (true, Some(sum)) => *sum += value,
                _ => {
                    matrix.indices.push(j as u32);
                    matrix.values.push(value);
                    matrix.starts[i + 1] += 1;
                }
            }
            last = Some((i, j));
        }
        (0..rows).for_each(|row| matrix.starts[row + 1] += matrix.starts[row]);
        Ok(matrix)
    }

    /// A matrix of `values` row by row; zeros are not stored.
    ///
    /// # Errors
    /// As [`from_entries`](SparseMatrix::from_entries), and where there are not `rows` × `columns` values.
    pub fn from_dense(rows: usize, columns: usize, values: &[f64]) -> Result<Self> {
        if rows.checked_mul(columns) != Some(values.len()) {
            let message = format!("{} values are given for {rows} × {columns}", values.len());
            return Err(Error::shape("matrix", message));
        }
        let stored = values.iter().enumerate().filter(|(_, value)| **value != 0.0);
        let entries = stored.map(|(place, &value)| (place / columns, place % columns, value));
        Self::from_entries(rows, columns, entries.collect())
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Entries that are stored.
    pub fn stored(&self) -> usize {
        self.values.len()
    }

    /// The entries of a row as (column, value), by ascending column.
    pub fn row(&self, row: usize) -> impl DoubleEndedIterator<Item = (usize, f64)> + '_ {
        let range = self.starts[row] as usize..self.starts[row + 1] as usize;
        self.indices[range.clone()]
            .iter()
            .map(|&column| column as usize)
            .zip(self.values[range].iter().copied())
    }

    /// The entries as (row, column, value).
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        (0..self.rows).flat_map(|row| self.row(row).map(move |(column, value)| (row, column, value)))
    }

    /// A · x.
    pub fn product(&self, x: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|row| self.row(row).map(|(column, value)| value * x[column]).sum()).collect()
    }

    /// |A| · |x|.
    pub(super) fn product_of_sizes(&self, x: &[f64]) -> Vec<f64> {
        let of_row = |row| self.row(row).map(|(column, value)| (value * x[column]).abs()).sum();
        (0..self.rows).map(of_row).collect()
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(&self) -> Self {
        let mut starts = vec![0; self.columns + 1];
        self.indices.iter().for_each(|&column| starts[column as usize + 1] += 1);
        (0..self.columns).for_each(|column| starts[column + 1] += starts[column]);
        let mut next = starts.clone();
        let (mut indices, mut values) = (vec![0; self.stored()], vec![0.0; self.stored()]);
        for (row, column, value) in self.entries() {
            let place = next[column] as usize;
            next[column] += 1;
            indices[place] = row as u32;
            values[place] = value;
        }
        SparseMatrix { rows: self.columns, columns: self.rows, starts, indices, values }
    }

    /// The diagonal, 0 where nothing is stored.
    pub fn diagonal(&self) -> Vec<f64> {
        let of_row = |row| self.row(row).find(|(column, _)| *column == row).map_or(0.0, |(_, value)| value);
        (0..self.rows.min(self.columns)).map(of_row).collect()
    }

    /// The place above or below the diagonal, with its value and that of its mirror, where the two differ most, if that is more
    /// than rounding of numbers of their size, or of √(aᵢᵢ·aⱼⱼ), which bounds them in a positive definite matrix in whatever
    /// units its rows are.
    pub fn asymmetry(&self) -> Option<(usize, usize, f64, f64)> {
        const ROUNDING: f64 = 1e-12;
        let mirror = self.transposed();
        let root: Vec<f64> = self.diagonal().iter().map(|d| d.abs().sqrt()).collect();
        let of_row = |row: usize| {
            let own = self.row(row).map(|(column, value)| (column, [value, 0.0]));
            let mirrored = mirror.row(row).map(|(column, value)| (column, [0.0, value]));
            let mut both: Vec<(usize, [f64; 2])> = own.chain(mirrored).collect();
            both.sort_by_key(|(column, _)| *column);
            let pairs = both.chunk_by(|a, b| a.0 == b.0).map(|chunk| {
                let [a, b] = [0, 1].map(|side| chunk.iter().map(|(_, values)| values[side]).sum::<f64>());
                (row, chunk[0].0, a, b)
            });
            pairs.collect::<Vec<_>>()
        };
        let share = |&(row, column, a, b): &(usize, usize, f64, f64)| {
            let size = a.abs().max(b.abs()).max(root[row] * root[column]);
            if a == b { 0.0 } else { (a - b).abs() / size }
        };
        let most = (0..self.rows)
            .flat_map(of_row)
            .max_by(|a, b| share(a).total_cmp(&share(b)).then((b.0, b.1).cmp(&(a.0, a.1))))?;
        (share(&most) > ROUNDING).then_some(most)
    }

    /// The largest absolute value.
    pub fn largest(&self) -> f64 {
        self.values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
    }

    /// ‖A‖₁, the largest sum of a column's sizes.
    pub(super) fn one_norm(&self) -> f64 {
        let mut sums = vec![0.0; self.columns];
        self.entries().for_each(|(_, column, value)| sums[column] += value.abs());
        sums.into_iter().fold(0.0, f64::max)
    }

    /// ‖A‖ of Frobenius.
    pub fn norm(&self) -> f64 {
        let largest = self.largest();
        if largest == 0.0 {
            return 0.0;
        }
        largest * self.values.iter().map(|value| (value / largest).powi(2)).sum::<f64>().sqrt()
    }

    /// All values, row by row.
    pub(super) fn to_dense(&self) -> Vec<f64> {
        let mut dense = vec![0.0; self.rows * self.columns];
        self.entries().for_each(|(row, column, value)| dense[row * self.columns + column] = value);
        dense
    }

    /// The entries at these places alone.
    pub(super) fn kept(&self, is_kept: impl Fn(usize, usize) -> bool) -> Self {
        let mut kept = SparseMatrix { starts: vec![0], indices: Vec::new(), values: Vec::new(), ..*self };
        for row in 0..self.rows {
            for (column, value) in self.row(row).filter(|(column, _)| is_kept(row, *column)) {
                kept.indices.push(column as u32);
                kept.values.push(value);
            }
            kept.starts.push(kept.indices.len() as u32);
        }
        kept
    }

    /// The same pattern with each value replaced.
    pub(super) fn map(&self, mut to: impl FnMut(usize, usize, f64) -> f64) -> Self {
        let values = self.entries().map(|(row, column, value)| to(row, column, value)).collect();
        SparseMatrix { values, ..self.clone() }
    }
}

fn check_size(rows: usize, columns: usize, entries: usize) -> Result<()> {
    let message = match (rows.min(columns), rows.max(columns).max(entries)) {
        (0, _) => format!("a matrix of {rows} × {columns} has no entries"),
        (_, most) if most > LARGEST => {
            format!(
                "{rows} × {columns} with {entries} entries is more than the {LARGEST} of each that are handled"
            )
        }
        _ => return Ok(()),
    };
    Err(Error::shape("matrix", message))
}

/// The largest |x|; NaN where there is one, which `f64::max` would lose.
pub(super) fn largest(x: impl IntoIterator<Item = f64>) -> f64 {
    x.into_iter().fold(0.0, |most, x| if x.abs() > most || x.is_nan() { x.abs() } else { most })
}

/// ‖x‖, without overflow or underflow on the way; NaN where there is one.
pub(crate) fn norm(x: &[f64]) -> f64 {
    let largest = largest(x.iter().copied());
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    largest * x.iter().map(|value| (value / largest).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_as_large_as_none() {
        for x in [[f64::NAN, 1.0], [1.0, f64::NAN], [f64::NAN, f64::NAN], [0.0, f64::NAN]] {
            assert!(norm(&x).is_nan() && largest(x).is_nan(), "{x:?}");
        }
        assert_eq!(largest([3.0, -4.0]), 4.0);
        // A few roundings.
        assert!((norm(&[3e200, -4e200]) / 5e200 - 1.0).abs() < 1e-15);
    }

    #[test]
    fn entries_are_sorted_and_added_up_and_transposed() {
        let entries = vec![(1, 2, 3.0), (0, 1, 1.0), (1, 0, 2.0), (0, 1, 0.5)];
        let matrix = SparseMatrix::from_entries(2, 3, entries).unwrap();
        let dense = [0.0, 1.5, 0.0, 2.0, 0.0, 3.0];
        assert_eq!(matrix, SparseMatrix::from_dense(2, 3, &dense).unwrap());
        assert_eq!((matrix.to_dense(), matrix.stored()), (dense.to_vec(), 3));
        assert_eq!(matrix.transposed().to_dense(), [0.0, 2.0, 1.5, 0.0, 0.0, 3.0]);
        assert_eq!(matrix.product(&[1.0, 2.0, 3.0]), [3.0, 11.0]);
        assert_eq!(matrix.diagonal(), [0.0, 0.0]);
    }

    #[test]
    fn the_place_that_is_least_symmetric_is_found() {
        let of = |values: &[f64]| SparseMatrix::from_dense(2, 2, values).unwrap().asymmetry();
        assert_eq!(of(&[1.0, 2.0, 2.0, 1.0]), None);
        assert_eq!(of(&[1.0, 2.0, 2.0 + 1e-13, 1.0]), None);
        assert_eq!(of(&[1.0, 0.0, 3.0, 1.0]), Some((0, 1, 0.0, 3.0)));
        // Against the largest entry of all these would be equal; for their units they are not.
        assert_eq!(of(&[1e12, 1e-3, 2e-3, 1e-18]), Some((0, 1, 1e-3, 2e-3)));
        assert_eq!(of(&[1e12, 1e-16, 0.0, 1e-4]), None);
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        let rows: [(usize, usize, Vec<Entry>, &str); 4] = [
            (0, 1, vec![], "a matrix of 0 × 1 has no entries"),
            (1, LARGEST + 1, vec![], "more than"),
            (2, 2, vec![(2, 0, 1.0)], "the entry 1 at row 3, column 1"),
            (2, 2, vec![(0, 0, f64::NAN)], "the entry NaN at row 1, column 1"),
        ];
        for (rows, columns, entries, message) in rows {
            let error = SparseMatrix::from_entries(rows, columns, entries).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
