//! `downhill bench step`: steps a second of one configuration.

use std::time::Instant;

use serde_json::json;

use super::arguments::{BenchStepArguments, Global, gathered};
use super::output::{Ended, Output, check_file};
use super::plan::parts;
use super::profile::profile;
use crate::data::Split;
use crate::measure::median;
use crate::run::{RunConfig, Settings, given};
use crate::train::{Choice, MemoryModel, TrainOptions, Trainer};
use crate::{Error, Gpu, HostTimes, Result};

/// Settings of `train` that a measurement of steps has no use for.
pub(super) const WITHOUT_USE: [&str; 5] = ["test", "epochs", "eval_every", "log_every", "out"];

/// The same of a measurement of batch sizes.
pub(super) const WITHOUT_USE_FOR_BATCHES: [&str; 8] =
    ["test", "epochs", "steps", "eval_every", "log_every", "out", "batch", "micro_batch"];

/// Steps that are measured unless `--steps` says otherwise.
const STEPS: u64 = 100;

/// Steps that are timed on the GPU itself, one by one; their median is told.
const TIMED: usize = 9;

/// Turns in which the rows on the GPU and the uploaded ones are measured against each other.
const TURNS: u64 = 5;

/// Trains `--warm-up` steps and then `--steps` measured ones, on rows that are resident or streamed as in training;
/// where they may be either and both fit, the two are measured in turns.
pub(super) fn step(
    arguments: &BenchStepArguments,
    global: &Global,
    output: &Output,
    began: Instant,
) -> Ended {
    let mut config = configuration(arguments, global)?;
    arguments.profile.as_ref().map_or(Ok(()), |file| check_file("--profile", file))?;
    let mut split = config.load_data()?;
    split.test = None;
    let gpu = global.open(config.gpu_options())?;
    let mut trainer = Trainer::new(&gpu, split.clone(), config.options.clone())?;
    output.event("plan", trainer.report())?;
    trainer.share_submits(arguments.steps_per_submit)?;
    trainer.run_steps(1)?;
    let first = began.elapsed().as_secs_f64();
    let measured = trainer.measured_bytes();
    let mut streamed = streamed(&gpu, split, &config, &trainer)?;
    for trainer in [Some(&mut trainer), streamed.as_mut()].into_iter().flatten() {
        trainer.share_submits(arguments.steps_per_submit)?;
        trainer.run_steps(arguments.warm_up)?;
    }
    let steps = arguments.settings.steps.unwrap_or(STEPS);
    let (mut seconds, mut streamed_seconds, waits) = (0.0, 0.0, trainer.device_waits());
    let mut host = Host::default();
    let turns = TURNS.min(steps);
    for turn in 0..turns {
        let share = steps * (turn + 1) / turns - steps * turn / turns;
        seconds += host.count(&gpu, || timed(&mut trainer, share))?;
        if let Some(streamed) = &mut streamed {
            streamed_seconds += timed(streamed, share)?;
        }
    }
    let waits = trainer.device_waits() - waits;
    let host = host.a_step(steps);
    let steps_per_submit = trainer.steps_per_submit()?;
    let on_gpu =
        (0..TIMED).map(|_| trainer.time_step()).collect::<Result<Option<Vec<f64>>>>()?.and_then(median);
    // What is timed is the first of the batch's parts; the last has the update besides.
    let parts_of_batch = trainer.report().batch as f64 / trainer.report().micro_batch as f64;
    let on_gpu = on_gpu.map(|seconds| parts_of_batch * seconds);
    let about = if parts_of_batch > 1.0 { "about " } else { "" };
    let rate = steps as f64 / seconds;
    let streamed_rate = streamed.as_ref().map(|_| steps as f64 / streamed_seconds);
    let report = trainer.report().clone();
    let samples = rate * report.batch as f64;
    output.result(&format!(
        "{}, a batch of {}, rows on the GPU: {}",
        report.adapter,
        parts(&report),
        yes(report.resident)
    ))?;
    output.result(&format!("{rate:.2} steps/s, {samples:.0} samples/s, {:.3} ms a step", 1e3 / rate))?;
    if let Some(streamed) = streamed_rate {
        let part = 100.0 * streamed / rate;
        output.result(&format!(
            "{streamed:.2} steps/s with rows uploaded for every step, {part:.1} % of that"
        ))?;
    }
    if let Some(on_gpu) = on_gpu {
        output.result(&format!("{about}{:.3} ms of a step are kernels on the adapter", 1e3 * on_gpu))?;
    }
    host.as_ref().map_or(Ok(()), |host| output.result(&host.told(steps_per_submit)))?;
    output.result(&format!("bound by {}", trainer.bound()))?;
    output.result(&format!("{first:.3} s from the start of the program to the end of the first step"))?;
    let trace = arguments.profile.as_deref();
    trace.map_or(Ok(()), |file| profile(&mut trainer, file, output))?;
    output.event(
        "done",
        &json!({
            "steps": steps,
            "seconds": seconds,
            "steps_per_second": rate,
            "samples_per_second": samples,
            "resident": report.resident,
            "streamed_steps_per_second": if report.resident { streamed_rate } else { Some(rate) },
            "gpu_seconds_per_step": on_gpu,
            "host_seconds_per_step": host.as_ref().map(|host| host.total),
            "recording_seconds_per_step": host.as_ref().map(Host::recording),
            "submitting_seconds_per_step": host.as_ref().map(|host| host.times.submitting),
            "waiting_seconds_per_step": host.as_ref().map(|host| host.times.waiting),
            "steps_per_submit": steps_per_submit,
            "waits": waits,
            "bound": trainer.bound(),
            "first_step_seconds": first,
            "planned_bytes": report.bytes.total,
            "measured_bytes": measured,
            "trace": trace,
        }),
    )
}

