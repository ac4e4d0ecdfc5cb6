//! `downhill bench batch`: what each batch size costs of memory and gives in speed.

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::arguments::{BenchBatchArguments, Global, gathered};
use super::batch_chart;
use super::bench::refuse_without_use;
use super::output::{Ended, Output, check_file, complain};
use crate::atomic::write as write_atomically;
use crate::data::Split;
use crate::gpu::format_bytes;
use crate::measure::median;
use crate::run::{RunConfig, Settings};
use crate::train::{BatchSize, Length, MemoryModel, TrainOptions, Trainer, powers_up_to};
use crate::{Error, Gpu, Result};

/// The knee is the smallest batch with this part of the greatest speed: what is beyond costs memory and gives little.
const KNEE: f64 = 0.95;

/// One batch size: what it takes, and what its measurements gave.
#[derive(Serialize)]
pub(super) struct Measured {
    pub batch: usize,
    pub planned_bytes: u64,
    pub measured_bytes: u64,
    /// The median of the rounds.
    pub samples_per_second: f64,
    pub samples_per_second_min: f64,
    pub samples_per_second_max: f64,
    pub milliseconds_per_step: f64,
    /// From the start of this size's turn to that of the next one: planning, allocating, compiling, measuring.
    pub seconds_until_next: f64,
    pub knee: bool,
}

/// What one turn of one size gave.
struct Turn {
    planned_bytes: u64,
    measured_bytes: u64,
    rate: f64,
    seconds: f64,
}

pub(super) fn batch(arguments: &BenchBatchArguments, global: &Global, output: &Output) -> Ended {
    refuse_without_use("bench batch", &arguments.settings, &super::bench::WITHOUT_USE_FOR_BATCHES)?;
    for (flag, path) in [("--csv", &arguments.csv), ("--svg", &arguments.svg)] {
        path.as_deref().map_or(Ok(()), |path| check_file(flag, path))?;
    }
    if !(arguments.seconds.is_finite() && arguments.seconds > 0.0) {
        let message = format!("must be a number above 0, not {}", arguments.seconds);
        return Err(Error::setting("--seconds", message).into());
    }
    let settings = gathered(None, &arguments.settings, &arguments.optimizer, global)?;
    let mut config = RunConfig::resolve_rule(&Settings { log_every: Some(0), ..settings })?;
    let mut split = config.load_data()?;
    split.test = None;
    let gpu = global.open(config.gpu_options())?;
    let budget = gpu.budget().bytes;
    let sizes = sizes(arguments, &gpu, &split, &config.options)?;
    let mut turns: Vec<Vec<Turn>> = sizes.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds.max(1) {
        // There and back again, so that a machine that slows down does not slow one end only.
        let order: Vec<usize> =
            if round % 2 == 0 { (0..sizes.len()).collect() } else { (0..sizes.len()).rev().collect() };
        for place in order {
            let turn = turn(&gpu, &split, &config.options, sizes[place], arguments.seconds)?;
            if !output.quiet {
                let (size, rate) = (sizes[place], turn.rate);
                complain(&format!("round {}: batch {size}: {rate:.0} samples/s", round + 1));
            }
            turns[place].push(turn);
        }
    }
    let mut measured: Vec<Measured> =
        sizes.iter().zip(&turns).map(|(size, turns)| summary(*size, turns)).collect();
    mark_knee(&mut measured);
    tell(&measured, budget, arguments, output)
}

/// The sizes asked for, or 1, 2, 4 … and the largest that fits.
fn sizes(
    arguments: &BenchBatchArguments,
    gpu: &Gpu,
    split: &Split,
    options: &TrainOptions,
) -> Result<Vec<usize>> {
    let alone = TrainOptions { batch: BatchSize::Auto, ..options.clone() };
    let model = MemoryModel::new(split, &alone, gpu.profile())?;
    let (report, _) = model.report(gpu.budget().bytes, &gpu.adapter_info().name)?;
    let largest = report.largest_micro_batch;
    if let Some(size) = arguments.sizes.iter().find(|size| !(1..=largest).contains(*size)) {
        let message =
            format!("{size} rows are not from 1 to {largest}, as many as there are and fit at once");
        return Err(Error::setting("--sizes", message));
    }
    if !arguments.sizes.is_empty() {
        return Ok(arguments.sizes.clone());
    }
    Ok(powers_up_to(largest).collect())
}

