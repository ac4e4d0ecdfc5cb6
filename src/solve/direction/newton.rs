//! Newton's and Gauss-Newton's directions from a whole matrix, which lies on the host in f64: B·d = −g.

use super::{Direction, Here};
use crate::Result;
use crate::solve::dense::matrix;
use crate::solve::problem::Curvature;

/// Newton's method: the Hessian, or its Gauss-Newton part, formed at every step from products with unit vectors, and made
/// positive definite where it is not.
pub(crate) struct DenseNewton {
    pub curvature: Curvature,
    pub products: u64,
}

impl Direction for DenseNewton {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        let layout = here.problem.layout().clone();
        let matrix = matrix(here.problem, here.space, self.curvature)?;
        self.products += matrix.order as u64;
        let gradient = here.space.read_vector(here.gradient, &layout)?;
        let descent: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let step = matrix.solve_modified(&descent, here.roundoff());
        here.space.write_vector(here.direction, &layout, &step)
    }

    fn products(&self) -> u64 {
        self.products
    }
}
