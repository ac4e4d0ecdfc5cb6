//! What goes with an update rule in the same pass: clipping and skipping before it, averages of θ and Lookahead behind
//! it, and groups of parameters with settings of their own.

use serde::{Deserialize, Serialize};

use super::Optimizer;
use crate::graph::ParameterInfo;
use crate::{Error, Result};

/// What goes with an update rule; nothing of it by default.
///
/// ```
/// use downhill::{Average, Modifiers, Optimizer, TrainOptions};
///
/// let modifiers = Modifiers {
///     clip_norm: Some(1.0),
///     average: Some(Average::Exponential { decay: 0.999 }),
///     frozen: vec!["0.*".to_owned()],
///     ..Modifiers::default()
/// };
/// let options = TrainOptions { modifiers, ..TrainOptions::new("mlp:64".parse()?, Optimizer::new("adam")?) };
/// assert!(!options.modifiers.skip_not_finite);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Modifiers {
    /// The gradient is scaled down to at most this Euclidean norm over all parameters (Pascanu et al. 2013), as
    /// PyTorch's `clip_grad_norm_` does.
    pub clip_norm: Option<f64>,
    /// Each element of the gradient is cut to [−v, v], after its norm was clipped.
    pub clip_value: Option<f64>,
    /// A step whose gradient is not finite changes nothing. The device decides so by the gradient's norm, which in f32 is
    /// infinite from about 1.8e19 on, and the run counts it.
    pub skip_not_finite: bool,
    /// The gradient is that of the loss times a scale, which begins at this number, so that 16 bits hold it. The device
    /// takes it out again, halves it down to 1 where the gradient is not finite, which skips the step, and doubles it after
    /// 2,000 steps that were (as PyTorch's `GradScaler`). A [`Trainer`](crate::Trainer) scales the loss; what has gradients of the
    /// caller's own refuses it.
    pub loss_scale: Option<f64>,
    /// A mean of θ over the steps, which is then what is evaluated and saved as the model.
    pub average: Option<Average>,
    /// Lookahead (Zhang et al. 2019).
    pub lookahead: Option<Lookahead>,
    /// Parameters with an optimizer of their own; the first group whose pattern fits counts.
    pub groups: Vec<Group>,
    /// The names of parameters that stay as they are, in which `*` stands for any characters; they are in no group. A
    /// [`Trainer`](crate::Trainer) makes no gradient of them; what has gradients of the caller's own does not look at them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
}

/// A mean of θ over the steps of a run.
///
/// ```
/// use downhill::{Average, Modifiers};
///
/// let average = Average::Stochastic { start: 1000, every: 50 };
/// let modifiers = Modifiers { average: Some(average), ..Modifiers::default() };
/// assert_ne!(modifiers.average, Some(Average::Exponential { decay: 0.999 }));
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// ā ← decay·ā + (1 − decay)·θ after every step, from ā = θ at the start (Polyak and Juditsky 1992, with a window).
    Exponential {
        /// The weight of the past.
        decay: f64,
    },
    /// The plain mean of θ after every `every`-th step from step `start` on (SWA, Izmailov et al. 2018); θ itself
    /// before.
    Stochastic {
        /// The first step that counts.
        start: u64,
        /// Steps between two that count.
        every: u64,
    },
}

/// Slow weights that follow the rule's: every `steps` steps slow ← slow + rate·(θ − slow), θ ← slow. They are the model.
///
/// ```
/// use downhill::{Lookahead, Modifiers};
///
/// let lookahead = Lookahead { steps: 5, rate: 0.5 };
/// let modifiers = Modifiers { lookahead: Some(lookahead), ..Modifiers::default() };
/// # assert!(modifiers.average.is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lookahead {
    /// Steps of the rule between two of the slow weights.
    pub steps: u64,
    /// How far the slow weights go towards θ, above 0 and up to 1.
    pub rate: f64,
}

/// Parameters by name, and the optimizer that updates them.
///
/// ```
/// use downhill::{Group, MemoryModel, Modifiers, Optimizer, Profile, TrainOptions, data};
///
/// let biases = Group { pattern: "*.bias".to_owned(), optimizer: Optimizer::new("sgd")?.with("lr", 0.1)? };
/// let options = TrainOptions {
///     modifiers: Modifiers { groups: vec![biases], ..Modifiers::default() },
///     ..TrainOptions::new("linear".parse()?, Optimizer::new("adam")?)
/// };
/// let rows = data::load(&"random:100x4:2".parse()?, None, None, 0)?;
/// let model = MemoryModel::new(&rows, &options, &Profile::portable())?;
/// let groups = model.parameters().iter().map(|info| (info.name.as_str(), info.group));
/// assert_eq!(groups.collect::<Vec<_>>(), [("0.weight", 0), ("0.bias", 1)]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// The names: `*` stands for any characters.
    pub pattern: String,
    /// Their optimizer.
    pub optimizer: Optimizer,
}

