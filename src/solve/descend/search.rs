//! How far a descent goes along its direction.

use super::super::direction::FirstStep;
use super::super::line_search::{Found, Limits, LineValue, Outcome, backtracking, strong_wolfe};
use super::super::problem::Problem;
use super::super::space::ONE;
use super::trial::Trial;
use super::{ABSOLUTE, Descent, DescentOptions, START_SLOPE};
use crate::Result;

/// How far a method goes along its direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Search {
    /// Always as far as the direction says.
    Fixed,
    /// Backtracking until the Armijo condition holds.
    Backtracking,
    /// Until the strong Wolfe conditions hold.
    Wolfe,
}

impl Descent {
    /// Looks for a step along the direction and makes it; false where there is none, and θ stays where it was.
    pub(super) fn search(&mut self, problem: &mut dyn Problem) -> Result<bool> {
        let (first, slope, known) = self.first_trial(problem)?;
        let start = LineValue { value: self.here.value, slope };
        let DescentOptions { search, limits, noise, .. } = self.options;
        let limits = Limits { noise: noise * start.value.abs(), ..limits };
        let (mut last, mut known) = (known.unwrap_or_default(), known);
        let mut phi = |alpha: f64| {
            last = match known.take() {
                Some(known) => known,
                None => self.trial(problem, alpha)?,
            };
            // A value whose gradient is beyond the numbers leads no further.
            Ok(if last.is_finite() { last.line() } else { LineValue { value: f64::INFINITY, ..last.line() } })
        };
        let outcome: Outcome = match search {
            Search::Fixed => fixed(first, &mut phi)?,
            Search::Backtracking => backtracking(start, first, &limits, &mut phi)?,
            Search::Wolfe => strong_wolfe(start, first, &limits, &mut phi)?,
        };
        match outcome {
            Ok(found) if last.is_finite() && last.step_squared > 0.0 => {
                // What falls by less than is known of it is at its end.
                let falls = last.slope < 0.0 && start.value - last.value > limits.noise;
                let endless = found.evaluations >= limits.evaluations && falls;
                self.endless = if endless { self.endless + 1 } else { 0 };
                self.accept(found.step, slope, last);
                Ok(true)
            }
            _ => {
                self.is_stuck = last.is_finite();
                self.go_back(problem);
                Ok(false)
            }
        }
    }

    /// Tries steps of a model that is trusted less and less, until one is taken; false where none is.
    pub(super) fn search_by_trust(&mut self, problem: &mut dyn Problem) -> Result<bool> {
        let noise = self.options.noise * self.here.value.abs();
        for _ in 0..self.options.limits.evaluations {
            let (mut here, direction) = self.direct(problem);
            let Some(model) = direction.trust() else { break };
            let foretold = model.step(&mut here)?;
            self.space.dot(START_SLOPE, ONE, &self.former_gradient, &self.along)?;
            let (alpha, slope, trial) = self.tried(problem, 1.0)?;
            let trial = trial.unwrap_or_default();
            // Where both drown in rounding, the model is right.
            let ratio = (self.here.value - trial.value + noise) / (foretold + noise);
            let taken = self.direction.trust().is_some_and(|model| model.judge(ratio));
            if trial.is_finite() && trial.step_squared == 0.0 {
                break;
            }
            if taken && trial.is_finite() {
                self.accept(alpha, slope, trial);
                return Ok(true);
            }
        }
        self.go_back(problem);
        Ok(false)
    }

    /// The step size that is tried first, the slope at the start, and the trial where it was made already.
    fn first_trial(&mut self, problem: &mut dyn Problem) -> Result<(f64, f64, Option<Trial>)> {
        let rate = self.options.rate;
        let fixed = self.options.search == Search::Fixed;
        match (self.direction.first_step(), self.remembers) {
            (FirstStep::Newton, _) | (FirstStep::NewtonLater, true) => self.tried(problem, rate),
            (FirstStep::AsMuchAsLast, _) if fixed => self.tried(problem, rate),
            (FirstStep::AsMuchAsLast, true) => {
                let [slope] = self.space.read([START_SLOPE])?;
                let step = self.last_alpha * self.last_slope / slope;
                Ok((if step.is_finite() && step > 0.0 { step } else { self.last_alpha }, slope, None))
            }
            (FirstStep::NewtonLater | FirstStep::AsMuchAsLast, false) => {
                self.space.absolute_sum(ABSOLUTE, &self.former_gradient)?;
                let [slope, size] = self.space.read([START_SLOPE, ABSOLUTE])?;
                Ok((rate * (1.0 / size).min(1.0), slope, None))
            }
        }
    }
}

/// The one step that is tried, whatever it leads to.
fn fixed(step: f64, phi: &mut dyn FnMut(f64) -> Result<LineValue>) -> Result<Outcome> {
    Ok(Ok(Found { step, at: phi(step)?, evaluations: 1 }))
}
