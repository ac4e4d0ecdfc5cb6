//! What can be typed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};

use super::bench::{WITHOUT_USE, WITHOUT_USE_FOR_BATCHES};
use super::export::ExportArguments;
use super::fit::FitArguments;
use super::race::WITHOUT_USE_FOR_RACES;
use super::solve::SolveArguments;
use super::tune::WITHOUT_USE_FOR_TUNING;
use crate::run::{OptimizerSettings, RunConfig, RunFolder, Settings};
use crate::{AdapterChoice, Error, Gpu, GpuOptions, Result};

/// Trains neural networks on any Vulkan, Metal or DX12 GPU.
#[derive(Parser)]
#[command(name = "downhill", version, subcommand_required = true, arg_required_else_help = false)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Above the flags of all commands in a command's help.
const ALL_COMMANDS: &str = "Options of all commands";

/// Flags of all commands.
#[derive(Args)]
pub(super) struct Global {
    /// The adapter: its index in `downhill devices`, or a part of its name [default: the best]
    #[arg(long, global = true, help_heading = ALL_COMMANDS, value_name = "NAME|INDEX")]
    pub adapter: Option<String>,
    /// What a run may take of the adapter's memory: `2GiB`, `500MB`, `75%` [default: what is free]
    #[arg(long, global = true, help_heading = ALL_COMMANDS, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_limit: Option<String>,
    /// Where compiled kernels are kept for the next start, on Vulkan, and what `tune` measured, or `off` [default:
    /// `downhill` in the user's folder for caches]
    #[arg(long, global = true, help_heading = ALL_COMMANDS, value_name = "DIR", env = "DOWNHILL_CACHE",
        hide_env_values = true)]
    pub cache: Option<PathBuf>,
    /// Print JSON lines, the last with the event `done` or `error`
    #[arg(long, global = true, help_heading = ALL_COMMANDS)]
    pub json: bool,
    /// Print nothing but errors and, where the results are what was asked for, those
    #[arg(long, global = true, help_heading = ALL_COMMANDS)]
    pub quiet: bool,
    /// Explain what is done
    #[arg(short, long, global = true, help_heading = ALL_COMMANDS)]
    pub verbose: bool,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the adapters, and whether downhill can run on them
    Devices,
    /// Train a model
    Train(Box<TrainArguments>),
    /// Say what a run would take of memory, without running a step
    Plan(Box<PlanArguments>),
    /// Measure a trained model on data with known targets
    Eval(EvalArguments),
    /// Print a trained model's answer for each row of data
    Predict(EvalArguments),
    /// Write a trained model as a file for other programs
    Export(ExportArguments),
    /// Minimise an expression
    Minimize(Box<MinimizeArguments>),
    /// Solve a system of linear equations from a file
    Solve(Box<SolveArguments>),
    /// Fit an equation to a table by nonlinear least squares, or to many at once
    Fit(Box<FitArguments>),
    /// Let several update rules run from the same start, and draw how they fare
    Race(Box<RaceArguments>),
    /// Measure kernels for a model on this adapter, and keep the fastest
    Tune(Box<TuneArguments>),
    /// Measure speed
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Args)]
pub(super) struct TrainArguments {
    /// A TOML file with settings: each flag below is a key, with `_` for `-`; hyper-parameters are keys of
    /// [optimizer]. A flag outranks the file
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
    /// Go on with the run in this folder; --epochs or --steps may be raised
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "out", "overwrite"])]
    pub resume: Option<PathBuf>,
    /// Replace the run that --out holds
    #[arg(long)]
    pub overwrite: bool,
    /// Print the whole configuration as a TOML file that makes the same run, and stop
    #[arg(long)]
    pub print_config: bool,
    /// Look for a learning rate: train --steps [default: 100] whose rate goes up from 1e-7 to 10, keep nothing of it
    /// but the curve of its losses, and suggest the rate at which they fall fastest
    #[arg(long, conflicts_with_all = ["resume", "overwrite", "print_config"])]
    pub find_lr: bool,
    /// Where the curve of --find-lr goes
    #[arg(long, value_name = "FILE", default_value = "learning-rates.svg", requires = "find_lr",
        conflicts_with_all = ["resume", "overwrite", "print_config"])]
    pub svg: PathBuf,
}

