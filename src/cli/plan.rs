//! `downhill plan`: what a run would take of memory and how it would be done, without running a step.

use serde_json::json;

use super::arguments::{Global, PlanArguments, gathered};
use super::output::{Ended, Output};
use crate::gpu::{GpuOptions, Survey, format_bytes};
use crate::run::{RunConfig, draw_memory};
use crate::train::{MemoryModel, PlanReport};
use crate::{Error, MemoryLimit, Result};

/// The word for `--adapter` that plans for no adapter of this machine.
const NO_ADAPTER: &str = "none";

pub(super) fn plan(arguments: &PlanArguments, global: &Global, output: &Output) -> Ended {
    let file = arguments.file.as_deref();
    let settings = gathered(file, &arguments.settings, &arguments.optimizer, global)?;
    let mut config = RunConfig::resolve(&settings)?;
    let survey = survey(&config, global)?;
    let split = config.load_data()?;
    let model = MemoryModel::new(&split, &config.options, &survey.profile)?;
    let (report, map) = model.report(survey.budget.bytes, &survey.adapter)?;
    draw_memory(&arguments.svg, &map, &report)?;
    output.event("plan", &report)?;
    for line in described(&report, &survey.budget.source) {
        output.result(&line)?;
    }
    output.result(&format!("memory over a step: {}", arguments.svg.display()))?;
    let svg = arguments.svg.display().to_string();
    output.event("done", &json!({ "planned_bytes": report.bytes.total, "svg": svg }))
}

/// What to plan for: the adapter that `train` would take, or none.
fn survey(config: &RunConfig, global: &Global) -> Result<Survey> {
    match (config.adapter.as_deref(), config.memory_limit) {
        (Some(NO_ADAPTER), Some(MemoryLimit::Bytes(bytes))) => Ok(Survey::without_adapter(bytes)),
        (Some(NO_ADAPTER), _) => Err(Error::setting(
            "--memory-limit",
            "without an adapter it must be given in bytes, such as 8GiB",
        )),
        _ => Survey::of(&GpuOptions { cache: global.cache_folder(), ..config.gpu_options() }),
    }
}

/// The rows of a batch, and in how many parts they are done.
pub(super) fn parts(report: &PlanReport) -> String {
    let PlanReport { batch, accumulate, micro_batch, .. } = report;
    match accumulate {
        1 => format!("{batch} rows at once"),
        _ if batch % micro_batch == 0 => format!("{batch} rows in {accumulate} parts of {micro_batch}"),
        _ => format!("{batch} rows in {accumulate} parts of at most {micro_batch}"),
    }
}

/// What the same run takes less than in f32.
fn f16_saving(bytes: u64, total: u64) -> String {
    let in_f32 = total + bytes;
    let percent = 100.0 * bytes as f64 / in_f32 as f64;
    format!("{} of the {} of f32 ({percent:.0} %)", format_bytes(bytes), format_bytes(in_f32))
}

/// A plan in lines for people.
pub(super) fn described(report: &PlanReport, budget_source: &str) -> Vec<String> {
    let bytes = &report.bytes;
    let roles = [
        ("theta", bytes.theta),
        ("gradient", bytes.gradient),
        ("optimizer state", bytes.state),
        ("activations", bytes.activations),
        ("data", bytes.data),
        ("staging", bytes.staging),
        ("other", bytes.other),
        ("total", bytes.total),
    ];
    let resident = if report.resident { "live on the GPU" } else { "are uploaded for every step" };
    let facts = [
        ("adapter", report.adapter.clone()),
        ("budget", format!("{} ({budget_source})", format_bytes(report.budget))),
        ("parameters", report.parameters.to_string()),
        ("batch", parts(report)),
        ("micro-batch", format!("{} rows: {}", report.micro_batch, report.why)),
        ("rows", resident.to_owned()),
        ("one row more", format_bytes(report.bytes_per_sample)),
    ];
    let saved = report.f16_saves.map(|bytes| ("f16 saves", f16_saving(bytes, report.bytes.total)));
    let facts = facts.into_iter().chain(saved).map(|(name, value)| format!("{name:16} {value}"));
    let roles = roles.map(|(role, bytes)| format!("{role:16} {:>12}", format_bytes(bytes)));
    let tensors = report.largest_tensors.iter();
    let tensors = tensors.map(|tensor| format!("  {:>12}  {}", format_bytes(tensor.bytes), tensor.tensor));
    let heading = std::iter::once("largest tensors of a step:".to_owned());
    facts.chain(roles).chain(heading).chain(tensors).collect()
}
