//! The line searches that the host runs: every trial is a submit whose value is read back before the next is chosen, for
//! each depends on the one before. [`LineSearch::Batched`] reads nothing back.

use super::engine::Engine;
use super::line_search::LineSearch;
use crate::Result;
use crate::optim::SearchPlan;
use crate::solve::{Limits, LineValue, Outcome, backtracking, strong_wolfe};

/// Evaluations of a step at most; near a minimum differences drown in rounding, and no step is found.
const EVALUATIONS: usize = 20;

impl Engine {
    /// Finds the step size of the step that was just sent, and takes the step. Where none is found, θ stays.
    pub fn search(&mut self, search: LineSearch) -> Result<()> {
        let find = match search {
            // The device has found it already.
            LineSearch::Batched { .. } => return Ok(()),
            LineSearch::Backtracking => backtracking,
            LineSearch::StrongWolfe => strong_wolfe,
        };
        let limits = Limits { evaluations: EVALUATIONS, ..Limits::default() };
        let (last, here) = (self.step_factor()?, self.trial_value()?);
        // Twice the last step, so that steps can grow; exact minima along the gradient make descent zigzag, longer steps
        // do not.
        let first = 2.0 * last;
        let outcome: Outcome = find(here, first, &limits, &mut |factor| self.evaluate(factor))?;
        let (chosen, factor) = match outcome {
            Ok(found) => (found.step as f32, SearchPlan::around(found.step) as f32),
            Err(_) => (0.0, SearchPlan::below(last) as f32),
        };
        // Both searches end with the trial that they choose, so θ is to be what it left.
        self.end_search(factor, chosen)
    }

    fn evaluate(&mut self, factor: f64) -> Result<LineValue> {
        self.send_trial(factor as f32)?;
        self.trial_value()
    }

    fn trial_value(&mut self) -> Result<LineValue> {
        let [value, slope] = self.searched(SearchPlan::VALUE)?.map(f64::from);
        Ok(LineValue { value, slope })
    }

    fn step_factor(&mut self) -> Result<f64> {
        let [factor, _] = self.searched(SearchPlan::FACTOR)?;
        Ok(f64::from(factor))
    }
}
