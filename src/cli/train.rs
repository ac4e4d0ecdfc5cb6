//! `downhill train`: from settings to a run, and what is said while it goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use super::arguments::{Global, TrainArguments, gathered, stored_config};
use super::find_rate::find_rate;
use super::optimizer_list::list_methods;
use super::output::{Ended, INTERRUPTED, Output, Stop};
use super::plan::{described, parts};
use super::progress::{Progress, metric};
use crate::gpu::format_bytes;
use crate::nn::model_help;
use crate::optim::schedule_help;
use crate::run::{EpochMetrics, Record, Run, RunConfig, RunFolder, Settings, given, read_checkpoint};
use crate::train::{BatchSize, Event, Length, MethodReport, TrainOptions, Trainer};
use crate::{Error, Result, Status};

/// Settings that a resumed run may be given: they do not change what it computes, but by rounding.
const RESUMABLE: [&str; 9] = [
    "epochs",
    "steps",
    "tolerance",
    "log_every",
    "adapter",
    "memory_limit",
    "micro_batch",
    "recompute",
    "resident",
];

/// A run that was checked as far as it can be without a device.
struct Prepared {
    config: RunConfig,
    start: Start,
}

enum Start {
    New { path: Option<PathBuf>, overwrite: bool },
    Resumed(RunFolder),
}

pub(super) fn train(arguments: &TrainArguments, global: &Global, output: &Output) -> Ended {
    let began = Instant::now();
    if arguments.optimizer.optimizer.as_deref() == Some("help") {
        return list_methods(output);
    }
    if let Some((kind, forms)) = help(&arguments.settings) {
        return list(kind, &forms, output);
    }
    if arguments.find_lr {
        return find_rate(arguments, global, output);
    }
    let Prepared { mut config, start } = prepare(arguments, global)?;
    let split = config.load_data()?;
    if arguments.print_config {
        let settings = config.settings()?;
        output.result(settings.to_toml()?.trim_end())?;
        return output.event("done", &json!({ "config": settings }));
    }

    // A run that goes on has left its start behind.
    if !matches!(&start, Start::Resumed(folder) if folder.checkpoint_path().exists()) {
        config.load_initial()?;
    }
    let interrupted = watch_interrupts();
    let name = split.train.name().to_owned();
    let gpu = global.open(config.gpu_options())?;
    let trainer = Trainer::new(&gpu, split, config.options.clone())?;
    config.options.modifiers.check_length(trainer.total_steps())?;
    output.event("plan", trainer.report())?;
    described(trainer.report(), &gpu.budget().source).iter().for_each(|line| output.explain(line));
    // The folder says the sizes that were found, so that the run goes on to the same bits where others would be.
    config.options.batch = BatchSize::Rows(trainer.report().batch);
    config.options.micro_batch = BatchSize::Rows(trainer.report().micro_batch);
    let toml = config.to_toml()?;
    let mut run = match start {
        Start::New { path, overwrite } => {
            let path =
                path.unwrap_or_else(|| RunFolder::default_path(&name, &config.options.model.to_string()));
            Run::start(trainer, RunFolder::create(&path, &toml, overwrite)?)?
        }
        Start::Resumed(folder) => {
            let run = Run::resume(trainer, folder)?;
            // Only now is it certain that the folder's run goes on with what was asked for.
            run.folder().write_config(&toml)?;
            run
        }
    };
    output.explain(&format!("writing to {}", run.folder().path().display()));
    follow(&mut run, &interrupted, output)?;
    finish(&run, began, output)
}

