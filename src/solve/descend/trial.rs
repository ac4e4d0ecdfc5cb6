//! Trials: a point along the direction, and what is to be known there.

use super::super::direction::{LastStep, StepProducts};
use super::super::line_search::LineValue;
use super::super::problem::Problem;
use super::super::space::{FREE, MINUS_ONE, ONE, Slot};
use super::{ALPHA, Descent, START_SLOPE};
use crate::Result;

/// At a trial: the objective, g·d, ‖g‖², s·y, ‖y‖², y·g, ‖s‖², ‖θ‖².
const TRIAL: [Slot; 8] = [
    Slot(FREE + 2),
    Slot(FREE + 3),
    Slot(FREE + 4),
    Slot(FREE + 5),
    Slot(FREE + 6),
    Slot(FREE + 7),
    Slot(FREE + 8),
    Slot(FREE + 9),
];
const VALUE: Slot = TRIAL[0];

/// A trial as the host reads it.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Trial {
    pub value: f64,
    pub slope: f64,
    pub gradient_squared: f64,
    pub step_change: f64,
    pub change_squared: f64,
    pub change_gradient: f64,
    pub step_squared: f64,
    pub theta_squared: f64,
}

impl Trial {
    pub fn line(&self) -> LineValue {
        LineValue { value: self.value, slope: self.slope }
    }

    pub fn is_finite(&self) -> bool {
        self.value.is_finite() && self.gradient_squared.is_finite() && self.theta_squared.is_finite()
    }
}

impl Descent {
    /// Tries `alpha` before the slope is known, and reads both at once.
    pub(super) fn tried(
        &mut self,
        problem: &mut dyn Problem,
        alpha: f64,
    ) -> Result<(f64, f64, Option<Trial>)> {
        self.record_trial(problem, alpha)?;
        let [a, b, c, d, e, f, g, h] = TRIAL;
        let [slope, trial @ ..] = self.space.read([START_SLOPE, a, b, c, d, e, f, g, h])?;
        Ok((alpha, slope, Some(bytemuck::cast(trial))))
    }

    pub(super) fn trial(&mut self, problem: &mut dyn Problem, alpha: f64) -> Result<Trial> {
        self.record_trial(problem, alpha)?;
        Ok(bytemuck::cast(self.space.read(TRIAL)?))
    }

    /// Records the objective at `alpha` along the direction, and what is to be known there.
    fn record_trial(&mut self, problem: &mut dyn Problem, alpha: f64) -> Result<()> {
        self.evaluations += 1;
        let space = &mut self.space;
        let (theta, gradient) = (problem.theta().clone(), problem.gradient().clone());
        space.write(&[(ALPHA, alpha)]);
        space.copy(&theta, &self.origin);
        space.scale_add(&theta, ONE, &self.along, ALPHA, ONE)?;
        problem.evaluate(space, VALUE)?;
        let LastStep { step, change, .. } = &self.last;
        for (difference, now, before) in
            [(step, &theta, &self.origin), (change, &gradient, &self.former_gradient)]
        {
            space.copy(difference, now);
            space.scale_add(difference, ONE, before, MINUS_ONE, ONE)?;
        }
        let factors = [
            (&gradient, &self.along),
            (&gradient, &gradient),
            (step, change),
            (change, change),
            (change, &gradient),
            (step, step),
            (&theta, &theta),
        ];
        TRIAL[1..].iter().zip(factors).try_for_each(|(&slot, (x, y))| space.dot(slot, ONE, x, y))
    }

    pub(super) fn accept(&mut self, alpha: f64, slope: f64, trial: Trial) {
        self.last.products = StepProducts {
            step_change: trial.step_change,
            change_squared: trial.change_squared,
            step_squared: trial.step_squared,
            change_gradient: trial.change_gradient,
            former_gradient_squared: self.here.gradient_squared,
            direction_change: trial.slope - slope,
            direction_gradient: trial.slope,
            direction_squared: trial.step_squared / (alpha * alpha),
        };
        (self.last_alpha, self.last_slope) = (alpha, slope);
        self.former_value = Some(self.here.value);
        self.here = trial;
        (self.remembers, self.is_directed) = (true, false);
        self.steps += 1;
        self.note_progress();
    }
}
