//! A race on a training task: every racer trains the same model on the same rows in the same order.

use serde_json::{Value, json};

use super::arguments::{Global, RaceArguments, gathered};
use super::output::{Ended, Output, complain};
use super::progress::metric;
use super::race::{CLASSICAL, cell, described, done, draw, racers, table_with_targets};
use crate::plot::{Curve, Panel, curves};
use crate::race::{Gait, Lap, Racer, TrainingRace, options_of, race_training};
use crate::run::{OptimizerSettings, RunConfig, given};
use crate::train::MemoryModel;
use crate::{Error, Result};

pub(super) fn race(arguments: &RaceArguments, global: &Global, output: &Output) -> Ended {
    if arguments.start.is_some() {
        return Err(Error::setting("--start", "has no meaning for a race on a training task").into());
    }
    if arguments.gif.is_some() {
        let message = "only a race on an expression of two unknowns moves; curves are drawn with --svg";
        return Err(Error::setting("--gif", message).into());
    }
    let racers = match arguments.methods.as_slice() {
        [] => racers(&CLASSICAL, &arguments.optimizer)?,
        methods => racers(methods, &arguments.optimizer)?,
    };
    let settings = gathered(None, &arguments.settings, &OptimizerSettings::default(), global)?;
    let mut config = RunConfig::resolve(&settings)?;
    let split = config.load_data()?;
    config.load_initial()?;
    let gpu = global.open(config.gpu_options())?;
    // What one of them cannot do is said before any of them has run.
    for racer in &racers {
        MemoryModel::new(&split, &options_of(racer, &config.options)?, gpu.profile())?;
    }
    let of_rules = [
        "schedule",
        "clip_norm",
        "clip_value",
        "skip_not_finite",
        "ema",
        "swa",
        "lookahead",
        "group",
        "batch",
    ];
    let ignored = given(&arguments.settings).into_iter().filter(|name| of_rules.contains(&name.as_str()));
    let ignored: Vec<String> = ignored.map(|name| format!("--{}", name.replace('_', "-"))).collect();
    if racers.iter().any(|racer| matches!(racer.gait, Gait::Method(_))) && !ignored.is_empty() {
        output.warn(&format!("{} is for update rules; methods train without", ignored.join(", ")));
    }
    let mut races = Vec::new();
    for racer in &racers {
        let tell = |lap: &Lap| {
            if !output.quiet {
                complain(&format!("{}: {}", racer.name, progress(lap)));
            }
        };
        let race = race_training(&gpu, &split, &config.options, racer, tell)?;
        output.object(&event(racer, &race, arguments)?)?;
        races.push(race);
    }
    let names: Vec<String> = racers.iter().map(|racer| racer.name.clone()).collect();
    for line in lines(&names, &races, arguments) {
        output.result(&line)?;
    }
    let title = format!("{} on {}", config.options.model, split.train.name());
    draw(&curves(&title, &names, &panels(&races), 2), &arguments.svg, output)?;
    let last_loss = |place: usize| races[place].laps.last().map_or(f64::INFINITY, |lap| lap.train_loss);
    let sound = (0..races.len()).filter(|place| races[*place].diverged.is_none());
    done(&racers, sound.min_by(|a, b| last_loss(*a).total_cmp(&last_loss(*b))), arguments, output)
}

fn progress(lap: &Lap) -> String {
    let test = lap.test.map_or(String::new(), |test| metric(test.accuracy, test.rmse));
    format!("step {}, train loss {:.4}{test}", lap.step, lap.train_loss)
}

/// The first lap that meets every target that was asked for; none where none was.
fn target<'a>(race: &'a TrainingRace, arguments: &RaceArguments) -> Option<&'a Lap> {
    let reached = [
        arguments.target_loss.map(|loss| race.reaching_loss(loss)),
        arguments.target_accuracy.map(|accuracy| race.reaching_accuracy(accuracy)),
    ];
    let laps: Option<Vec<&Lap>> = reached.into_iter().flatten().collect();
    laps?.into_iter().max_by_key(|lap| lap.step)
}

fn status(race: &TrainingRace) -> Value {
    match race.status {
        _ if race.diverged.is_some() => json!("diverged"),
        Some(status) => json!(status),
        None => json!("finished"),
    }
}