/// Trains to the end, telling every event.
fn follow(run: &mut Run, interrupted: &AtomicBool, output: &Output) -> Ended {
    let trainer = run.trainer();
    let mut progress =
        Progress::new(output, trainer.steps(), trainer.total_steps(), trainer.measured_bytes());
    loop {
        let event = run.next_event(interrupted)?;
        if let Some(record) = Record::of(&event) {
            output.object(&record)?;
            match record {
                Record::Step(step) => progress.step(&step),
                Record::Epoch(epoch) => progress.epoch(&epoch),
            }
        }
        match event {
            Event::Step(_) | Event::Epoch(_) => {}
            Event::Replanned(replan) => {
                output.event("plan", &replan.report)?;
                output.warn(&format!(
                    "memory ran out after step {} ({}); going on with a batch of {} in {}",
                    replan.step,
                    replan.reason,
                    parts(&replan.report),
                    format_bytes(replan.report.bytes.total)
                ));
            }
            Event::Finished => return Ok(()),
            Event::Interrupted => {
                let folder = shell_word(run.folder().path());
                let step = run.saved_steps();
                let message =
                    format!("interrupted after step {step}; go on with: downhill train --resume {folder}");
                return Err(Stop::Interrupted(message));
            }
        }
    }
}

/// Says what came of a run that is done.
fn finish(run: &Run, began: Instant, output: &Output) -> Ended {
    let epochs = run.epochs();
    let folder = run.folder();
    let seconds = began.elapsed().as_secs_f64();
    // Equal epochs: the mean speed is the harmonic mean.
    let speed =
        epochs.len() as f64 / epochs.iter().map(|epoch| epoch.samples_per_second.recip()).sum::<f64>();
    let last = epochs.last();
    let mut body = json!({
        "steps": run.saved_steps(),
        "epochs": last.map_or(0, |epoch| epoch.epoch),
        "seconds": seconds,
        "samples_per_second": speed,
        "train_loss": last.map(|epoch| epoch.train_loss),
        "planned_bytes": run.trainer().report().bytes.total,
        "measured_bytes": run.trainer().measured_bytes(),
        "driver_bytes": run.trainer().driver_bytes(),
        "skipped_steps": run.trainer().skipped_steps(),
        "bound": run.trainer().bound(),
        "out": folder.path().display().to_string(),
    });
    if let Some(report) = run.trainer().method_report() {
        body["method"] = json!(report);
    }
    let found = |of: fn(&EpochMetrics) -> Option<f64>| last.and_then(of);
    let tests = [
        ("test_loss", found(|epoch| epoch.test_loss)),
        ("test_accuracy", found(|epoch| epoch.test_accuracy)),
        ("test_rmse", found(|epoch| epoch.test_rmse)),
    ];
    for (key, value) in tests.iter().filter(|(_, value)| value.is_some()) {
        body[*key] = json!(value);
    }
    output.event("done", &body)?;
    if output.quiet {
        return Ok(());
    }
    if let Some(epoch) = last {
        let test = epoch.test_loss.map_or(String::new(), |loss| format!(", test loss {loss:.4}"));
        let metric = metric(epoch.test_accuracy, epoch.test_rmse);
        let bound = epoch.bound.map_or(String::new(), |bound| format!(", bound by {bound}"));
        let skipped = match epoch.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} steps skipped for a gradient that was not finite"),
        };
        output.result(&format!(
            "epoch {}, step {}, {seconds:.1} s: train loss {:.4}{test}{metric}{bound}{skipped}",
            epoch.epoch, epoch.step, epoch.train_loss
        ))?;
        output.result(&format!("curves: {}", folder.curves_path().display()))?;
    }
    if let Some(report) = run.trainer().method_report() {
        output.result(&ended(&report))?;
    }
    output.result(&format!("model:  {}", folder.model_path().display()))
}

/// How a method ended, in words.
fn ended(report: &MethodReport) -> String {
    let how = match report.status {
        Some(Status::Converged) => "converged",
        Some(Status::Stalled) => "ended where rounding leaves no step that lowers the loss",
        Some(Status::Diverged) => "diverged",
        Some(Status::MaxSteps) | None => "made all its steps",
    };
    let MethodReport { evaluations, products, gradient_norm, .. } = report;
    let products = if *products > 0 { format!(", curvature products: {products}") } else { String::new() };
    format!("{how}; evaluations on all rows: {evaluations}{products}, gradient norm {gradient_norm:.1e}")
}