impl Average {
    /// The weight of θ after step `number` in the mean so far: ā ← ā + weight·(θ − ā).
    pub(super) fn weight(self, number: u64) -> f64 {
        match self {
            Average::Exponential { decay } => 1.0 - decay,
            // Until it starts, the mean is θ.
            Average::Stochastic { start, .. } if number < start => 1.0,
            Average::Stochastic { start, every } => {
                let (captured, off) = ((number - start) / every, (number - start) % every);
                if off == 0 { 1.0 / (captured + 1) as f64 } else { 0.0 }
            }
        }
    }
}

impl Lookahead {
    /// How far the slow weights go after step `number`.
    pub(super) fn weight(self, number: u64) -> f64 {
        if number.is_multiple_of(self.steps) { self.rate } else { 0.0 }
    }
}

/// Where a number must lie, what to say of one that does not, and whether it does.
type Bound = (&'static str, Option<f64>, &'static str, fn(f64) -> bool);

impl Modifiers {
    /// What kernels read of them at step `number` = 1, 2, …: the largest element of the gradient, and the weights of θ in
    /// its mean and in Lookahead's slow weights.
    pub(crate) fn scalars(&self, number: u64) -> [f32; Self::SCALARS] {
        let scalars = [
            self.clip_value.unwrap_or(0.0),
            self.average.map_or(0.0, |average| average.weight(number)),
            self.lookahead.map_or(0.0, |lookahead| lookahead.weight(number)),
        ];
        scalars.map(|scalar| scalar as f32)
    }

    /// How many [`Modifiers::scalars`] there are.
    pub(crate) const SCALARS: usize = 3;

    /// Where a loss scale begins unless it is told: PyTorch's.
    pub(crate) const FIRST_LOSS_SCALE: f64 = 65536.0;

    /// Whether the device must look at the whole gradient before the update.
    pub(crate) fn need_norm(&self) -> bool {
        self.clip_norm.is_some() || self.skips()
    }

    /// Whether a step may change nothing.
    pub(crate) fn skips(&self) -> bool {
        self.skip_not_finite || self.loss_scale.is_some()
    }

    /// Errors where the loss is to be scaled, for what does not make the gradient itself.
    pub(crate) fn check_unscaled(&self) -> Result<()> {
        match self.loss_scale {
            None => Ok(()),
            Some(_) => Err(Error::setting("loss-scale", "takes a trainer, which scales the loss itself")),
        }
    }

    /// Errors where a run of `steps` steps would end before a mean or Lookahead's slow weights first move, which it would
    /// then be told of.
    pub(crate) fn check_length(&self, steps: u64) -> Result<()> {
        let late = |name: &str, what: &str, at: u64| {
            Err(Error::setting(name, format!("{what} step {at}, and the run ends after step {steps}")))
        };
        match (self.average, self.lookahead) {
            (Some(Average::Stochastic { start, .. }), _) if start > steps => late("swa", "begins at", start),
            (_, Some(Lookahead { steps: every, .. })) if every > steps => {
                late("lookahead", "first goes back at", every)
            }
            _ => Ok(()),
        }
    }

    /// Errors for numbers out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let positive: (&str, fn(f64) -> bool) =
            ("must be above 0 and at most 3.4e38", |x| x > 0.0 && x <= f64::from(f32::MAX));
        let at_least_1: (&str, fn(f64) -> bool) = ("must be at least 1", |x| x >= 1.0);
        let (decay, start, every) = match self.average {
            None => (None, None, None),
            Some(Average::Exponential { decay }) => (Some(decay), None, None),
            Some(Average::Stochastic { start, every }) => (None, Some(start as f64), Some(every as f64)),
        };
        let bounds: [Bound; 8] = [
            ("loss-scale", self.loss_scale, "must be at least 1 and at most 2^30", |x| {
                (1.0..=f64::from(1u32 << 30)).contains(&x)
            }),
            ("clip-norm", self.clip_norm, positive.0, positive.1),
            ("clip-value", self.clip_value, positive.0, positive.1),
            ("ema", decay, "must be at least 0 and below 1", |x| (0.0..1.0).contains(&x)),
            ("swa's start", start, at_least_1.0, at_least_1.1),
            ("swa's interval", every, at_least_1.0, at_least_1.1),
            ("lookahead's steps", self.lookahead.map(|l| l.steps as f64), at_least_1.0, at_least_1.1),
            ("lookahead's rate", self.lookahead.map(|l| l.rate), "must be above 0 and at most 1", |x| {
                x > 0.0 && x <= 1.0
            }),
        ];
        for (name, value, says, holds) in bounds {
            if let Some(value) = value.filter(|value| !holds(*value)) {
                return Err(Error::setting(name, format!("{says}, not `{value:?}`")));
            }
        }
        Ok(())
    }
}

/// Which optimizer updates which parameters.
pub(crate) struct Grouping {
    /// One optimizer a group; the groups' numbers are those of [`ParameterInfo::group`].
    pub optimizers: Vec<Optimizer>,
    /// The group of each parameter.
    pub of: Vec<usize>,
}

