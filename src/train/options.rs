//! What a training run is asked to do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::line_search::LineSearch;
use super::tensors::NamedTensor;
use crate::error::did_you_mean;
use crate::nn::{Loss, ModelSpec};
use crate::optim::{Modifiers, Optimizer, Schedule};
use crate::plan::Precision;
use crate::solve::{Method, Tolerances};
use crate::{Error, Result};

/// How long to train.
///
/// ```
/// use downhill::{Length, Optimizer, TrainOptions};
///
/// let options = TrainOptions::new("mlp:64".parse()?, Optimizer::new("adam")?);
/// assert_eq!(options.length, Length::Epochs(10));
/// let short = TrainOptions { length: Length::Steps(500), ..options };
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// So many passes over the training set.
    Epochs(u64),
    /// So many optimizer updates.
    Steps(u64),
}

impl Length {
    /// As optimizer updates, `steps_per_epoch` of them in a pass over the training set.
    pub(crate) fn steps(self, steps_per_epoch: u64) -> u64 {
        match self {
            Length::Epochs(epochs) => epochs.saturating_mul(steps_per_epoch),
            Length::Steps(steps) => steps,
        }
    }
}

/// Something that is done, not done, or done where it pays.
///
/// ```
/// use downhill::Choice;
///
/// assert_eq!(Choice::parse("recompute", "yes")?, Choice::Yes);
/// assert_eq!(Choice::default().to_string(), "auto");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// Where it pays.
    #[default]
    Auto,
    /// Whatever it costs.
    Yes,
    /// Never.
    No,
}

const CHOICES: [(&str, Choice); 3] = [("auto", Choice::Auto), ("yes", Choice::Yes), ("no", Choice::No)];

impl Choice {
    /// Reads the setting `name`, written `auto`, `yes` or `no`.
    ///
    /// # Errors
    /// [`Error::Setting`] for another word.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let found = CHOICES.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        found.ok_or_else(|| Error::setting(name, did_you_mean(text, &CHOICES.map(|(word, _)| word))))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = CHOICES.iter().find(|(_, choice)| choice == self).map_or("", |(word, _)| word);
        out.write_str(word)
    }
}

/// Rows of a batch or micro-batch.
///
/// ```
/// use downhill::BatchSize;
///
/// assert_eq!("auto".parse::<BatchSize>()?, BatchSize::Auto);
/// assert_eq!("256".parse::<BatchSize>()?, BatchSize::Rows(256));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchSize {
    /// So many.
    Rows(usize),
    /// As many as fit the budget; fewer where that is as fast.
    Auto,
}

impl FromStr for BatchSize {
    type Err = Error;

    /// Reads a number from 1 to 2³²−1, or `auto`; the error says so.
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("auto", _) => Ok(BatchSize::Auto),
            (_, Ok(rows @ 1..=u32::MAX)) => Ok(BatchSize::Rows(rows as usize)),
            _ => {
                let message = format!("must be `auto` or a number from 1 to {}, not `{text}`", u32::MAX);
                Err(Error::setting("batch", message))
            }
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchSize::Rows(rows) => rows.fmt(out),
            BatchSize::Auto => out.write_str("auto"),
        }
    }
}

