//! The loop of every method that goes along a direction: direction, search, step, until a test says enough.
//!
//! A trial costs one look of the host: its value, its slope and what the next direction wants to know of it are computed
//! behind it in the same submit, and where the first trial does not depend on the slope, that of the start is read with it.

use super::direction::{Direction, FirstStep, Here, LastStep};
use super::ending::{Ending, Progress, Tolerances};
use super::line_search::{Found, Limits, LineValue, Outcome, backtracking, strong_wolfe};
use super::problem::Problem;
use super::space::{FREE, MINUS_ONE, ONE, Slot, Space, Vector, ZERO};
use crate::Result;

/// g·d at the start of a search, and the step size of a trial.
const START_SLOPE: Slot = Slot(FREE);
const ALPHA: Slot = Slot(FREE + 1);
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
/// Σ|g|.
const ABSOLUTE: Slot = Slot(FREE + 10);
/// The first slot that directions may take.
pub(crate) const OF_DIRECTIONS: usize = FREE + 11;

/// Steps in a row that lower neither the value nor the gradient, after which nothing will.
const PATIENCE: u32 = 10;

/// Searches in a row, each of a length 2²⁹ times its first trial, at whose end the objective still falls: it has no bound.
const MOST_ENDLESS: u32 = 3;

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

/// What a method is run with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct DescentOptions {
    pub search: Search,
    pub limits: Limits,
    /// What values are known to, as a share of them.
    pub noise: f64,
    /// What first steps are multiplied by.
    pub rate: f64,
    pub steps: u64,
    pub tolerances: Tolerances,
}

/// Where a method has come to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Descended {
    pub steps: u64,
    pub value: f64,
    pub gradient_norm: f64,
    /// Values with their gradients, and products of a curvature with a vector.
    pub evaluations: u64,
    pub products: u64,
    /// How often the host waited for numbers.
    pub readbacks: u64,
    /// How far the last step went along its direction.
    pub step_size: f64,
}

/// A trial as the host reads it.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    value: f64,
    slope: f64,
    gradient_squared: f64,
    step_change: f64,
    change_squared: f64,
    change_gradient: f64,
    step_squared: f64,
    theta_squared: f64,
}

impl Trial {
    fn line(&self) -> LineValue {
        LineValue { value: self.value, slope: self.slope }
    }

    fn is_finite(&self) -> bool {
        self.value.is_finite() && self.gradient_squared.is_finite() && self.theta_squared.is_finite()
    }
}

impl From<[f64; 8]> for Trial {
    fn from(read: [f64; 8]) -> Self {
        let [
            value,
            slope,
            gradient_squared,
            step_change,
            change_squared,
            change_gradient,
            step_squared,
            theta_squared,
        ] = read;
        Trial {
            value,
            slope,
            gradient_squared,
            step_change,
            change_squared,
            change_gradient,
            step_squared,
            theta_squared,
        }
    }
}

/// A method under way on a problem, which comes along with every call.
pub(crate) struct Descent {
    pub space: Space,
    direction: Box<dyn Direction>,
    options: DescentOptions,
    /// θ and gradient before the step, and the direction.
    origin: Vector,
    former_gradient: Vector,
    along: Vector,
    last: LastStep,
    here: Trial,
    /// Whether `last` tells of a step that the direction may learn from.
    remembers: bool,
    /// Whether the search that failed ended among the numbers.
    is_stuck: bool,
    /// Of the last step: its size along its direction, and the slope where it began.
    last_alpha: f64,
    last_slope: f64,
    steps: u64,
    evaluations: u64,
    /// The least value and gradient so far, and steps since one of them fell.
    best: (f64, f64),
    idle: u32,
    /// Searches in a row that ended on the way down.
    endless: u32,
}

impl Descent {
    /// Vectors that it keeps, whatever the direction.
    pub const VECTORS: usize = 5;

