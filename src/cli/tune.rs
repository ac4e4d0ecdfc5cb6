//! `downhill tune`: the products of a run by every tile that the adapter runs, and the fastest of each kept for the runs to
//! come.

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::arguments::{Global, TuneArguments, gathered};
use super::bench::refuse_without_use;
use super::output::{Ended, Output, Stop, complain};
use super::train::watch_interrupts;
use crate::gpu::{GpuOptions, TunedProduct};
use crate::measure::{TuneStep, Tuned, tune as measure};
use crate::run::RunConfig;
use crate::train::MemoryModel;
use crate::{Error, Gpu, Result};

/// Settings of `train` that the shapes of products do not depend on.
pub(super) const WITHOUT_USE_FOR_TUNING: [&str; 6] =
    ["epochs", "steps", "eval_every", "log_every", "out", "schedule"];

pub(super) fn tune(arguments: &TuneArguments, global: &Global, output: &Output) -> Ended {
    refuse_without_use("tune", &arguments.settings, &WITHOUT_USE_FOR_TUNING)?;
    let Some(folder) = global.cache_folder() else {
        let message = "is off, and what is measured is kept there; give a folder";
        return Err(Error::setting("--cache", message).into());
    };
    fs::create_dir_all(&folder).map_err(|error| {
        Error::setting("--cache", format!("{} is no folder to keep things in: {error}", folder.display()))
    })?;
    let file = arguments.file.as_deref();
    let settings = gathered(file, &arguments.settings, &arguments.optimizer, global)?;
    let mut config = RunConfig::resolve_rule(&settings)?;
    let options = GpuOptions { matrix_units: arguments.matrix_units, ..config.gpu_options() };
    let gpu = global.open(options)?;
    check_units(arguments.matrix_units, &gpu)?;
    let split = config.load_data()?;
    let run = MemoryModel::new(&split, &config.options, gpu.profile())?;
    output.result(&gpu.adapter_info().name)?;
    output.result(&format!(
        "{:>6} {:>6} {:>6}  {:8} {:>11} {:>9}  {}",
        "m", "n", "k", "operands", "ms before", "faster", "tile"
    ))?;
    // What the device found in the folder when it was opened; what cannot be read is made anew.
    let known = gpu.profile().tuning.clone();
    let interrupted = watch_interrupts();
    let (mut products, mut faster, mut told) = (0, 0, Ok(()));
    let Tuned { tuning, left, .. } =
        measure(&gpu, &run, known, Duration::from_secs(arguments.seconds), |step| {
            products += 1;
            faster += usize::from(step.faster > 1.0);
            told = tell(step, output);
            let ends = told.is_err() || interrupted.load(Ordering::Relaxed);
            if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    let path = tuning.save(&folder, gpu.adapter_info())?;
    told?;
    let kept =
        format!("{faster} of {products} products are faster by another tile; kept in {}", path.display());
    if interrupted.load(Ordering::Relaxed) {
        return Err(Stop::Interrupted(format!("interrupted with {left} products left; {kept}")));
    }
    output.result(&kept)?;
    if left > 0 {
        output.warn(&format!("{left} products are left; give it more --seconds"));
    }
    output.event(
        "done",
        &json!({
            "products": products, "faster": faster, "left": left, "file": path.display().to_string(),
        }),
    )
}

/// Errors where matrix units are asked for that the device has not got.
pub(super) fn check_units(asked: bool, gpu: &Gpu) -> Result<()> {
    if asked && !gpu.profile().matrix_units {
        let message = "this adapter has none that multiply 16 × 16 numbers of 16 bits (`downhill devices` lists what it has)";
        return Err(Error::setting("--matrix-units", message));
    }
    Ok(())
}

fn tell(step: &TuneStep, output: &Output) -> Ended {
    let TunedProduct { m, n, k, transposed, half, tile, parts, .. } = &step.product;
    for wrong in &step.wrong {
        complain(&format!("{m} {n} {k}: a wrong result by {wrong}, which is left out"));
    }
    let event = json!({
        "shape": [m, n, k],
        "transposed": transposed,
        "half": half,
        "tile": tile,
        "parts": parts,
        "seconds_before": step.seconds,
        "faster": step.faster,
        "measured": step.measured,
    });
    let letter = |transposed: bool| if transposed { "t" } else { "n" };
    let bits = |half: bool| if half { "16" } else { "32" };
    let operands = [0, 1].map(|side| format!("{}{}", letter(transposed[side]), bits(half[side]))).join(" ");
    let split = if *parts > 1 { format!(" in {parts} parts") } else { String::new() };
    let line = format!(
        "{m:6} {n:6} {k:6}  {operands:8} {:11.3} {:9.2}  {tile}{split}",
        1e3 * step.seconds,
        step.faster
    );
    output.event("tuned", &event)?;
    output.result(&line)
}
