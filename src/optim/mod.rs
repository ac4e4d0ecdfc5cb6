//! First-order update rules over the flat θ, each a table row and a WGSL text.
//!
//! [`Optimizer`] is a rule with checked hyper-parameters: it gives the numbers that its kernels need at each step, and
//! computes the same update in f64. `update` plans the kernels, with what goes with a rule ([`Modifiers`]).

mod adafactor;
mod adagrad;
mod adam;
mod adan;
mod asgd;
mod belief;
mod descent;
pub(crate) mod hyper;
mod measure;
mod modifiers;
mod moments;
mod muon;
mod nadam;
mod radam;
mod rmsprop;
mod rule;
mod schedule;
mod sign;
mod stepper;
mod trust_ratio;
mod update;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::did_you_mean;
use crate::{Error, Result};

pub use hyper::{Hyper, HyperKind, HyperRange, HyperValue};
pub use measure::UpdateTiming;
pub(crate) use modifiers::Grouping;
pub use modifiers::{Average, Group, Lookahead, Modifiers};
pub(crate) use rule::Passes;
pub use rule::{UPDATE_RULES, UpdateRule};
pub use schedule::{PlateauState, Schedule, schedule_help};
pub use stepper::Stepper;
pub(crate) use update::{SearchPlan, StateTensor, UpdatePlan, Updater};