#[derive(Args)]
pub(super) struct PlanArguments {
    /// A TOML file with settings, as for `train`
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
    /// Where the picture of the memory over a step goes
    #[arg(long, value_name = "FILE", default_value = "memory.svg")]
    pub svg: PathBuf,
}

/// Below the flags in the help of `race`.
const RACE_HELP: &str = "\
Examples:
  downhill race
  downhill race \"(1-x)^2+100*(y-x^2)^2\" --start \"x=-1.2; y=1\" --method \"adam lr=0.05\" --method \"adan lr=0.05\" --method lbfgs --gif race.gif
  downhill race --data digits --model mlp:64 --epochs 20 --methods \"sgd lr=0.5, momentum lr=0.05, adam lr=0.005\"";

#[derive(Args)]
#[command(
    after_help = RACE_HELP,
    mut_args(|argument| hidden(argument, &WITHOUT_USE_FOR_RACES)),
    mut_arg("lr", rate),
    mut_arg("steps", |argument| argument.help("Updates of every racer, with --data in the place of --epochs [default: 1000; 120 where no EXPR is given]")),
)]
pub(super) struct RaceArguments {
    /// The expression that is minimised, as for `minimize`; with --data a model is trained instead [default: two
    /// long narrow valleys that meet in a saddle]
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    pub expression: Option<String>,
    /// Where every racer starts: `x=-1.2; y=1`
    #[arg(long, value_name = "NAME=VALUE; …", allow_hyphen_values = true)]
    pub start: Option<String>,
    /// A racer, as often as there are: a rule and hyper-parameters of its own, as in `adam lr=0.1 beta1=0.8`, or on an
    /// expression a method that searches its steps, such as `lbfgs`; several may stand together, with commas [default: the
    /// classical rules]
    #[arg(long = "method", visible_alias = "methods", value_name = "RULE …", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Tell the first step at which a racer's loss was no higher
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub target_loss: Option<f64>,
    /// With --data, tell the first epoch after which so large a part of the test rows was right, from 0 to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub target_accuracy: Option<f64>,
    /// Where the picture goes: paths on a contour map where there are two unknowns, else curves
    #[arg(long, value_name = "FILE", default_value = "race.svg")]
    pub svg: PathBuf,
    /// Where a picture in motion goes, of two unknowns
    #[arg(long, value_name = "FILE")]
    pub gif: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
}

#[derive(Subcommand)]
pub(super) enum Bench {
    /// Steps and samples a second of one configuration, without evaluation
    Step(Box<BenchStepArguments>),
    /// Batch size against memory, planned and measured, and samples a second
    Batch(Box<BenchBatchArguments>),
    /// Each kernel against what this adapter does at best, measured in the same run
    Kernels(BenchKernelsArguments),
}

#[derive(Args)]
#[command(
    mut_args(|argument| hidden(argument, &WITHOUT_USE)),
    mut_arg("steps", |argument| argument.help("Steps that are measured [default: 100]")),
)]
pub(super) struct BenchStepArguments {
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
    /// Steps before those that are measured
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub warm_up: u64,
    /// Micro-batches that share a submit, as far as there is room [default: as many as make it last two milliseconds]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub steps_per_submit: Option<u64>,
    /// Tell how long each kernel of a step takes, and write it as a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "trace.json")]
    pub profile: Option<PathBuf>,
}

#[derive(Args)]
#[command(mut_args(|argument| hidden(argument, &WITHOUT_USE_FOR_TUNING)))]
pub(super) struct TuneArguments {
    /// A TOML file with settings, as for `train`
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
    /// Seconds that it may take: the largest products come first
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub seconds: u64,
    /// Measure products of 16 bits on matrix units too, an experimental feature of wgpu; what is faster there is used from
    /// then on
    #[arg(long)]
    pub matrix_units: bool,
}

