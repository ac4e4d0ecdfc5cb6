//! Line searches: a step size α along a descent direction, by the values φ(α) of the objective there and its slopes φ′(α).
//!
//! They are sequential by nature, for what is tried next depends on the value before. Values that are not finite count as
//! higher than any other, so that a trial beyond the domain of the objective only shortens the step. A search ends with the
//! trial that it takes, so whoever evaluates is then there.

mod backtracking;
#[cfg(test)]
mod tests;
mod wolfe;

use crate::Result;

pub use backtracking::backtracking;
pub use wolfe::strong_wolfe;

/// The objective at a step size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LineValue {
    /// φ(α).
    pub value: f64,
    /// φ′(α), along the direction.
    pub slope: f64,
}

/// What a step must do, and how long it may be looked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// c₁ of the Armijo condition φ(α) ≤ φ(0) + c₁·α·φ′(0), above 0.
    pub decrease: f64,
    /// c₂ of the strong curvature condition |φ′(α)| ≤ c₂·|φ′(0)|, above `decrease` and below 1.
    pub curvature: f64,
    /// Evaluations of φ at most.
    pub evaluations: usize,
    /// What values of φ are known to. A step that raises φ by no more than that may still be judged by its slope: the
    /// approximate Wolfe conditions of Hager and Zhang, 2005, equation 4.1, without which no step is found where
    /// differences drown in rounding.
    pub noise: f64,
}

impl Default for Limits {
    /// Nocedal and Wright's for Newton and quasi-Newton directions, and 30 evaluations.
    fn default() -> Self {
        Limits { decrease: 1e-4, curvature: 0.9, evaluations: 30, noise: 0.0 }
    }
}

/// A step that fulfils the conditions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Found {
    /// Its size.
    pub step: f64,
    /// The objective there.
    pub at: LineValue,
    /// Evaluations of φ that it took.
    pub evaluations: usize,
}

/// Why there is no such step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotFound {
    /// φ′(0) is not below 0, or φ(0) not finite: there is nothing to search along.
    NotDescending,
    /// The evaluations came to their limit, or steps became too small to tell apart.
    Exhausted,
}

/// How a search ended.
pub type Outcome = std::result::Result<Found, NotFound>;

/// φ, counted.
struct Counted<F> {
    evaluate: F,
    left: usize,
    made: usize,
}

impl<F: FnMut(f64) -> Result<LineValue>> Counted<F> {
    fn new(evaluate: F, limits: &Limits) -> Self {
        Counted { evaluate, left: limits.evaluations, made: 0 }
    }

    /// φ(α); none where the limit is reached. What is not finite is higher than all else.
    fn at(&mut self, step: f64) -> Result<Option<LineValue>> {
        if self.made == self.left {
            return Ok(None);
        }
        self.made += 1;
        let LineValue { value, slope } = (self.evaluate)(step)?;
        let usable = value.is_finite() && slope.is_finite();
        Ok(Some(if usable {
            LineValue { value, slope }
        } else {
            LineValue { value: f64::INFINITY, slope: f64::NAN }
        }))
    }

    /// φ at a step that was tried before, whatever the limit: to be there.
    fn again(&mut self, step: f64) -> Result<LineValue> {
        self.made += 1;
        (self.evaluate)(step)
    }

    fn found(&self, step: f64, at: LineValue) -> Outcome {
        Ok(Found { step, at, evaluations: self.made })
    }
}

fn descends(start: LineValue) -> bool {
    start.value.is_finite() && start.slope.is_finite() && start.slope < 0.0
}

#[derive(Clone, Copy)]
struct Point {
    step: f64,
    at: LineValue,
}

/// The Armijo condition, or its approximation by slopes within the noise.
fn decreases(start: LineValue, limits: &Limits, Point { step, at }: Point) -> bool {
    let by_slope = || at.slope <= (2.0 * limits.decrease - 1.0) * start.slope;
    at.value <= start.value + limits.decrease * step * start.slope
        || (limits.noise > 0.0 && at.value <= start.value + limits.noise && by_slope())
}
