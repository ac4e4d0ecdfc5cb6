//! How a solution went, as a value.

use std::time::Duration;

use serde::Serialize;

use super::matrix::{largest, norm};
use super::system::System;

/// How a solution ended.
///
/// ```
/// use downhill::linear::{SolveOptions, SolveStatus, SparseMatrix, System, solve};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let matrix = SparseMatrix::from_dense(2, 2, &[1.0, 0.0, 0.0, -1.0])?;
/// let solution = solve(&gpu, &System::new(matrix, vec![1.0, 1.0])?, &SolveOptions::new("cg")?)?;
/// match solution.status {
///     SolveStatus::Converged => println!("{:?}", solution.x),
///     status => println!("{status:?}: {}", solution.reason.as_deref().unwrap_or_default()),
/// }
/// assert_eq!(solution.status, SolveStatus::Indefinite);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SolveStatus {
    /// The residual is within the tolerance.
    Converged,
    /// The iteration goes away from the solution.
    Diverged,
    /// The iterations ended before the residual was within the tolerance, or do not bring it nearer any more.
    MaxIterations,
    /// There is no solution, or none that the precision can tell from others.
    Singular,
    /// The matrix is not positive definite, which the method needs.
    Indefinite,
}

/// A solution with its report.
///
/// ```
/// use downhill::linear::{Solution, SolveOptions, SparseMatrix, System, solve};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let matrix = SparseMatrix::from_dense(2, 2, &[2.0, 1.0, 1.0, 3.0])?;
/// let system = System::with_solution(matrix, vec![1.0, -1.0])?;
/// let solution: Solution = solve(&gpu, &system, &SolveOptions::new("qr")?)?;
/// assert!(solution.relative_residual < 1e-6 && solution.max_error.is_some_and(|error| error < 1e-6));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Solution {
    /// The unknowns.
    pub x: Vec<f64>,
    /// How it ended.
    pub status: SolveStatus,
    /// Why, where it did not converge.
    pub reason: Option<String>,
    /// Iterations of the method, of a factorisation refinements.
    pub iterations: u64,
    /// ‖b − A·x‖ / ‖b‖, computed in f64 on the host.
    pub relative_residual: f64,
    /// ‖Aᵀ(b − A·x)‖ / (‖A‖·‖b − A·x‖), ‖A‖ being Frobenius' norm, where A is not square: 0 at the least squares.
    pub relative_gradient: Option<f64>,
    /// The largest difference from the solution, where that is known.
    pub max_error: Option<f64>,
    /// An estimate of the condition number, where the method gives one.
    pub condition: Option<f64>,
    /// How often the host waited to read something back.
    pub readbacks: u64,
    /// What else is to be said of the way.
    pub notes: Vec<String>,
    /// How long it took, kernels' compilation included.
    pub seconds: f64,
}

/// How a system failed, and why.
pub(super) type Failure = (SolveStatus, String);

/// What a method hands back.
#[derive(Debug)]
pub(super) struct Outcome {
    pub x: Vec<f64>,
    pub status: SolveStatus,
    pub reason: Option<String>,
    pub iterations: u64,
    pub condition: Option<f64>,
    pub notes: Vec<String>,
}

impl Outcome {
    /// No iteration, and zeros.
    pub fn none(unknowns: usize, status: SolveStatus) -> Self {
        Outcome {
            x: vec![0.0; unknowns],
            status,
            reason: None,
            iterations: 0,
            condition: None,
            notes: Vec::new(),
        }
    }

    /// The solution of b = 0.
    pub fn zero(unknowns: usize) -> Self {
        Self::none(unknowns, SolveStatus::Converged)
    }

    pub fn report(self, system: &System, readbacks: u64, took: Duration) -> Solution {
        let residual = system.residual(&self.x);
        let error = |known: &Vec<f64>| largest(known.iter().zip(&self.x).map(|(known, x)| known - x));
        let is_square = system.matrix.rows() == system.matrix.columns();
        Solution {
            relative_residual: relative(norm(&residual), norm(&system.rhs)),
            relative_gradient: (!is_square).then(|| relative_gradient(system, &residual)),
            max_error: system.known.as_ref().map(error),
            x: self.x,
            status: self.status,
            reason: self.reason,
            iterations: self.iterations,
            condition: self.condition,
            readbacks,
            notes: self.notes,
            seconds: took.as_secs_f64(),
        }
    }
}

/// A part of a whole, 0 where both are.
pub(super) fn relative(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

/// ‖Aᵀr‖ / (‖A‖·‖r‖).
pub(super) fn relative_gradient(system: &System, residual: &[f64]) -> f64 {
    let gradient = norm(&system.matrix.transposed().product(residual));
    relative(gradient, system.matrix.norm() * norm(residual))
}
