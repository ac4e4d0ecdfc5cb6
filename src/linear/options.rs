//! What can be chosen: the tables of methods and preconditioners, and the settings of a solution.

use super::dense::{CHOLESKY, Kind, LU, QR};
use super::device::Device;
use super::matrix::SparseMatrix;
use super::number::Number;
use super::report::Outcome;
use super::sparse::{Preconditioner, conjugate_gradients, incomplete_cholesky, lsqr, symmetric_sweep};
use super::sparse::{gauss_seidel, jacobi};
use super::system::System;
use crate::error::did_you_mean;
use crate::{Error, Result};

/// What a method asks of a matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    /// As many rows as columns.
    Square,
    /// The same, and symmetric; whether it is positive definite shows on the way.
    PositiveDefinite,
    /// The same as square, and no zero on the diagonal.
    Diagonal,
    /// Nothing: what is not square is solved by least squares.
    Nothing,
}

/// How a method is run.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// By factors of a dense matrix, in plain f32 or f64.
    Factors(&'static Kind),
    /// By an iteration.
    Iteration(fn(&Device, &System, &SolveOptions) -> Result<Outcome>),
}

/// A method of solving linear systems.
///
/// ```
/// use downhill::linear::SolveOptions;
///
/// let method = SolveOptions::new("cholesky")?.method;
/// assert_eq!(method.name, "cholesky");
/// println!("{}", method.about);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct LinearMethod {
    /// Its name, as it is typed.
    pub name: &'static str,
    /// What it is, for lists.
    pub about: &'static str,
    pub(super) needs: Needs,
    pub(super) way: Way,
}

impl LinearMethod {
    pub(super) fn is_dense(&self) -> bool {
        matches!(self.way, Way::Factors(_))
    }
}

impl std::fmt::Debug for LinearMethod {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

/// All methods.
///
/// ```
/// use downhill::linear::METHODS;
///
/// for method in &METHODS {
///     println!("{}: {}", method.name, method.about);
/// }
/// assert!(METHODS.iter().any(|method| method.name == "cg"));
/// ```
pub static METHODS: [LinearMethod; 9] = [
    LinearMethod {
        name: "lu",
        about: "elimination with partial pivoting, for any square A",
        needs: Needs::Square,
        way: Way::Factors(&LU),
    },
    LinearMethod {
        name: "qr",
        about: "Householder's reflections, for any A: least squares, or the least of many solutions, where it is not square",
        needs: Needs::Nothing,
        way: Way::Factors(&QR),
    },
    LinearMethod {
        name: "cholesky",
        about: "A = L·Lᵀ, for symmetric positive definite A",
        needs: Needs::PositiveDefinite,
        way: Way::Factors(&CHOLESKY),
    },
    LinearMethod {
        name: "jacobi",
        about: "x += D⁻¹(b − A·x); converges where A is diagonally dominant",
        needs: Needs::Diagonal,
        way: Way::Iteration(jacobi),
    },
    LinearMethod {
        name: "gauss-seidel",
        about: "Jacobi with each unknown used as soon as it is known, colour by colour; converges for positive definite A too",
        needs: Needs::Diagonal,
        way: Way::Iteration(gauss_seidel),
    },
    LinearMethod {
        name: "sor",
        about: "Gauss-Seidel with steps that are --omega times as long",
        needs: Needs::Diagonal,
        way: Way::Iteration(gauss_seidel),
    },
    LinearMethod {
        name: "cg",
        about: "conjugate gradients, for symmetric positive definite A",
        needs: Needs::PositiveDefinite,
        way: Way::Iteration(conjugate_gradients),
    },
    LinearMethod {
        name: "pcg",
        about: "conjugate gradients with a --preconditioner",
        needs: Needs::PositiveDefinite,
        way: Way::Iteration(conjugate_gradients),
    },
    LinearMethod {
        name: "lsqr",
        about: "least squares by bidiagonalisation, for any A, rectangular ones too",
        needs: Needs::Nothing,
        way: Way::Iteration(lsqr),
    },
];

/// A preconditioner of `pcg`.
///
/// ```
/// use downhill::linear::SolveOptions;
///
/// let options = SolveOptions::new("pcg")?.preconditioned("ic0")?;
/// assert_eq!(options.preconditioner.map(|chosen| chosen.name), Some("ic0"));
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Preconditioning {
    /// Its name, as it is typed.
    pub name: &'static str,
    /// What it is, for lists.
    pub about: &'static str,
    pub(super) make: fn(&SparseMatrix) -> Preconditioner,
}

impl std::fmt::Debug for Preconditioning {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

/// All preconditioners.
///
/// ```
/// use downhill::linear::PRECONDITIONERS;
///
/// for preconditioner in &PRECONDITIONERS {
///     println!("{}: {}", preconditioner.name, preconditioner.about);
/// }
/// assert_eq!(PRECONDITIONERS[0].name, "jacobi");
/// ```
pub static PRECONDITIONERS: [Preconditioning; 3] = [
    Preconditioning {
        name: "jacobi",
        about: "the diagonal",
        make: |matrix| {
            Preconditioner::Diagonal(matrix.diagonal().into_iter().map(|value| 1.0 / value).collect())
        },
    },
    Preconditioning {
        name: "ssor",
        about: "a symmetric Gauss-Seidel sweep, forth and back over the colours",
        make: |matrix| Preconditioner::Factor(Box::new(symmetric_sweep(matrix))),
    },
    Preconditioning {
        name: "ic0",
        about: "the incomplete Cholesky factor with A's own pattern",
        make: |matrix| Preconditioner::Factor(Box::new(incomplete_cholesky(matrix))),
    },
];

/// In which precision a device computes.
///
/// ```
/// use downhill::linear::{Arithmetic, SolveOptions};
///
/// let mut options = SolveOptions::new("cg")?;
/// options.arithmetic = "f64".parse()?;
/// assert_eq!(options.arithmetic, Arithmetic::F64);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Arithmetic {
    /// f32: factorisations in f32 with their solutions refined, iterations in pairs of f32, which have 48 bits.
    #[default]
    F32,
    /// f64, on adapters that have it.
    F64,
}

/// The names of precisions, as they are typed.
const ARITHMETIC: [(&str, Arithmetic); 2] = [("f32", Arithmetic::F32), ("f64", Arithmetic::F64)];

impl std::str::FromStr for Arithmetic {
    type Err = Error;

