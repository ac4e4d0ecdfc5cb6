//! Settings as people write them: the flags of `train` and the keys of a configuration file, one name for both.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::data::Schema;
use crate::error::did_you_mean;
use crate::optim::HyperValue;
use crate::{Error, Result};

/// What was set, by flag or by key; what was not has a default or is not needed.
///
/// Flags are written with hyphens, keys with underscores.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Rows to learn from: `digits`, a folder of IDX files, a .csv, .csv.gz, .parquet, .npy or .npz file,
    /// `features.npy+targets.npy`, or `random:ROWSxCOLS:CLASSES`
    #[arg(long, value_name = "SPEC")]
    pub data: Option<String>,
    /// Rows to test on: another source, or a part of the rows such as `20%` [default: the source's own test part]
    #[arg(long, value_name = "SPEC")]
    pub test: Option<String>,
    /// What to learn: a table's column by name, an array's by number (-1: the last), the name of an array in an .npz, or
    /// a .npy file of targets [default: the last column; `y` and the like]
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    pub target: Option<String>,
    /// The model: `mlp:256,128`, `linear`, a list of layers; `help` lists all [default: mlp:128]
    #[arg(long, value_name = "SPEC")]
    pub model: Option<String>,
    /// What is minimised: `cross-entropy` for classes, `mse` for numbers [default: by the target]
    #[arg(long, value_name = "NAME")]
    pub loss: Option<String>,
    /// How the learning rate goes: `cosine`, `warmup 5% then cosine`, `step 0.1 every 30 epochs`; `help` lists all
    /// [default: constant]
    #[arg(long, value_name = "SPEC")]
    pub schedule: Option<String>,
    /// Scale the gradient down to at most this norm over all parameters [default: leave it]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_norm: Option<f64>,
    /// Cut each element of the gradient to at most this size [default: leave it]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_value: Option<f64>,
    /// Whether a step whose gradient is not finite changes nothing instead of ending the run [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub skip_not_finite: Option<bool>,
    /// Evaluate and save an exponential mean of the parameters that keeps this share of itself at every step, such as 0.999
    /// [default: the parameters]
    #[arg(long, value_name = "X", conflicts_with = "swa", allow_negative_numbers = true)]
    pub ema: Option<f64>,
    /// Evaluate and save the mean of the parameters from step START on, of every EVERYth step [default: the parameters]
    #[arg(long, value_name = "START[:EVERY]", allow_hyphen_values = true)]
    #[serde(default, with = "number_or_word")]
    pub swa: Option<String>,
    /// Every STEPS steps go back to slow parameters, which follow by RATE (0.5 unless said) and are the model [default: no]
    #[arg(long, value_name = "STEPS[:RATE]", allow_hyphen_values = true)]
    #[serde(default, with = "number_or_word")]
    pub lookahead: Option<String>,
    /// Parameters with settings or a rule of their own, as often as needed: `*.bias: weight_decay=0`, `0.*: sgd lr=0.1`
    #[arg(long, value_name = "NAMES: [RULE] [NAME=VALUE]…")]
    #[serde(default)]
    pub group: Vec<String>,
    /// Parameters that stay as they are, by name, as often as needed: `0.*`, `*.bias`
    #[arg(long, value_name = "NAMES")]
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Begin with the tensors of this .safetensors file: a model that was trained before [default: drawn from the seed]
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// What the model calls tensors of --init, as often as needed: `fc1.*=0.*`; `head.*=` leaves them out
    #[arg(long, value_name = "OLD=NEW")]
    #[serde(default)]
    pub init_rename: Vec<String>,
    /// Rows that one update averages over: a number, or `auto` for as many as fit, or fewer if as fast [default: 128]
    #[arg(long, value_name = "N|auto", allow_hyphen_values = true)]
    #[serde(default, with = "number_or_word")]
    pub batch: Option<String>,
    /// Rows computed at once, `auto` for what fits; a batch of more is done in parts whose gradients add up [default: auto]
    #[arg(long, value_name = "N|auto", allow_hyphen_values = true)]
    #[serde(default, with = "number_or_word")]
    pub micro_batch: Option<String>,
    /// Whether activations are made again in the backward pass, to save memory: `auto` (where the batch does not fit),
    /// `yes` or `no` [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub recompute: Option<String>,
    /// How activations and matrices lie in memory: `f32`, or `f16` with f32 sums, parameters and optimizer and the loss scaled
    /// [default: f32]
    #[arg(long, value_name = "f32|f16")]
    pub precision: Option<String>,
    /// What the loss is first multiplied by so that 16 bits hold its gradient, which the run then adapts [default: 65536 with
    /// --precision f16, else not scaled]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub loss_scale: Option<f64>,
    /// Of a method such as lbfgs: the norm of the gradient at which it is done [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// Passes over the training rows [default: 10]
    #[arg(long, value_name = "N", conflicts_with = "steps", allow_negative_numbers = true)]
    pub epochs: Option<u64>,
    /// Updates, in the place of --epochs; a method such as lbfgs makes 100 unless told
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<u64>,
    /// Of the initial parameters, the order of the rows and dropout [default: 0]
    // TOML's integers end where an i64 does.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = RangedU64ValueParser::<u64>::new().range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Epochs between two evaluations on the test rows [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub eval_every: Option<u64>,
    /// Steps between two reports of a step's loss; 0 for none [default: 100]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub log_every: Option<u64>,
    /// Whether the rows live on the GPU: `auto`, `yes` or `no` [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub resident: Option<String>,
    /// The folder that the run writes [default: runs/<time>-<data>-<model>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The adapter, a flag of all commands.
    #[arg(skip)]
    pub adapter: Option<String>,
    /// The limit on GPU memory, a flag of all commands.
    #[arg(skip)]
    #[serde(default, with = "number_or_word")]
    pub memory_limit: Option<String>,
    /// `name` and hyper-parameters, of which the flags are [`OptimizerSettings`].
    #[arg(skip)]
    pub optimizer: Option<Table>,
    /// What the rows of the data meant when the run began.
    #[arg(skip)]
    pub schema: Option<Schema>,
}

