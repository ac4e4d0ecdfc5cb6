//! Operations without inputs: input slots, parameters, constants, and values made from an index or the step.

use super::{Generated, Lowering, Op, Site, Source};
use crate::Result;
use crate::graph::reference::{Array, StepContext, philox_uniform};
use crate::graph::{Dim, Graph, Shape, TensorType, Var};

/// The vjp of everything that has no inputs.
fn no_cotangents() -> Result<Vec<Option<Var>>> {
    Ok(Vec::new())
}

/// Values that were not given, or not as many as there must be, show as NaN and not as plausible zeros.
fn or_nan(values: Option<&Vec<f64>>, shape: &[usize]) -> Vec<f64> {
    let count = shape.iter().product();
    values.filter(|values| values.len() == count).cloned().unwrap_or_else(|| vec![f64::NAN; count])
}

/// A slot that the host (or a gather from resident data) fills before every step.
#[derive(Debug)]
pub(crate) struct Input {
    pub name: String,
    pub ty: TensorType,
}

impl Op for Input {
    fn name(&self) -> &'static str {
        "input"
    }

    fn infer(&self, _: &[&TensorType]) -> Result<TensorType> {
        Ok(self.ty.clone())
    }

    fn reference(&self, _: &[&Array], shape: &[usize], step: &StepContext) -> Vec<f64> {
        or_nan(step.inputs.get(&self.name), shape)
    }

    fn vjp(&self, _: &mut Graph, _: &Site, _: Var) -> Result<Vec<Option<Var>>> {
        no_cotangents()
    }

    fn jvp(&self, _: &mut Graph, _: &Site, _: &[Option<Var>]) -> Result<Option<Var>> {
        Ok(None)
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Source(Source::Input(&self.name))
    }
}

/// A named range of θ.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// Its number among the graph's parameters.
    pub number: usize,
    pub shape: Vec<usize>,
}

impl Op for Parameter {
    fn name(&self) -> &'static str {
        "parameter"
    }

    fn infer(&self, _: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::f32(Shape::from(&self.shape[..])))
    }

    fn reference(&self, _: &[&Array], shape: &[usize], step: &StepContext) -> Vec<f64> {
        or_nan(step.theta.get(self.number), shape)
    }

    fn vjp(&self, _: &mut Graph, _: &Site, _: Var) -> Result<Vec<Option<Var>>> {
        no_cotangents()
    }

    fn jvp(&self, _: &mut Graph, _: &Site, _: &[Option<Var>]) -> Result<Option<Var>> {
        Ok(None)
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Source(Source::Parameter(self.number))
    }
}

/// A tensor that the kernel which reads it makes itself.
#[derive(Debug)]
pub(crate) struct Generate {
    pub kind: Generated,
    pub shape: Shape,
}

/// By how much each row of a batch advances the counter of random numbers of `shape`, so that micro-batches draw the
/// numbers of their undivided batch: the elements of a row, 0 without a batch axis, and none where the batch is not
/// the outermost axis, since its rows are then not adjacent.
pub(crate) fn random_row(shape: &Shape) -> Option<usize> {
    let is_batch = |dim: &Dim| matches!(dim, Dim::Batch(_));
    let Some(axis) = shape.dims().iter().position(is_batch) else { return Some(0) };
    let outermost = shape.dims()[..axis].iter().all(|dim| *dim == Dim::Fixed(1));
    let only = !shape.dims()[axis + 1..].iter().any(is_batch);
    (outermost && only).then(|| shape.elements(1))
}

impl Generate {
    fn value(&self, index: usize, shape: &[usize], step: &StepContext) -> f64 {
        match self.kind {
            Generated::Constant(value) => value,
            Generated::Iota { axis } => {
                let inner: usize = shape[axis + 1..].iter().product();
                ((index / inner) % shape[axis]) as f64
            }
            Generated::Random { stream } => {
                let before = if step.first_row == 0 { Some(0) } else { random_row(&self.shape) };
                // The counter has 32 bits and wraps, as in the kernels.
                before.map_or(f64::NAN, |row| {
                    philox_uniform(step.seed, step.step, stream, (step.first_row * row + index) as u32)
                })
            }
            Generated::RowMask => f64::from(index < step.valid_rows),
            Generated::RowWeight if index < step.valid_rows => step.row_weight,
            Generated::RowWeight => 0.0,
            // The evaluator has no range to stay within.
            Generated::LossScale => 1.0,
        }
    }
}

impl Op for Generate {
    fn name(&self) -> &'static str {
        "generate"
    }

    fn infer(&self, _: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::f32(self.shape.clone()))
    }

    fn reference(&self, _: &[&Array], shape: &[usize], step: &StepContext) -> Vec<f64> {
        (0..shape.iter().product()).map(|index| self.value(index, shape, step)).collect()
    }

    fn vjp(&self, _: &mut Graph, _: &Site, _: Var) -> Result<Vec<Option<Var>>> {
        no_cotangents()
    }

    fn jvp(&self, _: &mut Graph, _: &Site, _: &[Option<Var>]) -> Result<Option<Var>> {
        Ok(None)
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Generated(self.kind)
    }
}
