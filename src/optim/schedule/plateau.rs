//! The state of `plateau`, which lowers the learning rate where the loss gets no better.

use serde::{Deserialize, Serialize};

/// What a `plateau` remembers from evaluation to evaluation: part of a run's state.
///
/// ```
/// use downhill::PlateauState;
///
/// let begin = PlateauState::default();
/// assert_eq!((begin.best, begin.bad_evaluations, begin.factor), (None, 0, 1.0));
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlateauState {
    /// The least loss so far; none before the first evaluation.
    pub best: Option<f64>,
    /// Evaluations in a row that were no better.
    pub bad_evaluations: u64,
    /// What the rates of the schedule are multiplied by.
    pub factor: f64,
}

impl Default for PlateauState {
    fn default() -> Self {
        PlateauState { best: None, bad_evaluations: 0, factor: 1.0 }
    }
}

impl PlateauState {
    /// PyTorch's ReduceLROnPlateau with its relative threshold and no cooldown. `argument` gives the plateau's
    /// arguments by name.
    pub(super) fn observe(&mut self, loss: f64, argument: impl Fn(&str) -> Option<f64>) {
        let of = |name| argument(name).unwrap_or(0.0);
        if self.best.is_none_or(|best| loss < best * (1.0 - of("threshold"))) {
            self.best = Some(loss);
            self.bad_evaluations = 0;
            return;
        }
        self.bad_evaluations += 1;
        if self.bad_evaluations as f64 > of("patience") {
            // Never up: the factor may be below `to` only where that is above 1.
            self.factor = self.factor.min((self.factor * of("factor")).max(of("to")));
            self.bad_evaluations = 0;
        }
    }
}
