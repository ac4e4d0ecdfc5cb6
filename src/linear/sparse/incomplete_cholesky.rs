//! The incomplete Cholesky factor with the pattern of A, made on the host in f64.

use super::preconditioner::Factor;
use crate::linear::matrix::SparseMatrix;

/// The first share of the diagonal that is added where the factor of A breaks down; each later one is twice as large.
const FIRST_SHIFT: f64 = 1e-3;

/// The factor of A, or where that breaks down of A + shift·diag(A) with the first shift that does (Manteuffel, "An incomplete
/// factorization technique for positive definite linear systems", 1980). A's diagonal must be positive: with a large enough shift
/// the matrix is diagonally dominant, whose factor exists.
pub(in crate::linear) fn incomplete_cholesky(matrix: &SparseMatrix) -> Factor {
    let mut shift = 0.0;
    loop {
        if let Some((strict, diagonal)) = factor(matrix, shift) {
            let order: Vec<usize> = (0..matrix.rows()).collect();
            return Factor::new(strict, &diagonal, &order, shift);
        }
        shift = if shift == 0.0 { FIRST_SHIFT } else { 2.0 * shift };
    }
}

/// Row by row: l_ij = (a_ij − Σₖ l_ik·l_jk) / l_jj over the columns k that both rows have, and l_ii² = a_ii − Σₖ l_ik². None where
/// a square is not above the rounding of its terms.
fn factor(matrix: &SparseMatrix, shift: f64) -> Option<(SparseMatrix, Vec<f64>)> {
    let mut strict = matrix.kept(|row, column| column < row);
    let diagonal = matrix.diagonal();
    let mut roots = vec![0.0; diagonal.len()];
    for row in 0..matrix.rows() {
        let (first, end) = (strict.starts[row] as usize, strict.starts[row + 1] as usize);
        let mut square = (1.0 + shift) * diagonal[row];
        for place in first..end {
            let column = strict.indices[place] as usize;
            let shared = shared_product(&strict, first..place, column);
            let value = (strict.values[place] - shared) / roots[column];
            strict.values[place] = value;
            square -= value * value;
        }
        if square.is_nan() || square <= 1e-14 * diagonal[row] {
            return None;
        }
        roots[row] = square.sqrt();
    }
    Some((strict, roots))
}

/// The product of the entries in `places`, of one row, with those of row `other` in the same columns.
fn shared_product(strict: &SparseMatrix, places: std::ops::Range<usize>, other: usize) -> f64 {
    let mut others = strict.row(other).peekable();
    let mut sum = 0.0;
    for place in places {
        let column = strict.indices[place] as usize;
        while others.next_if(|(j, _)| *j < column).is_some() {}
        if let Some((_, value)) = others.next_if(|(j, _)| *j == column) {
            sum += value * strict.values[place];
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_fill_it_is_the_factor_itself() {
        // Tridiagonal: [4 2 0; 2 5 2; 0 2 5] = L·Lᵀ with L = [2; 1 2; 0 1 2].
        let dense = [4.0, 2.0, 0.0, 2.0, 5.0, 2.0, 0.0, 2.0, 5.0];
        let matrix = SparseMatrix::from_dense(3, 3, &dense).unwrap();
        let (strict, diagonal) = factor(&matrix, 0.0).unwrap();
        assert_eq!(
            (strict.to_dense(), diagonal),
            (vec![0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![2.0; 3])
        );
    }

    #[test]
    fn a_factor_that_breaks_down_is_shifted() {
        // Kershaw's matrix (1978): positive definite, and its incomplete factor has a negative pivot.
        let dense = [3.0, -2.0, 0.0, 2.0, -2.0, 3.0, -2.0, 0.0, 0.0, -2.0, 3.0, -2.0, 2.0, 0.0, -2.0, 3.0];
        let matrix = SparseMatrix::from_dense(4, 4, &dense).unwrap();
        assert!(factor(&matrix, 0.0).is_none());
        let shifted = incomplete_cholesky(&matrix);
        assert!(shifted.shift > 0.0 && shifted.shift < 1.0, "{}", shifted.shift);
    }
}
