//! What an update rule is, and the table of all of them.
//!
//! A new rule is one `.wgsl` file in `shaders/optimizers/`, one row beside its relatives (`descent`, `rmsprop`,
//! `adam`) and one line in [`UPDATE_RULES`].

use super::hyper::{Hyper, Values};
use super::{
    adafactor, adagrad, adam, adan, asgd, belief, descent, muon, nadam, radam, rmsprop, sign, trust_ratio,
};

/// An update rule: θ and its state after a step, from θ, the gradient and the state before it.
///
/// ```
/// use downhill::Optimizer;
///
/// let rule = Optimizer::new("lion")?.rule();
/// let names: Vec<&str> = rule.hyper.iter().map(|hyper| hyper.name).collect();
/// println!("{} takes {}", rule.name, names.join(", "));
/// assert_eq!(names[0], "lr");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Debug)]
pub struct UpdateRule {
    /// The name that users write.
    pub name: &'static str,
    /// One line on what it does.
    pub doc: &'static str,
    /// Its hyper-parameters, the learning rate `lr` first.
    pub hyper: &'static [Hyper],
    /// Every state vector that some variant keeps.
    pub(super) state: &'static [Slot],
    /// What the kernel reads as `scalar.NAME`.
    pub(super) scalars: &'static [Scalar],
    /// The functions that its [`Form`] asks for.
    pub(super) wgsl: &'static str,
    pub(super) form: Form,
}

/// How much of θ a rule must see to change an element.
#[derive(Debug)]
pub(super) enum Form {
    /// The element alone. WGSL: `fn update(before: Element, gradient: vec4<f32>) -> Element` and, if there is a readout,
    /// `fn readout(at: Element) -> vec4<f32>`.
    Elementwise { reference: Reference, readout: Option<Readout> },
    /// Its tensor.
    Tensorwise { passes: Passes, reference: TensorReference },
}

/// The passes of a rule that looks at whole tensors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passes {
    /// The norms of θ and of a direction scale each tensor's step; see [`super::update::trust_ratio`]. The slots are
    /// those that the first pass changes.
    TrustRatio { moments: &'static [&'static str] },
    /// Means over rows and columns of a matrix stand for all its squares; see [`super::update::factored`].
    Factored,
    /// The step of a matrix is made orthogonal; see [`super::update::orthogonal`].
    Orthogonal,
}

/// The name of a state vector, and which variants keep it.
pub(super) type Slot = (&'static str, fn(&Values) -> bool);

/// A number that is the same for all elements of a step, computed in f64 on the host: 1 − β₂ᵗ cancels in f32.
pub(super) type Scalar = (&'static str, fn(&Step) -> f64);

/// The twin of the WGSL `update` in f64: takes θ and the gradient, changes the state, returns the new θ.
pub(super) type Reference = fn(&Step, theta: f64, gradient: f64, state: &mut State) -> f64;

/// The f64 twin for a tensor of the shape given: changes θ and the state vectors that the variant keeps, in their
/// order.
pub(super) type TensorReference =
    fn(&Step, shape: &[usize], theta: &mut [f64], gradient: &[f64], &mut [&mut [f64]]);

/// The state of one element in the order of [`UpdateRule::state`]; zero in slots that a variant does not keep.
pub(super) type State = [f64; 4];

/// How θ follows from the theta vector of a rule that keeps another point in it.
#[derive(Debug)]
pub(super) struct Readout {
    /// The variants that keep another point.
    pub(super) needed: fn(&Values) -> bool,
    /// The twin of the WGSL `readout` in f64.
    pub(super) reference: fn(&Values, theta: f64, state: &State) -> f64,
}

/// A step: its number t = 1, 2, …, its learning rate, and the hyper-parameters.
pub(super) struct Step<'a> {
    pub(super) number: u64,
    pub(super) learning_rate: f64,
    pub(super) values: &'a Values,
}

impl Step<'_> {
    /// The value of the hyper-parameter `name`.
    pub(super) fn of(&self, name: &str) -> f64 {
        self.values.number(name)
    }

    /// `value` at the first step and 0 after it. Added to state, which is zero before the first step, it is where
    /// the state starts.
    pub(super) fn at_first(&self, value: f64) -> f64 {
        if self.number == 1 { value } else { 0.0 }
    }

    /// 1 − βᵗ, the weight that all gradients so far have in a running average which began at zero.
    pub(super) fn weight_so_far(&self, beta: f64) -> f64 {
        1.0 - beta.powf(self.number as f64)
    }
}

