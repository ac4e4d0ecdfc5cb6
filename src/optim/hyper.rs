//! Hyper-parameters: their names, defaults and ranges, and the checked values of one optimizer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::did_you_mean;
use crate::{Error, Result};

/// One hyper-parameter of an update rule.
///
/// ```
/// use downhill::{HyperValue, Optimizer};
///
/// let rate = Optimizer::new("adam")?.rule().hyper[0];
/// assert_eq!((rate.name, rate.default()), ("lr", HyperValue::Number(1e-3)));
/// println!("{}", rate.doc);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Hyper {
    /// The name that users write, PyTorch's where PyTorch has the rule.
    pub name: &'static str,
    /// What it may be, and what it is unless set.
    pub kind: HyperKind,
    /// One line on what it does.
    pub doc: &'static str,
}

/// What a hyper-parameter may be, and what it is unless set.
///
/// ```
/// use downhill::{HyperKind, Optimizer};
///
/// for hyper in Optimizer::new("nesterov")?.rule().hyper {
///     match hyper.kind {
///         HyperKind::Number { default, range } => println!("{} = {default}, {}", hyper.name, range.says),
///         HyperKind::Flag { default } => println!("{} = {default}", hyper.name),
///         HyperKind::Word(words) => println!("{} = {}", hyper.name, words.join(" or ")),
///     }
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum HyperKind {
    /// A number in `range`.
    Number {
        /// The value unless set.
        default: f64,
        /// Where it must lie.
        range: HyperRange,
    },
    /// True or false.
    Flag {
        /// The value unless set.
        default: bool,
    },
    /// One of these words; the first unless set.
    Word(&'static [&'static str]),
}

/// Where a number must lie. NaN lies in no range.
///
/// ```
/// use downhill::{HyperKind, Optimizer};
///
/// let rate = Optimizer::new("adam")?.rule().hyper[0];
/// let HyperKind::Number { range, .. } = rate.kind else { panic!("a rate is a number") };
/// assert_eq!(range.says, "at least 0 and at most 3.4e38");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HyperRange {
    /// The range in words, to follow "must be".
    pub says: &'static str,
    pub(crate) holds: fn(f64) -> bool,
}

/// Numbers that scale something: zero switches it off. Larger ones would be infinite in the kernels' f32.
pub(crate) const NON_NEGATIVE: HyperRange =
    HyperRange { says: "at least 0 and at most 3.4e38", holds: |x| (0.0..=f64::from(f32::MAX)).contains(&x) };

/// Numbers that are added to a divisor. Smaller ones are zero in the kernels' f32, and 0/0 is NaN wherever a
/// gradient is zero.
pub(crate) const POSITIVE: HyperRange = HyperRange {
    says: "at least 1.2e-38 and at most 3.4e38",
    holds: |x| (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&x),
};

/// Numbers whose square is added to a divisor.
pub(super) const ROOTED: HyperRange =
    HyperRange { says: "at least 1.1e-19 and at most 1.8e19", holds: |x| (1.1e-19..=1.8e19).contains(&x) };

/// The weight of the past in a running average or a velocity: at 1 it would never forget.
pub(super) const DECAY: HyperRange =
    HyperRange { says: "at least 0 and below 1", holds: |x| (0.0..1.0).contains(&x) };

/// The factor by which a step shrinks.
pub(crate) const SHRINKING: HyperRange = HyperRange {
    says: "at least 1.2e-38 and below 1",
    holds: |x| (f64::from(f32::MIN_POSITIVE)..1.0).contains(&x),
};

/// The factor by which a step grows.
pub(super) const GROWING: HyperRange =
    HyperRange { says: "above 1 and at most 3.4e38", holds: |x| x > 1.0 && x <= f64::from(f32::MAX) };

/// The value of a hyper-parameter.
///
/// Text becomes a value as the command line reads it: `true` and `false`, numbers, and words.
///
/// ```
/// use downhill::HyperValue;
///
/// assert_eq!(HyperValue::from("true"), HyperValue::Flag(true));
/// assert_eq!(HyperValue::from("1e-3"), HyperValue::from(0.001));
/// assert_eq!(HyperValue::from("wolfe"), HyperValue::Word("wolfe".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HyperValue {
    /// True or false.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A word.
    Word(String),
}

impl From<f64> for HyperValue {
    fn from(number: f64) -> Self {
        HyperValue::Number(number)
    }
}

impl From<bool> for HyperValue {
    fn from(flag: bool) -> Self {
        HyperValue::Flag(flag)
    }
}

impl From<&str> for HyperValue {
    fn from(text: &str) -> Self {
        let text = text.trim();
        text.parse()
            .map(HyperValue::Flag)
            .or_else(|_| text.parse().map(HyperValue::Number))
            .unwrap_or_else(|_| HyperValue::Word(text.to_owned()))
    }
}

