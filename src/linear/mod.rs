//! Systems of linear equations: dense factorisations and sparse iterations on the device, from a file or an app's own
//! numbers to a solution with a report.
//!
//! ```
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
pub(crate) mod number;
mod options;
mod report;
mod rounds;
mod sparse;
mod system;
mod tridiagonal;

#[cfg(test)]
mod tests;

use std::time::Instant;

pub use dense::{FactorTiming, measure_factorisation};
pub(crate) use matrix::norm;
pub use matrix::{Entry, SparseMatrix};
pub use options::{Arithmetic, LinearMethod, METHODS, PRECONDITIONERS, Preconditioning, SolveOptions};
pub use report::{Solution, SolveStatus};
pub use system::{System, read_matrix, read_vector, write_vector};

use crate::{Error, Gpu, Result};
use dense::solve_dense;
use options::{Needs, Way};
use report::Outcome;

/// Solves `system` on the device of `gpu`.
///
/// ```
/// use downhill::linear::{SolveOptions, SparseMatrix, System, solve};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let matrix = SparseMatrix::from_dense(2, 2, &[2.0, 1.0, 1.0, 3.0])?;
/// let system = System::new(matrix, vec![3.0, 5.0])?;
/// let solution = solve(&gpu, &system, &SolveOptions::new("lu")?)?;
/// assert!((solution.x[0] - 0.8).abs() < 1e-6 && (solution.x[1] - 1.4).abs() < 1e-6);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for options out of range and for matrices that the method does not take,
/// [`Error::Setting`] where f64 is asked for and the adapter has none,
/// [`Error::DoesNotFit`] where it binds too little at once,
/// [`Error::Device`] where the device fails.
pub fn solve(gpu: &Gpu, system: &System, options: &SolveOptions) -> Result<Solution> {
    let began = Instant::now();
    options.check(system)?;
    let device = device::Device::new(gpu, options.number())?;
    let outcome = match (without_device(system, options), options.method.way) {
        (Some(outcome), _) => outcome,
        (None, Way::Iteration(run)) => run(&device, system, options)?,
        (None, Way::Factors(kind)) => solve_dense(&device, kind, &[system], options)?.remove(0),
    };
    Ok(outcome.report(system, device.readbacks(), began.elapsed()))
}

/// Solves systems of one shape together, by the factors of their matrices: what many small systems are for, each of which would
/// keep a device waiting alone. The readbacks in each report are those of all.
///
/// ```
/// use downhill::linear::{SolveOptions, SparseMatrix, System, solve_batch};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let system = |diagonal: f64| {
///     System::new(SparseMatrix::from_dense(2, 2, &[diagonal, 1.0, 1.0, diagonal])?, vec![1.0, 1.0])
/// };
/// let solutions = solve_batch(&gpu, &[system(3.0)?, system(4.0)?], &SolveOptions::new("cholesky")?)?;
/// assert!((solutions[0].x[0] - 0.25).abs() < 1e-6 && (solutions[1].x[0] - 0.2).abs() < 1e-6);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`solve`], [`Error::Setting`] for a method that does not factorise, and [`Error::Shape`] for systems of several shapes.
pub fn solve_batch(gpu: &Gpu, systems: &[System], options: &SolveOptions) -> Result<Vec<Solution>> {
    let began = Instant::now();
    let Way::Factors(kind) = options.method.way else {
        let message =
            format!("`{}` takes one system at a time; lu, qr and cholesky take many", options.method.name);
        return Err(Error::setting("method", message));
    };
    let shape = |system: &System| (system.matrix.rows(), system.matrix.columns());
    for system in systems {
        options.check(system)?;
        if shape(system) != shape(&systems[0]) {
            let message = format!("one system is {:?}, another {:?}", shape(&systems[0]), shape(system));
            return Err(Error::shape("solve", message));
        }
    }
    let device = device::Device::new(gpu, options.number())?;
    let known: Vec<Option<Outcome>> = systems.iter().map(|system| without_device(system, options)).collect();
    let others = systems.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(system, _)| system);
    let mut found = solve_dense(&device, kind, &others.collect::<Vec<_>>(), options)?.into_iter();
    let outcomes = known.into_iter().filter_map(|known| known.or_else(|| found.next()));
    let (readbacks, took) = (device.readbacks(), began.elapsed());
    Ok(outcomes.zip(systems).map(|(outcome, system)| outcome.report(system, readbacks, took)).collect())
}

/// What is known of a system before anything is computed.
fn without_device(system: &System, options: &SolveOptions) -> Option<Outcome> {
    let is_zero = norm(&system.rhs) == 0.0;
    indefinite_diagonal(system, options).or_else(|| is_zero.then(|| Outcome::zero(system.matrix.columns())))
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
