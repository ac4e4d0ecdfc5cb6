//! Steepest descent: d = −g (Cauchy 1847).

use super::{Direction, FirstStep, Here};
use crate::Result;
use crate::solve::space::{MINUS_ONE, ONE, ZERO};

/// Steepest descent.
pub(crate) struct Steepest;

impl Direction for Steepest {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        here.space.scale_add(here.direction, ZERO, here.gradient, MINUS_ONE, ONE)
    }

    fn first_step(&self) -> FirstStep {
        FirstStep::AsMuchAsLast
    }
}