impl fmt::Display for HyperValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HyperValue::Flag(flag) => write!(formatter, "{flag}"),
            // Debug turns to an exponent where Display would write 300 digits.
            HyperValue::Number(number) => write!(formatter, "{number:?}"),
            HyperValue::Word(word) => write!(formatter, "{word}"),
        }
    }
}

impl Hyper {
    /// The value unless set.
    pub fn default(&self) -> HyperValue {
        match self.kind {
            HyperKind::Number { default, .. } => HyperValue::Number(default),
            HyperKind::Flag { default } => HyperValue::Flag(default),
            HyperKind::Word(words) => HyperValue::from(words[0]),
        }
    }

    fn check(&self, value: &HyperValue) -> Result<()> {
        let message = match (self.kind, value) {
            (HyperKind::Number { range, .. }, HyperValue::Number(number)) if (range.holds)(*number) => {
                return Ok(());
            }
            (HyperKind::Number { range, .. }, _) => format!("must be {}, not `{value}`", range.says),
            (HyperKind::Flag { .. }, HyperValue::Flag(_)) => return Ok(()),
            (HyperKind::Flag { .. }, _) => format!("must be true or false, not `{value}`"),
            (HyperKind::Word(words), HyperValue::Word(word)) if words.contains(&word.as_str()) => {
                return Ok(());
            }
            (HyperKind::Word(words), _) => did_you_mean(&value.to_string(), words),
        };
        Err(Error::setting(self.name, message))
    }
}

/// The checked values of all hyper-parameters of one rule.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    hyper: &'static [Hyper],
    values: Vec<HyperValue>,
}

impl Values {
    pub(crate) fn defaults(hyper: &'static [Hyper]) -> Self {
        Values { hyper, values: hyper.iter().map(Hyper::default).collect() }
    }

    /// Sets `name`; `rule` stands in the message where there is no such hyper-parameter.
    pub(crate) fn set(&mut self, rule: &str, name: &str, value: HyperValue) -> Result<()> {
        let Some(index) = self.hyper.iter().position(|hyper| hyper.name == name) else {
            let known: Vec<&str> = self.hyper.iter().map(|hyper| hyper.name).collect();
            return Err(Error::setting(&format!("optimizer {rule}"), did_you_mean(name, &known)));
        };
        self.hyper[index].check(&value)?;
        self.values[index] = value;
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Hyper, &HyperValue)> {
        self.hyper.iter().zip(&self.values)
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        let value = self.get(name).and_then(|value| match value {
            HyperValue::Number(number) => Some(*number),
            _ => None,
        });
        value.expect("a rule reads only numbers of its own row")
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some(&HyperValue::Flag(true))
    }

    pub(crate) fn is(&self, name: &str, word: &str) -> bool {
        matches!(self.get(name), Some(HyperValue::Word(chosen)) if chosen == word)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&HyperValue> {
        self.iter().find(|(hyper, _)| hyper.name == name).map(|(_, value)| value)
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.iter().map(|(hyper, value)| (hyper.name, value)).eq(other.iter().map(|(h, v)| (h.name, v)))
    }
}

/// A number in `range`.
pub(crate) const fn number(name: &'static str, default: f64, range: HyperRange, doc: &'static str) -> Hyper {
    Hyper { name, kind: HyperKind::Number { default, range }, doc }
}

/// True or false; false unless set.
pub(super) const fn flag(name: &'static str, doc: &'static str) -> Hyper {
    Hyper { name, kind: HyperKind::Flag { default: false }, doc }
}

/// The learning rate α, which every rule has.
pub(super) const fn learning_rate(default: f64) -> Hyper {
    number("lr", default, NON_NEGATIVE, "learning rate α")
}

/// μ, the weight of the past velocity. At 0 the rule keeps no velocity.
pub(super) const fn momentum(default: f64) -> Hyper {
    number("momentum", default, DECAY, "weight μ of the past velocity")
}

/// ε, added to a divisor.
pub(super) const fn eps(default: f64) -> Hyper {
    number("eps", default, POSITIVE, "ε, added to the divisor")
}

/// λ of the penalty λ‖θ‖²/2, whose gradient λθ is added to the gradient.
pub(super) const WEIGHT_DECAY: Hyper =
    number("weight_decay", 0.0, NON_NEGATIVE, "weight λ of the L2 penalty λ‖θ‖²/2");

/// λ of a decay that is no part of the gradient: θ shrinks by αλθ a step (Loshchilov and Hutter 2019).
pub(super) const fn decoupled_weight_decay(default: f64) -> Hyper {
    number("weight_decay", default, NON_NEGATIVE, "θ shrinks by αλθ a step")
}

/// Where an accumulator starts.
pub(super) const fn initial_accumulator(default: f64, doc: &'static str) -> Hyper {
    number("initial_accumulator_value", default, NON_NEGATIVE, doc)
}

/// ε under a root instead of beside it.
pub(super) const EPS_IN_SQRT: Hyper = flag("eps_in_sqrt", "√(v + ε) as Optax has it, not √v + ε");
