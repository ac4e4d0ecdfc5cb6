//! A method of `solve` on an expression.

use std::time::Instant;

use super::flat::{Flat, NEEDS_RESIDUALS};
use super::{Minimum, Objective, Status, TracePoint, norm};
use crate::solve::{Descent, Ending, Method, Test, Tolerances};
use crate::{Error, Gpu, Precision, Result};

/// Roundings that a value is known to.
const NOISE: f64 = 8.0;

/// How an expression is minimised by a method.
///
/// ```
/// use downhill::{Method, MethodOptions, Precision};
///
/// let options = MethodOptions { steps: 50, trace: 1, ..MethodOptions::new(Method::new("newton")?) };
/// assert_eq!((options.method.name(), options.precision), ("newton", Precision::F32));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct MethodOptions {
    /// The method.
    pub method: Method,
    /// Steps at most.
    pub steps: u64,
    /// Steps between two points of the trace; 0 for none.
    pub trace: u64,
    /// When it is done before that.
    pub tolerances: Tolerances,
    /// [`Precision::F32`], or [`Precision::F64`] where the adapter has it.
    pub precision: Precision,
}

impl MethodOptions {
    /// At most 1,000 steps, without trace and tolerances, in f32.
    pub fn new(method: Method) -> Self {
        MethodOptions {
            method,
            steps: 1000,
            trace: 0,
            tolerances: Tolerances::default(),
            precision: Precision::F32,
        }
    }
}

/// What came of a method.
///
/// ```
/// use downhill::{Method, MethodOptions, Objective, Solved, minimize_by};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let bowl = Objective::parse("(x-3)^2 + y^2", "x=0; y=1")?;
/// let solved: Solved = minimize_by(&gpu, &bowl, &MethodOptions::new(Method::new("lbfgs")?))?;
/// assert!((solved.minimum.theta[0] - 3.0).abs() < 1e-3);
/// println!("{} steps, {} waits", solved.minimum.steps, solved.readbacks);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Solved {
    /// Where it led. Its evaluations are of the value with its gradient.
    pub minimum: Minimum,
    /// What convergence was seen by.
    pub test: Option<Test>,
    /// Products of a matrix of second derivatives with a vector.
    pub products: u64,
    /// How often the host waited for numbers of the device.
    pub readbacks: u64,
}

/// Minimises `objective` from its start by a method that chooses its own steps.
///
/// ```
/// use downhill::{Gpu, GpuOptions, Method, MethodOptions, Objective, minimize_by};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let valley = Objective::parse("(1-x)^2 + 100*(y-x^2)^2", "x=-1.2; y=1")?;
/// let solved = minimize_by(&gpu, &valley, &MethodOptions::new(Method::new("lbfgs")?))?;
/// assert!(solved.minimum.evaluations < 60);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for a method that needs residuals where the objective has none, and for more unknowns than one
/// with a whole matrix takes, and for f64 where the adapter has none; [`Error::DoesNotFit`], [`Error::OutOfMemory`] and [`Error::Device`] as the device has it.
/// Divergence is a [`Status`].
pub fn minimize_by(gpu: &Gpu, objective: &Objective, options: &MethodOptions) -> Result<Solved> {
    let began = Instant::now();
    options.tolerances.check()?;
    if options.method.of_residuals() && objective.residuals.is_none() {
        return Err(Error::setting("method", format!("{} {NEEDS_RESIDUALS}", options.method.name())));
    }
    if options.precision == Precision::F16 {
        return Err(Error::setting("precision", "a method works in f32 or f64, not in f16"));
    }
    let (mut flat, space) = Flat::new(gpu, objective, options.precision)?;
    let how = options.method.options(options.steps, options.tolerances, NOISE * space.roundoff());
    let mut descent = Descent::new(space, &mut flat, options.method.direction(), how)?;
    let mut trace = Vec::new();
    let (mut at, mut ending) = (0, None);
    while ending.is_none() {
        if options.trace > 0 {
            trace.push((at, descent.theta(&flat)?));
        }
        at = if options.trace > 0 { at + options.trace } else { u64::MAX };
        ending = descent.advance(&mut flat, at)?;
    }
    let ending = ending.unwrap_or(Ending::MaxSteps);
    let theta = descent.theta(&flat)?;
    let descended = descent.descended();
    if options.trace > 0 && descended.steps == at {
        trace.push((at, theta.clone()));
    }
    let point = |(step, theta): (u64, Vec<f64>)| TracePoint { step, loss: objective.evaluate(&theta), theta };
    let minimum = Minimum {
        status: ending.into(),
        steps: descended.steps,
        loss: objective.evaluate(&theta),
        gradient_norm: norm(&objective.gradient(&theta)),
        evaluations: descended.evaluations,
        trace: trace.into_iter().map(point).collect(),
        seconds: began.elapsed().as_secs_f64(),
        theta,
    };
    let test = match ending {
        Ending::Converged(test) => Some(test),
        _ => None,
    };
    Ok(Solved { minimum, test, products: descended.products, readbacks: descended.readbacks })
}

impl From<Ending> for Status {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Converged(_) => Status::Converged,
            Ending::MaxSteps => Status::MaxSteps,
            Ending::Stalled => Status::Stalled,
            Ending::Diverged | Ending::NotFinite => Status::Diverged,
        }
    }
}