fn prepare(arguments: &TrainArguments, global: &Global) -> Result<Prepared> {
    let file = arguments.file.as_deref();
    let settings = gathered(file, &arguments.settings, &arguments.optimizer, global)?;
    if let Some(path) = &arguments.resume {
        return prepare_resumed(path, arguments, settings);
    }
    let config = RunConfig::resolve(&settings)?;
    if let (Some(out), false) = (&settings.out, arguments.print_config) {
        RunFolder::check(out, arguments.overwrite)?;
    }
    Ok(Prepared { config, start: Start::New { path: settings.out, overwrite: arguments.overwrite } })
}

/// The run in the folder at `path`, longer if that is asked for; nothing else about it may change.
fn prepare_resumed(path: &Path, arguments: &TrainArguments, flags: Settings) -> Result<Prepared> {
    let fixed = given(&arguments.settings).into_iter().chain(given(&arguments.optimizer));
    if let Some(name) = fixed.into_iter().find(|name| !RESUMABLE.contains(&name.as_str())) {
        let message = "cannot be changed when a run is resumed; its folder says what it is";
        return Err(Error::setting(&format!("--{}", name.replace('_', "-")), message));
    }
    let folder = RunFolder::open(path)?;
    let stored = stored_config(&folder)?;
    let config = RunConfig::resolve(&flags.over(stored.settings()?))?;
    refuse_other_rates(&config.options, stored.options.length)?;
    if folder.checkpoint_path().exists() {
        let done = read_checkpoint(&folder.checkpoint_path())?;
        let (name, wanted, done) = match config.options.length {
            Length::Epochs(epochs) => ("--epochs", epochs, done.epoch),
            Length::Steps(steps) => ("--steps", steps, done.step),
        };
        if wanted < done {
            return Err(Error::setting(name, format!("the run has done {done} already, more than {wanted}")));
        }
    }
    Ok(Prepared { config, start: Start::Resumed(folder) })
}

/// Errors where another length than `before` would change the rates of steps that were done.
fn refuse_other_rates(options: &TrainOptions, before: Length) -> Result<()> {
    if options.length == before || !options.schedule.depends_on_length() {
        return Ok(());
    }
    let name = match options.length {
        Length::Epochs(_) => "--epochs",
        Length::Steps(_) => "--steps",
    };
    let schedule = &options.schedule;
    let message = format!(
        "the rates of the schedule `{schedule}` follow from the run's length, which can then not be changed; start a \
         new run, best with lengths in steps or epochs in the schedule"
    );
    Err(Error::setting(name, message))
}

/// A flag that Ctrl-C and a request to end set; the second one ends the process at once.
pub(super) fn watch_interrupts() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        // The run goes on; Ctrl-C then ends it at its last checkpoint.
        log::warn!("Ctrl-C cannot be caught: {error}");
    }
    interrupted
}

/// What may be written for the setting that asks for `help`: what the forms are of, and each with its meaning.
pub(super) fn help(settings: &Settings) -> Option<(&'static str, Vec<(String, String)>)> {
    let asks = |setting: &Option<String>| setting.as_deref() == Some("help");
    let models = || model_help().into_iter().map(|(form, meaning)| (form, meaning.to_owned())).collect();
    match settings {
        _ if asks(&settings.model) => Some(("model", models())),
        _ if asks(&settings.schedule) => Some(("schedule", schedule_help())),
        _ => None,
    }
}

pub(super) fn list(kind: &str, forms: &[(String, String)], output: &Output) -> Ended {
    let width = forms.iter().map(|(form, _)| form.chars().count()).max().unwrap_or(0);
    for (form, meaning) in forms {
        output.result(&format!("{form:width$}  {meaning}"))?;
        output.event(kind, &json!({ "form": form, "meaning": meaning }))?;
    }
    output.event("done", &json!({}))
}

/// `path` as a word that a shell takes whole.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/\\._-+:~".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
