//! An optimizer on an expression: many steps a submit, nothing read back but what was asked for.
//!
//! `objective` is the function. A small one is written out number by number (`scalars`) into one kernel that does
//! many whole steps, gradient and update, in one invocation (`kernel`, `single`); another runs as a plan (`planned`).

mod by_method;
mod flat;
mod kernel;
mod layout;
mod objective;
mod planned;
mod scalars;
mod single;

#[cfg(test)]
mod tests;

use std::time::Instant;

use serde::Serialize;

pub use by_method::{MethodOptions, Solved, minimize_by};
pub use objective::Objective;
pub(crate) use scalars::{Number, Program, Written, write_graph};

use crate::linear::norm;
use crate::optim::{Average, Modifiers, Optimizer, Passes, Schedule};
use crate::{Error, Gpu, Result};
use planned::Planned;
use single::Single;

/// Updates in a row that change no bit of θ, after which it is said to have stalled, at least.
const STALLED: u64 = 100;

/// How an expression is minimised.
///
/// ```
/// use downhill::{MinimizeOptions, Optimizer};
///
/// let options = MinimizeOptions {
///     schedule: "cosine".parse()?,
///     tolerance: Some(1e-6),
///     ..MinimizeOptions::new(Optimizer::new("adam")?)
/// };
/// assert_eq!((options.steps, options.trace), (1000, 0));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MinimizeOptions {
    /// The update rule.
    pub optimizer: Optimizer,
    /// What goes with it in the same pass.
    pub modifiers: Modifiers,
    /// How its learning rate goes; epochs are steps here.
    pub schedule: Schedule,
    /// Updates, exactly unless there is a tolerance.
    pub steps: u64,
    /// Steps between two points of the trace; 0 for none.
    pub trace: u64,
    /// The Euclidean norm of the gradient at or below which it is done.
    pub tolerance: Option<f64>,
}

impl MinimizeOptions {
    /// 1,000 steps without trace and tolerance.
    pub fn new(optimizer: Optimizer) -> Self {
        MinimizeOptions {
            optimizer,
            modifiers: Modifiers::default(),
            schedule: Schedule::default(),
            steps: 1000,
            trace: 0,
            tolerance: None,
        }
    }

    /// The learning rate of step `number` = 1, 2, …
    fn learning_rate(&self, number: u64) -> f64 {
        self.schedule.rate(self.optimizer.learning_rate(), number, self.steps, 1)
    }

    /// The scalars of the optimizer and of what goes with it, of the steps after `done` up to `until`,
    /// one step after another, each a line of [`kernel::LINE`].
    fn scalars(&self, done: u64, until: u64) -> Vec<f32> {
        let line = |number| {
            let own = self.optimizer.scalars(number, self.learning_rate(number));
            own.into_iter().chain(self.modifiers.scalars(number))
        };
        (done + 1..until + 1).flat_map(line).collect()
    }

    /// Updates in a row that change no bit of θ, nor of what follows it, after which nothing will: what follows θ moves
    /// now and then.
    fn stalled_after(&self) -> u64 {
        let Modifiers { average, lookahead, .. } = self.modifiers;
        let moves = match average {
            Some(Average::Stochastic { start, every }) => start.max(every),
            Some(Average::Exponential { .. }) | None => 0,
        };
        STALLED.max(moves).max(lookahead.map_or(0, |lookahead| lookahead.steps))
    }

    /// Whether one kernel can do a whole step of it: what goes with the rule is then done there too.
    fn in_one_kernel(&self) -> bool {
        let Modifiers { skip_not_finite, groups, lookahead, .. } = &self.modifiers;
        // Lookahead does not go with a rule that looks ahead itself, which the plan tells.
        let is_known = self.optimizer.passes() != Some(Passes::Orthogonal)
            && !(lookahead.is_some() && self.optimizer.has_readout());
        is_known && !skip_not_finite && groups.is_empty()
    }

    /// Whether the gradient at θ is within the tolerance; zero where there is none.
    fn is_within(&self, objective: &Objective, theta: &[f64]) -> bool {
        norm(&objective.gradient(theta)) <= self.tolerance.unwrap_or(0.0)
    }

