//! `downhill bench kernels`: what kernels reach of this adapter's own ceilings.

use serde_json::json;

use super::arguments::{BenchKernelsArguments, Global};
use super::bench::median;
use super::output::{Ended, Output, complain};
use crate::gpu::format_bytes;
use crate::{Average, Error, Gpu, Modifiers, Optimizer, Result, Stepper, UPDATE_RULES, UpdateTiming};

/// The rule that is bound by products of matrices, not by memory.
const BOUND_BY_PRODUCTS: &str = "muon";

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

pub(super) fn kernels(arguments: &BenchKernelsArguments, global: &Global, output: &Output) -> Ended {
    let updates = updates(&arguments.rule)?;
    let gpu = Gpu::new(&global.gpu_options()?)?;
    let matrices = (arguments.parameters as usize).div_ceil(SIDE * SIDE);
    output.result(&format!(
        "{}, {matrices} matrices of {SIDE} x {SIDE}, against a copy of as many floats in the same round\n\
         update                  ms        moved      GB/s   of copy",
        gpu.adapter_info().name
    ))?;
    for update in updates {
        match measure(&gpu, &update, matrices, arguments.rounds) {
            Ok(timings) => tell(&update.name, matrices, &timings, output)?,
            Err(error @ (Error::OutOfMemory(_) | Error::DoesNotFit(_))) => {
                complain(&format!("{} is left out: {error}; ask for fewer --parameters", update.name));
            }
            Err(error) => return Err(error.into()),
        }
    }
    output.event("done", &json!({ "adapter": gpu.adapter_info().name, "parameters": matrices * SIDE * SIDE }))
}

/// Every rule, and Adam with what goes with it: one more read of the gradient, one more vector to read and write.
fn updates(rules: &[String]) -> Result<Vec<Update>> {
    let plain = |name: &str| {
        let optimizer = Optimizer::new(name)?;
        Ok(Update { name: name.to_owned(), optimizer, modifiers: Modifiers::default() })
    };
    if !rules.is_empty() {
        return rules.iter().map(|name| plain(name)).collect();
    }
    let names = UPDATE_RULES.iter().map(|rule| rule.name).filter(|name| *name != BOUND_BY_PRODUCTS);
    let mut updates: Vec<Update> = names.map(plain).collect::<Result<_>>()?;
    let average = Some(Average::Exponential { decay: 0.999 });
    let with = [
        ("adam, clipped", Modifiers { clip_norm: Some(1.0), ..Modifiers::default() }),
        ("adam with a mean", Modifiers { average, ..Modifiers::default() }),
    ];
    for (name, modifiers) in with {
        updates.push(Update { name: name.to_owned(), modifiers, ..plain("adam")? });
    }
    Ok(updates)
}

fn measure(gpu: &Gpu, update: &Update, matrices: usize, rounds: u64) -> Result<Vec<UpdateTiming>> {
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
    (0..rounds).map(|_| stepper.measure(REPEATS)).collect()
}

fn tell(name: &str, matrices: usize, timings: &[UpdateTiming], output: &Output) -> Ended {
    let of =
        |value: fn(&UpdateTiming) -> f64| median(timings.iter().map(value).collect()).unwrap_or(f64::NAN);
    let (seconds, fraction) = (of(|timing| timing.update_seconds), of(UpdateTiming::fraction_of_copy));
    let bytes = timings.first().map_or(0, |timing| timing.update_bytes);
    let rate = bytes as f64 / seconds * 1e-9;
    let line = json!({
        "kernel": name,
        "shape": [matrices, SIDE, SIDE],
        "seconds": seconds,
        "bytes": bytes,
        "gbytes_per_second": rate,
        "fraction_of_ceiling": fraction,
        "copy_seconds": of(|timing| timing.copy_seconds),
    });
    output.event("kernel", &line)?;
    output.result(&format!(
        "{name:17} {:9.2} {:>12} {rate:9.1} {:8.0} %",
        1e3 * seconds,
        format_bytes(bytes),
        100.0 * fraction
    ))
}