/// Seconds of the training thread's processor time, which are the host's own work.
#[derive(Default)]
struct Host {
    total: f64,
    times: HostTimes,
}

impl Host {
    /// Adds the time of `work` where the system tells it.
    fn count<T>(&mut self, gpu: &Gpu, work: impl FnOnce() -> T) -> T {
        let Some(clock) = THREAD_CLOCK else { return work() };
        gpu.time_host(clock);
        let began = clock();
        let done = work();
        self.total += clock() - began;
        let HostTimes { submitting, waiting } = gpu.host_times();
        self.times.submitting += submitting;
        self.times.waiting += waiting;
        done
    }

    /// As a share of each of `steps`; none where the system does not tell.
    fn a_step(self, steps: u64) -> Option<Self> {
        let share = |seconds: f64| seconds / steps as f64;
        let HostTimes { submitting, waiting } = self.times;
        let times = HostTimes { submitting: share(submitting), waiting: share(waiting) };
        THREAD_CLOCK.map(|_| Host { total: share(self.total), times })
    }

    /// What is neither the driver's submits nor waits: this program's own work, and wgpu's.
    fn recording(&self) -> f64 {
        self.total - self.times.submitting - self.times.waiting
    }

    fn told(&self, steps_per_submit: u64) -> String {
        let [total, recording, submitting, waiting] =
            [self.total, self.recording(), self.times.submitting, self.times.waiting].map(|time| 1e6 * time);
        let steps = if steps_per_submit == 1 { "step" } else { "steps" };
        format!(
            "{total:.1} µs of the training thread's processor time a step: recording {recording:.1} µs, submitting \
             {submitting:.1} µs ({steps_per_submit} {steps} at once), waiting {waiting:.1} µs"
        )
    }
}

/// Tells the seconds of processor time of the thread that asks, where the system does.
#[cfg(unix)]
const THREAD_CLOCK: Option<fn() -> f64> = Some(|| {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
});
#[cfg(not(unix))]
const THREAD_CLOCK: Option<fn() -> f64> = None;

/// Seconds of `steps` steps.
fn timed(trainer: &mut Trainer, steps: u64) -> Result<f64> {
    let start = Instant::now();
    trainer.run_steps(steps)?;
    Ok(start.elapsed().as_secs_f64())
}

/// The same run with uploaded rows, where they live on the GPU only because that fits, and both fit together.
fn streamed(gpu: &Gpu, split: Split, config: &RunConfig, resident: &Trainer) -> Result<Option<Trainer>> {
    if config.options.resident != Choice::Auto || !resident.report().resident {
        return Ok(None);
    }
    let options = TrainOptions { resident: Choice::No, ..config.options.clone() };
    let model = MemoryModel::new(&split, &options, gpu.profile())?;
    let left = gpu.budget().bytes.saturating_sub(resident.report().bytes.total);
    if model.bytes(resident.report().micro_batch)?.total > left {
        return Ok(None);
    }
    Trainer::new(gpu, split, options).map(Some)
}

fn configuration(arguments: &BenchStepArguments, global: &Global) -> Result<RunConfig> {
    refuse_without_use("bench step", &arguments.settings, &WITHOUT_USE)?;
    let settings = gathered(None, &arguments.settings, &arguments.optimizer, global)?;
    RunConfig::resolve_rule(&Settings { log_every: Some(0), ..settings })
}

/// Errors where a setting was given that `command` has no use for.
pub(super) fn refuse_without_use(command: &str, settings: &Settings, without_use: &[&str]) -> Result<()> {
    match given(settings).iter().find(|name| without_use.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let flag = format!("--{}", name.replace('_', "-"));
            Err(Error::setting(&flag, format!("has no meaning for `{command}`")))
        }
    }
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
