//! Models at work.

use std::ffi::c_char;
use std::path::Path;

use super::gpu::downhill_gpu;
use super::handles::Table;
use super::status::{Outcome, array, array_mut, downhill_status, give, guard, text, wanted};
use super::trainer::downhill_trainer;
use super::{gpu, trainer};
use crate::data::{Encoding, Schema, Task};
use crate::{Inference, Loss, ModelSpec, read_model};

/// A trained model at work.
///
/// Its functions may be called from any thread; while one works on a model, others on the same model wait for it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct downhill_model {
    /// 0 for none.
    pub id: u64,
}

static MODELS: Table<Inference> = Table::new("model", 5);

/// Makes a model with the parameters that a trainer has now, for up to rows rows at once. Compiles its kernels and waits for
/// that, and for the steps under way.
///
/// model: receives the handle, which downhill_model_free() frees. The trainer may be freed before.
///
/// # Safety
/// model points to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_model_of(
    trainer: downhill_trainer,
    rows: usize,
    model: *mut downhill_model,
) -> downhill_status {
    guard(|| {
        wanted(model)?;
        let made = trainer::with(trainer, |trainer| Ok(Inference::of(trainer, rows)?))?;
        let id = MODELS.insert(made)?;
        // SAFETY: as the caller says.
        unsafe { give(model, downhill_model { id }) }
    })
}

/// Loads a model from a safetensors file, for up to rows rows of width floats at once. Compiles its kernels and waits for that.
///
/// spec: the model, as for downhill_options_new().
/// outputs: numbers that it gives for a row.
/// has_classes: 1 where they are to be probabilities of classes, 0 where they are values.
/// model: receives the handle, which downhill_model_free() frees.
///
/// # Safety
/// Texts end with a zero byte; model points to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_model_load(
    gpu: downhill_gpu,
    spec: *const c_char,
    path: *const c_char,
    width: usize,
    outputs: usize,
    has_classes: u32,
    rows: usize,
    model: *mut downhill_model,
) -> downhill_status {
    guard(|| {
        wanted(model)?;
        // SAFETY: as the caller says.
        let (spec, path) = unsafe { (text(spec, "spec")?, text(path, "path")?) };
        let (spec, parameters): (ModelSpec, _) = (spec.parse()?, read_model(Path::new(path))?);
        let (task, loss) = match has_classes {
            0 => (Task::Values { width: outputs }, Loss::MeanSquaredError),
            _ => (Task::classes(outputs), Loss::CrossEntropy),
        };
        let schema = Schema {
            feature_shape: vec![width],
            encoding: Encoding::F32,
            feature_names: Vec::new(),
            target_name: None,
            task,
        };
        let made = Inference::new(&gpu::find(gpu)?, &spec, &schema, loss, &parameters, rows)?;
        let id = MODELS.insert(made)?;
        // SAFETY: as the caller says.
        unsafe { give(model, downhill_model { id }) }
    })
}

/// Gives a model the parameters that a trainer of the same model has now. Waits for nothing, unless the trainer keeps an average
/// and has made no step.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_model_follow(model: downhill_model, trainer: downhill_trainer) -> downhill_status {
    guard(|| MODELS.with(model.id, |model| trainer::with(trainer, |trainer| Ok(model.catch_up(trainer)?))))
}

/// What a model says of rows of floats, one after another: its outputs for each row, into count floats, rows × outputs of them.
/// Takes any number of rows. Waits for the device.
///
/// # Safety
/// features points to rows × width floats, where width is that of the model; outputs points to count floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_model_predict(
    model: downhill_model,
    features: *const f32,
    rows: usize,
    outputs: *mut f32,
    count: usize,
) -> downhill_status {
    guard(|| {
        MODELS.with(model.id, |model| {
            // SAFETY: as the caller says.
            let features = unsafe { array(features, rows, model.features_per_row(), "features") }?;
            // SAFETY: as the caller says.
            fill(model.predict(features)?, unsafe { array_mut(outputs, count, "outputs") }?)
        })
    })
}

/// As downhill_model_predict(), for a model that was trained on bytes.
///
/// # Safety
/// features points to rows × width bytes, where width is that of the model; outputs points to count floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_model_predict_bytes(
    model: downhill_model,
    features: *const u8,
    rows: usize,
    outputs: *mut f32,
    count: usize,
) -> downhill_status {
    guard(|| {
        MODELS.with(model.id, |model| {
            // SAFETY: as the caller says.
            let features = unsafe { array(features, rows, model.features_per_row(), "features") }?;
            // SAFETY: as the caller says.
            fill(model.predict_bytes(features)?, unsafe { array_mut(outputs, count, "outputs") }?)
        })
    })
}

fn fill(found: Vec<f32>, outputs: &mut [f32]) -> Outcome {
    if found.len() != outputs.len() {
        let message = format!("there are {} outputs, and room for {}", found.len(), outputs.len());
        return Err(crate::Error::shape("predicting", message).into());
    }
    outputs.copy_from_slice(&found);
    Ok(())
}

/// Frees a model and its memory.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_model_free(model: downhill_model) -> downhill_status {
    guard(|| MODELS.remove(model.id))
}
