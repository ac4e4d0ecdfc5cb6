//! Systems of linear equations: dense factorisations and sparse iterations on the device, from a file or an app's own
//! numbers to a solution with a report.
//!
//! ```no_run
//! use downhill::linear::{SolveOptions, SparseMatrix, System, solve};
//! use downhill::{Gpu, GpuOptions};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let matrix = SparseMatrix::from_entries(2, 2, vec![(0, 0, 4.0), (0, 1, 1.0), (1, 0, 1.0), (1, 1, 3.0)])?;
//! let system = System::new(matrix, vec![1.0, 2.0])?;
//! let solution = solve(&gpu, &system, &SolveOptions::new("cg")?)?;
//! println!("{:?} after {} iterations: {:?}", solution.status, solution.iterations, solution.x);
//! # Ok::<(), downhill::Error>(())
//! ```
//!
//! [`METHODS`] has the methods. Whatever they compute in, the residual is checked in f64 on the host, and a method whose own
//! idea of it was too good goes on. How a solution went is a value, [`SolveStatus`]; errors are for systems and settings that
//! a method cannot take.

mod dense;
mod device;
mod matrix;
mod matrix_market;
mod number;
mod options;
mod report;
mod rounds;
mod sparse;
mod system;
mod tridiagonal;

#[cfg(test)]
mod tests;

use std::time::Instant;

pub use matrix::SparseMatrix;
pub use options::{Arithmetic, LinearMethod, METHODS, PRECONDITIONERS, Preconditioning, SolveOptions};
pub use report::{Solution, SolveStatus};
pub use system::{System, read_matrix, read_vector, write_vector};

use crate::{Gpu, Result};
use matrix::norm;
use dense::solve_dense;
use options::{Needs, Way};
use report::Outcome;

/// Solves `system` on the device of `gpu`.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) for options out of range and for matrices that the method does not take,
/// [`Error::Adapter`](crate::Error::Adapter) where f64 is asked for and the adapter has none,
/// [`Error::DoesNotFit`](crate::Error::DoesNotFit) where it binds too little at once,
/// [`Error::Device`](crate::Error::Device) where the device fails.
pub fn solve(gpu: &Gpu, system: &System, options: &SolveOptions) -> Result<Solution> {
    let began = Instant::now();
    options.check(system)?;
    let device = device::Device::new(gpu, options.number())?;
    let outcome = match indefinite_diagonal(system, options) {
        Some(outcome) => outcome,
        None if norm(&system.rhs) == 0.0 => Outcome::zero(system.matrix.columns()),
        None => match options.method.way {
            Way::Iteration(run) => run(&device, system, options)?,
            Way::Factors(kind) => solve_dense(&device, kind, &[system], options)?.remove(0),
        },
    };
    Ok(outcome.report(system, device.readbacks(), began.elapsed()))
}

/// What is told, before anything is computed, of a matrix that cannot be positive definite though the method needs it.
fn indefinite_diagonal(system: &System, options: &SolveOptions) -> Option<Outcome> {
    if options.method.needs != Needs::PositiveDefinite {
        return None;
    }
    let diagonal = system.matrix.diagonal();
    let row = diagonal.iter().position(|value| *value <= 0.0)?;
    let reason = format!("the diagonal of row {} is {}, not positive", row + 1, diagonal[row]);
    Some(Outcome { reason: Some(reason), ..Outcome::none(system.matrix.columns(), SolveStatus::Indefinite) })
}
