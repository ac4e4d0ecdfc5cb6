//! A race on an expression: every racer starts at the same place.

use serde_json::{Value, json};

use super::arguments::{Global, RaceArguments};
use super::minimize::options;
use super::output::{Ended, Output};
use super::race::{CLASSICAL, cell, described, done, draw, racers, table_with_targets};
use crate::atomic::write as write_atomically;
use crate::plot::{Curve, Landscape, Panel, Path, curves, gif};
use crate::race::{Gait, Racer};
use crate::run::{Settings, given};
use crate::{
    Error, MethodOptions, MinimizeOptions, Minimum, Objective, Result, Status, minimize, minimize_by,
};

/// Two long narrow valleys that meet in a saddle at (0, 0). Plain descent bounces from wall to wall, momentum overshoots,
/// Nesterov's look-ahead damps that, and rules that scale each unknown cut the corner.
const VALLEYS: &str = "(x^2-9)^2/200 + 6*(y-x^2/10+3*x/10)^2";
const VALLEYS_START: &str = "x=0.1; y=1.4";
const VALLEYS_STEPS: u64 = 120;
/// The classical rules, each at a rate that shows its nature there.
const VALLEYS_METHODS: [&str; 7] = [
    "sgd lr=0.15",
    "momentum lr=0.02",
    "nesterov lr=0.03",
    "adagrad lr=0.6",
    "adadelta eps=1e-4",
    "rmsprop lr=0.04",
    "adam lr=0.2",
];

/// Settings that a race on an expression has too.
const OF_BOTH: [&str; 6] = ["clip_norm", "clip_value", "ema", "lookahead", "schedule", "steps"];
/// Steps on another expression, unless said otherwise.
const STEPS: u64 = 1000;
/// Points of a racer's way that are kept, and numbers of all of them together.
const POINTS: u64 = 2000;
const NUMBERS: u64 = 2_000_000;
const SIZE: (u32, u32) = (900, 640);
/// Letters that a picture's title has room for.
const TITLE: usize = 90;

pub(super) fn race(arguments: &RaceArguments, global: &Global, output: &Output) -> Ended {
    refuse_training(arguments)?;
    let racers = chosen(arguments)?;
    let (objective, expression) = objective(arguments, &racers)?;
    let unknowns = objective.start().len() as u64;
    if arguments.gif.is_some() && unknowns != 2 {
        let message = format!("a picture in motion shows two unknowns, and there are {unknowns}");
        return Err(Error::setting("--gif", message).into());
    }
    let default = if arguments.expression.is_some() { STEPS } else { VALLEYS_STEPS };
    let steps = arguments.settings.steps.unwrap_or(default);
    let trace = steps.div_ceil((NUMBERS / unknowns.max(1)).clamp(1, POINTS)).max(1);
    let ways = racers.iter().map(|racer| way(racer, &arguments.settings, steps, trace));
    let ways = ways.collect::<Result<Vec<Way>>>()?;
    let gpu = global.open(global.gpu_options()?)?;
    let mut minima = Vec::new();
    for (racer, way) in racers.iter().zip(&ways) {
        let minimum = match way {
            Way::Rule(options) => minimize(&gpu, &objective, options)?,
            Way::Method(options) => minimize_by(&gpu, &objective, options)?.minimum,
        };
        output.object(&event(racer, &minimum, arguments.target_loss)?)?;
        minima.push(minimum);
    }
    for line in lines(&racers, &minima, arguments) {
        output.result(&line)?;
    }
    if trace > 1 {
        output.explain(&format!("ways are known to {trace} steps"));
    }
    picture(&objective, expression, &racers, &minima, arguments, output)?;
    let sound = (0..minima.len()).filter(|place| minima[*place].status != Status::Diverged);
    done(&racers, sound.min_by(|a, b| minima[*a].loss.total_cmp(&minima[*b].loss)), arguments, output)
}

/// What a racer is run with.
enum Way {
    Rule(MinimizeOptions),
    Method(MethodOptions),
}

fn way(racer: &Racer, settings: &Settings, steps: u64, trace: u64) -> Result<Way> {
    Ok(match &racer.gait {
        Gait::Rule(optimizer) => {
            Way::Rule(MinimizeOptions { steps, trace, ..options(optimizer.clone(), settings)? })
        }
        Gait::Method(method) => {
            Way::Method(MethodOptions { steps, trace, ..MethodOptions::new(method.clone()) })
        }
    })
}

/// Errors where something was asked for that only a training has.
fn refuse_training(arguments: &RaceArguments) -> Result<()> {
    let of_training = given(&arguments.settings).into_iter().find(|name| !OF_BOTH.contains(&name.as_str()));
    let accuracy = arguments.target_accuracy.map(|_| "target_accuracy".to_owned());
    match of_training.or(accuracy) {
        None => Ok(()),
        Some(name) => {
            let flag = format!("--{}", name.replace('_', "-"));
            Err(Error::setting(&flag, "has no meaning for a race on an expression; a training needs --data"))
        }
    }
}

