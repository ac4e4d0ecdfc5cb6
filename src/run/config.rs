//! A run's whole configuration, checked: where rows come from, what is done with them, and on what.

use std::path::PathBuf;
use std::sync::Arc;

use toml::{Table, Value};

use super::checkpoint::read_renamed;
use super::modifiers::{modifiers, written};
use super::settings::{NAME, Settings};
use crate::data::{DataSpec, Schema, Split, TestSpec, load_as};
use crate::error::did_you_mean;
use crate::graph::{Dim, Graph};
use crate::nn::{Loss, Mode, ModelSpec};
use crate::optim::{HyperValue, Optimizer, Schedule, UPDATE_RULES};
use crate::plan::Precision;
use crate::solve::{METHODS, Method, Tolerances};
use crate::train::{BatchSize, Choice, Length, LineSearch, Renaming, TrainOptions};
use crate::{AdapterChoice, Error, GpuOptions, MemoryLimit, Result};

const MODEL: &str = "mlp:128";
const OPTIMIZER: &str = "adam";
const SCHEDULE: &str = "constant";
const BATCH: &str = "128";
const AUTO: &str = "auto";
const EPOCHS: u64 = 10;
const METHOD_STEPS: u64 = 100;
const SEED: u64 = 0;
const EVAL_EVERY: u64 = 1;
const LOG_EVERY: u64 = 100;

/// The hyper-parameter that a line search may stand in the place of, and the word before its first guess.
const RATE: &str = "lr";
const FROM: &str = "from";

/// Beside a method, the rule that says the penalties, and the hyper-parameter by which it does.
const PENALTIES: &str = "sgd";
const DECAY: &str = "weight_decay";

/// All that a run is asked to do.
///
/// ```
/// use downhill::{Length, RunConfig};
///
/// let text = "data = 'digits'\nmodel = 'mlp:64'\nepochs = 3\n[optimizer]\nname = 'adam'\nlr = 0.002\n";
/// let config = RunConfig::from_toml(text, "config.toml")?;
/// assert_eq!((config.options.length, config.options.optimizer.learning_rate()), (Length::Epochs(3), 0.002));
/// println!("{}", config.to_toml()?);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Rows to learn from; a path is absolute, so that a run can be resumed from anywhere.
    pub data: DataSpec,
    /// Rows to test on, where they are not the source's own.
    pub test: Option<TestSpec>,
    /// The column of a table to predict, where it is not the last.
    pub target: Option<String>,
    /// The file of tensors that parameters begin with, as an absolute path, and what the model calls them.
    pub init: Option<PathBuf>,
    /// See `init`.
    pub init_rename: Vec<Renaming>,
    /// What to train, and how.
    pub options: TrainOptions,
    /// The adapter asked for.
    pub adapter: Option<String>,
    /// The limit on GPU memory asked for.
    pub memory_limit: Option<MemoryLimit>,
    /// What the rows mean; known once they were loaded.
    pub schema: Option<Schema>,
}

