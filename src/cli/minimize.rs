//! `downhill minimize`: an expression, its start and a rule, to where they lead.

use serde_json::{Value, json};

use super::arguments::{Global, MinimizeArguments};
use super::optimizer_list::list_methods;
use super::output::{Ended, Output, Stop};
use super::train::list;
use crate::run::{Settings, method, modifiers, optimizer};
use crate::schedule_help;
use crate::{
    Error, Method, MethodOptions, MinimizeOptions, Minimum, Objective, Optimizer, Precision, Result, Status,
    Tolerances, minimize as run, minimize_by,
};

/// Numbers of a vector that people are shown.
const SHOWN: usize = 10;

/// Whoever ends so many times deeper than the start is high, and not at a minimum, is on a way without an end.
const UNBOUNDED: f64 = 1e12;

pub(super) fn minimize(arguments: &MinimizeArguments, global: &Global, output: &Output) -> Ended {
    if arguments.optimizer.optimizer.as_deref() == Some("help") {
        return list_methods(output);
    }
    if arguments.schedule.as_deref() == Some("help") {
        return list("schedule", &schedule_help(), output);
    }
    if let Some(method) = method(arguments.optimizer.table()?.as_ref())? {
        return by_method(method, arguments, global, output);
    }
    for (name, given) in [("step", arguments.step_tolerance), ("value", arguments.value_tolerance)] {
        if given.is_some() {
            let flag = format!("--{name}-tolerance");
            return Err(
                Error::setting(&flag, "is for methods that search their steps; use --tolerance").into()
            );
        }
    }
    if precision(arguments)? == Precision::F64 {
        return Err(Error::setting(
            "--precision",
            "update rules work in f32; f64 is for methods that search",
        )
        .into());
    }
    let gpu_options = global.gpu_options()?;
    let objective = Objective::parse(&arguments.expression, &arguments.start)?;
    let settings = Settings {
        schedule: arguments.schedule.clone(),
        clip_norm: arguments.clip_norm,
        clip_value: arguments.clip_value,
        ema: arguments.ema,
        lookahead: arguments.lookahead.clone(),
        ..Settings::default()
    };
    let options = MinimizeOptions {
        steps: arguments.steps,
        trace: arguments.trace,
        tolerance: arguments.tolerance,
        ..options(optimizer(arguments.optimizer.table()?.as_ref())?, &settings)?
    };
    let gpu = global.open(gpu_options)?;
    output.explain(&format!("{} on {}", options.optimizer, gpu.adapter_info().name));
    let minimum = run(&gpu, &objective, &options)?;
    tell_trace(&objective, &minimum, Precision::F32, output)?;
    conclude(&objective, &minimum, Precision::F32, json!({}), output)
}

fn tell_trace(objective: &Objective, minimum: &Minimum, precision: Precision, output: &Output) -> Ended {
    for point in &minimum.trace {
        output.event("step", point)?;
        let unknowns = unknowns(objective, &point.theta, precision).join(", ");
        output.result(&format!("step {}: loss {} at {unknowns}", point.step, shown(point.loss)))?;
    }
    Ok(())
}

/// What a method computes in.
fn precision(arguments: &MinimizeArguments) -> Result<Precision> {
    let known = [Precision::F32, Precision::F64];
    Precision::parse(&arguments.precision, &known).map_err(|message| Error::setting("--precision", message))
}

fn by_method(method: Method, arguments: &MinimizeArguments, global: &Global, output: &Output) -> Ended {
    let MinimizeArguments { schedule, clip_norm, clip_value, ema, lookahead, .. } = arguments;
    let without_meaning = [
        ("--schedule", schedule.is_some()),
        ("--clip-norm", clip_norm.is_some()),
        ("--clip-value", clip_value.is_some()),
        ("--ema", ema.is_some()),
        ("--lookahead", lookahead.is_some()),
    ];
    if let Some((flag, _)) = without_meaning.iter().find(|(_, given)| *given) {
        let message = format!("has no meaning for {}, which searches its own steps", method.name());
        return Err(Error::setting(flag, message).into());
    }
    let precision = precision(arguments)?;
    let read = if method.of_residuals() { Objective::parse_residuals } else { Objective::parse };
    let objective = read(&arguments.expression, &arguments.start)?;
    let options = MethodOptions {
        steps: arguments.steps,
        trace: arguments.trace,
        tolerances: Tolerances {
            gradient: arguments.tolerance,
            step: arguments.step_tolerance,
            value: arguments.value_tolerance,
        },
        precision,
        ..MethodOptions::new(method)
    };
    let gpu = global.open(global.gpu_options()?)?;
    output.explain(&format!("{} on {}", options.method, gpu.adapter_info().name));
    let solved = minimize_by(&gpu, &objective, &options)?;
    tell_trace(&objective, &solved.minimum, precision, output)?;
    output.explain(&format!(
        "{} evaluations, {} products with second derivatives, {} readbacks",
        solved.minimum.evaluations, solved.products, solved.readbacks
    ));
    let more = json!({ "by": solved.test, "products": solved.products, "readbacks": solved.readbacks });
    conclude(&objective, &solved.minimum, precision, more, output)
}