/// What is minimised, and its text.
fn objective<'a>(arguments: &'a RaceArguments, racers: &[Racer]) -> Result<(Objective, &'a str)> {
    let (expression, start) = match (&arguments.expression, &arguments.start) {
        (Some(expression), Some(start)) => (expression.as_str(), start.as_str()),
        (Some(_), None) => {
            let message =
                "where do the racers start? say it for every unknown, as in --start \"x=-1.2; y=1\"";
            return Err(Error::setting("--start", message));
        }
        (None, Some(start)) => (VALLEYS, start.as_str()),
        (None, None) => (VALLEYS, VALLEYS_START),
    };
    // Where one works on residuals, all go down the sum of their squares.
    let of_residuals = |racer: &Racer| matches!(&racer.gait, Gait::Method(method) if method.of_residuals());
    let read = if racers.iter().any(of_residuals) { Objective::parse_residuals } else { Objective::parse };
    Ok((read(expression, start)?, expression))
}

/// Those who were asked for; else the classical rules, in the valleys at rates for those.
fn chosen(arguments: &RaceArguments) -> Result<Vec<Racer>> {
    let shared = &arguments.optimizer;
    match arguments.methods.as_slice() {
        [] if arguments.expression.is_none() && given(shared).is_empty() => racers(&VALLEYS_METHODS, shared),
        [] => racers(&CLASSICAL, shared),
        methods => racers(methods, shared),
    }
}

/// The first known step at which the loss was no higher than the target.
fn steps_to(minimum: &Minimum, target: Option<f64>) -> Option<u64> {
    minimum
        .trace
        .iter()
        .find(|point| target.is_some_and(|target| point.loss <= target))
        .map(|point| point.step)
}

/// What a rule keeps of each parameter; methods that search keep what depends on their settings.
fn state_bytes(racer: &Racer) -> Option<usize> {
    match &racer.gait {
        Gait::Rule(optimizer) => Some(size_of::<f32>() * optimizer.state_slots().len()),
        Gait::Method(_) => None,
    }
}

fn event(racer: &Racer, minimum: &Minimum, target: Option<f64>) -> Result<Value> {
    described(
        racer,
        json!({
            "status": minimum.status,
            "steps": minimum.steps,
            "loss": minimum.loss,
            "theta": minimum.theta,
            "gradient_norm": minimum.gradient_norm,
            "evaluations": minimum.evaluations,
            "steps_to_target": steps_to(minimum, target),
            "seconds": minimum.seconds,
            "state_bytes_per_parameter": state_bytes(racer),
        }),
    )
}

fn lines(racers: &[Racer], minima: &[Minimum], arguments: &RaceArguments) -> Vec<String> {
    let row = |(racer, minimum): (&Racer, &Minimum)| {
        vec![
            racer.name.clone(),
            format!("{:.4e}", minimum.loss),
            cell(steps_to(minimum, arguments.target_loss)),
            format!("{:.3}", minimum.seconds),
            cell(state_bytes(racer)),
            minimum.evaluations.to_string(),
            status(minimum.status).to_owned(),
        ]
    };
    let head =
        ["method", "loss", "steps to target", "seconds", "state bytes/parameter", "evaluations", "status"];
    table_with_targets(arguments, &head, &racers.iter().zip(minima).map(row).collect::<Vec<_>>(), 2)
}

pub(super) fn status(status: Status) -> &'static str {
    match status {
        Status::Converged => "converged",
        Status::MaxSteps => "all steps made",
        Status::Diverged => "diverged",
        Status::Stalled => "stalled",
    }
}

/// Draws the ways of two unknowns on their map, and the losses of more or fewer.
fn picture(
    objective: &Objective,
    expression: &str,
    racers: &[Racer],
    minima: &[Minimum],
    arguments: &RaceArguments,
    output: &Output,
) -> Ended {
    let title = shortened(expression);
    let names: Vec<String> = numbers(objective);
    let Ok(names) = <[String; 2]>::try_from(names) else {
        let racer_names: Vec<String> = racers.iter().map(|racer| racer.name.clone()).collect();
        return draw(&curves(&title, &racer_names, &[losses(minima)], 1), &arguments.svg, output);
    };
    let path = |(racer, minimum): (&Racer, &Minimum)| Path {
        name: racer.name.clone(),
        points: minimum
            .trace
            .iter()
            .map(|point| (point.step, point.loss, [point.theta[0], point.theta[1]]))
            .collect(),
    };
    let paths = racers.iter().zip(minima).map(path).collect();
    let map = Landscape::new(&title, names, |place| objective.evaluate(&place), paths, SIZE);
    draw(&map.picture(), &arguments.svg, output)?;
    let Some(path) = &arguments.gif else { return Ok(()) };
    let file = gif(&map).map_err(|error| Error::write(path, std::io::Error::other(error)))?;
    write_atomically(path, &file)?;
    output.result(&format!("picture in motion: {}", path.display()))
}

fn losses(minima: &[Minimum]) -> Panel {
    let points =
        |minimum: &Minimum| minimum.trace.iter().map(|point| [point.step as f64, point.loss]).collect();
    let curves = minima.iter().enumerate().map(|(racer, minimum)| Curve { racer, points: points(minimum) });
    Panel { names: ["step", "loss"], curves: curves.collect(), losses: true }
}

/// The name of every number of θ.
fn numbers(objective: &Objective) -> Vec<String> {
    let names = objective.unknowns().map(|(name, length)| match length {
        1 => vec![name.to_owned()],
        _ => (0..length).map(|i| format!("{name}[{i}]")).collect(),
    });
    names.collect::<Vec<_>>().concat()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TITLE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