impl RunConfig {
    /// Takes apart what [`RunConfig::to_toml`] wrote, or what a person did; `origin` stands in messages.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key or the line.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        Self::resolve(&Settings::from_toml(text, origin)?)
    }

    /// As a file that makes the same run.
    ///
    /// # Errors
    /// [`Error::Setting`] where a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String> {
        self.settings()?.to_toml()
    }

    /// Checks settings and fills in the defaults.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the one that cannot be used.
    pub(crate) fn resolve(settings: &Settings) -> Result<Self> {
        let Some(data) = &settings.data else {
            return Err(Error::setting("data", "which rows are to be learned? say it, as in --data digits"));
        };
        let loss = settings.loss.as_deref().map(str::parse::<Loss>).transpose()?;
        let Stepping { optimizer, search, method } = Stepping::of(settings.optimizer.as_ref())?;
        let (batch, usual) = match method {
            Some(_) => (AUTO, Length::Steps(METHOD_STEPS)),
            None => (BATCH, Length::Epochs(EPOCHS)),
        };
        let options = TrainOptions {
            model: settings.model.as_deref().unwrap_or(MODEL).parse::<ModelSpec>()?,
            loss,
            optimizer,
            modifiers: modifiers(settings)?,
            schedule: settings.schedule.as_deref().unwrap_or(SCHEDULE).parse::<Schedule>()?,
            search,
            method,
            tolerances: Tolerances { gradient: settings.tolerance, ..Tolerances::default() },
            batch: size("batch", settings.batch.as_deref().unwrap_or(batch))?,
            micro_batch: size("micro-batch", settings.micro_batch.as_deref().unwrap_or(AUTO))?,
            recompute: Choice::parse("recompute", settings.recompute.as_deref().unwrap_or(AUTO))?,
            precision: settings
                .precision
                .as_deref()
                .map_or(Ok(Precision::default()), |text| Precision::parse(text, &Precision::TRAINED))
                .map_err(|message| Error::setting("precision", message))?,
            length: length(settings, usual)?,
            seed: settings.seed.unwrap_or(SEED),
            initial: Arc::default(),
            eval_every: count("eval_every", settings.eval_every.unwrap_or(EVAL_EVERY))?,
            log_every: settings.log_every.unwrap_or(LOG_EVERY),
            resident: Choice::parse("resident", settings.resident.as_deref().unwrap_or(AUTO))?,
        };
        if settings.init.is_none() && !settings.init_rename.is_empty() {
            let message = "says what tensors of a file are called; say which file with init";
            return Err(Error::setting("init-rename", message));
        }
        let test = settings.test.as_deref().map(str::parse::<TestSpec>).transpose()?;
        Ok(RunConfig {
            data: absolute(data.parse()?)?,
            test: match test {
                Some(TestSpec::Source(source)) => Some(TestSpec::Source(absolute(source)?)),
                other => other,
            },
            target: settings.target.clone(),
            init: settings.init.clone().map(absolute_path).transpose()?,
            init_rename: settings.init_rename.iter().map(|rule| rule.parse()).collect::<Result<_>>()?,
            options,
            adapter: settings.adapter.clone(),
            memory_limit: settings.memory_limit.as_deref().map(str::parse).transpose()?,
            schema: settings.schema.clone(),
        })
    }

    /// The same for what works on update rules alone.
    ///
    /// # Errors
    /// As [`RunConfig::resolve`]; [`Error::Setting`] for a method.
    pub(crate) fn resolve_rule(settings: &Settings) -> Result<Self> {
        let config = Self::resolve(settings)?;
        match &config.options.method {
            None => Ok(config),
            Some(method) => {
                let message =
                    format!("{} is a method on all rows, and this takes update rules alone", method.name());
                Err(Error::setting("optimizer", message))
            }
        }
    }

    /// The settings that make this configuration, all of them.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let options = &self.options;
        let (epochs, steps) = match options.length {
            Length::Epochs(epochs) => (Some(epochs), None),
            Length::Steps(steps) => (None, Some(steps)),
        };
        let modifiers = written(&options.modifiers);
        let unwritable = |error: toml::ser::Error| Error::setting("optimizer", error.to_string());
        let mut table = Table::try_from(&options.optimizer).map_err(unwritable)?;
        if let Some(method) = &options.method {
            let decay = table.remove(DECAY);
            table = Table::try_from(method).map_err(unwritable)?;
            table.extend(decay.map(|decay| (DECAY.to_owned(), decay)));
        }
        if let Some(search) = options.search {
            let words = format!("{search} {FROM} {:?}", options.optimizer.learning_rate());
            table.insert(RATE.to_owned(), Value::String(words));
        }
        Ok(Settings {
            data: Some(self.data.to_string()),
            test: self.test.as_ref().map(TestSpec::to_string),
            target: self.target.clone(),
            model: Some(options.model.to_string()),
            loss: options.loss.map(|loss| loss.to_string()),
            schedule: Some(options.schedule.to_string()),
            clip_norm: modifiers.clip_norm,
            clip_value: modifiers.clip_value,
            skip_not_finite: modifiers.skip_not_finite,
            loss_scale: modifiers.loss_scale,
            ema: modifiers.ema,
            swa: modifiers.swa,
            lookahead: modifiers.lookahead,
            group: modifiers.group,
            freeze: modifiers.freeze,
            init: self.init.clone(),
            init_rename: self.init_rename.iter().map(Renaming::to_string).collect(),
            batch: Some(options.batch.to_string()),
            micro_batch: Some(options.micro_batch.to_string()),
            recompute: Some(options.recompute.to_string()),
            tolerance: options.tolerances.gradient,
            precision: Some(options.precision.to_string()),
            epochs,
            steps,
            seed: Some(options.seed),
            eval_every: Some(options.eval_every),
            log_every: Some(options.log_every),
            resident: Some(options.resident.to_string()),
            // A run that is made again goes to a folder of its own.
            out: None,
            adapter: self.adapter.clone(),
            memory_limit: self.memory_limit.map(|limit| match limit {
                MemoryLimit::Bytes(bytes) => bytes.to_string(),
                MemoryLimit::Fraction(_) => limit.to_string(),
            }),
            optimizer: Some(table),
            schema: self.schema.clone(),
        })
    }

    /// Loads the rows, fills in what they decide, and checks that model and loss go with them.
    ///
    /// # Errors
    /// What is wrong with the files; [`Error::Setting`] for a model or loss that does not fit, and for rows of
    /// another kind than those of the run that wrote the configuration.
    pub fn load_data(&mut self) -> Result<Split> {
        let kind = self.options.loss.map(Loss::target_kind).unwrap_or_default();
        let split = load_as(&self.data, self.target.as_deref(), kind, self.test.as_ref(), self.options.seed)?;
        let schema = split.train.schema();
        if self.schema.as_ref().is_some_and(|known| known != schema) {
            let message = format!("the rows of {} are of another kind than [schema] says", self.data);
            return Err(Error::setting("data", message));
        }
        self.options.loss = Some(Loss::for_task(self.options.loss, schema)?);
        check_model(&self.options.model, schema)?;
        self.schema = Some(schema.clone());
        Ok(split)
    }

    /// Reads the tensors that parameters begin with, where the configuration names a file of them.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Run`] for the file, [`Error::Setting`] for names that it does not have.
    pub fn load_initial(&mut self) -> Result<()> {
        if let Some(path) = &self.init {
            self.options.initial = read_renamed(path, &self.init_rename)?.into();
        }
        Ok(())
    }

    /// How to open the device.
    pub fn gpu_options(&self) -> GpuOptions {
        GpuOptions {
            adapter: self.adapter.clone().map_or(AdapterChoice::Best, AdapterChoice::Matching),
            memory_limit: self.memory_limit,
            ..GpuOptions::default()
        }
    }
}

