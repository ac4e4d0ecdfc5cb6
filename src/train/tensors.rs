//! θ and the optimizer's state as named tensors on the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Schema};
use crate::gpu::{Buffer, Gpu};
use crate::graph::ParameterInfo;
use crate::optim::{PlateauState, SearchPlan, StateTensor, Updater};
use crate::plan::{Piece, ThetaLayout};
use crate::solve::MethodMemory;
use crate::{Error, Result};

/// A tensor on the host: rows outermost, as in the model's file.
///
/// ```
/// use downhill::NamedTensor;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let parameters: Vec<NamedTensor> = trainer.parameters()?;
/// let weight = &parameters[0];
/// assert_eq!((weight.name.as_str(), weight.shape.as_slice(), weight.values.len()), ("0.weight", &[2, 4][..], 8));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Vec<f32>,
}

/// All that resuming a run needs, bit for bit.
///
/// ```
/// use downhill::Snapshot;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// trainer.run_steps(2)?;
/// let snapshot: Snapshot = trainer.snapshot()?;
/// trainer.run_steps(3)?;
/// // Back to where it was.
/// trainer.restore(&snapshot)?;
/// assert_eq!((trainer.steps(), snapshot.theta == trainer.parameters()?), (2, true));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Batches done in the epoch under way.
    pub batch: u64,
    /// The sum of the losses of the epoch's rows so far.
    pub loss_sum: f64,
    /// Those rows.
    pub loss_rows: u64,
    /// Steps that changed nothing because their gradient was not finite.
    pub skipped: u64,
    /// How many of them came before the first that changed something, from which the rule counts its steps.
    pub skipped_first: u64,
    /// What a schedule's `plateau` remembers.
    pub plateau: PlateauState,
    /// The last step size that a line search chose, as a factor of the learning rate; the next search begins there.
    pub step_factor: Option<f32>,
    /// What the loss is multiplied by in the next step, where it is scaled.
    pub loss_scale: Option<LossScale>,
    /// θ as steps use it.
    pub theta: Vec<NamedTensor>,
    /// The optimizer's state vectors by name: of each what it keeps of the parameters that it updates.
    pub state: Vec<(String, Vec<NamedTensor>)>,
    /// What a method on all rows has learnt; none before its first step, and of an update rule.
    pub method: Option<MethodMemory>,
    /// What decided these numbers besides the steps; see [`Trainer::origin`](crate::Trainer::origin).
    pub origin: BTreeMap<String, String>,
}

/// What the loss is multiplied by on the way to its gradient; the device adapts it.
///
/// ```
/// use downhill::{LossScale, Modifiers};
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// let options = TrainOptions {
///     modifiers: Modifiers { loss_scale: Some(1024.0), ..Modifiers::default() },
///     ..TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?)
/// };
/// let mut trainer = Trainer::new(&gpu, rows, options)?;
/// assert_eq!(trainer.snapshot()?.loss_scale, Some(LossScale { scale: 1024.0, steady: 0 }));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct LossScale {
    /// The factor.
    pub scale: f32,
    /// Steps since it changed.
    pub steady: u32,
}

/// A flat vector with θ's layout, read from its shards.
pub(super) fn read_vector(
    gpu: &Gpu,
    layout: &ThetaLayout,
    parameters: &[ParameterInfo],
    shards: &[&Buffer],
) -> Result<Vec<NamedTensor>> {
    let read = |(info, pieces): (&ParameterInfo, &Vec<Piece>)| {
        let mut values: Vec<f32> = Vec::with_capacity(info.elements());
        for piece in pieces {
            read_floats(gpu, shards[piece.shard], piece.offset, piece.elements, &mut values)?;
        }
        Ok(NamedTensor { name: info.name.clone(), shape: info.shape.clone(), values })
    };
    parameters.iter().zip(&layout.pieces).map(read).collect()
}

/// Writes a flat vector with θ's layout to its shards.
///
/// # Errors
/// [`Error::Shape`] where names or shapes are not those of `parameters`, in their order; nothing is written then.
pub(super) fn write_vector(
    gpu: &Gpu,
    layout: &ThetaLayout,
    parameters: &[ParameterInfo],
    shards: &[&Buffer],
    tensors: &[NamedTensor],
) -> Result<()> {
    check(parameters, tensors)?;
    for (tensor, pieces) in tensors.iter().zip(&layout.pieces) {
        for piece in pieces {
            let values = &tensor.values[piece.start..piece.start + piece.elements];
            gpu.write_buffer(
                shards[piece.shard].raw(),
                4 * piece.offset as u64,
                bytemuck::cast_slice(values),
            )?;
        }
    }
    Ok(())
}

/// The optimizer's state vectors by name.
pub(super) fn read_state(
    gpu: &Gpu,
    update: &Updater,
    parameters: &[ParameterInfo],
) -> Result<Vec<(String, Vec<NamedTensor>)>> {
    let read = |tensor: &StateTensor| {
        let mut values = Vec::with_capacity(tensor.shape.iter().product());
        for piece in &tensor.pieces {
            read_floats(gpu, update.buffer(piece.buffer), piece.offset, piece.elements, &mut values)?;
        }
        Ok(NamedTensor {
            name: parameters[tensor.parameter].name.clone(),
            shape: tensor.shape.clone(),
            values,
        })
    };
    let vectors = update.state().iter().map(|vector| {
        let tensors = vector.tensors.iter().map(read).collect::<Result<_>>()?;
        Ok((vector.slot.to_owned(), tensors))
    });
    vectors.collect()
}

