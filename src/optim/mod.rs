//! First-order update rules over the flat θ: one table row and one WGSL function each, one dispatch per shard.
//!
//! [`Optimizer`] is a rule with checked hyper-parameters. It writes its kernels as WGSL, gives the numbers they
//! need at each step, and computes the same update in f64.

mod adam;
mod descent;
mod hyper;
mod kernel;
mod rmsprop;
mod rule;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::did_you_mean;
use crate::{Error, Result};

pub use hyper::{Hyper, HyperKind, HyperRange, HyperValue};
pub use rule::{UPDATE_RULES, UpdateRule};

use hyper::Values;
use rule::{State, Step};

/// An update rule and its hyper-parameters.
///
/// Names, defaults and updates are PyTorch's where PyTorch has the rule, else Optax's. It stands in a file as
/// `name` and one key per hyper-parameter.
///
/// ```
/// use downhill::Optimizer;
/// let adam = Optimizer::new("adam")?.with("lr", 2e-3)?.with("beta1", 0.95)?;
/// let centered = Optimizer::new("rmsprop")?.assign("centered=true")?;
/// assert_eq!(adam.state_slots().len(), centered.state_slots().len());
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Optimizer {
    rule: &'static UpdateRule,
    values: Values,
}

/// An optimizer as files hold it.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    #[serde(flatten)]
    hyper: BTreeMap<String, HyperValue>,
}

impl Optimizer {
    /// Invocations of a workgroup of the kernels, in x.
    pub const WORKGROUP_SIZE: u32 = 256;

    /// How many f32 [`Optimizer::scalars`] gives, used or not, so that one uniform slot serves every rule.
    pub const SCALARS: usize = 16;

    /// The rule `name` with its default hyper-parameters.
    ///
    /// # Errors
    /// [`Error::Setting`] where there is no such rule.
    pub fn new(name: &str) -> Result<Self> {
        let Some(rule) = UPDATE_RULES.iter().find(|rule| rule.name == name) else {
            let known: Vec<&str> = UPDATE_RULES.iter().map(|rule| rule.name).collect();
            return Err(Error::setting("optimizer", did_you_mean(name, &known)));
        };
        Ok(Optimizer { rule, values: Values::defaults(rule.hyper) })
    }

    /// The same with the hyper-parameter `name` set to a number, a flag, or text as the command line reads it.
    ///
    /// # Errors
    /// [`Error::Setting`] where the rule has no such hyper-parameter or the value is out of its range.
    pub fn with(mut self, name: &str, value: impl Into<HyperValue>) -> Result<Self> {
        self.values.set(self.rule.name, name, value.into())?;
        Ok(self)
    }

    /// The same with a hyper-parameter set by `NAME=VALUE`.
    ///
    /// # Errors
    /// As [`Optimizer::with`], and where there is no `=`.
    pub fn assign(self, assignment: &str) -> Result<Self> {
        let Some((name, value)) = assignment.split_once('=') else {
            let message = format!("`{assignment}` is not of the form NAME=VALUE");
            return Err(Error::setting("hyper-parameter", message));
        };
        self.with(name.trim(), value)
    }

