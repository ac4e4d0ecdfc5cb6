//! Many fits of `downhill fit`: arrays to a table of answers.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::arguments::Global;
use super::fit::{FitArguments, ends_in};
use super::output::{Ended, Output, check_file};
use crate::data::{Table, array_bytes, read_array};
use crate::{Error, FitData, FitModel, FitOptions, ManyFitted, Result, Status, fit_many as run};

pub(super) fn fit_many(
    arguments: &FitArguments,
    options: &FitOptions,
    global: &Global,
    output: &Output,
) -> Ended {
    if arguments.svg.is_some() {
        return Err(Error::setting("svg", "shows one fit; many go to --out").into());
    }
    if let Some(path) = &arguments.out {
        if !ends_in(path, "csv") && !ends_in(path, "npy") {
            return Err(
                Error::setting("out", format!("{} ends in neither .csv nor .npy", path.display())).into()
            );
        }
        check_file("out", path)?;
    }
    let data = gathered(arguments)?;
    let model =
        FitModel::parse(&arguments.equation, &arguments.start, &data.names(), arguments.weights.as_deref())?;
    let starts = match &arguments.starts {
        None => model.start().to_vec(),
        Some(path) => starts(path, data.fits(), model.unknowns().len())?,
    };
    let gpu = global.open(global.gpu_options()?)?;
    output.explain(&format!(
        "{} in {} on {}",
        options.method.name,
        arguments.precision,
        gpu.adapter_info().name
    ));
    let fitted = run(&gpu, &model, &data, &starts, options)?;
    if let Some(path) = &arguments.out {
        write(path, &model, &fitted).map_err(|error| Error::write(path, error))?;
    }
    conclude(&fitted, arguments, output)
}

/// The columns that the arguments name: `y`, a row for each fit, and `x` or what --x has.
fn gathered(arguments: &FitArguments) -> Result<FitData> {
    let (shape, values) = read_array(&arguments.data)?;
    let &[_, points] = &shape[..] else {
        let message = format!("is of shape {shape:?}, not [fits, points]");
        return Err(Error::data(&arguments.data, "", message));
    };
    let data = FitData::new(points);
    let data = match &arguments.x {
        None => data.shared("x", (0..points).map(|point| point as f64).collect())?,
        Some(path) if ends_in(path, "npy") => {
            let (shape, values) = read_array(path)?;
            if shape != [points] {
                let message = format!("is of shape {shape:?}, where the fits have {points} points");
                return Err(Error::data(path, "", message));
            }
            data.shared("x", values)?
        }
        Some(path) => {
            let table = Table::open(path)?;
            let names: Vec<String> = table.names().into_iter().map(str::to_owned).collect();
            let columns = table.read(&names)?;
            if columns[0].len() != points {
                let message = format!("has {} rows, where the fits have {points} points", columns[0].len());
                return Err(Error::data(path, "", message));
            }
            names.iter().zip(columns).try_fold(data, |data, (name, values)| data.shared(name, values))?
        }
    };
    data.own("y", values)
}

fn starts(path: &Path, fits: usize, unknowns: usize) -> Result<Vec<f64>> {
    let (shape, values) = read_array(path)?;
    if shape != [fits, unknowns] {
        let message =
            format!("is of shape {shape:?}, not [{fits}, {unknowns}]: a start of {unknowns} for each fit");
        return Err(Error::data(path, "", message));
    }
    match values.iter().position(|value| !(*value as f32).is_finite()) {
        Some(at) => {
            Err(Error::data(path, format!("row {}", at / unknowns), "is not finite as 32-bit numbers"))
        }
        None => Ok(values),
    }
}

/// A row for each fit, or the estimates alone.
fn write(path: &Path, model: &FitModel, fitted: &ManyFitted) -> std::io::Result<()> {
    let names = model.unknowns();
    let mut file = BufWriter::new(File::create(path)?);
    if ends_in(path, "npy") {
        let shape = [fitted.statuses.len(), names.len()];
        file.write_all(&array_bytes(&shape, &fitted.estimates))?;
        return file.flush();
    }
    let errors: Vec<String> = names.iter().map(|name| format!("error of {name}")).collect();
    writeln!(file, "{},{},objective,steps,status", names.join(","), errors.join(","))?;
    let rows =
        fitted.estimates.chunks_exact(names.len()).zip(fitted.standard_errors.chunks_exact(names.len()));
    for (fit, (estimates, errors)) in rows.enumerate() {
        // An error that there is none of is an empty field.
        let text = |x: &f64| if x.is_nan() { String::new() } else { format!("{x:?}") };
        let numbers: Vec<String> = estimates.iter().chain(errors).map(text).collect();
        let (objective, steps) = (fitted.objectives[fit], fitted.steps[fit]);
        writeln!(file, "{},{objective:?},{steps},{}", numbers.join(","), name_of(fitted.statuses[fit]))?;
    }
    file.flush()
}

/// How a table and JSON call it.
fn name_of(status: Status) -> &'static str {
    match status {
        Status::Converged => "converged",
        Status::MaxSteps => "max_steps",
        Status::Diverged => "diverged",
        Status::Stalled => "stalled",
    }
}

fn conclude(fitted: &ManyFitted, arguments: &FitArguments, output: &Output) -> Ended {
    let fits = fitted.statuses.len();
    let count = |status: Status| fitted.statuses.iter().filter(|ended| **ended == status).count();
    let [converged, max_steps, diverged, stalled] =
        [Status::Converged, Status::MaxSteps, Status::Diverged, Status::Stalled].map(count);
    let steps: u64 = fitted.steps.iter().map(|steps| u64::from(*steps)).sum();
    let fits_per_second = fits as f64 / fitted.seconds;
    output.event(
        "done",
        &json!({
            "status": if converged == fits { "converged" } else { "incomplete" },
            "fits": fits,
            "converged": converged,
            "max_steps": max_steps,
            "diverged": diverged,
            "stalled": stalled,
            "steps": steps,
            "readbacks": fitted.readbacks,
            "seconds": fitted.seconds,
            "fits_per_second": fits_per_second,
            "out": arguments.out,
        }),
    )?;
    if converged < fits {
        output.warn(&format!(
            "{} of {fits} fits did not converge: {max_steps} ran out of steps, {stalled} stalled, {diverged} had no finite \
             start; the table of --out says which",
            fits - converged
        ));
    }
    output.result(&format!(
        "{converged} of {fits} fits converged, {:.1} steps on average, {fits_per_second:.0} fits a second",
        steps as f64 / fits as f64
    ))
}
