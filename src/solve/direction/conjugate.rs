//! Nonlinear conjugate gradients: d = −g + β·d₋, with β of two forms.
//!
//! Polak-Ribière+ (Gilbert and Nocedal 1992): β = max(0, y·g / g₋·g₋). Hager-Zhang (2005), equation 1.5 with the
//! truncation of 1.6 and 1.7: β = (y − 2d₋·‖y‖²/(d₋·y))·g / (d₋·y), but not below −1/(‖d₋‖·min(η, ‖g₋‖)).

use super::{Direction, FirstStep, Here, StepProducts};
use crate::Result;
use crate::solve::space::{MINUS_ONE, ONE, Slot};

/// η of Hager and Zhang's truncation.
const LEAST_GRADIENT: f64 = 0.01;

/// How much of the last direction stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConjugateForm {
    PolakRibiere,
    HagerZhang,
}

/// Nonlinear conjugate gradients.
pub(crate) struct Conjugate {
    pub form: ConjugateForm,
    /// Where β goes.
    pub beta: Slot,
}

impl Conjugate {
    fn beta(&self, last: &StepProducts) -> f64 {
        let beta = match self.form {
            ConjugateForm::PolakRibiere => (last.change_gradient / last.former_gradient_squared).max(0.0),
            ConjugateForm::HagerZhang => {
                let across = last.direction_change;
                let beta = (last.change_gradient
                    - 2.0 * last.direction_gradient * last.change_squared / across)
                    / across;
                let length =
                    last.direction_squared.sqrt() * last.former_gradient_squared.sqrt().min(LEAST_GRADIENT);
                beta.max(-1.0 / length)
            }
        };
        if beta.is_finite() { beta } else { 0.0 }
    }
}

impl Direction for Conjugate {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        let beta = here.last.map_or(0.0, |last| self.beta(&last.products));
        here.space.write(&[(self.beta, beta)]);
        here.space.scale_add(here.direction, self.beta, here.gradient, MINUS_ONE, ONE)
    }

    fn first_step(&self) -> FirstStep {
        FirstStep::AsMuchAsLast
    }
}