use hyper::Values;
use rule::{Form, State, Step};

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

    /// Errors for hyper-parameters that are in their ranges and not together possible.
    pub(crate) fn check(&self) -> Result<()> {
        let number = |name: &str| match self.value(name) {
            Some(HyperValue::Number(number)) => Some(*number),
            _ => None,
        };
        match (number("step_min"), number("step_max")) {
            (Some(least), Some(most)) if least > most => Err(Error::setting(
                "step_min",
                format!("must be at most step_max, {most:?}, not `{least:?}`"),
            )),
            _ => Ok(()),
        }
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

    /// The same rule, or where it updates matrices alone, AdamW at the same learning rate without decay.
    pub(crate) fn for_vectors(&self) -> Result<Self> {
        match self.rule.form {
            Form::Tensorwise { passes: Passes::Orthogonal, .. } => {
                Optimizer::new("adamw")?.with("lr", self.learning_rate())?.with("weight_decay", 0.0)
            }
            _ => Ok(self.clone()),
        }
    }

    /// How the rule goes over whole tensors; none where an element's update depends on that element alone.
    pub(crate) fn passes(&self) -> Option<Passes> {
        match self.rule.form {
            Form::Elementwise { .. } => None,
            Form::Tensorwise { passes, .. } => Some(passes),
        }
    }

    /// Whether the theta vector holds another point than θ.
    pub(crate) fn has_readout(&self) -> bool {
        self.readout_rule().is_some()
    }

    /// Whether it can update a tensor of this shape.
    pub(crate) fn updates(&self, shape: &[usize]) -> bool {
        !matches!(self.rule.form, Form::Tensorwise { passes: Passes::Orthogonal, .. }) || shape.len() == 2
    }

    /// The shape of what each of [`Optimizer::state_slots`] keeps of a tensor of this shape.
    pub fn state_shape(&self, shape: &[usize]) -> Vec<usize> {
        match (&self.rule.form, shape) {
            (Form::Tensorwise { passes: Passes::Factored, .. }, [rows, columns]) => vec![rows + columns],
            _ => shape.to_vec(),
        }
    }

    /// The rule in WGSL for a kernel of the caller's own: `struct Scalars` of the rule's numbers and the modifiers',
    /// `struct Element` of `theta` and the state, and the functions of the rule's form, such as
    /// `fn update(before: Element, gradient: vec4<f32>) -> Element` and, where there is a readout,
    /// `fn readout(at: Element) -> vec4<f32>`. The kernel declares `scalar: Scalars`.
    pub(crate) fn rule_wgsl(&self) -> String {
        update::rule(self)
    }

    /// How many of the numbers of [`Optimizer::scalars`] the rule's `struct Scalars` has, in that order.
    pub(crate) fn scalar_count(&self) -> usize {
        self.rule.scalars.len()
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

    /// Step `number` = 1, 2, … in f64: what the kernels approximate. θ and the gradient are tensors of `shapes` one
    /// after another, and `state` has for each of [`Optimizer::state_slots`] what it keeps of them likewise
    /// ([`Optimizer::state_shape`]).
    ///
    /// # Errors
    /// [`Error::Shape`] where the lengths differ or the rule does not update such tensors.
    pub fn reference_step(
        &self,
        number: u64,
        learning_rate: f64,
        shapes: &[Vec<usize>],
        theta: &mut [f64],
        gradient: &[f64],
        state: &mut [Vec<f64>],
    ) -> Result<()> {
        self.check_lengths(
            shapes,
            [theta.len(), gradient.len()].into_iter().chain(state.iter().map(Vec::len)),
        )?;
        let step = Step { number, learning_rate, values: &self.values };
        match self.rule.form {
            Form::Elementwise { reference, .. } => {
                for (i, theta) in theta.iter_mut().enumerate() {
                    let mut element = self.gather(state, i);
                    *theta = reference(&step, *theta, gradient[i], &mut element);
                    for ((slot, _), vector) in self.kept().zip(&mut *state) {
                        vector[i] = element[slot];
                    }
                }
            }
            Form::Tensorwise { reference, .. } => {
                let (mut at, mut state_at) = (0, 0);
                for shape in shapes {
                    let (end, state_end) =
                        (at + elements(shape), state_at + elements(&self.state_shape(shape)));
                    let mut own: Vec<&mut [f64]> =
                        state.iter_mut().map(|vector| &mut vector[state_at..state_end]).collect();
                    reference(&step, shape, &mut theta[at..end], &gradient[at..end], &mut own);
                    (at, state_at) = (end, state_end);
                }
            }
        }
        Ok(())
    }

    /// θ in f64, from the theta vector and the state as [`Optimizer::reference_step`] leaves them.
    ///
    /// # Errors
    /// [`Error::Shape`] where the lengths differ.
    pub fn reference_readout(&self, theta: &[f64], state: &[Vec<f64>]) -> Result<Vec<f64>> {
        let Some(readout) = self.readout_rule() else { return Ok(theta.to_vec()) };
        let vectors = std::iter::once(theta.len()).chain(state.iter().map(Vec::len));
        self.check_lengths(&[vec![theta.len()]], std::iter::once(theta.len()).chain(vectors))?;
        let element = |(i, &theta)| (readout.reference)(&self.values, theta, &self.gather(state, i));
        Ok(theta.iter().enumerate().map(element).collect())
    }

    fn readout_rule(&self) -> Option<&'static rule::Readout> {
        match &self.rule.form {
            Form::Elementwise { readout: Some(readout), .. } => Some(readout),
            _ => None,
        }
        .filter(|readout| (readout.needed)(&self.values))
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

    /// `found`: the lengths of θ, the gradient and the state vectors.
    fn check_lengths(&self, shapes: &[Vec<usize>], found: impl Iterator<Item = usize>) -> Result<()> {
        if let Some(shape) = shapes.iter().find(|shape| !self.updates(shape)) {
            let message = format!("updates matrices alone, not {shape:?}");
            return Err(Error::shape(self.rule.name, message));
        }
        let found: Vec<usize> = found.collect();
        let theta: usize = shapes.iter().map(|shape| elements(shape)).sum();
        let state: usize = shapes.iter().map(|shape| elements(&self.state_shape(shape))).sum();
        let mut wanted = vec![theta; 2];
        wanted.resize(2 + self.kept().count(), state);
        if found == wanted {
            return Ok(());
        }
        let message = format!("θ, gradient and state have lengths {found:?}, {shapes:?} want {wanted:?}");
        Err(Error::shape(self.rule.name, message))
    }
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
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
