//! ‖A⁻¹‖₁ from a few solutions (Hager, "Condition estimates", 1984; Higham, "FORTRAN codes for estimating the one-norm of a real or complex
//! matrix", 1988): a lower bound that is seldom below a third of it.

use crate::Result;

/// The most steps, as in LAPACK.
const STEPS: usize = 5;

/// Estimates for `batch` matrices of `rows` rows, whose solutions and those of whose transposes are given, all at once.
pub(super) fn inverse_norms(
    batch: usize,
    rows: usize,
    solve: impl Fn(&[Vec<f64>]) -> Result<Vec<Vec<f64>>>,
    solve_transposed: impl Fn(&[Vec<f64>]) -> Result<Vec<Vec<f64>>>,
) -> Result<Vec<f64>> {
    let mut estimates = vec![0.0_f64; batch];
    let mut x = vec![vec![1.0 / rows as f64; rows]; batch];
    let mut is_done = vec![false; batch];
    for _ in 0..STEPS {
        let y = solve(&x)?;
        let signs: Vec<Vec<f64>> =
            y.iter().map(|y| y.iter().map(|value| 1f64.copysign(*value)).collect()).collect();
        let z = solve_transposed(&signs)?;
        for entry in 0..batch {
            let now = one_norm(&y[entry]);
            let is_better = now > estimates[entry];
            // A sum that is not finite is no bound, but tells that there is none.
            estimates[entry] = if now.is_finite() { estimates[entry].max(now) } else { f64::INFINITY };
            let along: f64 = z[entry].iter().zip(&x[entry]).map(|(z, x)| z * x).sum();
            let best = z[entry].iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
            let Some((place, size)) = best.map(|(place, value)| (place, value.abs())) else { continue };
            is_done[entry] |= !is_better || size <= along;
            x[entry] = vec![0.0; rows];
            x[entry][place] = 1.0;
        }
        if is_done.iter().all(|done| *done) {
            break;
        }
    }
    // What the steps may have missed.
    let alternating: Vec<f64> = (0..rows)
        .map(|row| (if row % 2 == 0 { 1.0 } else { -1.0 }) * (1.0 + row as f64 / (rows.max(2) - 1) as f64))
        .collect();
    let y = solve(&vec![alternating; batch])?;
    let others = y.iter().map(|y| 2.0 * one_norm(y) / (3.0 * rows as f64));
    Ok(estimates.into_iter().zip(others).map(|(estimate, other)| estimate.max(other)).collect())
}

fn one_norm(x: &[f64]) -> f64 {
    x.iter().map(|value| value.abs()).sum()
}
