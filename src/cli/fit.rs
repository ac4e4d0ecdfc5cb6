//! `downhill fit`: an equation and a table, or many, to estimates and how exact they are.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::{Map, Value, json};

use super::arguments::Global;
use super::fit_many::fit_many;
use super::output::{Ended, Output, Stop, check_file};
use crate::data::Table;
use crate::plot::{FitPicture, fit_picture};
use crate::{
    Error, FitBound, FitData, FitMethod, FitModel, FitOptions, Fitted, Precision, Result, RobustLoss, Status,
    fit as run,
};

/// Below the flags in the help of `fit`.
const FIT_HELP: &str = "\
Equations:
  LEFT = RIGHT in the language of `minimize`; names are columns of the data or unknowns of --start, and
  definitions may come before: `k = 2*pi/12; log(y) = a + b*cos(k*x)`

Methods:
  lm            Levenberg-Marquardt: λ·diag(JᵀJ), λ after Nielsen
  marquardt     the same, λ a tenth or ten times
  levenberg     λ·I, in units of the start
  gauss-newton  the undamped step, halved until it helps
  dogleg        Powell's, within a length by diag(JᵀJ)

Many fits at once:
  --data y.npy of shape [fits, points] gives every fit a row of `y`; `x` is the array of --x, or 0, 1, 2 …;
  --x table.csv gives each of its columns by name. --out takes a row of estimates for each fit.

Examples:
  downhill fit \"y = b1*(1-exp(-b2*x))\" --data misra.csv --start \"b1=500; b2=0.0001\" --svg misra.svg
  downhill fit \"y = a*exp(-k*x) + c\" --data decay.csv --start \"a=1; k=1; c=0\" --bounds \"k=0:\" --robust huber:0.1
  downhill fit \"y = a*exp(-((x-m)/s)^2) + c\" --data spectra.npy --x energies.npy --start \"a=1; m=5; s=1; c=0\" --out fits.csv";

#[derive(Args)]
#[command(after_help = FIT_HELP)]
pub(super) struct FitArguments {
    /// What is fitted: `y = b1*exp(-b2*x)`
    #[arg(value_name = "EQUATION", allow_hyphen_values = true)]
    pub equation: String,
    /// A .csv or .csv.gz table with a header, or for many fits a .npy array [fits, points]
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The unknowns and where they start: `b1=500; b2=1e-4`
    #[arg(long, value_name = "NAME=VALUE;…")]
    pub start: String,
    /// The method: `lm`, `marquardt`, `levenberg`, `gauss-newton` or `dogleg`
    #[arg(long, value_name = "NAME", default_value = "lm")]
    pub method: String,
    /// Numbers that kernels compute with; not every adapter has f64
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = in_full)]
    pub precision: Precision,
    /// The column of weights w; Σ w·r² is minimised [default: 1 for every row]
    #[arg(long, value_name = "COLUMN")]
    pub weights: Option<String>,
    /// Where unknowns may lie: `b1=0:; b2=-1:3` [default: anywhere]
    #[arg(long, value_name = "NAME=LEAST:GREATEST;…")]
    pub bounds: Option<String>,
    /// A loss that heeds outliers less, and the residual from which on it does: `huber:1.5`, `soft-l1:1.5`, `cauchy:1.5`
    /// [default: squares]
    #[arg(long, value_name = "LOSS:SCALE")]
    pub robust: Option<String>,
    /// Steps that are tried at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    pub steps: u32,
    /// The relative offset at which it is done: the root of the part of the sum of squares that a step could take away
    /// [default: 1e-5, in f64 1e-9]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// Where a picture of data, fit and residuals goes
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// What many fits share: a .npy array [points], or a table whose columns have names
    #[arg(long, value_name = "FILE")]
    pub x: Option<PathBuf>,
    /// A start for each of many fits: a .npy array [fits, unknowns] [default: --start for all]
    #[arg(long, value_name = "FILE")]
    pub starts: Option<PathBuf>,
    /// Where the answers of many fits go: .csv with errors and how each ended, or .npy [fits, unknowns]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// One of the precisions that fits are computed in.
fn in_full(text: &str) -> Result<Precision, String> {
    Precision::parse(text, &[Precision::F32, Precision::F64])
}

impl FitArguments {
    fn options(&self) -> Result<FitOptions> {
        Ok(FitOptions {
            method: FitMethod::named(&self.method)?,
            steps: self.steps,
            tolerance: self.tolerance,
            bounds: self.bounds.as_deref().map_or(Ok(Vec::new()), FitBound::parse_all)?,
            robust: self.robust.as_deref().map(str::parse::<RobustLoss>).transpose()?,
            precision: self.precision,
        })
    }
}

/// Whether a path ends in `.ending`.
pub(super) fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