    /// The rule.
    pub fn rule(&self) -> &'static UpdateRule {
        self.rule
    }

    /// The learning rate that schedules start from.
    pub fn learning_rate(&self) -> f64 {
        self.values.number("lr")
    }

    /// The value of the hyper-parameter `name`, if the rule has it.
    pub fn value(&self, name: &str) -> Option<&HyperValue> {
        self.values.get(name)
    }

    /// The names of the state vectors that this variant keeps, each with the layout of θ and zero at the start.
    pub fn state_slots(&self) -> Vec<&'static str> {
        self.kept().map(|(_, name)| name).collect()
    }

    /// The kernel of one update of one shard, entry point `main`, workgroups of [`Optimizer::WORKGROUP_SIZE`].
    ///
    /// Group 0 binds: 0 the uniform [`Optimizer::scalars`] of the step; 1 a uniform of two u32, the shard's length
    /// in `vec4<f32>` and the invocations in one row of the dispatch (workgroups in x times workgroup size: rows
    /// follow one another in y); 2 the gradient, read; 3 θ; then the state in the order of
    /// [`Optimizer::state_slots`]; all `array<vec4<f32>>`. Padding that is zero in all of them stays zero.
    pub fn wgsl(&self) -> String {
        kernel::update(self)
    }

    /// The kernel that writes θ to a vector of its own, where the theta vector holds another point: Nesterov's
    /// `form=lecture` keeps the look-ahead point, at which the gradient is wanted. `None`: it holds θ itself.
    ///
    /// Bound as [`Optimizer::wgsl`], except that 2 is the vector written and the others are read. The scalars may
    /// be those of any step. The state being zero at the start, θ is then both points.
    pub fn readout_wgsl(&self) -> Option<String> {
        self.readout_rule().map(|_| kernel::readout(self))
    }

    /// What the kernels read at step `number` = 1, 2, … with this learning rate, computed in f64.
    pub fn scalars(&self, number: u64, learning_rate: f64) -> [f32; Self::SCALARS] {
        let step = Step { number, learning_rate, values: &self.values };
        let mut scalars = [0.0; Self::SCALARS];
        for (scalar, (_, value)) in scalars.iter_mut().zip(self.rule.scalars) {
            *scalar = value(&step) as f32;
        }
        scalars
    }

    /// Step `number` = 1, 2, … in f64: what the kernel approximates. `state` has a vector for each of
    /// [`Optimizer::state_slots`].
    ///
    /// # Errors
    /// [`Error::Shape`] where the lengths differ.
    pub fn reference_step(
        &self,
        number: u64,
        learning_rate: f64,
        theta: &mut [f64],
        gradient: &[f64],
        state: &mut [Vec<f64>],
    ) -> Result<()> {
        self.check_lengths(theta.len(), std::iter::once(gradient.len()).chain(state.iter().map(Vec::len)))?;
        let step = Step { number, learning_rate, values: &self.values };
        for (i, theta) in theta.iter_mut().enumerate() {
            let mut element = self.gather(state, i);
            *theta = (self.rule.reference)(&step, *theta, gradient[i], &mut element);
            for ((slot, _), vector) in self.kept().zip(&mut *state) {
                vector[i] = element[slot];
            }
        }
        Ok(())
    }

    /// θ in f64, from the theta vector and the state as [`Optimizer::reference_step`] leaves them.
    ///
    /// # Errors
    /// [`Error::Shape`] where the lengths differ.
    pub fn reference_readout(&self, theta: &[f64], state: &[Vec<f64>]) -> Result<Vec<f64>> {
        self.check_lengths(theta.len(), std::iter::once(theta.len()).chain(state.iter().map(Vec::len)))?;
        let Some(readout) = self.readout_rule() else { return Ok(theta.to_vec()) };
        let element = |(i, &theta)| (readout.reference)(&self.values, theta, &self.gather(state, i));
        Ok(theta.iter().enumerate().map(element).collect())
    }

    fn readout_rule(&self) -> Option<&'static rule::Readout> {
        self.rule.readout.as_ref().filter(|readout| (readout.needed)(&self.values))
    }

    /// The state vectors of this variant: their places in [`UpdateRule::state`] and their names.
    fn kept(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let slots = self.rule.state.iter().enumerate();
        slots.filter(|(_, (_, needed))| needed(&self.values)).map(|(place, (name, _))| (place, *name))
    }

    fn gather(&self, state: &[Vec<f64>], i: usize) -> State {
        let mut element = State::default();
        for ((slot, _), vector) in self.kept().zip(state) {
            element[slot] = vector[i];
        }
        element
    }

    /// `others`: the gradient's length, then those of the state vectors.
    fn check_lengths(&self, theta: usize, others: impl Iterator<Item = usize>) -> Result<()> {
        let found: Vec<usize> = others.collect();
        let wanted = vec![theta; 1 + self.kept().count()];
        if found == wanted {
            return Ok(());
        }
        let message = format!("gradient and state have lengths {found:?}, θ wants {wanted:?}");
        Err(Error::shape(self.rule.name, message))
    }
}

/// The name, then every hyper-parameter as [`Optimizer::assign`] takes it.
impl fmt::Display for Optimizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.rule.name)?;
        self.values.iter().try_for_each(|(hyper, value)| write!(formatter, " {}={value}", hyper.name))
    }
}

/// As displayed: the rule's own fields are the same for all of its optimizers.
impl fmt::Debug for Optimizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Optimizer({self})")
    }
}

impl PartialEq for Optimizer {
    fn eq(&self, other: &Self) -> bool {
        self.rule.name == other.rule.name && self.values == other.values
    }
}

impl TryFrom<Written> for Optimizer {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let plain = Optimizer::new(&written.name)?;
        written.hyper.into_iter().try_fold(plain, |optimizer, (name, value)| optimizer.with(&name, value))
    }
}

impl From<Optimizer> for Written {
    fn from(optimizer: Optimizer) -> Self {
        let hyper = optimizer.values.iter();
        Written {
            name: optimizer.rule.name.to_owned(),
            hyper: hyper.map(|(hyper, value)| (hyper.name.to_owned(), value.clone())).collect(),
        }
    }
}
