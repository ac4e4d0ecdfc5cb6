//! Directions: where a method goes from a point, before a search says how far.

mod bfgs;
mod conjugate;
mod damped;
mod dogleg;
mod lbfgs;
mod newton;
mod newton_cg;
mod steepest;

pub(crate) use bfgs::Bfgs;
pub(crate) use conjugate::{Conjugate, ConjugateForm};
pub(crate) use damped::{Damped, Damping, Scaling};
pub(crate) use dogleg::Dogleg;
pub(crate) use lbfgs::Lbfgs;
pub(crate) use newton::DenseNewton;
pub(crate) use newton_cg::NewtonCg;
pub(crate) use steepest::Steepest;

use super::memory::MethodMemory;
use super::problem::Problem;
use super::space::{Space, Vector};
use crate::Result;
use crate::plan::ThetaLayout;

/// What stands at hand for a direction: the objective at the current point, the vectors around it, and what the last step
/// was.
pub(crate) struct Here<'a> {
    pub space: &'a mut Space,
    pub problem: &'a mut dyn Problem,
    /// The gradient.
    pub gradient: &'a Vector,
    /// Where the direction goes; it holds the last one.
    pub direction: &'a Vector,
    /// ‖g‖².
    pub gradient_squared: f64,
    /// None at the start, and after [`Direction::restart`].
    pub last: Option<&'a LastStep>,
}

impl Here<'_> {
    /// What the elements of a matrix of second derivatives are known to.
    fn roundoff(&self) -> f64 {
        self.problem.roundings() * self.space.roundoff()
    }
}

/// The step s = θ − θ₋ that was made last, and the gradient's change y = g − g₋ along it.
pub(crate) struct LastStep {
    pub step: Vector,
    pub change: Vector,
    pub products: StepProducts,
}

/// Dot products of the last step's vectors.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct StepProducts {
    /// s·y, y·y and s·s.
    pub step_change: f64,
    pub change_squared: f64,
    pub step_squared: f64,
    /// y·g, and ‖g₋‖².
    pub change_gradient: f64,
    pub former_gradient_squared: f64,
    /// Of the direction d₋ that it went along: d₋·y, d₋·g, ‖d₋‖².
    pub direction_change: f64,
    pub direction_gradient: f64,
    pub direction_squared: f64,
}

/// A way to choose where to go.
pub(crate) trait Direction: Send {
    /// Records the direction at the current point.
    ///
    /// # Errors
    /// What the device fails with; [`crate::Error::Setting`] where the objective has not what it takes.
    fn record(&mut self, here: &mut Here) -> Result<()>;

    /// Forgets what earlier steps taught.
    fn restart(&mut self) {}

    /// Writes down what [`Direction::recall`] needs to go on bit for bit.
    ///
    /// # Errors
    /// What the device fails with.
    fn remember(&self, _: &Space, _: &ThetaLayout, _: &mut MethodMemory) -> Result<()> {
        Ok(())
    }

    /// Takes up what another direction of the same kind remembered.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where that was of other vectors; what the device fails with.
    fn recall(&mut self, _: &mut Space, _: &ThetaLayout, _: &MethodMemory) -> Result<()> {
        Ok(())
    }

    /// The step along it that is tried first.
    fn first_step(&self) -> FirstStep {
        FirstStep::Newton
    }

    /// Curvature products so far.
    fn products(&self) -> u64 {
        0
    }

    /// The directions that choose how far to go too: their record is a model, and a step is made of it.
    fn trust(&mut self) -> Option<&mut dyn TrustModel> {
        None
    }
}

/// A model of the objective that is trusted only so far.
pub(crate) trait TrustModel {
    /// Writes the step that the model would make as far as it is trusted, and says by how much it should lower the
    /// objective.
    ///
    /// # Errors
    /// What the device fails with.
    fn step(&mut self, here: &mut Here) -> Result<f64>;

    /// Trusts more or less for `ratio` of what the step brought to what was foretold, and says whether the step is taken.
    fn judge(&mut self, ratio: f64) -> bool;
}

/// The step that a search tries first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FirstStep {
    /// 1: the direction has the length of a Newton step.
    Newton,
    /// The same once a step was made, before which the direction is that of steepest descent.
    NewtonLater,
    /// The one along which the objective would fall as much as by the last step, to first order: the direction's length
    /// says nothing (Nocedal and Wright, section 3.5, "Initial step length").
    AsMuchAsLast,
}