/// The same for the table; a method says how it ended.
fn told(race: &TrainingRace) -> &'static str {
    match race.status {
        _ if race.diverged.is_some() => "diverged",
        Some(status) => super::race_expression::status(status),
        None => "finished",
    }
}

fn bytes_per_parameter(race: &TrainingRace) -> f64 {
    race.state_bytes as f64 / race.parameters as f64
}

fn event(racer: &Racer, race: &TrainingRace, arguments: &RaceArguments) -> Result<Value> {
    let point = |lap: &Lap| {
        json!({
            "step": lap.step,
            "seconds": lap.seconds,
            "train_loss": lap.train_loss,
            "test_loss": lap.test.map(|test| test.loss),
            "test_accuracy": lap.test.and_then(|test| test.accuracy),
            "test_rmse": lap.test.and_then(|test| test.rmse),
        })
    };
    let last = race.laps.last();
    let test = race.laps.iter().rev().find_map(|lap| lap.test);
    let target = target(race, arguments);
    let fared = json!({
        "status": status(race),
        "message": race.diverged,
        "steps": race.steps,
        "epochs": race.laps.len(),
        "seconds": last.map(|lap| lap.seconds),
        "train_loss": last.map(|lap| lap.train_loss),
        "test_loss": test.map(|test| test.loss),
        "test_accuracy": test.and_then(|test| test.accuracy),
        "test_rmse": test.and_then(|test| test.rmse),
        "steps_to_target": target.map(|lap| lap.step),
        "seconds_to_target": target.map(|lap| lap.seconds),
        "state_bytes": race.state_bytes,
        "state_bytes_per_parameter": bytes_per_parameter(race),
        "laps": race.laps.iter().map(point).collect::<Vec<_>>(),
    });
    described(racer, fared)
}

fn lines(names: &[String], races: &[TrainingRace], arguments: &RaceArguments) -> Vec<String> {
    let row = |(name, race): (&String, &TrainingRace)| {
        let last = race.laps.last();
        let test = race.laps.iter().rev().find_map(|lap| lap.test);
        let accuracy = test.and_then(|test| test.accuracy).map(|part| format!("{:.2} %", 100.0 * part));
        let rmse = test.and_then(|test| test.rmse).map(|error| format!("{error:.4}"));
        vec![
            name.clone(),
            cell(last.map(|lap| format!("{:.4}", lap.train_loss))),
            cell(accuracy.or(rmse)),
            cell(target(race, arguments).map(|lap| lap.step)),
            cell(last.map(|lap| format!("{:.2}", lap.seconds))),
            format!("{:.1}", bytes_per_parameter(race)),
            told(race).to_owned(),
        ]
    };
    let regression =
        races.iter().flat_map(|race| &race.laps).any(|lap| lap.test.is_some_and(|test| test.rmse.is_some()));
    let test = if regression { "test error" } else { "test accuracy" };
    let head =
        ["method", "train loss", test, "steps to target", "seconds", "state bytes/parameter", "status"];
    table_with_targets(arguments, &head, &names.iter().zip(races).map(row).collect::<Vec<_>>(), 3)
}

/// What a panel shows of a lap.
type Shown<T> = fn(&Lap) -> T;

const ACROSS: [(&str, Shown<f64>); 2] = [("step", |lap| lap.step as f64), ("seconds", |lap| lap.seconds)];
const TRAIN_LOSS: &str = "train loss";
const UP: [(&str, Shown<Option<f64>>); 3] = [
    (TRAIN_LOSS, |lap| Some(lap.train_loss)),
    ("test accuracy", |lap| lap.test.and_then(|test| test.accuracy)),
    ("test error", |lap| lap.test.and_then(|test| test.rmse)),
];

/// Loss and what was measured on the test set, over steps and over seconds.
fn panels(races: &[TrainingRace]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for (up, value) in UP {
        for (across, place) in ACROSS {
            let point = |lap: &Lap| Some([place(lap), value(lap)?]);
            let points = |race: &TrainingRace| race.laps.iter().filter_map(point).collect();
            let curves = races.iter().enumerate().map(|(racer, race)| Curve { racer, points: points(race) });
            panels.push(Panel { names: [across, up], curves: curves.collect(), losses: up == TRAIN_LOSS });
        }
    }
    panels.retain(|panel| panel.curves.iter().any(|curve| !curve.points.is_empty()));
    panels
}