pub(super) fn fit(arguments: &FitArguments, global: &Global, output: &Output) -> Ended {
    let options = arguments.options()?;
    let is_many = ends_in(&arguments.data, "npy");
    let of_many = [("x", &arguments.x), ("starts", &arguments.starts), ("out", &arguments.out)];
    if let Some((flag, _)) = of_many.iter().find(|(_, given)| given.is_some() && !is_many) {
        let message = "is for many fits, whose --data is a .npy array [fits, points]";
        return Err(Error::setting(flag, message).into());
    }
    if is_many {
        return fit_many(arguments, &options, global, output);
    }
    if let Some(path) = &arguments.svg {
        check_file("svg", path)?;
    }
    let table = Table::open(&arguments.data)?;
    let weights = arguments.weights.as_deref();
    let model = FitModel::parse(&arguments.equation, &arguments.start, &table.names(), weights)?;
    let columns = table.read(model.columns())?;
    let mut data = FitData::new(columns[0].len());
    for (name, values) in model.columns().iter().zip(columns) {
        data = data.shared(name, values)?;
    }
    let gpu = global.open(global.gpu_options()?)?;
    output.explain(&format!(
        "{} in {} on {}",
        options.method.name,
        arguments.precision,
        gpu.adapter_info().name
    ));
    let fitted = run(&gpu, &model, &data, &options)?;
    if let Some(path) = &arguments.svg {
        let picture = FitPicture::new(&arguments.equation, &model, &data, &fitted);
        std::fs::write(path, fit_picture(&picture).to_svg()).map_err(|error| Error::write(path, error))?;
    }
    conclude(&model, &fitted, arguments, output)
}

/// Numbers by the name of their unknown.
fn by_name(model: &FitModel, numbers: &[f64]) -> Map<String, Value> {
    model.unknowns().iter().cloned().zip(numbers.iter().map(|x| json!(x))).collect()
}

fn conclude(model: &FitModel, fitted: &Fitted, arguments: &FitArguments, output: &Output) -> Ended {
    let names = model.unknowns();
    let held: Vec<&String> =
        names.iter().zip(&fitted.held).filter(|(_, held)| **held).map(|(name, _)| name).collect();
    let open: Vec<String> = fitted.open.iter().map(|direction| direction.describe(names)).collect();
    output.event(
        "done",
        &json!({
            "status": fitted.status,
            "steps": fitted.steps,
            "parameters": by_name(model, &fitted.estimates),
            "standard_errors": by_name(model, &fitted.standard_errors),
            "covariance": fitted.covariance,
            "rss": fitted.rss,
            "objective": fitted.objective,
            "residual_sd": fitted.residual_sd,
            "degrees_of_freedom": fitted.degrees_of_freedom,
            "held": held,
            "undetermined": open,
            "data_rounding": fitted.data_rounding,
            "readbacks": fitted.readbacks,
            "seconds": fitted.seconds,
        }),
    )?;
    for direction in &open {
        output.warn(&format!(
            "the data do not determine the unknowns along {direction}: they have no errors there, and other values fit as well"
        ));
    }
    if let Some(rounding) = fitted.data_rounding {
        output.warn(&format!(
            "the data lie far from 0, and rounding them to {} moves the residuals by {rounding:.2e}: take their offset off, or \
             ask for --precision f64",
            arguments.precision
        ));
    }
    let digits = if arguments.precision == Precision::F64 { 10 } else { 6 };
    let shown = |number: f64| shown(number, digits);
    let steps = fitted.steps;
    let how = match fitted.status {
        Status::Converged => "converged after",
        Status::MaxSteps => "not converged after",
        Status::Stalled => "stalled, where no step helps any more, after",
        Status::Diverged => {
            let message =
                "the residuals are not finite at the start, or too large for the precision; start elsewhere";
            return Err(Stop::Told(message.to_owned()));
        }
    };
    output.result(&format!(
        "{how} {steps} steps: rss {}, residual sd {}, {} degrees of freedom",
        shown(fitted.rss),
        shown(fitted.residual_sd),
        fitted.degrees_of_freedom
    ))?;
    for (j, name) in names.iter().enumerate() {
        let error = match (fitted.held[j], fitted.standard_errors[j]) {
            (true, _) => "at its bound".to_owned(),
            (false, error) if error.is_nan() => "± unknown".to_owned(),
            (false, error) => format!("± {}", self::shown(error, 4)),
        };
        output.result(&format!("{name} = {} {error}", shown(fitted.estimates[j])))?;
    }
    output.result("covariance")?;
    for (name, row) in names.iter().zip(&fitted.covariance) {
        let numbers: Vec<String> = row.iter().map(|x| format!("{:>11}", self::shown(*x, 4))).collect();
        output.result(&format!("  {name} {}", numbers.join(" ")))?;
    }
    match fitted.status {
        Status::Converged => Ok(()),
        Status::MaxSteps => {
            Err(Stop::Told(format!("not converged after {steps} steps; raise --steps or start elsewhere")))
        }
        _ => {
            let better = if arguments.precision == Precision::F32 { " or try --precision f64" } else { "" };
            Err(Stop::Told(format!(
                "stalled after {steps} steps before it converged; start elsewhere{better}"
            )))
        }
    }
}

/// A number with so many digits after its first.
pub(super) fn shown(number: f64, digits: usize) -> String {
    if number.is_nan() {
        return "-".to_owned();
    }
    let exponent = if number == 0.0 { 0 } else { number.abs().log10().floor() as i32 };
    if (-4..=digits as i32).contains(&exponent) {
        let places = (digits as i32 - exponent).max(0) as usize;
        let text = format!("{number:.places$}");
        return match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        };
    }
    format!("{number:.digits$e}")
}