    /// Evaluates the start.
    ///
    /// # Errors
    /// What the device fails with.
    pub fn new(
        space: Space,
        problem: &mut dyn Problem,
        direction: Box<dyn Direction>,
        options: DescentOptions,
    ) -> Result<Self> {
        let last = LastStep {
            step: space.vector()?,
            change: space.vector()?,
            step_change: 0.0,
            change_squared: 0.0,
            step_squared: 0.0,
            change_gradient: 0.0,
            former_gradient_squared: 0.0,
            direction_change: 0.0,
            direction_gradient: 0.0,
            direction_squared: 0.0,
        };
        let (origin, former_gradient, along) = (space.vector()?, space.vector()?, space.vector()?);
        let mut descent = Descent {
            space,
            direction,
            options,
            origin,
            former_gradient,
            along,
            last,
            here: Trial::default(),
            remembers: false,
            is_stuck: false,
            last_alpha: 1.0,
            last_slope: 0.0,
            steps: 0,
            evaluations: 0,
            best: (f64::INFINITY, f64::INFINITY),
            idle: 0,
            endless: 0,
        };
        descent.begin_line(problem);
        descent.record_trial(problem, 0.0)?;
        descent.here = Trial::from(descent.space.read(TRIAL)?);
        Ok(descent)
    }

    /// Makes steps until it is done, or `until` steps are made in all; none where it goes on.
    ///
    /// # Errors
    /// What the device fails with; what the direction asks of the objective and does not get.
    pub fn advance(&mut self, problem: &mut dyn Problem, until: u64) -> Result<Option<Ending>> {
        if !self.here.is_finite() {
            return Ok(Some(Ending::NotFinite));
        }
        let mut progress = self.progress(None);
        loop {
            if let Some(test) = self.options.tolerances.holds(&progress) {
                let ending =
                    if self.is_too_small(problem)? { Ending::Stalled } else { Ending::Converged(test) };
                return Ok(Some(ending));
            }
            if self.steps >= self.options.steps {
                return Ok(Some(Ending::MaxSteps));
            }
            if self.steps >= until {
                return Ok(None);
            }
            let before = self.here.value;
            match self.step(problem)? {
                Some(ending) => return Ok(Some(ending)),
                None => progress = self.progress(Some(before)),
            }
            if self.is_idle() {
                return Ok(Some(Ending::Stalled));
            }
            if self.endless >= MOST_ENDLESS {
                return Ok(Some(Ending::Diverged));
            }
        }
    }

    /// Where it has come to.
    pub fn descended(&self) -> Descended {
        Descended {
            steps: self.steps,
            value: self.here.value,
            gradient_norm: self.here.gradient_squared.sqrt(),
            evaluations: self.evaluations,
            products: self.direction.products(),
            readbacks: self.space.readbacks(),
            step_size: self.last_alpha,
        }
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// θ as it stands. The host waits.
    ///
    /// # Errors
    /// What the device fails with.
    pub fn theta(&mut self, problem: &dyn Problem) -> Result<Vec<f64>> {
        self.space.read_vector(problem.theta(), problem.layout())
    }

    /// Whether the gradient's norm is 0 at the start only because its squares are below what numbers hold.
    fn is_too_small(&mut self, problem: &dyn Problem) -> Result<bool> {
        // After steps that lowered it so far it is as good as zero.
        if self.steps > 0 || self.here.gradient_squared > 0.0 {
            return Ok(false);
        }
        self.space.absolute_sum(ABSOLUTE, problem.gradient())?;
        let [sum] = self.space.read([ABSOLUTE])?;
        Ok(sum > self.options.tolerances.gradient.unwrap_or(0.0))
    }

    fn progress(&self, before: Option<f64>) -> Progress {
        let step = before.map(|before| {
            (self.here.step_squared.sqrt(), self.here.theta_squared.sqrt(), before - self.here.value)
        });
        Progress { gradient_norm: self.here.gradient_squared.sqrt(), step, value: self.here.value }
    }

    fn is_idle(&mut self) -> bool {
        let (value, gradient) = self.best;
        let improves = self.here.value < value || self.here.gradient_squared < gradient;
        self.best = (value.min(self.here.value), gradient.min(self.here.gradient_squared));
        self.idle = if improves { 0 } else { self.idle + 1 };
        self.idle >= PATIENCE && self.options.search != Search::Fixed
    }

    /// One step; an ending where there is none.
    fn step(&mut self, problem: &mut dyn Problem) -> Result<Option<Ending>> {
        self.record_direction(problem)?;
        if self.direction.trust().is_some() {
            return Ok((!self.search_by_trust(problem)?).then_some(Ending::Stalled));
        }
        self.space.dot(START_SLOPE, ONE, &self.former_gradient, &self.along)?;
        if self.search(problem)? {
            return Ok(None);
        }
        if self.options.search == Search::Fixed {
            // A step that rounding swallows leads nowhere else.
            return Ok(Some(if self.is_stuck { Ending::Stalled } else { Ending::Diverged }));
        }
        if self.remembers {
            // What was learnt may mislead: once more along the gradient.
            self.direction.restart();
            self.remembers = false;
        }
        self.record_steepest()?;
        Ok((!self.search(problem)?).then_some(Ending::Stalled))
    }

    fn record_direction(&mut self, problem: &mut dyn Problem) -> Result<()> {
        self.begin_line(problem);
        let (mut here, direction) = self.direct(problem);
        direction.record(&mut here)
    }

    /// What a direction finds around it, and the direction.
    fn direct<'a>(&'a mut self, problem: &'a mut dyn Problem) -> (Here<'a>, &'a mut dyn Direction) {
        let here = Here {
            space: &mut self.space,
            problem,
            gradient: &self.former_gradient,
            direction: &self.along,
            gradient_squared: self.here.gradient_squared,
            last: self.remembers.then_some(&self.last),
        };
        (here, self.direction.as_mut())
    }