/// Builds the model for rows of `schema` without a device, to see whether it can be.
fn check_model(model: &ModelSpec, schema: &Schema) -> Result<()> {
    let mut graph = Graph::new();
    let features = graph.input("features", [Dim::BATCH, Dim::Fixed(schema.features())])?;
    model.build(&mut graph, features, schema.task.outputs(), Mode::Train).map(drop)
}

fn size(name: &str, text: &str) -> Result<BatchSize> {
    text.parse().map_err(|error: Error| error.of_setting(name))
}

/// A count of 1 to 2³²−1: more is a slip of the keyboard, and products of two of them still fit.
fn count(name: &str, value: u64) -> Result<u64> {
    const MOST: u64 = u32::MAX as u64;
    match value {
        1..=MOST => Ok(value),
        _ => Err(Error::setting(name, format!("must be at least 1 and at most {MOST}, not {value}"))),
    }
}

/// The length that `settings` ask for, else the usual one.
fn length(settings: &Settings, usual: Length) -> Result<Length> {
    match (settings.epochs, settings.steps) {
        (Some(_), Some(_)) => {
            Err(Error::setting("steps", "a run has so many epochs or so many steps, not both"))
        }
        (None, Some(steps)) => count("steps", steps).map(Length::Steps),
        (Some(epochs), None) => count("epochs", epochs).map(Length::Epochs),
        (None, None) => Ok(usual),
    }
}

