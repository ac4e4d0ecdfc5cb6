//! Rows and columns brought to size 1 by powers of two, which round nothing: pivots then compare, and f32 holds them.

use crate::linear::matrix::SparseMatrix;

/// The factors of rows and of columns.
pub(super) struct Scaling {
    pub rows: Vec<f64>,
    pub columns: Vec<f64>,
}

impl Scaling {
    /// Rows first, then columns by what is left.
    pub fn of_both(matrix: &SparseMatrix) -> Self {
        let rows = factors(matrix.rows(), matrix.entries().map(|(row, _, value)| (row, value.abs())));
        let scaled = matrix.entries().map(|(row, column, value)| (column, value.abs() * rows[row]));
        let columns = factors(matrix.columns(), scaled);
        Scaling { rows, columns }
    }

    /// Columns alone: least squares weigh rows.
    pub fn of_columns(matrix: &SparseMatrix) -> Self {
        let columns =
            factors(matrix.columns(), matrix.entries().map(|(_, column, value)| (column, value.abs())));
        Scaling { rows: vec![1.0; matrix.rows()], columns }
    }

    /// Rows and columns alike, by the diagonal.
    pub fn of_diagonal(matrix: &SparseMatrix) -> Self {
        let roots = matrix.diagonal().into_iter().map(|value| value.abs().sqrt()).enumerate();
        let factors = factors(matrix.rows(), roots);
        Scaling { rows: factors.clone(), columns: factors }
    }

    /// The matrix scaled.
    pub fn of(&self, matrix: &SparseMatrix) -> SparseMatrix {
        matrix.map(|row, column, value| value * self.rows[row] * self.columns[column])
    }
}

/// For each of `count` lines the power of two that brings its largest size to 1 or above, below 2; 1 for a line of zeros.
fn factors(count: usize, sizes: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut largest = vec![0.0_f64; count];
    sizes.for_each(|(line, size)| largest[line] = largest[line].max(size));
    largest.into_iter().map(|size| if size > 0.0 { (-size.log2().floor()).exp2() } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_size_come_to_size_one() {
        let matrix = SparseMatrix::from_dense(2, 2, &[3e-20, 0.0, 5e10, 7e30]).unwrap();
        let scaled = Scaling::of_both(&matrix).of(&matrix);
        let largest = |line: &[f64]| line.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for dense in [scaled.to_dense(), scaled.transposed().to_dense()] {
            assert!(dense.chunks(2).all(|line| (1.0..4.0).contains(&largest(line))), "{dense:?}");
        }
    }
}