#[derive(Args)]
#[command(mut_args(|argument| hidden(argument, &WITHOUT_USE_FOR_BATCHES)))]
pub(super) struct BenchBatchArguments {
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
    /// Batch sizes [default: 1, 2, 4 … and the largest that fits]
    #[arg(long, value_name = "N,N…", value_delimiter = ',')]
    pub sizes: Vec<usize>,
    /// How often each size has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub rounds: u64,
    /// Seconds of each turn, at least
    #[arg(long, value_name = "X", default_value_t = 0.5)]
    pub seconds: f64,
    /// Write the table as a file of comma-separated values
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Draw memory and speed over the batch size
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct BenchKernelsArguments {
    /// Only these kernels, by their name or the start of it: `matmul`, `matmul nt`, `tile`, `sum`, `update`, `update adam`
    /// [default: all but `update muon`, which is bound by products of matrices, `tile`, one product by every matmul tile, and `factor`,
    /// the factorisations of `solve`, held against the product of two matrices instead of a ceiling]
    #[arg(long, value_name = "NAME")]
    pub kernel: Vec<String>,
    /// Parameters that update rules update, in matrices of 1024 x 1024
    #[arg(long, value_name = "N", default_value_t = 64 << 20, value_parser = RangedU64ValueParser::<u64>::new().range(1 << 20..=1 << 32))]
    pub parameters: u64,
    /// How often each is measured; the median is told
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub rounds: u64,
    /// Open the device with matrix units, an experimental feature of wgpu: their ceiling, and with `--kernel tile` their tiles
    #[arg(long)]
    pub matrix_units: bool,
}

/// Below the flags in the help of `minimize`.
const MINIMIZE_HELP: &str = "\
Expressions:
  numbers, names, + - * / ^, parentheses, vectors [a,b,c]; x[0], x[-1], x[1:], x[:-1], x[a:b] as in
  Python; a scalar goes with every element of a vector
  exp log sqrt sin cos tan tanh atan abs min max relu sigmoid floor mod, element by element
  sum mean dot; iota(n) = [0,1,…,n-1], zeros(n), ones(n), pi, e
  definitions before the value, which is a scalar: c = 10^iota(3); sum(c*(x-1)^2)
  gauss-newton, gauss-newton-cg, levenberg, lm and dogleg take residuals, a vector whose squares they sum

Examples:
  downhill minimize \"(1-x)^2+100*(y-x^2)^2\" --start \"x=-1.2; y=1\" --lr 0.01 --steps 5000
  downhill minimize \"sum(iota(3)*x^2)\" --start \"x=ones(3)\" --method sgd --lr 0.1 --trace 100
  downhill minimize \"sum((x-1)^2)\" --start \"x=zeros(9)\" --method momentum --tolerance 1e-3
  downhill minimize \"(1-x)^2+100*(y-x^2)^2\" --start \"x=-1.2; y=1\" --method lbfgs --tolerance 1e-4
  downhill minimize \"[1-x, 10*(y-x^2)]\" --start \"x=-1.2; y=1\" --method lm --tolerance 1e-4";

#[derive(Args)]
#[command(
    after_help = MINIMIZE_HELP,
    mut_arg("optimizer", |argument| {
        let help = "An update rule, such as `sgd` or `adam`, or a method that searches its steps, such as `lbfgs`, \
                    `newton` or `lm`; `help` lists all [default: adam]";
        argument.long("method").help(help)
    }),
    mut_arg("lr", rate),
)]
pub(super) struct MinimizeArguments {
    /// What is minimised, a scalar function of the names in --start
    #[arg(value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub expression: String,
    /// The unknowns and where they start: `x=[-1.2,1]`, `x=zeros(10); y=1`
    #[arg(long, value_name = "NAME=VALUE;…")]
    pub start: String,
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
    /// How the learning rate goes, as for `train`; an epoch is a step here [default: constant]
    #[arg(long, value_name = "SPEC")]
    pub schedule: Option<String>,
    /// Scale the gradient down to at most this norm [default: leave it]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_norm: Option<f64>,
    /// Cut each element of the gradient to at most this size [default: leave it]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_value: Option<f64>,
    /// Tell of an exponential mean of the way that keeps this share of itself at every step [default: the way]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub ema: Option<f64>,
    /// Every STEPS steps go back to slow unknowns, which follow by RATE (0.5 unless said) and are told of [default: no]
    #[arg(long, value_name = "STEPS[:RATE]", allow_hyphen_values = true)]
    pub lookahead: Option<String>,
    /// Updates; with --tolerance, at most
    #[arg(long, value_name = "N", default_value_t = 1000, allow_negative_numbers = true)]
    pub steps: u64,
    /// Steps between two points of the way that are told; 0 for none
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub trace: u64,
    /// The norm of the gradient at which it is done [default: all steps are made]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// The length of a step, as a share of 1 + the unknowns' norm, at which a method that searches is done [default: none]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub step_tolerance: Option<f64>,
    /// The change of the value in a step, as a share of 1 + the value, at which such a method is done [default: none]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub value_tolerance: Option<f64>,
    /// What such a method computes in: f32, or f64 where the adapter has it
    #[arg(long, value_name = "f32|f64", default_value = "f32")]
    pub precision: String,
}

