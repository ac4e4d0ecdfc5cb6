//! `downhill bench kernels`: what kernels reach of this adapter's own ceilings.

use serde_json::json;

use super::arguments::{BenchKernelsArguments, Global};
use super::output::{Ended, Output, complain};
use super::tune::check_units;
use crate::error::did_you_mean;
use crate::linear::measure_factorisation;
use crate::measure::median;
use crate::{
    Average, Ceilings, Error, Gpu, GpuOptions, KernelBench, KernelCase, KernelTiming, Modifiers, Optimizer,
    Result, Stepper, UPDATE_RULES, UpdateTiming, Yardstick, kernel_cases,
};

/// What stands before the name of a rule.
const UPDATE: &str = "update";

/// The rule that is bound by products of matrices, not by memory: measured where it is asked for.
const BOUND_BY_PRODUCTS: &str = "update muon";

/// What stands before a tile of products that is measured where it is asked for.
const TILE: &str = "tile";

/// What stands before the name of a method that factorises matrices, measured where it is asked for.
const FACTOR: &str = "factor";

/// Factorisations: the method, how many matrices at once and their rows.
const FACTORISATIONS: [(&str, usize, usize); 6] = [
    ("lu", 1, 1024),
    ("cholesky", 1, 1024),
    ("qr", 1, 1024),
    ("lu", 256, 64),
    ("cholesky", 256, 64),
    ("qr", 256, 64),
];

/// Updates that are timed together, so that the ends of a measurement do not count.
const REPEATS: u32 = 4;

/// Rows and columns of the matrices that are updated.
const SIDE: usize = 1024;

/// One kind of update.
struct Update {
    name: String,
    optimizer: Optimizer,
    modifiers: Modifiers,
}

/// A line of the result.
struct Line<'a> {
    kernel: &'a str,
    shape: Vec<usize>,
    seconds: f64,
    operations: Option<u64>,
    bytes: u64,
    fraction: f64,
    compilation: Option<f64>,
}

pub(super) fn kernels(arguments: &BenchKernelsArguments, global: &Global, output: &Output) -> Ended {
    let gpu = global.open(GpuOptions { matrix_units: arguments.matrix_units, ..global.gpu_options()? })?;
    check_units(arguments.matrix_units, &gpu)?;
    let (names, factorisations) = factorisations(&arguments.kernel);
    let (cases, updates) = match names.is_empty() && !factorisations.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => chosen(&names, kernel_cases(gpu.profile())?, updates()?)?,
    };
    output.result(&gpu.adapter_info().name)?;
    let yardstick = Yardstick::new(&gpu)?;
    let ceilings = yardstick.measure()?;
    let units = ceilings.matrix_operations_per_second;
    let units =
        units.map(|rate| format!(", {:.1} TFLOP/s on matrix units", 1e-12 * rate)).unwrap_or_default();
    output.result(&format!(
        "ceilings now: {:.1} GFLOP/s in registers{units}, {:.1} GB/s copied; each kernel is held against those of its own rounds",
        1e-9 * ceilings.operations_per_second,
        1e-9 * ceilings.bytes_per_second
    ))?;
    output.result(&format!(
        "{:26} {:18} {:>11} {:>9} {:>8} {:>11} {:>12}",
        "kernel", "shape", "ms", "GFLOP/s", "GB/s", "of ceiling", "compiled, ms"
    ))?;
    for case in &cases {
        let measured = measure(&gpu, &yardstick, case, arguments.rounds);
        tell_or_leave_out(&case.kernel, measured, output)?;
    }
    // Their copies take memory of their own.
    drop(yardstick);
    let matrices = (arguments.parameters as usize).div_ceil(SIDE * SIDE);
    for update in &updates {
        let measured = measure_update(&gpu, update, matrices, arguments.rounds);
        tell_or_leave_out(&update.name, measured, output)?;
    }
    for (method, count, n) in factorisations {
        let kernel = format!("{FACTOR} {method}");
        let measured = measure_factors(&gpu, &kernel, (method, count, n), arguments.rounds);
        tell_or_leave_out(&kernel, measured, output)?;
    }
    output.event(
        "done",
        &json!({
            "adapter": gpu.adapter_info().name,
            "operations_per_second": ceilings.operations_per_second,
            "bytes_per_second": ceilings.bytes_per_second,
            "matrix_operations_per_second": ceilings.matrix_operations_per_second,
            "parameters": matrices * SIDE * SIDE,
        }),
    )
}

