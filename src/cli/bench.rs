//! `downhill bench step`: steps a second of one configuration.

use std::time::Instant;

use serde_json::json;

use super::arguments::{BenchStepArguments, Global};
use super::output::{Ended, Output};
use crate::run::{RunConfig, Settings, given};
use crate::train::Trainer;
use crate::{Error, Gpu, Result};

/// Settings of `train` that a measurement of steps has no use for.
pub(super) const WITHOUT_USE: [&str; 5] = ["test", "epochs", "eval_every", "log_every", "out"];

/// Steps that are measured unless `--steps` says otherwise.
const STEPS: u64 = 100;

/// Steps that are timed on the GPU itself, one by one; their median is told.
const TIMED: usize = 9;

/// Trains `--warm-up` steps and then `--steps` measured ones, on rows that are resident or streamed as in training.
pub(super) fn step(
    arguments: &BenchStepArguments,
    global: &Global,
    output: &Output,
    began: Instant,
) -> Ended {
    let mut config = configuration(arguments, global)?;
    let mut split = config.load_data()?;
    split.test = None;
    let gpu = Gpu::new(&config.gpu_options())?;
    let mut trainer = Trainer::new(&gpu, split, config.options.clone())?;
    output.event("plan", trainer.report())?;
    trainer.run_steps(1)?;
    let first = began.elapsed().as_secs_f64();
    trainer.run_steps(arguments.warm_up)?;
    let steps = arguments.settings.steps.unwrap_or(STEPS);
    let (start, waits) = (Instant::now(), trainer.waits());
    trainer.run_steps(steps)?;
    let seconds = start.elapsed().as_secs_f64();
    let waits = trainer.waits() - waits;
    let on_gpu = median((0..TIMED).map(|_| trainer.time_step()).collect::<Result<Option<Vec<f64>>>>()?);
    let rate = steps as f64 / seconds;
    let report = trainer.report();
    let samples = rate * report.batch as f64;
    output.result(&format!(
        "{}, batch {}, rows on the GPU: {}",
        report.adapter,
        report.batch,
        yes(report.resident)
    ))?;
    output.result(&format!("{rate:.2} steps/s, {samples:.0} samples/s, {:.3} ms a step", 1e3 / rate))?;
    if let Some(on_gpu) = on_gpu {
        output.result(&format!("{:.3} ms of a step are kernels on the adapter", 1e3 * on_gpu))?;
    }
    output.result(&format!("{first:.3} s from the start of the program to the end of the first step"))?;
    output.event(
        "done",
        &json!({
            "steps": steps,
            "seconds": seconds,
            "steps_per_second": rate,
            "samples_per_second": samples,
            "gpu_seconds_per_step": on_gpu,
            "waits": waits,
            "first_step_seconds": first,
            "planned_bytes": report.bytes.total,
            "measured_bytes": trainer.measured_bytes(),
        }),
    )
}

fn configuration(arguments: &BenchStepArguments, global: &Global) -> Result<RunConfig> {
    if let Some(name) = given(&arguments.settings).iter().find(|name| WITHOUT_USE.contains(&name.as_str())) {
        let flag = format!("--{}", name.replace('_', "-"));
        return Err(Error::setting(&flag, "has no meaning for `bench step`"));
    }
    let optimizer = arguments.optimizer.table()?;
    let settings = Settings { optimizer, log_every: Some(0), ..arguments.settings.clone() };
    RunConfig::resolve(&settings.over(global.settings()))
}

fn median(seconds: Option<Vec<f64>>) -> Option<f64> {
    let mut seconds = seconds?;
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
