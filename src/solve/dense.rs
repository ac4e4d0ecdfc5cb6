//! Small dense symmetric matrices on the host, in f64: what methods that keep a whole matrix of second derivatives need.

use super::problem::{Curvature, Problem};
use super::space::Space;
use crate::{Error, Result};

/// Unknowns for which a matrix of second derivatives is formed, at most.
pub(crate) const MOST_DENSE: usize = 2048;

/// A symmetric matrix, row by row.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Symmetric {
    pub order: usize,
    pub elements: Vec<f64>,
}

impl Symmetric {
    /// The identity.
    pub fn identity(order: usize) -> Self {
        let mut elements = vec![0.0; order * order];
        elements.iter_mut().step_by(order + 1).for_each(|element| *element = 1.0);
        Symmetric { order, elements }
    }

    /// Row `number`.
    pub fn row(&self, number: usize) -> &[f64] {
        &self.elements[number * self.order..(number + 1) * self.order]
    }

    /// The matrix times `vector`.
    pub fn times(&self, vector: &[f64]) -> Vec<f64> {
        (0..self.order).map(|row| dot(self.row(row), vector)).collect()
    }

    /// The diagonal.
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.order).map(|place| self.elements[place * (self.order + 1)]).collect()
    }

    /// The same with `added` on the diagonal.
    pub fn plus_diagonal(&self, added: &[f64]) -> Self {
        let mut sum = self.clone();
        for (place, added) in added.iter().enumerate() {
            sum.elements[place * (self.order + 1)] += added;
        }
        sum
    }

    /// x with (A + E)·x = b, where the diagonal E ≥ 0 is zero for a matrix that is safely positive definite, and else as
    /// small as keeps the factors bounded: the modified Cholesky factorisation of Gill, Murray and Wright (1981, section
    /// 4.4.2.2), L·D·Lᵀ without interchanges, of the matrix with its diagonal scaled to ±1, so that the units of x do not
    /// matter. Scaled elements are known to `roundoff`; what that leaves of a pivot is no curvature to divide by.
    pub fn solve_modified(&self, b: &[f64], roundoff: f64) -> Vec<f64> {
        let n = self.order;
        let scale: Vec<f64> =
            self.diagonal().iter().map(|d| if *d == 0.0 { 1.0 } else { d.abs().sqrt().recip() }).collect();
        let scaled = |(place, element): (usize, &f64)| element * scale[place / n] * scale[place % n];
        let elements = self.elements.iter().enumerate().map(scaled).collect();
        let (lower, d) = Symmetric { order: n, elements }.modified_cholesky(roundoff);
        let mut x: Vec<f64> = b.iter().zip(&scale).map(|(b, scale)| b * scale).collect();
        for row in 0..n {
            x[row] -= dot(&lower[row * n..row * n + row], &x[..row]);
        }
        x.iter_mut().zip(&d).for_each(|(x, d)| *x /= d);
        for row in (0..n).rev() {
            for below in row + 1..n {
                x[row] -= lower[below * n + row] * x[below];
            }
        }
        x.iter().zip(&scale).map(|(x, scale)| x * scale).collect()
    }

    /// L, whose diagonal of ones is left out, and D.
    fn modified_cholesky(&self, roundoff: f64) -> (Vec<f64>, Vec<f64>) {
        let n = self.order;
        let largest = |of: &mut dyn Iterator<Item = f64>| of.fold(0.0, |most: f64, x| most.max(x.abs()));
        let on = largest(&mut self.diagonal().into_iter());
        let off =
            (0..n).fold(0.0, |most: f64, row| most.max(largest(&mut self.row(row)[..row].iter().copied())));
        let bound = on.max(off / ((n * n) as f64 - 1.0).max(1.0).sqrt()).max(f64::EPSILON);
        let known = roundoff * on.max(off).max(f64::MIN_POSITIVE);
        let mut lower = vec![0.0; n * n];
        let mut d = vec![0.0; n];
        // `c[row]` of the column at hand: L·D there.
        let mut c = vec![0.0; n];
        for column in 0..n {
            for row in column..n {
                let (of_row, of_column) =
                    (&lower[row * n..row * n + column], &lower[column * n..column * n + column]);
                let done: f64 = of_row.iter().zip(of_column).zip(&d).map(|((a, b), d)| a * b * d).sum();
                c[row] = self.row(row)[column] - done;
            }
            let most = largest(&mut c[column + 1..].iter().copied());
            let least = if c[column] > known { known } else { known / roundoff.sqrt() };
            d[column] = c[column].abs().max(most * most / bound).max(least);
            for row in column + 1..n {
                lower[row * n + column] = c[row] / d[column];
            }
        }
        (lower, d)
    }
}

/// x·y.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Columns of a matrix that are made before the host reads them.
const COLUMNS: usize = 64;

/// Vectors that [`matrix`] allocates at most, and that are read beside it.
pub(crate) const MATRIX_VECTORS: usize = COLUMNS + 3;

/// The whole matrix of a curvature at θ, column by column, by products with unit vectors; the host reads 64 of them at once.
///
/// Errors: [`Error::Setting`] above [`MOST_DENSE`] unknowns; as [`Problem::product`].
pub(crate) fn matrix(
    problem: &mut dyn Problem,
    space: &mut Space,
    curvature: Curvature,
) -> Result<Symmetric> {
    let layout = problem.layout().clone();
    let order = check_dense(layout.elements())?;
    let (unit, product) = (space.vector()?, space.vector()?);
    let columns = space.rows(order.min(COLUMNS))?;
    let places = layout.pieces.iter().flatten();
    let places =
        places.flat_map(|piece| (0..piece.elements).map(|place| (piece.shard, piece.offset + place)));
    let places: Vec<(usize, usize)> = places.collect();
    let mut elements = Vec::with_capacity(order * order);
    for places in places.chunks(COLUMNS) {
        for (column, &(shard, place)) in places.iter().enumerate() {
            space.unit(&unit, shard, place);
            problem.product(space, curvature, &unit, &product)?;
            space.copy_to_row(&columns, column, &product);
        }
        elements.extend(space.read_rows(&columns, places.len(), &layout)?);
    }
    Ok(symmetrised(order, &elements))
}

/// (A + Aᵀ)/2: rounding leaves no product's matrix quite symmetric.
fn symmetrised(order: usize, of: &[f64]) -> Symmetric {
    let elements = (0..order * order)
        .map(|place| {
            let (row, column) = (place / order, place % order);
            (of[place] + of[column * order + row]) / 2.0
        })
        .collect();
    Symmetric { order, elements }
}

/// `unknowns`, where a dense matrix of them may be.
pub(crate) fn check_dense(unknowns: usize) -> Result<usize> {
    if unknowns > MOST_DENSE {
        let message = format!(
            "one that keeps a whole matrix takes {MOST_DENSE} unknowns at most, and there are {unknowns}; use lbfgs or \
             newton-cg"
        );
        return Err(Error::setting("method", message));
    }
    Ok(unknowns)
}
