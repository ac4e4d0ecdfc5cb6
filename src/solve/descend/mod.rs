//! The loop of every method that goes along a direction: direction, search, step, until a test says enough.
//!
//! A trial costs one look of the host: its value, its slope and what the next direction wants to know of it are computed
//! behind it in the same submit, and where the first trial does not depend on the slope, that of the start is read with it.

mod memory;
mod search;
mod trial;

use super::direction::{Direction, Here, LastStep, StepProducts};
use super::ending::{Ending, Progress, Tolerances};
use super::line_search::Limits;
use super::problem::Problem;
use super::space::{FREE, MINUS_ONE, ONE, Slot, Space, Vector, ZERO};
use crate::Result;
pub(crate) use search::Search;
use trial::Trial;

/// g·d at the start of a search, and the step size of a trial.
const START_SLOPE: Slot = Slot(FREE);
const ALPHA: Slot = Slot(FREE + 1);
/// Σ|g|.
const ABSOLUTE: Slot = Slot(FREE + 10);
/// The first slot that directions may take.
pub(crate) const OF_DIRECTIONS: usize = FREE + 11;

/// Steps in a row that lower neither the value nor the gradient, after which nothing will.
const PATIENCE: u32 = 10;

/// Searches in a row, each of a length 2²⁹ times its first trial, at whose end the objective still falls: it has no bound.
const MOST_ENDLESS: u32 = 3;

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
    /// The value before the last step; none before there was one.
    former_value: Option<f64>,
    /// Whether `along` is the direction from here, of which a search is under way: what `last` tells is learnt.
    is_directed: bool,
    /// Whether `last` tells of a step that the direction may learn from.
    remembers: bool,
    /// Whether the search that failed ended among the numbers.
    is_stuck: bool,
    /// Of the last step: its size along its direction, and the slope where it began.
    last_alpha: f64,
    last_slope: f64,
    steps: u64,
    evaluations: u64,
    /// Products and readbacks before it was resumed.
    former_counts: [u64; 2],
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
        let mut descent = Self::at_rest(space, direction, options)?;
        descent.begin_line(problem);
        descent.here = descent.trial(problem, 0.0)?;
        Ok(descent)
    }

    /// Before anything is known of the start.
    fn at_rest(space: Space, direction: Box<dyn Direction>, options: DescentOptions) -> Result<Self> {
        let products = StepProducts::default();
        let last = LastStep { step: space.vector()?, change: space.vector()?, products };
        let (origin, former_gradient, along) = (space.vector()?, space.vector()?, space.vector()?);
        Ok(Descent {
            space,
            direction,
            options,
            origin,
            former_gradient,
            along,
            last,
            here: Trial::default(),
            former_value: None,
            remembers: false,
            is_directed: false,
            is_stuck: false,
            last_alpha: 1.0,
            last_slope: 0.0,
            steps: 0,
            evaluations: 0,
            former_counts: [0; 2],
            best: (f64::INFINITY, f64::INFINITY),
            idle: 0,
            endless: 0,
        })
    }

    /// Makes steps until it is done, or `until` steps are made in all; none where it goes on.
    ///
    /// # Errors
    /// What the device fails with; what the direction asks of the objective and does not get.
    pub fn advance(&mut self, problem: &mut dyn Problem, until: u64) -> Result<Option<Ending>> {
        if !self.here.is_finite() {
            return Ok(Some(Ending::NotFinite));
        }
        loop {
            if let Some(test) = self.options.tolerances.holds(&self.progress()) {
                let ending =
                    if self.is_too_small(problem)? { Ending::Stalled } else { Ending::Converged(test) };
                return Ok(Some(ending));
            }
            if self.idle >= PATIENCE && self.options.search != Search::Fixed {
                return Ok(Some(Ending::Stalled));
            }
            if self.endless >= MOST_ENDLESS {
                return Ok(Some(Ending::Diverged));
            }
            if self.steps >= self.options.steps {
                return Ok(Some(Ending::MaxSteps));
            }
            if self.steps >= until {
                return Ok(None);
            }
            if let Some(ending) = self.step(problem)? {
                return Ok(Some(ending));
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
            products: self.former_counts[0] + self.direction.products(),
            readbacks: self.former_counts[1] + self.space.readbacks(),
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

    fn progress(&self) -> Progress {
        let step = self.former_value.map(|former| {
            (self.here.step_squared.sqrt(), self.here.theta_squared.sqrt(), former - self.here.value)
        });
        Progress { gradient_norm: self.here.gradient_squared.sqrt(), step, value: self.here.value }
    }

    /// Counts a step that was made.
    fn note_progress(&mut self) {
        let (value, gradient) = self.best;
        let improves = self.here.value < value || self.here.gradient_squared < gradient;
        self.best = (value.min(self.here.value), gradient.min(self.here.gradient_squared));
        self.idle = if improves { 0 } else { self.idle + 1 };
    }

    /// One step; an ending where there is none.
    fn step(&mut self, problem: &mut dyn Problem) -> Result<Option<Ending>> {
        if !self.is_directed {
            self.record_direction(problem)?;
        }
        if self.direction.trust().is_some() {
            return Ok((!self.search_by_trust(problem)?).then_some(Ending::Stalled));
        }
        self.is_directed = true;
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

    /// Puts θ and gradient back to where the line begins.
    pub fn go_back(&mut self, problem: &dyn Problem) {
        self.space.copy(problem.theta(), &self.origin);
        self.space.copy(problem.gradient(), &self.former_gradient);
        // Others read θ too.
        self.space.submit();
    }
}