/// The flags of the optimizer.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub(crate) struct OptimizerSettings {
    /// The update rule, such as `sgd`, `momentum` or `adam`, or a method on all rows, such as `lbfgs`; `help` lists all
    /// [default: adam]
    #[arg(long, value_name = "NAME")]
    pub optimizer: Option<String>,
    /// The learning rate, or for `sgd` how it is searched for at every step: `line-search`, `line-search batched 32`,
    /// `line-search backtracking`, `line-search wolfe`, each with `from 0.1` for the first guess [default: the rule's]
    #[arg(long, value_name = "X|line-search", allow_negative_numbers = true)]
    pub lr: Option<String>,
    /// The weight of the past velocity, of rules that have one [default: the rule's]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub momentum: Option<f64>,
    /// The weight decay: an L2 penalty, or decoupled where the rule has it so [default: the rule's]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub weight_decay: Option<f64>,
    /// Any hyper-parameter of the rule, as often as needed
    #[arg(long, value_name = "NAME=VALUE")]
    pub hyper: Vec<String>,
}

impl OptimizerSettings {
    /// The table `[optimizer]` that says the same; none where nothing was set.
    pub fn table(&self) -> Result<Option<Table>> {
        let mut table = Table::new();
        if let Some(name) = &self.optimizer {
            table.insert(NAME.to_owned(), Value::String(name.clone()));
        }
        table.extend(self.lr.as_ref().map(|lr| ("lr".to_owned(), written(lr))));
        let short = [("momentum", self.momentum), ("weight_decay", self.weight_decay)];
        for (name, value) in short {
            table.extend(value.map(|value| (name.to_owned(), Value::Float(value))));
        }
        for assignment in &self.hyper {
            let Some((name, value)) = assignment.split_once('=') else {
                return Err(Error::setting("hyper", format!("`{assignment}` is not of the form NAME=VALUE")));
            };
            if name.trim() == NAME {
                return Err(Error::setting(
                    "hyper",
                    "`name` is no hyper-parameter; choose the rule with --optimizer (`minimize`: --method)",
                ));
            }
            table.insert(name.trim().to_owned(), written(value));
        }
        Ok((!table.is_empty()).then_some(table))
    }
}