    fn record_steepest(&mut self) -> Result<()> {
        self.space.scale_add(&self.along, ZERO, &self.former_gradient, MINUS_ONE, ONE)?;
        self.space.dot(START_SLOPE, ONE, &self.former_gradient, &self.along)
    }

    /// Notes where a line begins.
    fn begin_line(&mut self, problem: &dyn Problem) {
        self.space.copy(&self.origin, problem.theta());
        self.space.copy(&self.former_gradient, problem.gradient());
    }

    /// Looks for a step along the direction and makes it; false where there is none, and θ stays where it was.
    fn search(&mut self, problem: &mut dyn Problem) -> Result<bool> {
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
                let endless = found.evaluations >= limits.evaluations && last.slope < 0.0;
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
    fn search_by_trust(&mut self, problem: &mut dyn Problem) -> Result<bool> {
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

    /// Puts θ and gradient back to where the line begins.
    pub fn go_back(&mut self, problem: &dyn Problem) {
        self.space.copy(problem.theta(), &self.origin);
        self.space.copy(problem.gradient(), &self.former_gradient);
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

    /// Tries `alpha` before the slope is known, and reads both at once.
    fn tried(&mut self, problem: &mut dyn Problem, alpha: f64) -> Result<(f64, f64, Option<Trial>)> {
        self.record_trial(problem, alpha)?;
        let [a, b, c, d, e, f, g, h] = TRIAL;
        let [slope, trial @ ..] = self.space.read([START_SLOPE, a, b, c, d, e, f, g, h])?;
        Ok((alpha, slope, Some(Trial::from(trial))))
    }

    fn trial(&mut self, problem: &mut dyn Problem, alpha: f64) -> Result<Trial> {
        self.record_trial(problem, alpha)?;
        Ok(Trial::from(self.space.read(TRIAL)?))
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

    fn accept(&mut self, alpha: f64, slope: f64, trial: Trial) {
        self.last = LastStep {
            step: self.last.step.clone(),
            change: self.last.change.clone(),
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
        self.here = trial;
        self.remembers = true;
        self.steps += 1;
    }
}

/// The one step that is tried, whatever it leads to.
fn fixed(step: f64, phi: &mut dyn FnMut(f64) -> Result<LineValue>) -> Result<Outcome> {
    Ok(Ok(Found { step, at: phi(step)?, evaluations: 1 }))
}