    /// Reads `f32` or `f64`.
    fn from_str(text: &str) -> Result<Self> {
        let found = ARITHMETIC.iter().find(|(name, _)| *name == text).map(|(_, arithmetic)| *arithmetic);
        found
            .ok_or_else(|| Error::setting("precision", did_you_mean(text, &ARITHMETIC.map(|(name, _)| name))))
    }
}

/// How a system is to be solved.
///
/// ```
/// use downhill::linear::{SolveOptions, SparseMatrix, System};
///
/// let mut options = SolveOptions::new("sor")?.relaxed(1.2)?;
/// options.tolerance = 1e-9;
/// options.max_iterations = Some(500);
/// // The method divides by what is on the diagonal.
/// let matrix = SparseMatrix::from_dense(2, 2, &[0.0, 1.0, 1.0, 0.0])?;
/// assert!(options.check(&System::new(matrix, vec![1.0, 2.0])?).is_err());
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SolveOptions {
    /// The method.
    pub method: &'static LinearMethod,
    /// The preconditioner of `pcg`.
    pub preconditioner: Option<&'static Preconditioning>,
    /// The ‖b − A·x‖ / ‖b‖ at which it is solved; of least squares also the ‖Aᵀ(b − A·x)‖ / (‖A‖·‖b − A·x‖).
    pub tolerance: f64,
    /// The most iterations, of a factorisation the most refinements; none for as many as methods may well take.
    pub max_iterations: Option<u64>,
    /// In which precision the device computes.
    pub arithmetic: Arithmetic,
    /// The relaxation of `sor`; 1 for other methods.
    pub(super) omega: f64,
}

impl SolveOptions {
    /// The method of this name with the defaults: a tolerance of 1e-6, f32, `jacobi` for `pcg`, ω = 1.5 for `sor`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that there is not, with the nearest one that there is.
    pub fn new(method: &str) -> Result<Self> {
        let names = METHODS.each_ref().map(|method| method.name);
        let found = METHODS.iter().find(|known| known.name == method);
        let method = found.ok_or_else(|| Error::setting("method", did_you_mean(method, &names)))?;
        Ok(SolveOptions {
            method,
            preconditioner: (method.name == "pcg").then_some(&PRECONDITIONERS[0]),
            tolerance: 1e-6,
            max_iterations: None,
            arithmetic: Arithmetic::F32,
            omega: if method.name == "sor" { 1.5 } else { 1.0 },
        })
    }

