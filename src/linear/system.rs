//! What is to be solved: a matrix, a right-hand side, and the solution where it is known.

use std::path::Path;

use super::matrix::SparseMatrix;
use super::matrix_market;
use crate::{Error, Result, atomic, data};

/// A·x = b, or where A has more or fewer rows than columns the least squares of A·x − b.
///
/// ```
/// use downhill::linear::{SparseMatrix, System};
///
/// let matrix = SparseMatrix::from_dense(2, 2, &[2.0, 1.0, 1.0, 3.0])?;
/// let system = System::with_solution(matrix, vec![1.0, -1.0])?;
/// assert_eq!(system.rhs(), [1.0, -2.0]);
/// assert_eq!(system.residual(&[0.0, 0.0]), [1.0, -2.0]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    pub(super) matrix: SparseMatrix,
    pub(super) rhs: Vec<f64>,
    pub(super) known: Option<Vec<f64>>,
}

impl System {
    /// A system of a right-hand side with a number for each row.
    ///
    /// # Errors
    /// [`Error::Shape`] where it has another length, [`Error::Setting`] where it is not finite.
    pub fn new(matrix: SparseMatrix, rhs: Vec<f64>) -> Result<Self> {
        if rhs.len() != matrix.rows() {
            let message = format!(
                "the right-hand side has {} numbers, and the matrix {} rows",
                rhs.len(),
                matrix.rows()
            );
            return Err(Error::shape("solve", message));
        }
        if let Some(row) = rhs.iter().position(|value| !value.is_finite()) {
            return Err(Error::setting(
                "rhs",
                format!("row {} is {}, not a finite number", row + 1, rhs[row]),
            ));
        }
        Ok(System { matrix, rhs, known: None })
    }

    /// The system whose solution is `x`: the report then tells how far from it the answer is.
    ///
    /// # Errors
    /// As [`System::new`], and where `x` has not a number for each column.
    pub fn with_solution(matrix: SparseMatrix, x: Vec<f64>) -> Result<Self> {
        if x.len() != matrix.columns() {
            let message = format!("{} numbers are given for {} unknowns", x.len(), matrix.columns());
            return Err(Error::shape("solve", message));
        }
        let rhs = matrix.product(&x);
        Ok(System { known: Some(x), ..System::new(matrix, rhs)? })
    }

    /// The matrix.
    pub fn matrix(&self) -> &SparseMatrix {
        &self.matrix
    }

    /// The right-hand side.
    pub fn rhs(&self) -> &[f64] {
        &self.rhs
    }

    /// b − A·x in f64.
    pub fn residual(&self, x: &[f64]) -> Vec<f64> {
        self.rhs.iter().zip(self.matrix.product(x)).map(|(b, product)| b - product).collect()
    }
}

/// Whether a path is that of a NumPy array.
fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"))
}

/// The matrix in a Matrix Market file or, with the ending `.npy`, in a NumPy array of two dimensions.
///
/// ```
/// use downhill::linear::read_matrix;
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let path = folder.join("a.mtx");
/// # let text = "%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 4\n2 1 1\n";
/// # std::fs::write(&path, text).unwrap();
/// let matrix = read_matrix(&path)?;
/// println!("{} × {}, {} entries", matrix.rows(), matrix.columns(), matrix.stored());
/// # assert_eq!((matrix.rows(), matrix.columns(), matrix.stored()), (2, 2, 3));
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Read`], [`Error::Data`] naming the place.
pub fn read_matrix(path: &Path) -> Result<SparseMatrix> {
    if !is_npy(path) {
        return matrix_market::read(path);
    }
    let (shape, values) = data::read_array(path)?;
    let [rows, columns] = shape[..] else {
        return Err(Error::data(path, "", format!("has {} dimensions; a matrix has two", shape.len())));
    };
    SparseMatrix::from_dense(rows, columns, &values).map_err(|error| Error::data(path, "", error.to_string()))
}

/// The vector in a Matrix Market file of one column or row, or in a NumPy array.
///
/// ```
/// use downhill::linear::{read_vector, write_vector};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let path = folder.join("b.npy");
/// write_vector(&path, &[1.0, 2.0, 3.0])?;
/// assert_eq!(read_vector(&path)?.len(), 3);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`read_matrix`], and for what is no vector.
pub fn read_vector(path: &Path) -> Result<Vec<f64>> {
    let (shape, values) = if is_npy(path) {
        data::read_array(path)?
    } else {
        let matrix = matrix_market::read(path)?;
        let shape = vec![matrix.rows(), matrix.columns()];
        check_is_vector(path, &shape)?;
        (shape, matrix.to_dense())
    };
    check_is_vector(path, &shape)?;
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::data(
            path,
            format!("row {}", place + 1),
            format!("{} is not finite", values[place]),
        ));
    }
    Ok(values)
}

fn check_is_vector(path: &Path, shape: &[usize]) -> Result<()> {
    match shape.iter().filter(|size| **size > 1).count() {
        0 | 1 => Ok(()),
        _ => Err(Error::data(path, "", format!("is of shape {shape:?}, not a vector"))),
    }
}

/// Writes a vector as a Matrix Market file or, with the ending `.npy`, as a NumPy array of f64.
///
/// ```
/// use downhill::linear::{read_vector, write_vector};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let path = folder.join("x.mtx");
/// write_vector(&path, &[0.1, -2.0])?;
/// assert_eq!(read_vector(&path)?, [0.1, -2.0]);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Write`].
pub fn write_vector(path: &Path, x: &[f64]) -> Result<()> {
    match is_npy(path) {
        true => atomic::write(path, &data::array_bytes(&[x.len()], x)),
        false => atomic::write(path, matrix_market::vector_text(x).as_bytes()),
    }
}