/// A hyper-parameter as flags have it, with its type.
fn written(value: &str) -> Value {
    match HyperValue::from(value) {
        HyperValue::Flag(flag) => Value::Boolean(flag),
        HyperValue::Number(number) => Value::Float(number),
        HyperValue::Word(word) => Value::String(word),
    }
}

/// The key of `[optimizer]` that is no hyper-parameter.
pub(super) const NAME: &str = "name";

impl Settings {
    /// Takes apart the text of the configuration file that messages call `origin`.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the line or the key.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let wrong = |error: toml::de::Error| {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            Error::setting(origin, format!("{place}{}", in_words(error.message())))
        };
        let table: Table = text.parse().map_err(wrong)?;
        let known = Settings::keys();
        if let Some(key) = table.keys().find(|key| !known.contains(key)) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(Error::setting(origin, did_you_mean(key, &known)));
        }
        toml::from_str(text).map_err(wrong)
    }

    /// As TOML; [`Settings::from_toml`] gives the same settings.
    ///
    /// # Errors
    /// [`Error::Setting`] where a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::setting("configuration", error.to_string().replace('\n', " ")))
    }

    /// These settings, and those of `below` for what is not set here. Hyper-parameters go together if both are of
    /// one rule.
    pub fn over(self, below: Settings) -> Settings {
        let length = if self.epochs.or(self.steps).is_some() {
            (self.epochs, self.steps)
        } else {
            (below.epochs, below.steps)
        };
        let mean = if self.ema.is_some() || self.swa.is_some() {
            (self.ema, self.swa)
        } else {
            (below.ema, below.swa)
        };
        Settings {
            data: self.data.or(below.data),
            test: self.test.or(below.test),
            target: self.target.or(below.target),
            model: self.model.or(below.model),
            loss: self.loss.or(below.loss),
            schedule: self.schedule.or(below.schedule),
            clip_norm: self.clip_norm.or(below.clip_norm),
            clip_value: self.clip_value.or(below.clip_value),
            skip_not_finite: self.skip_not_finite.or(below.skip_not_finite),
            loss_scale: self.loss_scale.or(below.loss_scale),
            ema: mean.0,
            swa: mean.1,
            lookahead: self.lookahead.or(below.lookahead),
            group: if self.group.is_empty() { below.group } else { self.group },
            freeze: if self.freeze.is_empty() { below.freeze } else { self.freeze },
            init_rename: if self.init_rename.is_empty() { below.init_rename } else { self.init_rename },
            init: self.init.or(below.init),
            batch: self.batch.or(below.batch),
            micro_batch: self.micro_batch.or(below.micro_batch),
            recompute: self.recompute.or(below.recompute),
            tolerance: self.tolerance.or(below.tolerance),
            precision: self.precision.or(below.precision),
            epochs: length.0,
            steps: length.1,
            seed: self.seed.or(below.seed),
            eval_every: self.eval_every.or(below.eval_every),
            log_every: self.log_every.or(below.log_every),
            resident: self.resident.or(below.resident),
            out: self.out.or(below.out),
            adapter: self.adapter.or(below.adapter),
            memory_limit: self.memory_limit.or(below.memory_limit),
            optimizer: overlay(self.optimizer, below.optimizer),
            schema: self.schema.or(below.schema),
        }
    }

    fn keys() -> Vec<String> {
        given_or_not(&Settings::default()).into_iter().map(|(name, _)| name).collect()
    }
}

/// A setting that files write as a number or as a word, kept as the flag's text.
mod number_or_word {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "must be a number or a word")]
    enum Written {
        Number(i64),
        Word(String),
    }

    pub fn serialize<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
        let written = text.as_ref().map(|text| match text.parse() {
            Ok(number) => Written::Number(number),
            Err(_) => Written::Word(text.clone()),
        });
        written.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
        let written = Option::<Written>::deserialize(deserializer)?;
        Ok(written.map(|written| match written {
            Written::Number(number) => number.to_string(),
            Written::Word(word) => word,
        }))
    }
}

