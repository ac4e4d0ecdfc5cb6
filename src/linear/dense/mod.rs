//! Dense factorisations by blocks of columns, a matrix or many of one shape at once: a panel of 32 columns is one workgroup's,
//! what is right of it takes products of matrices. A matrix' rows and columns are brought to size 1 first; solutions are refined.

mod batch;
mod bench;
mod cholesky;
mod condition;
mod factors;
mod lu;
mod product;
mod qr;
mod scaling;

#[cfg(test)]
mod tests;

use super::device::Device;
use super::matrix::SparseMatrix;
use super::options::SolveOptions;
use super::report::{Failure, Outcome, SolveStatus};
use super::rounds::{RoundEnd, Rounds};
use super::system::System;
use crate::Result;
use condition::inverse_norms;
use factors::Factors;
use scaling::Scaling;

pub use bench::{FactorTiming, measure_factorisation};
pub(super) use cholesky::CHOLESKY;
pub(super) use lu::LU;
pub(super) use qr::QR;

/// A factorisation.
pub(super) struct Kind {
    scale: fn(&SparseMatrix) -> Scaling,
    /// The factors of matrices of one shape.
    factorise: for<'a> fn(&'a Device<'a>, &[SparseMatrix]) -> Result<Factors<'a>>,
    /// Multiplications and additions for n rows and columns.
    operations: fn(u64) -> u64,
    /// What a diagonal of the factor says against the matrix, if anything.
    judge: fn(&[f64], f64) -> Option<Failure>,
}

/// Pivots below this many roundings of the largest, and matrices whose condition number is not below one over a rounding, are
/// singular as far as the precision can tell.
const PIVOT_ROUNDINGS: f64 = 64.0;

/// Solves systems of one shape.
pub(super) fn solve_dense(
    device: &Device,
    kind: &Kind,
    systems: &[&System],
    options: &SolveOptions,
) -> Result<Vec<Outcome>> {
    if systems.is_empty() {
        return Ok(Vec::new());
    }
    // A matrix with more columns than rows is factorised on its side: its least solution is that of the transposed factor.
    let is_wide = systems.iter().any(|system| system.matrix.columns() > system.matrix.rows());
    let matrices: Vec<SparseMatrix> = systems
        .iter()
        .map(|system| if is_wide { system.matrix.transposed() } else { system.matrix.clone() })
        .collect();
    let scalings: Vec<Scaling> = matrices.iter().map(kind.scale).collect();
    let scaled: Vec<SparseMatrix> =
        matrices.iter().zip(&scalings).map(|(matrix, scaling)| scaling.of(matrix)).collect();
    let factors = (kind.factorise)(device, &scaled)?;
    let solver = Solver { factors, scalings, is_wide };
    let verdicts: Vec<_> = solver
        .factors
        .diagonals
        .iter()
        .map(|diagonal| (kind.judge)(diagonal, device.number.epsilon()))
        .collect();
    let mut rounds: Vec<Rounds> = systems
        .iter()
        .map(|system| Rounds::new(system, options.tolerance, options.iterations(system.matrix.columns())))
        .collect();
    solver.refine(&mut rounds, &verdicts)?;
    let conditions = solver.conditions(&matrices)?;
    let judged = rounds.into_iter().zip(verdicts).zip(conditions).zip(&solver.factors.diagonals);
    Ok(judged
        .map(|(((rounds, verdict), condition), diagonal)| {
            let is_broken = verdict.is_some();
            let condition = condition.filter(|_| !is_broken);
            let verdict = verdict.or_else(|| nearly_singular(diagonal, condition, device.number.epsilon()));
            conclude(Outcome { condition, ..rounds.outcome }, verdict)
        })
        .collect())
}

fn conclude(outcome: Outcome, verdict: Option<Failure>) -> Outcome {
    match verdict {
        Some((status, reason)) => Outcome { status, reason: Some(reason), ..outcome },
        None => outcome,
    }
}

fn nearly_singular(diagonal: &[f64], condition: Option<f64>, epsilon: f64) -> Option<Failure> {
    let condition = condition.filter(|condition| *condition >= 1.0 / epsilon || condition.is_nan())?;
    let sizes = || diagonal.iter().map(|value| value.abs());
    let (least, largest) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    let reason = format!(
        "its condition number is about {condition:.0e}, too large for the precision to tell it from singular"
    );
    (least <= PIVOT_ROUNDINGS * epsilon * largest).then_some((SolveStatus::Singular, reason))
}

/// Factors of scaled matrices, with the way there and back.
struct Solver<'a> {
    factors: Factors<'a>,
    scalings: Vec<Scaling>,
    is_wide: bool,
}

impl Solver<'_> {
    /// A⁻¹·b, or x of least ‖A·x − b‖ and then ‖x‖, for each matrix.
    fn solve(&self, rhs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        if self.is_wide { self.backward(rhs) } else { self.forward(rhs) }
    }

    /// R·A·C is factorised, so A⁻¹ = C·(R·A·C)⁻¹·R.
    fn forward(&self, rhs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let scaled = rhs.iter().zip(&self.scalings).map(|(rhs, scaling)| product(rhs, &scaling.rows));
        let x = self.factors.solve(&scaled.collect::<Vec<_>>())?;
        Ok(x.iter().zip(&self.scalings).map(|(x, scaling)| product(x, &scaling.columns)).collect())
    }

    fn backward(&self, rhs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let scaled = rhs.iter().zip(&self.scalings).map(|(rhs, scaling)| product(rhs, &scaling.columns));
        let x = self.factors.solve_transposed(&scaled.collect::<Vec<_>>())?;
        Ok(x.iter().zip(&self.scalings).map(|(x, scaling)| product(x, &scaling.rows)).collect())
    }

    /// Rounds of all systems that go on, together.
    fn refine(&self, all: &mut [Rounds], verdicts: &[Option<Failure>]) -> Result<()> {
        loop {
            let next: Vec<_> = all
                .iter()
                .zip(verdicts)
                .map(|(rounds, verdict)| if verdict.is_none() { rounds.next() } else { None })
                .collect();
            if next.iter().all(Option::is_none) {
                return Ok(());
            }
            let height = if self.is_wide { self.factors.columns } else { self.factors.rows };
            let rhs: Vec<Vec<f64>> = next
                .iter()
                .map(|round| round.as_ref().map_or(vec![0.0; height], |round| round.rhs.clone()))
                .collect();
            let x = self.solve(&rhs)?;
            let ended = all.iter_mut().zip(x).zip(&next).filter(|(_, round)| round.is_some());
            ended.for_each(|((rounds, x), _)| rounds.take(RoundEnd { x, iterations: 1, failed: None }));
        }
    }

    /// ‖A‖₁·‖A⁻¹‖₁ of each matrix.
    fn conditions(&self, matrices: &[SparseMatrix]) -> Result<Vec<Option<f64>>> {
        // Of a matrix on its side as it was factorised, which has the same condition number but for the norm.
        let norms = inverse_norms(
            matrices.len(),
            self.factors.rows,
            |rhs| self.forward(rhs),
            |rhs| self.backward(rhs),
        )?;
        Ok(matrices.iter().zip(norms).map(|(matrix, norm)| Some(matrix.one_norm() * norm)).collect())
    }
}

/// Element by element.
fn product(x: &[f64], factors: &[f64]) -> Vec<f64> {
    x.iter().zip(factors).map(|(x, factor)| x * factor).collect()
}