impl Grouping {
    /// The groups of `parameters` under `optimizer`, which updates all that no group of `modifiers` names and that it
    /// can. What a rule for matrices cannot update goes by AdamW at the same learning rate, without decay, as its
    /// authors do.
    ///
    /// Errors: [`Error::Setting`] where a group names no parameter, or names one that its rule cannot update.
    pub fn new(optimizer: &Optimizer, modifiers: &Modifiers, parameters: &[ParameterInfo]) -> Result<Self> {
        let mut candidates = vec![optimizer.clone()];
        candidates.extend(modifiers.groups.iter().map(|group| group.optimizer.clone()));
        candidates.push(optimizer.for_vectors()?);
        // It keeps nothing, and a step of no length changes nothing.
        candidates.push(Optimizer::new("sgd")?.with("lr", 0.0)?);
        let (vectors, frozen) = (candidates.len() - 2, candidates.len() - 1);
        candidates.iter().try_for_each(Optimizer::check)?;
        let of_pattern = |name: &str| modifiers.groups.iter().position(|group| fits(&group.pattern, name));
        let mut chosen = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let named = of_pattern(&parameter.name).map(|group| group + 1);
            let candidate = match named {
                _ if modifiers.freezes(&parameter.name) => frozen,
                Some(group) => group,
                None if optimizer.updates(&parameter.shape) => 0,
                None => vectors,
            };
            if !candidates[candidate].updates(&parameter.shape) {
                let message = format!(
                    "`{}` is {:?}, and {} updates matrices alone",
                    parameter.name,
                    parameter.shape,
                    candidates[candidate].rule().name
                );
                return Err(Error::setting("group", message));
            }
            chosen.push(candidate);
        }
        modifiers.check_frozen(parameters)?;
        if modifiers.groups.is_empty() && !chosen.contains(&0) && chosen.contains(&vectors) {
            let message = format!("{} updates matrices alone, and there are none", optimizer.rule().name);
            return Err(Error::setting("optimizer", message));
        }
        for (number, group) in modifiers.groups.iter().enumerate() {
            if !chosen.contains(&(number + 1)) {
                let message = format!(
                    "`{}` fits no parameter that an earlier one does not; the parameters are {}",
                    group.pattern,
                    names(parameters)
                );
                return Err(Error::setting("group", message));
            }
        }
        // Only those that have parameters.
        let used: Vec<usize> = (0..candidates.len()).filter(|number| chosen.contains(number)).collect();
        let place = |candidate: &usize| used.iter().position(|number| number == candidate).unwrap_or(0);
        let of = chosen.iter().map(place).collect();
        Ok(Grouping { optimizers: used.iter().map(|&number| candidates[number].clone()).collect(), of })
    }
}

impl Modifiers {
    /// Whether the parameter `name` stays as it is.
    pub(crate) fn freezes(&self, name: &str) -> bool {
        self.frozen.iter().any(|pattern| fits(pattern, name))
    }

    /// Errors for a name that is no parameter's, and where nothing is left to learn.
    fn check_frozen(&self, parameters: &[ParameterInfo]) -> Result<()> {
        let is_idle = |pattern: &&String| !parameters.iter().any(|parameter| fits(pattern, &parameter.name));
        if let Some(pattern) = self.frozen.iter().find(is_idle) {
            let message = format!("`{pattern}` fits no parameter; they are {}", names(parameters));
            return Err(Error::setting("freeze", message));
        }
        match parameters.iter().all(|parameter| self.freezes(&parameter.name)) {
            true => Err(Error::setting("freeze", "leaves no parameter to learn")),
            false => Ok(()),
        }
    }
}

fn names(parameters: &[ParameterInfo]) -> String {
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    names.join(", ")
}

/// Whether `name` is of the form `pattern`, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        let rows = [
            ("*.bias", "0.bias", true),
            ("*.bias", "0.weight", false),
            ("*", "anything", true),
            ("0.weight", "0.weight", true),
            ("0.weight", "10.weight", false),
            ("1*", "10.weight", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a*a", "a", false),
            ("", "x", false),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(fits(pattern, name), expected, "{pattern} and {name}");
        }
    }

    #[test]
    fn weights_make_plain_and_exponential_means() {
        let theta = |step: u64| (step * step) as f64;
        let swa = Average::Stochastic { start: 3, every: 2 };
        let mut mean = 0.0;
        for step in 1..=8 {
            mean += swa.weight(step) * (theta(step) - mean);
        }
        assert!((mean - (9.0 + 25.0 + 49.0) / 3.0).abs() < 1e-12);
        assert_eq!(Average::Exponential { decay: 0.75 }.weight(5), 0.25);
        let lookahead = Lookahead { steps: 3, rate: 0.5 };
        assert_eq!(
            (1..=6).map(|step| lookahead.weight(step)).collect::<Vec<_>>(),
            [0.0, 0.0, 0.5, 0.0, 0.0, 0.5]
        );
    }
}