/// The names that are of other kernels, and the factorisations that the others ask for.
fn factorisations(names: &[String]) -> (Vec<String>, Vec<(&'static str, usize, usize)>) {
    let is_of = |method: &str, name: &str| begins(&format!("{FACTOR} {method}"), name);
    let is_factor = |name: &&String| FACTORISATIONS.iter().any(|(method, ..)| is_of(method, name));
    let others = names.iter().filter(|name| !is_factor(name)).cloned().collect();
    let wanted = |method: &str| names.iter().any(|name| is_of(method, name));
    (others, FACTORISATIONS.into_iter().filter(|(method, ..)| wanted(method)).collect())
}

/// The cases and updates whose names begin as is asked for.
fn chosen(
    names: &[String],
    mut cases: Vec<KernelCase>,
    mut updates: Vec<Update>,
) -> Result<(Vec<KernelCase>, Vec<Update>)> {
    let all: Vec<&str> = cases
        .iter()
        .map(|case| case.kernel.as_str())
        .chain(updates.iter().map(|update| update.name.as_str()))
        .collect();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|known| begins(known, name))) {
        return Err(Error::setting("--kernel", did_you_mean(unknown, &all)));
    }
    if names.is_empty() {
        cases.retain(|case| !begins(&case.kernel, TILE));
        updates.retain(|update| update.name != BOUND_BY_PRODUCTS);
    } else {
        let wanted = |known: &str| names.iter().any(|name| begins(known, name));
        cases.retain(|case| wanted(&case.kernel));
        updates.retain(|update| wanted(&update.name));
    }
    Ok((cases, updates))
}

/// Whether `known` is `name` or begins with its words.
fn begins(known: &str, name: &str) -> bool {
    known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
}

/// Every rule, and Adam with what goes with it: one more read of the gradient, one more vector to read and write.
fn updates() -> Result<Vec<Update>> {
    let update = |label: &str, rule: &str, modifiers| {
        Ok(Update { name: format!("{UPDATE} {label}"), optimizer: Optimizer::new(rule)?, modifiers })
    };
    let plain = UPDATE_RULES.iter().map(|rule| update(rule.name, rule.name, Modifiers::default()));
    let mut updates: Vec<Update> = plain.collect::<Result<_>>()?;
    let average = Some(Average::Exponential { decay: 0.999 });
    let with = [
        ("adam, clipped", Modifiers { clip_norm: Some(1.0), ..Modifiers::default() }),
        ("adam, with a mean", Modifiers { average, ..Modifiers::default() }),
    ];
    for (label, modifiers) in with {
        updates.push(update(label, "adam", modifiers)?);
    }
    Ok(updates)
}

fn measure<'a>(gpu: &Gpu, yardstick: &Yardstick, case: &'a KernelCase, rounds: u64) -> Result<Line<'a>> {
    let bench = KernelBench::new(gpu, case)?;
    let rounds = (0..rounds).map(|_| Ok((yardstick.measure()?, bench.measure()?)));
    let rounds: Vec<(Ceilings, KernelTiming)> = rounds.collect::<Result<_>>()?;
    let Some((_, timing)) = rounds.first() else {
        return Err(Error::setting("--rounds", "must be at least 1"));
    };
    Ok(Line {
        kernel: &case.kernel,
        shape: case.shape.clone(),
        seconds: middle(rounds.iter().map(|(_, timing)| timing.seconds)),
        operations: Some(timing.operations).filter(|operations| *operations > 0),
        bytes: timing.bytes,
        fraction: middle(rounds.iter().map(|(ceilings, timing)| timing.fraction_of(ceilings))),
        compilation: Some(bench.compilation().as_secs_f64()),
    })
}