/// `--lr` of the commands that search for none.
fn rate(argument: clap::Arg) -> clap::Arg {
    argument.value_name("X").help("The learning rate [default: the rule's]")
}

fn hidden(argument: clap::Arg, without_use: &[&str]) -> clap::Arg {
    let hidden = without_use.contains(&argument.get_id().as_str());
    argument.hide(hidden)
}

#[derive(Args)]
pub(super) struct EvalArguments {
    /// The folder of a run
    pub run: PathBuf,
    /// The rows, as for `train`; of a source with a test part, that
    #[arg(long, value_name = "SPEC")]
    pub data: String,
}

impl Global {
    /// The settings of a run among these flags.
    pub fn settings(&self) -> Settings {
        Settings {
            adapter: self.adapter.clone(),
            memory_limit: self.memory_limit.clone(),
            ..Settings::default()
        }
    }

    /// How to open a device for one command, whatever the run was trained on.
    pub fn gpu_options(&self) -> Result<GpuOptions> {
        Ok(GpuOptions {
            adapter: self.adapter.clone().map_or(AdapterChoice::Best, AdapterChoice::Matching),
            memory_limit: self.memory_limit.as_deref().map(str::parse).transpose()?,
            ..GpuOptions::default()
        })
    }

    /// Opens a device that keeps what it compiles and knows what was tuned.
    pub fn open(&self, options: GpuOptions) -> Result<Gpu> {
        Gpu::new(&GpuOptions { cache: self.cache_folder(), ..options })
    }

    /// The folder of compiled kernels and tunings, unless it is off.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(off) if off.as_os_str() == "off" => None,
            Some(folder) => Some(folder.clone()),
            // Where there is no home there is no such folder, and every start compiles.
            None => choose_native_strategy().ok().map(|user| user.cache_dir().join("downhill")),
        }
    }
}

/// The settings of the flags, and below them those of a file.
pub(super) fn gathered(
    file: Option<&Path>,
    settings: &Settings,
    optimizer: &OptimizerSettings,
    global: &Global,
) -> Result<Settings> {
    let flags = Settings { optimizer: optimizer.table()?, ..settings.clone() }.over(global.settings());
    let Some(path) = file else { return Ok(flags) };
    let text = fs::read_to_string(path).map_err(|error| Error::read(path, error))?;
    Ok(flags.over(Settings::from_toml(&text, &path.display().to_string())?))
}

/// The configuration that a run folder holds.
pub(super) fn stored_config(folder: &RunFolder) -> Result<RunConfig> {
    RunConfig::from_toml(&folder.config()?, &folder.config_path().display().to_string())
}
