//! The extreme eigenvalues of symmetric tridiagonal matrices, from which iterations estimate condition numbers.

/// Halvings of the interval that holds an eigenvalue, to about ten bits of what is only an estimate.
const HALVINGS: usize = 60;

/// The least and the largest eigenvalue of the matrix with this diagonal and the diagonal beside it, one shorter; none for no
/// rows. Sturm sequences count eigenvalues below a number (Golub and Van Loan, "Matrix Computations", 8.4).
pub(super) fn extremes(diagonal: &[f64], beside: &[f64]) -> Option<[f64; 2]> {
    let off = |row: usize| beside.get(row).map_or(0.0, |value| value.abs());
    let reach = |row: usize| off(row) + if row > 0 { off(row - 1) } else { 0.0 };
    // Gershgorin's circles hold all eigenvalues.
    let rows = || diagonal.iter().enumerate();
    let low = rows().map(|(row, value)| value - reach(row)).reduce(f64::min)?;
    let high = rows().map(|(row, value)| value + reach(row)).reduce(f64::max)?;
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let find = |number: usize| {
        let (mut low, mut high) = (low, high);
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            match below(diagonal, beside, middle) > number {
                true => high = middle,
                false => low = middle,
            }
        }
        0.5 * (low + high)
    };
    Some([find(0), find(diagonal.len() - 1)])
}

/// How many eigenvalues are below `x`.
fn below(diagonal: &[f64], beside: &[f64], x: f64) -> usize {
    let (mut count, mut pivot) = (0, 1.0);
    for (row, value) in diagonal.iter().enumerate() {
        let coupling = if row > 0 { beside[row - 1].powi(2) } else { 0.0 };
        pivot = value - x - coupling / pivot;
        if pivot == 0.0 {
            pivot = f64::MIN_POSITIVE;
        }
        count += usize::from(pivot < 0.0);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_difference_has_its_known_eigenvalues() {
        for n in [1, 2, 3, 65] {
            let [least, largest] = extremes(&vec![2.0; n], &vec![-1.0; n - 1]).unwrap();
            let exact = |k: usize| 2.0 - 2.0 * (std::f64::consts::PI * k as f64 / (n + 1) as f64).cos();
            // The halvings leave 2⁻⁶⁰ of the interval; what is left is the count's own rounding.
            assert!((least - exact(1)).abs() < 1e-12 && (largest - exact(n)).abs() < 1e-12, "{n}");
        }
        assert_eq!(extremes(&[], &[]), None);
    }
}