fn measure_update<'a>(gpu: &Gpu, update: &'a Update, matrices: usize, rounds: u64) -> Result<Line<'a>> {
    let names: Vec<String> = (0..matrices).map(|number| number.to_string()).collect();
    let tensors: Vec<(&str, &[usize])> =
        names.iter().map(|name| (name.as_str(), &[SIDE, SIDE][..])).collect();
    let floats = matrices * SIDE * SIDE;
    let mut stepper = Stepper::new(gpu, &update.optimizer, &update.modifiers, &tensors, &vec![1.0; floats])?;
    // Any numbers but zeros, which some hardware moves for less.
    let gradient: Vec<f32> =
        (0..floats as u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 8) as f32 * 1e-9).collect();
    stepper.step(update.optimizer.learning_rate(), &gradient)?;
    drop(gradient);
    stepper.measure(1)?;
    let timings: Vec<UpdateTiming> = (0..rounds).map(|_| stepper.measure(REPEATS)).collect::<Result<_>>()?;
    Ok(Line {
        kernel: &update.name,
        shape: vec![matrices, SIDE, SIDE],
        seconds: middle(timings.iter().map(|timing| timing.update_seconds)),
        operations: None,
        bytes: timings.first().map_or(0, |timing| timing.update_bytes),
        fraction: middle(timings.iter().map(UpdateTiming::fraction_of_copy)),
        compilation: None,
    })
}

fn measure_factors<'a>(
    gpu: &Gpu,
    kernel: &'a str,
    (method, count, n): (&str, usize, usize),
    rounds: u64,
) -> Result<Line<'a>> {
    let timing = measure_factorisation(gpu, method, count, n, rounds)?;
    Ok(Line {
        kernel,
        shape: vec![count, n, n],
        seconds: timing.seconds,
        operations: Some(timing.operations),
        // Each matrix is read and its factors written.
        bytes: 8 * (count * n * n) as u64,
        fraction: timing.fraction_of_product,
        compilation: None,
    })
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    median(values.collect()).unwrap_or(f64::NAN)
}

/// Tells of a kernel; one that does not fit is left out, which is said.
fn tell_or_leave_out(kernel: &str, measured: Result<Line>, output: &Output) -> Ended {
    match measured {
        Ok(line) => tell(&line, output),
        Err(error @ (Error::OutOfMemory(_) | Error::DoesNotFit(_))) => {
            complain(&format!("{kernel} is left out: {error}"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn tell(line: &Line, output: &Output) -> Ended {
    let gflops = line.operations.map(|operations| operations as f64 / line.seconds * 1e-9);
    let rate = line.bytes as f64 / line.seconds * 1e-9;
    let event = json!({
        "kernel": line.kernel,
        "shape": line.shape,
        "seconds": line.seconds,
        "bytes": line.bytes,
        "gflops": gflops,
        "gbytes_per_second": rate,
        "fraction_of_ceiling": line.fraction,
        "compile_seconds": line.compilation,
    });
    output.event("kernel", &event)?;
    let shape: Vec<String> = line.shape.iter().map(usize::to_string).collect();
    output.result(&format!(
        "{:26} {:18} {:11.3} {:>9} {rate:8.1} {:9.0} % {:>12}",
        line.kernel,
        shape.join(" "),
        1e3 * line.seconds,
        gflops.map_or("–".to_owned(), |gflops| format!("{gflops:.1}")),
        100.0 * line.fraction,
        line.compilation.map_or("–".to_owned(), |seconds| format!("{:.0}", 1e3 * seconds))
    ))
}

#[cfg(test)]
mod tests {
    use super::begins;

    #[test]
    fn kernels_are_chosen_by_whole_words() {
        for (known, name, expected) in [
            ("matmul nt", "matmul", true),
            ("matmul nt", "matmul nt", true),
            ("update adamw", "update adam", false),
            ("update adam, clipped", "update adam", true),
            ("sum of rows", "su", false),
        ] {
            assert_eq!(begins(known, name), expected, "{known} {name}");
        }
    }
}