/// What a [`Trainer`](crate::Trainer) is asked to do with its data.
///
/// ```
/// use downhill::{BatchSize, Length, Optimizer, TrainOptions};
///
/// let options = TrainOptions {
///     batch: BatchSize::Rows(256),
///     schedule: "warmup 5% then cosine".parse()?,
///     length: Length::Epochs(20),
///     ..TrainOptions::new("mlp:128,64".parse()?, Optimizer::new("adamw")?)
/// };
/// assert_eq!((options.micro_batch, options.seed), (BatchSize::Auto, 0));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The model; its last layer follows the data's targets.
    pub model: ModelSpec,
    /// The loss; the usual one for the targets where it is `None`.
    pub loss: Option<Loss>,
    /// The update rule and its hyper-parameters.
    pub optimizer: Optimizer,
    /// What goes with the rule in the same pass.
    pub modifiers: Modifiers,
    /// How the learning rate goes, as factors of the optimizer's own.
    pub schedule: Schedule,
    /// How each step's size is searched for; none where it is the optimizer's learning rate by the schedule. That is then
    /// where the first search begins.
    pub search: Option<LineSearch>,
    /// The method that makes the steps instead of the optimizer, on all rows at once and with a search of its own. The
    /// optimizer, which must be `sgd`, then only says by its weight decay and its groups which penalties λ‖θ‖²/2 are a
    /// part of the loss.
    pub method: Option<Method>,
    /// When a method is done before the run's length is over.
    pub tolerances: Tolerances,
    /// Rows that one update averages over, kept exactly, whatever fits at once.
    pub batch: BatchSize,
    /// Rows that are computed at once; a batch of more is done in parts whose gradients add up.
    pub micro_batch: BatchSize,
    /// Whether activations are made again in the backward pass instead of kept from the forward one.
    pub recompute: Choice,
    /// How activations and matrices lie in memory. [`Precision::F16`] scales the loss, from
    /// [`Modifiers::loss_scale`] or 65,536 on.
    pub precision: Precision,
    /// When it ends.
    pub length: Length,
    /// Of the initial parameters, the order of the rows and dropout.
    pub seed: u64,
    /// What parameters begin with, by name, such as those of [`read_model`](crate::read_model): a model that was trained before,
    /// to be trained on. All others are drawn from the seed.
    pub initial: Arc<[NamedTensor]>,
    /// Epochs between evaluations on the test set; the last epoch is always evaluated. At least 1.
    pub eval_every: u64,
    /// Steps between [`Event::Step`](crate::Event::Step)s; 0 for none.
    pub log_every: u64,
    /// Whether the data set lives on the GPU, where a minibatch is a gather by index.
    pub resident: Choice,
}

impl TrainOptions {
    /// Ten epochs in batches of 128, everything else as the memory allows.
    pub fn new(model: ModelSpec, optimizer: Optimizer) -> Self {
        TrainOptions {
            model,
            loss: None,
            optimizer,
            modifiers: Modifiers::default(),
            schedule: Schedule::default(),
            search: None,
            method: None,
            tolerances: Tolerances::default(),
            batch: BatchSize::Rows(128),
            micro_batch: BatchSize::Auto,
            recompute: Choice::Auto,
            precision: Precision::F32,
            length: Length::Epochs(10),
            seed: 0,
            initial: Arc::default(),
            eval_every: 1,
            log_every: 0,
            resident: Choice::Auto,
        }
    }