/// Trains with `size` rows a batch for at least `seconds` after a step to warm up.
fn turn(gpu: &Gpu, split: &Split, options: &TrainOptions, size: usize, seconds: f64) -> Result<Turn> {
    let began = Instant::now();
    let rows = BatchSize::Rows(size);
    let options =
        TrainOptions { batch: rows, micro_batch: rows, length: Length::Steps(u64::MAX), ..options.clone() };
    let mut trainer = Trainer::new(gpu, split.clone(), options)?;
    trainer.run_steps(1)?;
    let (started, mut steps, mut at_once) = (Instant::now(), 0, 1);
    while started.elapsed().as_secs_f64() < seconds {
        trainer.run_steps(at_once)?;
        steps += at_once;
        // Short steps are waited for in ever larger groups, as in training, where nothing waits for one.
        at_once = (2 * at_once).min(256);
    }
    let rate = trainer.samples(steps) as f64 / started.elapsed().as_secs_f64();
    let planned_bytes = trainer.report().bytes.total;
    let measured_bytes = trainer.measured_bytes();
    Ok(Turn { planned_bytes, measured_bytes, rate, seconds: began.elapsed().as_secs_f64() })
}

fn summary(batch: usize, turns: &[Turn]) -> Measured {
    let rates = || turns.iter().map(|turn| turn.rate);
    let rate = median(rates().collect()).unwrap_or(0.0);
    Measured {
        batch,
        planned_bytes: turns.iter().map(|turn| turn.planned_bytes).max().unwrap_or(0),
        measured_bytes: turns.iter().map(|turn| turn.measured_bytes).max().unwrap_or(0),
        samples_per_second: rate,
        samples_per_second_min: rates().fold(f64::INFINITY, f64::min),
        samples_per_second_max: rates().fold(0.0, f64::max),
        milliseconds_per_step: 1e3 * batch as f64 / rate,
        seconds_until_next: median(turns.iter().map(|turn| turn.seconds).collect()).unwrap_or(0.0),
        knee: false,
    }
}

fn mark_knee(sizes: &mut [Measured]) {
    let best = sizes.iter().map(|size| size.samples_per_second).fold(0.0, f64::max);
    let good = sizes.iter_mut().filter(|size| size.samples_per_second >= KNEE * best);
    if let Some(knee) = good.min_by_key(|size| size.batch) {
        knee.knee = true;
    }
}

fn tell(sizes: &[Measured], budget: u64, arguments: &BenchBatchArguments, output: &Output) -> Ended {
    for size in sizes {
        output.event("batch", size)?;
    }
    for line in table(sizes) {
        output.result(&line)?;
    }
    output.result(&format!(
        "budget {}; the knee has {:.0} % of the best speed",
        format_bytes(budget),
        100.0 * KNEE
    ))?;
    if let Some(path) = &arguments.csv {
        write_atomically(path, csv(sizes, budget)?.as_bytes())?;
        output.result(&format!("table: {}", path.display()))?;
    }
    if let Some(path) = &arguments.svg {
        batch_chart::draw(path, sizes, budget)?;
        output.result(&format!("picture: {}", path.display()))?;
    }
    let knee = sizes.iter().find(|size| size.knee).map(|size| size.batch);
    output.event("done", &json!({ "batches": sizes.len(), "budget": budget, "knee": knee }))
}

fn table(sizes: &[Measured]) -> Vec<String> {
    let head = format!(
        "{:>8} {:>12} {:>12} {:>10} {:>17} {:>10} {:>10}",
        "batch", "planned", "measured", "samples/s", "(least–most)", "ms/step", "s to next"
    );
    let line = |size: &Measured| {
        let spread = format!("({:.0}–{:.0})", size.samples_per_second_min, size.samples_per_second_max);
        let mut line = format!(
            "{:>8} {:>12} {:>12} {:>10.0} {spread:>17} {:>10.2} {:>10.2}",
            size.batch,
            format_bytes(size.planned_bytes),
            format_bytes(size.measured_bytes),
            size.samples_per_second,
            size.milliseconds_per_step,
            size.seconds_until_next,
        );
        if size.knee {
            line.push_str("  ← knee");
        }
        line
    };
    std::iter::once(head).chain(sizes.iter().map(line)).collect()
}

/// The table as a file: a header, then a line for each size.
fn csv(sizes: &[Measured], budget: u64) -> Result<String> {
    let mut text = String::from(
        "batch,planned_bytes,measured_bytes,samples_per_second,samples_per_second_min,samples_per_second_max,\
         milliseconds_per_step,seconds_until_next,knee,budget\n",
    );
    for size in sizes {
        let Measured { batch, planned_bytes, measured_bytes, knee, .. } = size;
        let (rate, least, most) =
            (size.samples_per_second, size.samples_per_second_min, size.samples_per_second_max);
        let (step, turn) = (size.milliseconds_per_step, size.seconds_until_next);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{batch},{planned_bytes},{measured_bytes},{rate},{least},{most},{step},{turn},{knee},{budget}"
        );
    }
    Ok(text)
}
