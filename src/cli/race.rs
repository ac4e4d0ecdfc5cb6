//! `downhill race`: several update rules on one expression or one training task, as a table and a picture.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{Global, RaceArguments};
use super::bench::refuse_without_use;
use super::optimizer_list::list_methods;
use super::output::{Ended, Output, check_file};
use super::train::{help, list};
use super::{race_expression, race_training};
use crate::atomic::write as write_atomically;
use crate::plot::Scene;
use crate::race::{Gait, Racer};
use crate::run::{OptimizerSettings, method, optimizer};
use crate::{Error, Result};

/// Settings of `train` that a race has no use for.
pub(super) const WITHOUT_USE_FOR_RACES: [&str; 3] = ["optimizer", "log_every", "out"];

/// The rules of every lecture on first-order methods, in the order in which it tells of them.
pub(super) const CLASSICAL: [&str; 7] =
    ["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam"];

pub(super) fn race(arguments: &RaceArguments, global: &Global, output: &Output) -> Ended {
    for (flag, path) in [("--svg", Some(&arguments.svg)), ("--gif", arguments.gif.as_ref())] {
        path.map_or(Ok(()), |path| check_file(flag, path))?;
    }
    if arguments.methods.iter().any(|method| method.trim() == "help") {
        return list_methods(output);
    }
    if let Some((kind, forms)) = help(&arguments.settings) {
        return list(kind, &forms, output);
    }
    check_targets(arguments)?;
    refuse_without_use("race", &arguments.settings, &WITHOUT_USE_FOR_RACES)?;
    if arguments.optimizer.optimizer.is_some() {
        return Err(Error::setting("--optimizer", "a race has several; say each with --method").into());
    }
    match (&arguments.settings.data, &arguments.expression) {
        (Some(_), Some(_)) => {
            let message = "a race is on one expression or on one training task, not on both";
            Err(Error::setting("--data", message).into())
        }
        (Some(_), None) => race_training::race(arguments, global, output),
        (None, _) => race_expression::race(arguments, global, output),
    }
}

/// Errors for targets that no racer can reach.
fn check_targets(arguments: &RaceArguments) -> Result<()> {
    match (arguments.target_loss, arguments.target_accuracy) {
        (Some(loss), _) if loss.is_nan() => Err(Error::setting("--target-loss", "must be a number, not NaN")),
        (_, Some(part)) if !(0.0..=1.0).contains(&part) => {
            Err(Error::setting("--target-accuracy", format!("must be from 0 to 1, not {part}")))
        }
        _ => Ok(()),
    }
}

/// Those who take part: each method with its own hyper-parameters, and those of the flags below them.
pub(super) fn racers(methods: &[impl AsRef<str>], shared: &OptimizerSettings) -> Result<Vec<Racer>> {
    let racers: Vec<Racer> =
        methods.iter().map(|method| racer(method.as_ref(), shared)).collect::<Result<_>>()?;
    let twin = (1..racers.len())
        .find(|place| racers[..*place].iter().any(|racer| racer.name == racers[*place].name));
    match twin {
        Some(place) => {
            let message = format!("`{}` takes part twice", racers[place].name);
            Err(Error::setting("--method", message))
        }
        None => Ok(racers),
    }
}

/// Reads `RULE NAME=VALUE …`.
fn racer(text: &str, shared: &OptimizerSettings) -> Result<Racer> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let Some((rule, hyper)) = words.split_first() else {
        return Err(Error::setting("--method", "a rule is missing; say one, as in --method \"adam lr=0.1\""));
    };
    let own = hyper.iter().map(|word| (*word).to_owned());
    let settings = OptimizerSettings {
        optimizer: Some((*rule).to_owned()),
        hyper: shared.hyper.iter().cloned().chain(own).collect(),
        ..shared.clone()
    };
    let table = settings.table()?;
    let gait = match method(table.as_ref())? {
        Some(method) => Gait::Method(method),
        None => Gait::Rule(optimizer(table.as_ref())?),
    };
    Ok(Racer { name: words.join(" "), gait })
}

