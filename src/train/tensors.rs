//! θ and the optimizer's state as named tensors on the host.

use std::collections::BTreeMap;

use crate::data::{Dataset, Schema};
use crate::gpu::{Buffer, Gpu};
use crate::graph::ParameterInfo;
use crate::plan::ThetaLayout;
use crate::{Error, Result};

/// A tensor on the host: rows outermost, as in the model's file.
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
    /// θ as steps use it.
    pub theta: Vec<NamedTensor>,
    /// The optimizer's state vectors by name.
    pub state: Vec<(String, Vec<NamedTensor>)>,
    /// What decided these numbers besides the steps; see [`Trainer::origin`](crate::Trainer::origin).
    pub origin: BTreeMap<String, String>,
}

/// A flat vector with θ's layout, read from its shards.
pub(super) fn read_vector(
    gpu: &Gpu,
    layout: &ThetaLayout,
    parameters: &[ParameterInfo],
    shards: &[Buffer],
) -> Result<Vec<NamedTensor>> {
    let read = |(info, pieces): (&ParameterInfo, &Vec<crate::plan::Piece>)| {
        let mut values: Vec<f32> = Vec::with_capacity(info.elements());
        for piece in pieces {
            let start = 4 * piece.offset as u64;
            let bytes =
                gpu.read_buffer(shards[piece.shard].raw(), start..start + 4 * piece.elements as u64)?;
            values.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
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
    shards: &[Buffer],
    tensors: &[NamedTensor],
) -> Result<()> {
    check(parameters, tensors)?;
    for (tensor, pieces) in tensors.iter().zip(&layout.pieces) {
        for piece in pieces {
            let values = &tensor.values[piece.start..piece.start + piece.elements];
            let bytes = bytemuck::cast_slice(values);
            gpu.write_buffer(shards[piece.shard].raw(), 4 * piece.offset as u64, bytes)?;
        }
    }
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
pub(super) fn check(parameters: &[ParameterInfo], tensors: &[NamedTensor]) -> Result<()> {
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