    /// At most 100 steps of a method on all rows, everything else as the memory allows.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn by_method(model: ModelSpec, method: Method) -> Result<Self> {
        Ok(TrainOptions {
            method: Some(method),
            batch: BatchSize::Auto,
            length: Length::Steps(100),
            ..TrainOptions::new(model, Optimizer::new("sgd")?)
        })
    }

    /// With what follows from the rest: the loss is scaled in 16 bits, and a search looks at whole batches.
    pub(super) fn completed(&self) -> Self {
        let mut options = self.clone();
        if self.precision == Precision::F16 {
            options.modifiers.loss_scale.get_or_insert(Modifiers::FIRST_LOSS_SCALE);
        }
        options.whole_batches();
        options
    }

    /// With all `rows` in a batch where a method makes the steps.
    ///
    /// Errors: [`Error::Setting`] where it asks for another batch.
    pub(super) fn on_all_rows(&self, rows: usize) -> Result<Self> {
        match (&self.method, self.batch) {
            (Some(method), BatchSize::Rows(batch)) if batch < rows => {
                let message = format!(
                    "{} makes every step on all {rows} rows, in parts where memory asks for it; leave the batch away, or \
                     make the micro-batch {batch}",
                    method.name()
                );
                Err(Error::setting("batch", message))
            }
            (Some(_), _) => Ok(TrainOptions { batch: BatchSize::Rows(rows), ..self.clone() }),
            (None, _) => Ok(self.clone()),
        }
    }

    /// A search looks at whole batches, also where memory runs out.
    pub(super) fn whole_batches(&mut self) {
        if self.search.is_some() {
            self.micro_batch = self.batch;
        }
    }

    /// Errors for what does not go with a method.
    fn check_method(&self) -> Result<()> {
        self.tolerances.check()?;
        let Some(method) = &self.method else {
            return match self.tolerances == Tolerances::default() {
                true => Ok(()),
                false => {
                    Err(Error::setting("tolerance", "is a method's, and this run goes by an update rule"))
                }
            };
        };
        let Modifiers {
            clip_norm,
            clip_value,
            skip_not_finite,
            loss_scale,
            average,
            lookahead,
            groups,
            frozen: _,
        } = &self.modifiers;
        // What it takes of the rules beside it is a weight decay.
        let says_penalty = |optimizer: &Optimizer| {
            optimizer.rule().name == self.optimizer.rule().name
                && optimizer.learning_rate() == self.optimizer.learning_rate()
        };
        let own_steps = "which makes its own steps; leave it away";
        let refused = [
            (self.search.is_some(), "line-search", own_steps),
            (
                self.schedule != Schedule::default(),
                "schedule",
                "which makes its own steps; leave it away, or say `constant`",
            ),
            (clip_norm.is_some(), "clip-norm", own_steps),
            (clip_value.is_some(), "clip-value", own_steps),
            (*skip_not_finite, "skip-not-finite", own_steps),
            (loss_scale.is_some(), "loss-scale", "which works in f32"),
            (average.is_some(), "ema or swa", "whose last step is its best"),
            (lookahead.is_some(), "lookahead", own_steps),
            (
                self.optimizer.rule().name != "sgd",
                "optimizer",
                "beside which `sgd` says the penalties, and no other rule",
            ),
            (
                !groups.iter().all(|group| says_penalty(&group.optimizer)),
                "group",
                "which takes nothing of a group but its weight decay",
            ),
            (self.precision != Precision::F32, "precision", "which works in f32"),
            (
                self.model.drops(),
                "model",
                "which needs the same loss at the same parameters; leave dropout away",
            ),
        ];
        match refused.iter().find(|(refused, ..)| *refused) {
            None => Ok(()),
            Some((_, name, why)) => {
                Err(Error::setting(name, format!("does not go with the method {}, {why}", method.name())))
            }
        }
    }

    /// Errors for what no run can do.
    pub(super) fn check(&self) -> Result<()> {
        let rows = |size| if let BatchSize::Rows(rows) = size { rows as u64 } else { 1 };
        let at_least_1 = [
            ("batch", rows(self.batch)),
            ("micro-batch", rows(self.micro_batch)),
            ("eval-every", self.eval_every),
            match self.length {
                Length::Epochs(epochs) => ("epochs", epochs),
                Length::Steps(steps) => ("steps", steps),
            },
        ];
        if let Some((name, _)) = at_least_1.iter().find(|(_, value)| *value == 0) {
            return Err(Error::setting(name, "must be at least 1, not 0"));
        }
        if !Precision::TRAINED.contains(&self.precision) {
            let message = format!("a run is trained in f32 or f16, not in {}", self.precision);
            return Err(Error::setting("precision", message));
        }
        self.search.map_or(Ok(()), |search| search.check(self))?;
        self.check_method()?;
        match (self.batch, self.micro_batch) {
            (BatchSize::Rows(batch), BatchSize::Rows(part)) if part > batch => {
                let message =
                    format!("{part} rows are more than the {batch} of the batch that they are a part of");
                Err(Error::setting("micro-batch", message))
            }
            _ => Ok(()),
        }
    }
}
