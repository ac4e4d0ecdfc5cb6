//! How a method ends, as a value.

use serde::Serialize;

use crate::{Error, Result};

/// Why a method stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// A test of the [`Tolerances`] holds, or the gradient is zero.
    Converged(Test),
    /// All steps were made.
    MaxSteps,
    /// No step that lowers the objective is found any more.
    Stalled,
    /// The objective or θ left the numbers on the way.
    Diverged,
    /// They were none at the start.
    NotFinite,
}

/// What convergence was seen by.
///
/// ```
/// use downhill::{Method, MethodOptions, Objective, Test, Tolerances, minimize_by};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let bowl = Objective::parse("(x-3)^2 + y^2", "x=0; y=1")?;
/// let tolerances = Tolerances { gradient: Some(1e-3), ..Tolerances::default() };
/// let options = MethodOptions { tolerances, ..MethodOptions::new(Method::new("lbfgs")?) };
/// assert_eq!(minimize_by(&gpu, &bowl, &options)?.test, Some(Test::Gradient));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// ‖g‖ is within the tolerance.
    Gradient,
    /// ‖s‖ of the last step is within the tolerance times 1 + ‖θ‖.
    Step,
    /// The last step changed the value by at most the tolerance times 1 + |value|.
    Value,
}

/// When a method has done enough; without any, it goes on as long as it gets anywhere.
///
/// ```
/// use downhill::{Method, Tolerances, TrainOptions};
///
/// let tolerances = Tolerances { gradient: Some(1e-4), value: Some(1e-6), ..Tolerances::default() };
/// let lbfgs = TrainOptions::by_method("mlp:16".parse()?, Method::new("lbfgs")?)?;
/// let options = TrainOptions { tolerances, ..lbfgs };
/// assert_eq!(options.tolerances.step, None);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Tolerances {
    /// Of [`Test::Gradient`].
    pub gradient: Option<f64>,
    /// Of [`Test::Step`].
    pub step: Option<f64>,
    /// Of [`Test::Value`].
    pub value: Option<f64>,
}

/// What the tests look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub gradient_norm: f64,
    /// Of the last step: its length, θ's, and by how much it changed the value; none before it.
    pub step: Option<(f64, f64, f64)>,
    pub value: f64,
}

impl Tolerances {
    /// # Errors
    /// [`Error::Setting`] for what is no number from 0 on.
    pub(crate) fn check(&self) -> Result<()> {
        let all =
            [("tolerance", self.gradient), ("step-tolerance", self.step), ("value-tolerance", self.value)];
        let wrong = |tolerance: f64| !(tolerance >= 0.0 && tolerance.is_finite());
        match all.into_iter().find_map(|(name, given)| Some((name, given.filter(|given| wrong(*given))?))) {
            None => Ok(()),
            Some((name, given)) => {
                Err(Error::setting(name, format!("must be a number from 0 on, not {given}")))
            }
        }
    }

    /// The first test that holds. Without a tolerance for it, a gradient of zero still ends everything.
    pub(crate) fn holds(&self, progress: &Progress) -> Option<Test> {
        let within = |tolerance: Option<f64>, size: f64, scale: f64| {
            tolerance.is_some_and(|tolerance| size <= tolerance * (1.0 + scale))
        };
        if progress.gradient_norm <= self.gradient.unwrap_or(0.0) {
            return Some(Test::Gradient);
        }
        let (length, theta, change) = progress.step?;
        if within(self.step, length, theta) {
            return Some(Test::Step);
        }
        within(self.value, change.abs(), progress.value.abs()).then_some(Test::Value)
    }
}