/// Writes the picture and says where.
pub(super) fn draw(scene: &Scene, path: &Path, output: &Output) -> Ended {
    write_atomically(path, scene.to_svg().as_bytes())?;
    output.result(&format!("picture: {}", path.display()))
}

/// The last line of a race: who took part, who was best by what `best` tells, and where the pictures are.
pub(super) fn done(
    racers: &[Racer],
    best: Option<usize>,
    arguments: &RaceArguments,
    output: &Output,
) -> Ended {
    let best = best.map(|place| racers[place].name.as_str());
    let shown = |path: &Path| path.display().to_string();
    output.event(
        "done",
        &json!({
            "racers": racers.len(),
            "best": best,
            "svg": shown(&arguments.svg),
            "gif": arguments.gif.as_deref().map(shown),
        }),
    )
}

/// A racer's JSON line: who it is, and how it fared.
pub(super) fn described(racer: &Racer, fared: Value) -> Result<Value> {
    let gait = match &racer.gait {
        Gait::Rule(optimizer) => serde_json::to_value(optimizer),
        Gait::Method(method) => serde_json::to_value(method),
    };
    let optimizer = gait.map_err(|error| Error::setting("optimizer", error.to_string()))?;
    let mut event = json!({ "event": "racer", "method": racer.name, "optimizer": optimizer });
    if let (Value::Object(event), Value::Object(fared)) = (&mut event, fared) {
        event.extend(fared);
    }
    Ok(event)
}

/// A table with a column of the steps to the target, where one was given; it is `targets` among the others.
pub(super) fn table_with_targets(
    arguments: &RaceArguments,
    head: &[&str],
    rows: &[Vec<String>],
    targets: usize,
) -> Vec<String> {
    let (mut head, mut rows) = (head.to_vec(), rows.to_vec());
    if arguments.target_loss.or(arguments.target_accuracy).is_none() {
        head.remove(targets);
        rows.iter_mut().for_each(|row| drop(row.remove(targets)));
    }
    table(&head, &rows)
}

/// Lines of columns as wide as they need: the first one at the left, the others at the right.
fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head = head.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &&Vec<String>| {
        let cell = |(column, cell): (usize, &String)| match column {
            0 => format!("{cell:0$}", widths[0]),
            _ => format!("{cell:>0$}", widths[column]),
        };
        cells.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ")
    };
    lines.iter().map(line).collect()
}

/// A number in a table, or what stands for none.
pub(super) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(lr: Option<f64>, hyper: &[&str]) -> OptimizerSettings {
        let lr = lr.map(|rate| rate.to_string());
        let hyper = hyper.iter().map(|&word| word.to_owned()).collect();
        OptimizerSettings { lr, hyper, ..OptimizerSettings::default() }
    }

    #[test]
    fn a_racer_is_a_rule_with_hyper_parameters_of_its_own_and_of_all() {
        // Method, flags of all, the optimizer.
        let rows = [
            ("sgd", shared(None, &[]), "sgd lr=0.001 weight_decay=0.0"),
            (" sgd   lr=0.5 ", shared(Some(0.1), &[]), "sgd lr=0.5 weight_decay=0.0"),
            ("sgd weight_decay=0.1", shared(Some(0.1), &["weight_decay=0.2"]), "sgd lr=0.1 weight_decay=0.1"),
        ];
        for (method, shared, expected) in rows {
            let racers = racers(&[method], &shared).unwrap();
            let Gait::Rule(optimizer) = &racers[0].gait else { panic!("{method}") };
            assert_eq!(optimizer.to_string(), expected);
            assert_eq!(racers[0].name, method.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [vec!["sgd".to_owned(), "1".to_owned()], vec!["ün".to_owned(), "12345".to_owned()]];
        assert_eq!(table(&["rule", "loss"], &rows), ["rule   loss", "sgd       1", "ün    12345"]);
    }
}