    fn check(&self) -> Result<()> {
        let most = u64::from(u32::MAX);
        for (name, count) in [("steps", self.steps), ("trace", self.trace)] {
            if count > most {
                return Err(Error::setting(name, format!("must be at most {most}, not {count}")));
            }
        }
        self.modifiers.check()?;
        self.modifiers.check_unscaled()?;
        self.optimizer.check()?;
        self.modifiers.check_length(self.steps)?;
        if self.schedule.watches() {
            return Err(Error::setting(
                "schedule",
                "plateau watches the losses of epochs, and there are none here",
            ));
        }
        match self.tolerance {
            Some(tolerance) if !(tolerance >= 0.0 && tolerance.is_finite()) => {
                Err(Error::setting("tolerance", format!("must be a number from 0 on, not {tolerance}")))
            }
            _ => Ok(()),
        }
    }
}

/// How a run ended.
///
/// ```
/// use downhill::{MinimizeOptions, Objective, Optimizer, Status, minimize};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let bowl = Objective::parse("(x-3)^2", "x=0")?;
/// let options = MinimizeOptions { steps: 5, ..MinimizeOptions::new(Optimizer::new("sgd")?) };
/// match minimize(&gpu, &bowl, &options)?.status {
///     Status::Converged | Status::Stalled => println!("it goes no further"),
///     Status::MaxSteps => println!("more steps may help"),
///     Status::Diverged => println!("the learning rate is too high"),
///     _ => {}
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// The gradient's norm is within the tolerance, or zero where none was given.
    Converged,
    /// All steps were made.
    MaxSteps,
    /// The loss, its gradient or some of θ is no number, or too large for one: at the start, where no step was made.
    Diverged,
    /// Updates change no bit of θ any more, though its gradient is not within the tolerance.
    Stalled,
}

/// A point of the way.
///
/// ```
/// use downhill::{MinimizeOptions, Objective, Optimizer, minimize};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let bowl = Objective::parse("(x-3)^2", "x=0")?;
/// let options = MinimizeOptions { steps: 10, trace: 5, ..MinimizeOptions::new(Optimizer::new("adam")?) };
/// let trace = minimize(&gpu, &bowl, &options)?.trace;
/// assert_eq!(trace.iter().map(|point| point.step).collect::<Vec<_>>(), [0, 5, 10]);
/// assert_eq!((trace[0].loss, trace[0].theta[0]), (9.0, 0.0));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct TracePoint {
    /// Updates before it.
    pub step: u64,
    /// The value there, computed in f64.
    pub loss: f64,
    /// The unknowns in the order of the start.
    pub theta: Vec<f64>,
}

/// What came of a run. θ is the GPU's, in its precision; loss and gradient are those of the expression at that θ, in f64.
///
/// ```
/// use downhill::{MinimizeOptions, Minimum, Objective, Optimizer, minimize};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let bowl = Objective::parse("(x-3)^2", "x=0")?;
/// let optimizer = Optimizer::new("sgd")?.with("lr", 0.1)?;
/// let minimum: Minimum = minimize(&gpu, &bowl, &MinimizeOptions::new(optimizer))?;
/// assert!((minimum.theta[0] - 3.0).abs() < 1e-4 && minimum.loss < 1e-8);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Minimum {
    /// How it ended.
    pub status: Status,
    /// Updates that were made.
    pub steps: u64,
    /// The value at `theta`.
    pub loss: f64,
    /// The unknowns in the order of the start.
    pub theta: Vec<f64>,
    /// The Euclidean norm of the gradient at `theta`.
    pub gradient_norm: f64,
    /// Gradients that were computed on the way.
    pub evaluations: u64,
    /// From step 0 on, if a trace was asked for.
    pub trace: Vec<TracePoint>,
    /// Wall time.
    pub seconds: f64,
}

/// Why the device stopped before all steps were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Converged,
    Diverged,
    Stalled,
}