/// A message of the parser in one line, with words for the types that Rust has.
fn in_words(message: &str) -> String {
    const TYPES: [(&str, &str); 4] = [
        ("expected f64", "expected a number"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected a map", "expected a table"),
        ("expected a sequence", "expected a list"),
    ];
    TYPES.iter().fold(message.replace('\n', " "), |message, (rust, words)| message.replace(rust, words))
}

/// The table of an optimizer over another one.
fn overlay(above: Option<Table>, below: Option<Table>) -> Option<Table> {
    let (Some(above), Some(mut below)) = (above.clone(), below.clone()) else { return above.or(below) };
    if above.get(NAME).is_some_and(|name| below.get(NAME) != Some(name)) {
        return Some(above);
    }
    below.extend(above);
    Some(below)
}

/// The names of the settings that were given.
pub(crate) fn given(settings: &impl Serialize) -> Vec<String> {
    given_or_not(settings).into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
}

fn given_or_not(settings: &impl Serialize) -> Vec<(String, bool)> {
    use serde_json::Value;
    let Ok(Value::Object(settings)) = serde_json::to_value(settings) else { return Vec::new() };
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    settings.into_iter().map(|(name, value)| (name, !empty(&value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Settings {
        Settings::from_toml(text, "run.toml").unwrap()
    }

    #[test]
    fn a_flag_outranks_the_file() {
        // File, flags, both together.
        let rows = [
            ("batch = 32\nseed = 1", "batch = 64", "batch = 64\nseed = 1"),
            ("epochs = 3", "steps = 70", "steps = 70"),
            ("steps = 70", "seed = 1", "steps = 70\nseed = 1"),
            (
                "[optimizer]\nname = 'adam'\nbeta1 = 0.8",
                "[optimizer]\nlr = 0.1",
                "[optimizer]\nname = 'adam'\nbeta1 = 0.8\nlr = 0.1",
            ),
            (
                "[optimizer]\nname = 'adam'\nlr = 0.8",
                "[optimizer]\nname = 'adam'\nlr = 0.1",
                "[optimizer]\nname = 'adam'\nlr = 0.1",
            ),
            (
                "[optimizer]\nname = 'adam'\nbeta1 = 0.8",
                "[optimizer]\nname = 'sgd'",
                "[optimizer]\nname = 'sgd'",
            ),
        ];
        for (file, flags, both) in rows {
            assert_eq!(parse(flags).over(parse(file)), parse(both), "{flags} over {file}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_on_one_line() {
        let rows = [
            ("bacth = 32", "did you mean `batch`"),
            ("eval-every = 2", "did you mean `eval_every`"),
            ("seed = 'many'", "line 1: invalid type"),
            ("seed = 1\nbatch = [3]", "line 2: must be a number or a word"),
            (
                "seed = 1\n\nepochs = -1",
                "line 3: invalid value: integer `-1`, expected a whole number from 0 on",
            ),
            ("clip_norm = 'a'", "line 1: invalid type: string \"a\", expected a number"),
            ("optimizer = 'adam'", "expected a table"),
            ("group = '*: lr=1'", "expected a list"),
            ("seed 1", "line 1: "),
            ("seed = 1\nseed = 2", "line 2: "),
            ("[schema]\nfeature_shape = [2]", "missing field"),
        ];
        for (text, fragment) in rows {
            let message = Settings::from_toml(text, "run.toml").unwrap_err().to_string();
            assert!(message.starts_with("run.toml: ") && message.contains(fragment), "`{text}`: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn hyper_parameters_stand_in_the_table_with_their_types() {
        let hyper = ["centered=true", "eps=1e-6", "form=lecture"].map(str::to_owned).to_vec();
        let settings =
            OptimizerSettings { lr: Some("0.5".to_owned()), hyper, ..OptimizerSettings::default() };
        let expected: Table = "lr = 0.5\ncentered = true\neps = 1e-6\nform = 'lecture'".parse().unwrap();
        assert_eq!(settings.table().unwrap(), Some(expected));
        assert_eq!(OptimizerSettings::default().table().unwrap(), None);
    }
}