/// βa + (1 − β)x: the running average a of x, a step later.
pub(super) fn averaged(past: f64, new: f64, beta: f64) -> f64 {
    beta * past + (1.0 - beta) * new
}

/// For state that every variant keeps.
pub(super) const ALWAYS: fn(&Values) -> bool = |_| true;

/// For a velocity, which μ = 0 does not need.
pub(super) const WITH_MOMENTUM: fn(&Values) -> bool = |values| values.number("momentum") != 0.0;

// Rows share these, so that `scalar.learning_rate` and `scalar.weight_decay` mean the same everywhere.
pub(super) const LEARNING_RATE: Scalar = ("learning_rate", |step| step.learning_rate);
pub(super) const WEIGHT_DECAY: Scalar = ("weight_decay", |step| step.of("weight_decay"));
pub(super) const MOMENTUM: Scalar = ("momentum", |step| step.of("momentum"));
pub(super) const EPS: Scalar = ("eps", |step| step.of("eps"));

/// What a decoupled weight decay takes of θ.
pub(super) const DECAY: Scalar = ("decay", |step| step.learning_rate * step.of("weight_decay"));

/// What is added to an accumulator before its first step.
pub(super) const INITIAL: Scalar = ("initial", |step| step.at_first(step.of("initial_accumulator_value")));

/// Every update rule.
///
/// ```
/// use downhill::UPDATE_RULES;
///
/// for rule in UPDATE_RULES {
///     println!("{}: {}", rule.name, rule.doc);
/// }
/// assert!(UPDATE_RULES.iter().any(|rule| rule.name == "adamw"));
/// ```
pub static UPDATE_RULES: &[UpdateRule] = &[
    descent::SGD,
    descent::MOMENTUM,
    descent::NESTEROV,
    rmsprop::RMSPROP,
    adagrad::ADAGRAD,
    adagrad::ADADELTA,
    adam::ADAM,
    adam::ADAMW,
    adam::ADAMAX,
    nadam::NADAM,
    adam::AMSGRAD,
    radam::RADAM,
    sign::RPROP,
    asgd::ASGD,
    sign::LION,
    belief::ADABELIEF,
    belief::YOGI,
    adan::ADAN,
    trust_ratio::LAMB,
    trust_ratio::LARS,
    adafactor::ADAFACTOR,
    muon::MUON,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Optimizer;

    #[test]
    fn every_row_fits_the_frame() {
        for rule in UPDATE_RULES {
            assert_eq!(rule.hyper[0].name, "lr", "{}", rule.name);
            assert!(rule.scalars.len() <= Optimizer::SCALARS, "{}", rule.name);
            assert!(rule.state.len() <= State::default().len(), "{}", rule.name);
            let reads_out = matches!(rule.form, Form::Elementwise { readout: Some(_), .. });
            assert_eq!(rule.wgsl.contains("fn readout("), reads_out, "{}", rule.name);
            for hyper in rule.hyper {
                let plain = Optimizer::new(rule.name).unwrap();
                assert_eq!(plain.clone().with(hyper.name, hyper.default()).unwrap(), plain, "{}", rule.name);
            }
        }
    }

    #[test]
    fn names_are_given_once() {
        let once = |names: Vec<&str>| (1..names.len()).all(|i| !names[..i].contains(&names[i]));
        assert!(once(UPDATE_RULES.iter().map(|rule| rule.name).collect()));
        for rule in UPDATE_RULES {
            assert!(once(rule.hyper.iter().map(|hyper| hyper.name).collect()), "{}", rule.name);
            assert!(once(rule.state.iter().map(|(name, _)| *name).collect()), "{}", rule.name);
            assert!(once(rule.scalars.iter().map(|(name, _)| *name).collect()), "{}", rule.name);
        }
    }
}
