//! What a run is asked to do, by names and texts: a struct would change its size with every setting to come.

use std::ffi::c_char;

use super::handles::Table;
use super::status::{Outcome, downhill_status, give, guard, text, wanted};
use crate::error::did_you_mean;
use crate::{Average, Choice, Error, Length, Optimizer, Result, TrainOptions};

/// What a run is asked to do.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct downhill_options {
    /// 0 for none.
    pub id: u64,
}

static OPTIONS: Table<TrainOptions> = Table::new("set of options", 3);

/// What stands behind a handle, as it is now.
pub(super) fn find(options: downhill_options) -> Outcome<TrainOptions> {
    OPTIONS.with(options.id, |options| Ok(options.clone()))
}

/// Takes a setting's text over into options.
type Set = fn(&mut TrainOptions, &str) -> Result<()>;

/// The settings of a run besides those of its optimizer.
const SETTINGS: [(&str, Set); 16] = [
    ("loss", |options, text| text.parse().map(|loss| options.loss = Some(loss))),
    ("batch", |options, text| read("batch", text).map(|batch| options.batch = batch)),
    ("micro-batch", |options, text| read("micro-batch", text).map(|rows| options.micro_batch = rows)),
    ("epochs", |options, text| number("epochs", text).map(|epochs| options.length = Length::Epochs(epochs))),
    ("steps", |options, text| number("steps", text).map(|steps| options.length = Length::Steps(steps))),
    ("seed", |options, text| number("seed", text).map(|seed| options.seed = seed)),
    ("eval-every", |options, text| number("eval-every", text).map(|epochs| options.eval_every = epochs)),
    ("log-every", |options, text| number("log-every", text).map(|steps| options.log_every = steps)),
    ("precision", |options, text| read("precision", text).map(|precision| options.precision = precision)),
    ("resident", |options, text| Choice::parse("resident", text).map(|choice| options.resident = choice)),
    ("recompute", |options, text| Choice::parse("recompute", text).map(|choice| options.recompute = choice)),
    ("schedule", |options, text| text.parse().map(|schedule| options.schedule = schedule)),
    ("line-search", |options, text| text.parse().map(|search| options.search = Some(search))),
    ("clip-norm", |options, text| {
        number("clip-norm", text).map(|norm| options.modifiers.clip_norm = Some(norm))
    }),
    ("skip-not-finite", |options, text| {
        number("skip-not-finite", text).map(|skip| options.modifiers.skip_not_finite = skip)
    }),
    ("ema", |options, text| {
        number("ema", text).map(|decay| options.modifiers.average = Some(Average::Exponential { decay }))
    }),
];

fn read<T: std::str::FromStr<Err = Error>>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error: Error| error.of_setting(name))
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::setting(name, format!("`{text}` is not a value that it can have")))
}

/// Options of a run: 10 epochs in batches of 128, everything else as the memory allows.
///
/// model: such as "mlp:256,128", or a list of layers, "linear 64, relu, linear 10".
/// optimizer: the name of an update rule, such as "adam", with its usual hyper-parameters.
/// options: receives the handle, which downhill_options_free() frees. May be called from any thread.
///
/// # Safety
/// Texts end with a zero byte; options points to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_options_new(
    model: *const c_char,
    optimizer: *const c_char,
    options: *mut downhill_options,
) -> downhill_status {
    guard(|| {
        wanted(options)?;
        // SAFETY: as the caller says.
        let (model, optimizer) = unsafe { (text(model, "model")?, text(optimizer, "optimizer")?) };
        let id = OPTIONS.insert(TrainOptions::new(model.parse()?, Optimizer::new(optimizer)?))?;
        // SAFETY: as the caller says.
        unsafe { give(options, downhill_options { id }) }
    })
}

/// Sets an option to a value, both as texts: "loss", "batch", "micro-batch", "epochs", "steps", "seed", "eval-every", "log-every",
/// "precision", "resident", "recompute", "schedule", "line-search", "clip-norm", "skip-not-finite" (true or false) and "ema" are
/// as on the command line (`downhill train --help`); any other name is a hyper-parameter of the optimizer, such as "lr". Runs
/// made before stay as they are. May be called from any thread.
///
/// # Safety
/// Texts end with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_options_set(
    options: downhill_options,
    name: *const c_char,
    value: *const c_char,
) -> downhill_status {
    guard(|| {
        // SAFETY: as the caller says.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        OPTIONS.with(options.id, |options| Ok(set(options, name, value)?))
    })
}

fn set(options: &mut TrainOptions, name: &str, value: &str) -> Result<()> {
    if let Some((_, set)) = SETTINGS.iter().find(|(known, _)| *known == name) {
        return set(options, value);
    }
    let hyper: Vec<&str> = options.optimizer.rule().hyper.iter().map(|hyper| hyper.name).collect();
    if !hyper.contains(&name) {
        let known: Vec<&str> = SETTINGS.iter().map(|(known, _)| *known).chain(hyper).collect();
        return Err(Error::setting("option", did_you_mean(name, &known)));
    }
    options.optimizer = options.optimizer.clone().with(name, value)?;
    Ok(())
}

/// Frees options. May be called from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_options_free(options: downhill_options) -> downhill_status {
    guard(|| OPTIONS.remove(options.id))
}
