//! What a method asks of whoever has an objective.

use super::space::{Slot, Space, Vector};
use crate::Result;
use crate::plan::ThetaLayout;

/// Which matrix of second derivatives a product is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Curvature {
    /// The Hessian.
    Hessian,
    /// Of an objective Σr², 2·JᵀJ with the Jacobian J of r; of a loss behind a model, JᵀHJ with the loss' own Hessian H.
    GaussNewton,
}

/// An objective over the flat θ of a [`Space`].
pub(crate) trait Problem {
    /// Where it is evaluated; methods write it.
    fn theta(&self) -> &Vector;

    /// Where the gradient goes.
    fn gradient(&self) -> &Vector;

    /// Records the value at θ into `value` and the gradient there into [`Problem::gradient`].
    ///
    /// # Errors
    /// What the device fails with.
    fn evaluate(&mut self, space: &mut Space, value: Slot) -> Result<()>;

    /// Records the product of a curvature at θ with `vector` into `product`.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] where the objective has no such curvature; what the device fails with.
    fn product(
        &mut self,
        space: &mut Space,
        curvature: Curvature,
        vector: &Vector,
        product: &Vector,
    ) -> Result<()>;

    /// Roundings that products are known to.
    fn roundings(&self) -> f64 {
        1.0
    }

    /// How θ lies.
    fn layout(&self) -> &ThetaLayout;
}