    /// The same with the preconditioner of this name.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that there is not, and for a method that takes none.
    pub fn preconditioned(mut self, name: &str) -> Result<Self> {
        let wrong = |message: String| Error::setting("preconditioner", message);
        if self.preconditioner.is_none() {
            return Err(wrong(format!("`{}` takes none; `pcg` does", self.method.name)));
        }
        let names = PRECONDITIONERS.each_ref().map(|known| known.name);
        let found = PRECONDITIONERS.iter().find(|known| known.name == name);
        self.preconditioner = Some(found.ok_or_else(|| wrong(did_you_mean(name, &names)))?);
        Ok(self)
    }

    /// The same with this relaxation.
    ///
    /// # Errors
    /// [`Error::Setting`] for a method that has none, and beyond 0 to 2, where no system converges (Kahan 1958).
    pub fn relaxed(self, omega: f64) -> Result<Self> {
        let wrong = |message: String| Err(Error::setting("omega", message));
        if self.method.name != "sor" {
            return wrong(format!("`{}` has none; `sor` has", self.method.name));
        }
        if !(omega > 0.0 && omega < 2.0) {
            return wrong(format!("must lie between 0 and 2, else no system converges, and is {omega}"));
        }
        Ok(SolveOptions { omega, ..self })
    }

    /// The most iterations for so many unknowns.
    pub(super) fn iterations(&self, unknowns: usize) -> u64 {
        let usual = if self.method.is_dense() { 20 } else { 1000.max(20 * unknowns as u64) };
        self.max_iterations.unwrap_or(usual)
    }

    pub(super) fn number(&self) -> Number {
        match (self.arithmetic, self.method.is_dense()) {
            (Arithmetic::F64, _) => Number::Double,
            (Arithmetic::F32, true) => Number::Single,
            (Arithmetic::F32, false) => Number::Pair,
        }
    }

    /// Refuses what cannot be, and a matrix that the method does not take, as [`solve`](super::solve) does.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self, system: &System) -> Result<()> {
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            return Err(Error::setting("tolerance", format!("must be above 0, not {}", self.tolerance)));
        }
        if self.max_iterations == Some(0) {
            return Err(Error::setting("max-iterations", "must be at least 1"));
        }
        self.check_matrix(&system.matrix)
    }

    fn check_matrix(&self, matrix: &SparseMatrix) -> Result<()> {
        let LinearMethod { name, needs, .. } = *self.method;
        let wrong = |message: String| Err(Error::setting("matrix", message));
        if needs == Needs::Nothing {
            return Ok(());
        }
        if matrix.rows() != matrix.columns() {
            let (rows, columns) = (matrix.rows(), matrix.columns());
            return wrong(format!(
                "is {rows} × {columns}, and `{name}` takes square ones; `lsqr` solves least squares"
            ));
        }
        if needs == Needs::PositiveDefinite
            && let Some((row, column, value, mirror)) = matrix.asymmetry()
        {
            let (i, j) = (row + 1, column + 1);
            return wrong(format!(
                "is not symmetric: {value} at row {i}, column {j}, and {mirror} at row {j}, column {i}; `{name}` needs \
                 that, `lsqr` does not"
            ));
        }
        if needs == Needs::Diagonal
            && let Some(row) = matrix.diagonal().iter().position(|value| *value == 0.0)
        {
            return wrong(format!(
                "has a zero on the diagonal in row {}, by which `{name}` divides; `lsqr` does not",
                row + 1
            ));
        }
        Ok(())
    }
}