/// Where a line search may begin: from anywhere here it finds steps of usual sizes.
const FIRST_GUESSES: std::ops::RangeInclusive<f64> = 1e-9..=1e9;

/// What makes a run's steps.
pub(super) struct Stepping {
    /// The update rule; beside a method `sgd`, whose weight decay is the penalty in the loss.
    pub optimizer: Optimizer,
    /// How the rule's learning rate is searched for.
    pub search: Option<LineSearch>,
    pub method: Option<Method>,
}

impl Stepping {
    /// What the table `[optimizer]` says. Where words stand in the place of the learning rate, they are those of
    /// [`LineSearch`] and where the search begins, as in `line-search from 0.1`.
    ///
    /// # Errors
    /// [`Error::Setting`] where a name, a hyper-parameter or its value is not known.
    pub fn of(table: Option<&Table>) -> Result<Self> {
        let mut of_method = table.cloned().unwrap_or_default();
        let decay = of_method.remove(DECAY);
        let named = |error| match error {
            Error::Setting { name, message } if name == "method" => Error::setting("optimizer", message),
            other => other,
        };
        if let Some(method) = method(Some(&of_method)).map_err(named)? {
            if of_method.get(RATE).and_then(Value::as_str).is_some_and(LineSearch::is_meant) {
                let message = format!("{} looks for its steps itself; leave --lr away", method.name());
                return Err(Error::setting(RATE, message));
            }
            let optimizer = decay.map_or(Optimizer::new(PENALTIES), |decay| {
                Optimizer::new(PENALTIES)?.with(DECAY, hyper_value(DECAY, &decay)?)
            });
            return Ok(Stepping { optimizer: optimizer?, search: None, method: Some(method) });
        }
        let words = table.and_then(|table| table.get(RATE)).and_then(Value::as_str);
        let Some(words) = words.filter(|words| LineSearch::is_meant(words)) else {
            return Ok(Stepping { optimizer: optimizer(table)?, search: None, method: None });
        };
        let (search, first) = match words.split_once(&format!(" {FROM} ")) {
            Some((search, first)) => (search, Some(first)),
            None => (words, None),
        };
        let mut table = table.cloned().unwrap_or_default();
        table.remove(RATE);
        let optimizer = optimizer(Some(&table))?;
        let optimizer = match first {
            Some(first) => optimizer.with(RATE, first.trim())?,
            None => optimizer,
        };
        if !(FIRST_GUESSES).contains(&optimizer.learning_rate()) {
            let (least, most) = FIRST_GUESSES.into_inner();
            let message =
                format!("begins from {least:e} to {most:e}, not from {:?}", optimizer.learning_rate());
            return Err(Error::setting(RATE, message));
        }
        Ok(Stepping { optimizer, search: Some(search.parse()?), method: None })
    }
}

/// The rule of the table `[optimizer]` with its hyper-parameters.
///
/// # Errors
/// [`Error::Setting`] where the rule, a hyper-parameter or its value is not known.
pub(crate) fn optimizer(table: Option<&Table>) -> Result<Optimizer> {
    let name = match table.and_then(|table| table.get(NAME)) {
        None => OPTIMIZER,
        Some(Value::String(name)) => name,
        Some(other) => return Err(Error::setting("optimizer", format!("name must be text, not {other}"))),
    };
    let hyper = table.into_iter().flatten().filter(|(key, _)| *key != NAME);
    hyper.fold(Optimizer::new(name), |optimizer, (key, value)| {
        if key == RATE && value.as_str().is_some_and(LineSearch::is_meant) {
            return Err(Error::setting(RATE, "only a single training has a line search; give a number here"));
        }
        optimizer?.with(key, hyper_value(key, value)?)
    })
}

