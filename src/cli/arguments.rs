//! What can be typed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};

use super::bench::{WITHOUT_USE, WITHOUT_USE_FOR_BATCHES};
use crate::run::{OptimizerSettings, RunConfig, RunFolder, Settings};
use crate::{AdapterChoice, Error, GpuOptions, Result};

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

#[derive(Subcommand)]
pub(super) enum Bench {
    /// Steps and samples a second of one configuration, without evaluation
    Step(Box<BenchStepArguments>),
    /// Batch size against memory, planned and measured, and samples a second
    Batch(Box<BenchBatchArguments>),
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