/// What a submit of some steps came to.
struct Advance {
    /// Updates so far.
    done: u64,
    evaluations: u64,
    /// The last updates, as many as changed no bit of θ.
    unchanged: u64,
    stop: Option<Stop>,
    /// θ as the user reads it.
    theta: Vec<f64>,
    /// θ after those steps that the trace asks for.
    trace: Vec<(u64, Vec<f64>)>,
}

/// The two ways to make steps.
enum Descent<'a> {
    Single(Box<Single<'a>>),
    Planned(Box<Planned<'a>>),
}

impl<'a> Descent<'a> {
    fn new(gpu: &'a Gpu, objective: &'a Objective, options: &'a MinimizeOptions) -> Result<Self> {
        Ok(match scalars::write_out(objective).filter(|_| options.in_one_kernel()) {
            Some(program) => Descent::Single(Box::new(Single::new(gpu, objective, &program, options)?)),
            None => Descent::Planned(Box::new(Planned::new(gpu, objective, options)?)),
        })
    }

    /// Makes some of the steps that are left.
    fn advance(&mut self) -> Result<Advance> {
        match self {
            Descent::Single(single) => single.advance(),
            Descent::Planned(planned) => planned.advance(),
        }
    }
}

/// Minimises `objective` from its start.
///
/// ```
/// use downhill::{Gpu, GpuOptions, MinimizeOptions, Objective, Optimizer, Status, minimize};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let bowl = Objective::parse("sum((x - iota(3))^2)", "x=zeros(3)")?;
/// let options = MinimizeOptions {
///     tolerance: Some(1e-3),
///     ..MinimizeOptions::new(Optimizer::new("sgd")?.with("lr", 0.1)?)
/// };
/// assert_eq!(minimize(&gpu, &bowl, &options)?.status, Status::Converged);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for a tolerance below 0 or more steps than a kernel can count; [`Error::DoesNotFit`],
/// [`Error::OutOfMemory`] and [`Error::Device`] as the device has it. Divergence is a [`Status`].
pub fn minimize(gpu: &Gpu, objective: &Objective, options: &MinimizeOptions) -> Result<Minimum> {
    let began = Instant::now();
    options.check()?;
    let start: Vec<f64> = objective.start().iter().map(|&x| f64::from(x as f32)).collect();
    let mut trace = Vec::new();
    if options.trace > 0 {
        trace.push((0, start.clone()));
    }
    let stop = (!objective.is_finite(&start)).then_some(Stop::Diverged);
    let mut last = Advance { done: 0, evaluations: 0, unchanged: 0, stop, theta: start, trace: Vec::new() };
    if last.stop.is_some() {
        return Ok(concluded(objective, options, last, trace, began));
    }
    let mut descent = Descent::new(gpu, objective, options)?;
    while last.done < options.steps && last.stop.is_none() {
        last = descent.advance()?;
        trace.append(&mut last.trace);
    }
    Ok(concluded(objective, options, last, trace, began))
}

fn concluded(
    objective: &Objective,
    options: &MinimizeOptions,
    last: Advance,
    trace: Vec<(u64, Vec<f64>)>,
    began: Instant,
) -> Minimum {
    let loss = objective.evaluate(&last.theta);
    let gradient_norm = norm(&objective.gradient(&last.theta));
    let finite = [loss, gradient_norm].iter().chain(&last.theta).all(|x| x.is_finite());
    let status = if !finite || last.stop == Some(Stop::Diverged) {
        Status::Diverged
    } else if gradient_norm <= options.tolerance.unwrap_or(0.0) {
        Status::Converged
    } else if last.stop.is_some() || last.unchanged >= options.stalled_after() {
        Status::Stalled
    } else {
        Status::MaxSteps
    };
    let point = |(step, theta): (u64, Vec<f64>)| TracePoint { step, loss: objective.evaluate(&theta), theta };
    Minimum {
        status,
        steps: last.done,
        loss,
        gradient_norm,
        evaluations: last.evaluations,
        trace: trace.into_iter().map(point).collect(),
        seconds: began.elapsed().as_secs_f64(),
        theta: last.theta,
    }
}