/// The method of `solve` that a table names, with its hyper-parameters; none where it names another rule, or none.
///
/// # Errors
/// [`Error::Setting`] for a hyper-parameter that it does not have, or that is out of its range; for a name that neither a
/// method nor an update rule has.
pub(crate) fn method(table: Option<&Table>) -> Result<Option<Method>> {
    let Some((table, name)) = table.and_then(|table| Some((table, table.get(NAME)?.as_str()?))) else {
        return Ok(None);
    };
    if !METHODS.iter().any(|rule| rule.name == name) {
        let rules = UPDATE_RULES.iter().map(|rule| rule.name);
        let known: Vec<&str> = rules.chain(METHODS.iter().map(|rule| rule.name)).collect();
        let found = known.contains(&name);
        return if found { Ok(None) } else { Err(Error::setting("method", did_you_mean(name, &known))) };
    }
    let hyper = table.iter().filter(|(key, _)| *key != NAME);
    let method =
        hyper.fold(Method::new(name), |method, (key, value)| method?.with(key, hyper_value(key, value)?));
    method.map(Some)
}

fn hyper_value(key: &str, value: &Value) -> Result<HyperValue> {
    value
        .clone()
        .try_into()
        .map_err(|_| Error::setting(key, format!("must be a number, true, false or a word, not {value}")))
}

fn absolute_path(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).map_err(|error| Error::read(&path, error))
}