/// The step size around which the next line search looks.
pub(super) fn read_step_factor(gpu: &Gpu, update: &Updater) -> Result<Option<f32>> {
    let Some(search) = update.search() else { return Ok(None) };
    let bytes = gpu.read_buffer(search.raw(), SearchPlan::FACTOR..SearchPlan::FACTOR + 4)?;
    Ok(Some(bytemuck::pod_read_unaligned(&bytes)))
}

/// Has the next line search look around `factor`.
pub(super) fn write_step_factor(gpu: &Gpu, update: &Updater, factor: Option<f32>) -> Result<()> {
    match (update.search(), factor) {
        (Some(search), Some(factor)) => {
            gpu.write_buffer(search.raw(), SearchPlan::FACTOR, bytemuck::bytes_of(&factor))
        }
        _ => Ok(()),
    }
}

/// The loss scale of the next step.
pub(super) fn read_loss_scale(gpu: &Gpu, update: &Updater) -> Result<Option<LossScale>> {
    let Some(control) = update.loss_scale() else { return Ok(None) };
    let range = Updater::LOSS_SCALE..Updater::LOSS_SCALE + size_of::<LossScale>() as u64;
    Ok(Some(bytemuck::pod_read_unaligned(&gpu.read_buffer(control.raw(), range)?)))
}

/// Has the next step scale the loss so.
pub(super) fn write_loss_scale(gpu: &Gpu, update: &Updater, scale: Option<LossScale>) -> Result<()> {
    match (update.loss_scale(), scale) {
        (Some(control), Some(scale)) => {
            gpu.write_buffer(control.raw(), Updater::LOSS_SCALE, bytemuck::bytes_of(&scale))
        }
        _ => Ok(()),
    }
}

/// Writes state vectors that [`check_state`] accepts.
pub(super) fn write_state(gpu: &Gpu, update: &Updater, state: &[(String, Vec<NamedTensor>)]) -> Result<()> {
    for (vector, (_, tensors)) in update.state().iter().zip(state) {
        for (place, tensor) in vector.tensors.iter().zip(tensors) {
            let mut values = tensor.values.as_slice();
            for piece in &place.pieces {
                let (these, rest) = values.split_at(piece.elements);
                let buffer = update.buffer(piece.buffer).raw();
                gpu.write_buffer(buffer, 4 * piece.offset as u64, bytemuck::cast_slice(these))?;
                values = rest;
            }
        }
    }
    Ok(())
}

/// Whether `state` is what the optimizer keeps.
///
/// # Errors
/// [`Error::Shape`] where it is not.
pub(super) fn check_state(
    update: &Updater,
    parameters: &[ParameterInfo],
    state: &[(String, Vec<NamedTensor>)],
) -> Result<()> {
    let slots: Vec<&str> = update.state().iter().map(|vector| vector.slot).collect();
    let found: Vec<&str> = state.iter().map(|(slot, _)| slot.as_str()).collect();
    if slots != found {
        let message = format!("the optimizer keeps {slots:?}, and {found:?} are given");
        return Err(Error::shape("loading the optimizer's state", message));
    }
    for (vector, (slot, tensors)) in update.state().iter().zip(state) {
        let wanted = vector.tensors.iter().map(|tensor| (&parameters[tensor.parameter].name, &tensor.shape));
        let found = tensors.iter().map(|tensor| (&tensor.name, &tensor.shape));
        let whole = |tensor: &NamedTensor| tensor.values.len() == tensor.shape.iter().product::<usize>();
        if !wanted.eq(found) || !tensors.iter().all(whole) {
            let message = format!("`{slot}` is not that of this model's parameters");
            return Err(Error::shape("loading the optimizer's state", message));
        }
    }
    Ok(())
}

/// Floats of a buffer from `offset` on, put behind `values`.
fn read_floats(
    gpu: &Gpu,
    buffer: &Buffer,
    offset: usize,
    floats: usize,
    values: &mut Vec<f32>,
) -> Result<()> {
    let start = 4 * offset as u64;
    let bytes = gpu.read_buffer(buffer.raw(), start..start + 4 * floats as u64)?;
    values.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
    Ok(())
}

/// Whether rows are of the kind that a model was made for, with targets where they are needed.
///
/// # Errors
/// [`Error::Shape`] naming the rows.
pub(super) fn check_rows(rows: &Dataset, schema: &Schema, with_targets: bool) -> Result<()> {
    let found = rows.schema();
    let fail = |message: String| Err(Error::shape("rows", format!("{}: {message}", rows.name())));
    if found.features() != schema.features() || found.encoding != schema.encoding {
        let (a, b) = (found.features(), schema.features());
        return fail(format!("{a} features of {:?} are not {b} of {:?}", found.encoding, schema.encoding));
    }
    if with_targets && !rows.has_targets() {
        return fail("they have no targets".to_owned());
    }
    if with_targets && found.task != schema.task {
        return fail("their targets are of another kind than the model's".to_owned());
    }
    Ok(())
}

/// Whether `tensors` are what the model has.
pub(crate) fn check(parameters: &[ParameterInfo], tensors: &[NamedTensor]) -> Result<()> {
    let fail = |message: String| Err(Error::shape("loading parameters", message));
    if parameters.len() != tensors.len() {
        return fail(format!("the model has {} tensors, and {} are given", parameters.len(), tensors.len()));
    }
    for (info, tensor) in parameters.iter().zip(tensors) {
        if info.name != tensor.name {
            return fail(format!("the model has `{}` where `{}` is given", info.name, tensor.name));
        }
        if info.shape != tensor.shape || info.elements() != tensor.values.len() {
            return fail(format!(
                "`{}` is {:?} in the model and {:?} here",
                info.name, info.shape, tensor.shape
            ));
        }
    }
    Ok(())
}