/// `optimizer` with the schedule and the modifiers of `settings`.
pub(super) fn options(optimizer: Optimizer, settings: &Settings) -> Result<MinimizeOptions> {
    Ok(MinimizeOptions {
        schedule: settings.schedule.as_deref().unwrap_or("constant").parse()?,
        modifiers: modifiers(settings)?,
        ..MinimizeOptions::new(optimizer)
    })
}

/// Tells where it led, and in JSON the fields of `more` too.
fn conclude(
    objective: &Objective,
    minimum: &Minimum,
    precision: Precision,
    more: Value,
    output: &Output,
) -> Ended {
    let mut done = json!({
        "status": minimum.status,
        "steps": minimum.steps,
        "loss": minimum.loss,
        "theta": minimum.theta,
        "gradient_norm": minimum.gradient_norm,
        "evaluations": minimum.evaluations,
        "seconds": minimum.seconds,
    });
    if let (Value::Object(done), Value::Object(more)) = (&mut done, more) {
        done.extend(more);
    }
    output.event("done", &done)?;
    let (steps, loss) = (minimum.steps, shown(minimum.loss));
    if is_unbounded(objective, minimum) {
        let message = format!("the expression falls without a bound: it is {loss} after step {steps}");
        return Err(Stop::Told(message));
    }
    let how = match minimum.status {
        Status::Converged => "converged after",
        Status::MaxSteps => "stopped after",
        Status::Stalled => "stalled, getting nowhere any more, within",
        Status::Diverged if steps == 0 => {
            let what = match (minimum.loss.is_finite(), minimum.gradient_norm.is_finite()) {
                (false, _) => format!("the loss is {loss} at the start"),
                (_, false) => "the gradient is not finite at the start".to_owned(),
                _ => format!("the loss is {loss} at the start, more than f32 holds"),
            };
            return Err(Stop::Told(format!("{what}; start elsewhere")));
        }
        Status::Diverged => {
            let message =
                format!("diverged after step {steps}: the loss is {loss}; try a lower learning rate");
            return Err(Stop::Told(message));
        }
    };
    let norm = shown(minimum.gradient_norm);
    output.result(&format!("{how} {steps} steps: loss {loss}, gradient norm {norm}"))?;
    unknowns(objective, &minimum.theta, precision).iter().try_for_each(|line| output.result(line))
}

/// Whether the way ended deep below its start, and not at a minimum.
fn is_unbounded(objective: &Objective, minimum: &Minimum) -> bool {
    let start = objective.evaluate(objective.start());
    match minimum.status {
        Status::Diverged => minimum.loss.is_finite() && minimum.loss < start - 1.0 && minimum.loss < 0.0,
        Status::Stalled => minimum.loss < -UNBOUNDED * (1.0 + start.abs()),
        Status::Converged | Status::MaxSteps => false,
    }
}

/// Each unknown as `name = value`.
fn unknowns(objective: &Objective, theta: &[f64], precision: Precision) -> Vec<String> {
    let digits = |x: f64| if precision == Precision::F64 { format!("{x:?}") } else { shown(x) };
    let mut rest = theta;
    let line = |(name, length): (&str, usize)| {
        let (own, others) = rest.split_at(length);
        rest = others;
        let mut numbers: Vec<String> = own.iter().take(SHOWN).map(|&x| digits(x)).collect();
        match length {
            1 => format!("{name} = {}", numbers.concat()),
            _ => {
                if length > SHOWN {
                    numbers.push(format!("… {length} in all"));
                }
                format!("{name} = [{}]", numbers.join(", "))
            }
        }
    };
    objective.unknowns().map(line).collect()
}

/// A number with the digits that f32 has, or all where it is beyond that.
fn shown(number: f64) -> String {
    let single = number as f32;
    if single.is_infinite() { format!("{number:?}") } else { format!("{single:?}") }
}