fn absolute(source: DataSpec) -> Result<DataSpec> {
    Ok(match source {
        DataSpec::Idx(folder) => DataSpec::Idx(absolute_path(folder)?),
        DataSpec::Csv(file) => DataSpec::Csv(absolute_path(file)?),
        DataSpec::Parquet(file) => DataSpec::Parquet(absolute_path(file)?),
        DataSpec::Npz(file) => DataSpec::Npz(absolute_path(file)?),
        DataSpec::Npy { features, targets } => DataSpec::Npy {
            features: absolute_path(features)?,
            targets: targets.map(absolute_path).transpose()?,
        },
        DataSpec::Digits | DataSpec::Random { .. } => source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_configuration_makes_itself_again() {
        let rows = [
            "data = 'digits'",
            "data = 'digits'\ntest = '20%'\nmodel = 'linear 7, tanh, dropout 0.25, linear 10'\nsteps = 5\nseed = 9",
            "data = 'random:50x3:2'\nresident = 'no'\nmemory_limit = '75%'\nadapter = 'llvm'\nlog_every = 0",
            "data = 'digits'\nschedule = 'warmup 5% then restarts 2 epochs times 2 to 0.1'",
            "data = 'digits'\n[optimizer]\nname = 'sgd'\nlr = 'line-search batched 8 from 0.5'",
            "data = 'digits'\ntolerance = 1e-4\ngroup = ['*.bias: weight_decay=0']\n[optimizer]\nname = 'lbfgs'\nhistory = 20\nweight_decay = 0.01",
            "data = 'digits'\nmemory_limit = '2GiB'\n[optimizer]\nname = 'rmsprop'\ncentered = true\nlr = 3e-4",
        ];
        for text in rows {
            let mut config = RunConfig::from_toml(text, "test").unwrap();
            for _ in 0..2 {
                let written = config.to_toml().unwrap();
                config = RunConfig::from_toml(&written, "written").unwrap();
                assert_eq!(config.to_toml().unwrap(), written, "{text}");
                // The second time with all that the data says.
                config.load_data().unwrap();
            }
        }
    }

    #[test]
    fn defaults_are_those_that_help_tells() {
        let written = RunConfig::from_toml("data = 'digits'", "test").unwrap().settings().unwrap();
        let mut command = <Settings as clap::Args>::augment_args(clap::Command::new("train"));
        // Lines are broken where the terminal ends.
        let help = command.render_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let told = [
            written.model.unwrap(),
            written.schedule.unwrap(),
            written.batch.unwrap().to_string(),
            written.epochs.unwrap().to_string(),
            written.seed.unwrap().to_string(),
            written.eval_every.unwrap().to_string(),
            written.log_every.unwrap().to_string(),
            written.resident.unwrap(),
            written.recompute.unwrap(),
            written.precision.unwrap(),
            written.micro_batch.unwrap(),
        ];
        for default in told {
            assert!(help.contains(&format!("[default: {default}]")), "{default}: {help}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_setting_is_said() {
        let rows = [
            ("seed = 1", "data: which rows"),
            ("data = 'digits'\nbatch = 0", "batch: must be `auto` or a number"),
            ("data = 'digits'\nbatch = 'many'", "batch: must be `auto` or a number"),
            ("data = 'digits'\nmicro_batch = -1", "micro-batch: must be `auto` or a number"),
            ("data = 'digits'\nepochs = 0", "epochs: must be at least 1"),
            ("data = 'digits'\nepochs = 1\nsteps = 1", "not both"),
            ("data = 'digits'\nresident = 'maybe'", "resident: unknown name `maybe`"),
            ("data = 'digits'\nprecision = 'f61'", "precision: unknown name `f61`; did you mean `f16`"),
            ("data = 'digits'\nprecision = 'f64'", "precision: unknown name `f64`; known are f32, f16"),
            ("data = 'digits'\nloss_scale = 0.5", "loss-scale: must be at least 1"),
            ("data = 'digits'\nloss = 'msr'", "did you mean `mse`"),
            ("data = 'digits'\nschedule = 'cosin'", "schedule: unknown name `cosin`; did you mean `cosine`"),
            ("data = 'digits'\nmodel = 'mpl:3'", "did you mean `mlp`"),
            ("data = 'digits'\nmemory_limit = '0%'", "memory limit"),
            ("data = 'digits'\n[optimizer]\nname = 'adm'", "did you mean `adam`"),
            ("data = 'digits'\n[optimizer]\nname = 3", "name must be text"),
            ("data = 'digits'\n[optimizer]\nlr = -1", "lr: must be at least 0"),
            ("data = 'digits'\n[optimizer]\nlr = [1]", "lr: must be a number"),
            ("data = 'digits'\n[optimizer]\nname = 'sgd'\nlr = 'line-serach'", "lr: "),
            (
                "data = 'digits'\n[optimizer]\nname = 'sgd'\nlr = 'line-search bathced'",
                "did you mean `batched`",
            ),
            (
                "data = 'digits'\n[optimizer]\nname = 'sgd'\nlr = 'line-search from much'",
                "lr: must be at least 0",
            ),
            ("data = 'digits'\n[optimizer]\nname = 'lbfsg'", "did you mean `lbfgs`"),
            (
                "data = 'digits'\n[optimizer]\nname = 'lbfgs'\nmomentum = 0.9",
                "optimizer lbfgs: unknown name `momentum`",
            ),
            ("data = 'digits'\n[optimizer]\nbeta3 = 0.1", "did you mean `beta"),
        ];
        for (text, fragment) in rows {
            let message = RunConfig::from_toml(text, "test").unwrap_err().to_string();
            assert!(message.contains(fragment), "`{text}`: {message}");
        }
    }

    #[test]
    fn models_and_losses_that_the_data_does_not_take_are_refused_without_a_device() {
        let rows = [
            ("data = 'digits'\nloss = 'mse'", "the targets are classes"),
            ("data = 'digits'\nmodel = 'linear 9'", "end it with `linear 10`"),
            (
                "data = 'digits'\n[schema]\nfeature_shape = [3]\nencoding = 'f32'\ntask = { values = { width = 1 } }",
                "of another kind",
            ),
        ];
        for (text, fragment) in rows {
            let message =
                RunConfig::from_toml(text, "test").unwrap().load_data().err().expect("refused").to_string();
            assert!(message.contains(fragment), "`{text}`: {message}");
        }
    }
}
