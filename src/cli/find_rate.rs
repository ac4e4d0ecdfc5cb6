//! `downhill train --find-lr`: the learning-rate range test, its curve and its suggestion.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::arguments::{Global, TrainArguments, gathered};
use super::bench::refuse_without_use;
use super::output::{Ended, Output, Stop, check_file};
use super::rate_chart;
use super::train::watch_interrupts;
use crate::run::RunConfig;
use crate::train::{RangeTest, RateCurve, RateRange};
use crate::{Error, Result};

/// Settings that the test has no use for: it goes through all rates, and keeps no run.
const WITHOUT_USE: [&str; 5] = ["epochs", "eval_every", "log_every", "out", "schedule"];

pub(super) fn find_rate(arguments: &TrainArguments, global: &Global, output: &Output) -> Ended {
    let mut config = configuration(arguments, global)?;
    check_file("--svg", &arguments.svg)?;
    let data = config.load_data()?;
    config.load_initial()?;
    let usual = RateRange::default();
    let range = RateRange { steps: arguments.settings.steps.unwrap_or(usual.steps), ..usual };
    let interrupted = watch_interrupts();
    let gpu = global.open(config.gpu_options())?;
    let mut test = RangeTest::new(&gpu, data, config.options, range)?;
    output.event("plan", test.trainer().report())?;
    while let Some(point) = test.next_point(&interrupted)? {
        output.event("lr", &point)?;
    }
    let curve = test.curve();
    if interrupted.load(Ordering::Relaxed) {
        let message =
            format!("interrupted after {} of {} steps; nothing is kept", curve.points.len(), range.steps);
        return Err(Stop::Interrupted(message));
    }
    rate_chart::draw(&arguments.svg, &curve)?;
    for line in table(&curve) {
        output.result(&line)?;
    }
    output.result(&match curve.suggested {
        Some(rate) => format!("suggested learning rate: {rate:.1e}, where the loss falls fastest"),
        None => "no learning rate to suggest: the loss did not fall at any".to_owned(),
    })?;
    output.result(&format!("curve: {}", arguments.svg.display()))?;
    let svg = arguments.svg.display().to_string();
    let steps = curve.points.len();
    output.event("done", &json!({ "suggested_lr": curve.suggested, "steps": steps, "svg": svg }))
}

fn configuration(arguments: &TrainArguments, global: &Global) -> Result<RunConfig> {
    refuse_without_use("train --find-lr", &arguments.settings, &WITHOUT_USE)?;
    let settings = gathered(arguments.file.as_deref(), &arguments.settings, &arguments.optimizer, global)?;
    let config = RunConfig::resolve_rule(&settings)?;
    let optimizer = &config.options.optimizer;
    let rule = optimizer.rule().name;
    if config.options.search.is_some() {
        return Err(Error::setting("--find-lr", "looks for a number, which a line search has no use for"));
    }
    if arguments.optimizer.lr.is_some() {
        return Err(Error::setting(
            "--lr",
            "has no meaning for `train --find-lr`, which goes through all rates",
        ));
    }
    if STEPS_OF_THEIR_OWN.contains(&rule) {
        let message =
            format!("{rule} adapts its steps after the first, whatever the learning rate is by then");
        return Err(Error::setting("--find-lr", message));
    }
    Ok(config)
}

/// Rules that a learning rate reaches at their first step alone.
const STEPS_OF_THEIR_OWN: [&str; 1] = ["rprop"];

/// Rows of the table.
const ROWS: usize = 12;

/// The smoothed curve at equal ratios of the rate, and its last point.
fn table(curve: &RateCurve) -> Vec<String> {
    let rows: Vec<_> = curve.points.iter().zip(&curve.smoothed).collect();
    // Counted from the end, so that this is among them.
    let mut told: Vec<_> = rows.iter().rev().step_by(rows.len().div_ceil(ROWS).max(1)).collect();
    told.reverse();
    let lines = told.iter().map(|(point, loss)| format!("{:>13.1e} {loss:>12.4}", point.lr));
    std::iter::once(format!("{:>13} {:>12}", "learning rate", "loss")).chain(lines).collect()
}
