//! Operations that move elements and compute nothing: reshape, permute, expand, slice and pad.
//!
//! Each is linear, so its jvp is itself and its vjp its adjoint: permute ↔ inverse permute, expand ↔ sum,
//! slice ↔ pad.

use super::{Lowering, Op, Site, View};
use crate::graph::reference::{Array, StepContext, coordinates, linear};
use crate::graph::{Dim, Graph, Shape, TensorType, Var};
use crate::{Error, Result};

/// The same elements in the same order under another shape.
#[derive(Debug)]
pub(crate) struct Reshape {
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        if !self.shape.same_count(&inputs[0].shape) {
            let message = format!("{} does not hold the elements of {}", self.shape, inputs[0].shape);
            return Err(Error::shape("reshape", message));
        }
        Ok(TensorType { shape: self.shape.clone(), element: inputs[0].element })
    }

    fn reference(&self, inputs: &[&Array], _: &[usize], _: &StepContext) -> Vec<f64> {
        inputs[0].data.clone()
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let shape = g.shape(site.inputs[0]).clone();
        Ok(vec![Some(g.reshape(cotangent, shape)?)])
    }

    fn jvp(&self, g: &mut Graph, _: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        tangents[0].map(|tangent| g.reshape(tangent, self.shape.clone())).transpose()
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::View(View::Reshape)
    }
}

/// Output axis i is input axis `axes[i]`.
#[derive(Debug)]
pub(crate) struct Permute {
    pub axes: Vec<usize>,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let input = &inputs[0].shape;
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if sorted != (0..input.rank()).collect::<Vec<_>>() {
            let message = format!("{:?} is no permutation of the axes of {input}", self.axes);
            return Err(Error::shape("permute", message));
        }
        let dims = self.axes.iter().map(|&axis| input.dims()[axis]).collect();
        Ok(TensorType { shape: Shape(dims), element: inputs[0].element })
    }

    fn reference(&self, inputs: &[&Array], shape: &[usize], _: &StepContext) -> Vec<f64> {
        gather(inputs[0], shape, |at| {
            let mut source = vec![0; at.len()];
            for (&axis, &coordinate) in self.axes.iter().zip(at) {
                source[axis] = coordinate;
            }
            Some(source)
        })
    }

    fn vjp(&self, g: &mut Graph, _: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let mut inverse = vec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            inverse[from] = to;
        }
        Ok(vec![Some(g.permute(cotangent, &inverse)?)])
    }

    fn jvp(&self, g: &mut Graph, _: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        tangents[0].map(|tangent| g.permute(tangent, &self.axes)).transpose()
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::View(View::Permute(&self.axes))
    }
}

/// Dimensions of 1 repeated; the rank stays.
#[derive(Debug)]
pub(crate) struct Expand {
    pub shape: Shape,
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let input = &inputs[0].shape;
        let stretches = |(from, to): (&Dim, &Dim)| from == to || *from == Dim::Fixed(1);
        let fits =
            input.rank() == self.shape.rank() && input.dims().iter().zip(self.shape.dims()).all(stretches);
        if !fits {
            return Err(Error::shape("expand", format!("{input} does not stretch to {}", self.shape)));
        }
        Ok(TensorType { shape: self.shape.clone(), element: inputs[0].element })
    }

    fn reference(&self, inputs: &[&Array], shape: &[usize], _: &StepContext) -> Vec<f64> {
        let sizes = &inputs[0].shape;
        gather(inputs[0], shape, |at| {
            Some(
                at.iter()
                    .zip(sizes)
                    .map(|(&coordinate, &size)| if size == 1 { 0 } else { coordinate })
                    .collect(),
            )
        })
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let input = g.shape(site.inputs[0]).clone();
        let stretched: Vec<usize> =
            (0..input.rank()).filter(|&axis| input.dims()[axis] != self.shape.dims()[axis]).collect();
        Ok(vec![Some(g.sum_keeping_axes(cotangent, &stretched)?)])
    }

    fn jvp(&self, g: &mut Graph, _: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        tangents[0].map(|tangent| g.expand(tangent, self.shape.clone())).transpose()
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::View(View::Expand)
    }
}

/// The elements `start .. start + length` of a fixed axis.
#[derive(Debug)]
pub(crate) struct Slice {
    pub axis: usize,
    pub start: usize,
    pub length: usize,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let size = fixed_axis("slice", inputs[0], self.axis)?;
        if self.length == 0 || self.start + self.length > size {
            let range = self.start..self.start + self.length;
            let message = format!("{range:?} is not inside axis {} of {}", self.axis, inputs[0].shape);
            return Err(Error::shape("slice", message));
        }
        Ok(with_axis(inputs[0], self.axis, self.length))
    }

    fn reference(&self, inputs: &[&Array], shape: &[usize], _: &StepContext) -> Vec<f64> {
        gather(inputs[0], shape, |at| {
            let mut source = at.to_vec();
            source[self.axis] += self.start;
            Some(source)
        })
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let size = g.shape(site.inputs[0]).dims()[self.axis].resolve(0);
        let after = size - self.start - self.length;
        Ok(vec![Some(g.pad(cotangent, self.axis, self.start, after)?)])
    }

    fn jvp(&self, g: &mut Graph, _: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        let range = self.start..self.start + self.length;
        tangents[0].map(|tangent| g.slice(tangent, self.axis, range)).transpose()
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::View(View::Slice { axis: self.axis, start: self.start })
    }
}

/// Zeros before and after on a fixed axis.
#[derive(Debug)]
pub(crate) struct Pad {
    pub axis: usize,
    pub before: usize,
    pub after: usize,
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        super::pointwise::require_f32("pad", inputs)?;
        let size = fixed_axis("pad", inputs[0], self.axis)?;
        Ok(with_axis(inputs[0], self.axis, self.before + size + self.after))
    }

    fn reference(&self, inputs: &[&Array], shape: &[usize], _: &StepContext) -> Vec<f64> {
        let size = inputs[0].shape[self.axis];
        gather(inputs[0], shape, |at| {
            let mut source = at.to_vec();
            source[self.axis] = at[self.axis].checked_sub(self.before).filter(|&i| i < size)?;
            Some(source)
        })
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let size = g.shape(site.inputs[0]).dims()[self.axis].resolve(0);
        Ok(vec![Some(g.slice(cotangent, self.axis, self.before..self.before + size)?)])
    }

    fn jvp(&self, g: &mut Graph, _: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        tangents[0].map(|tangent| g.pad(tangent, self.axis, self.before, self.after)).transpose()
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::View(View::Pad { axis: self.axis, before: self.before })
    }
}

/// The size of `axis`, which must exist and not be the batch.
fn fixed_axis(operation: &str, input: &TensorType, axis: usize) -> Result<usize> {
    match input.shape.dims().get(axis) {
        Some(Dim::Fixed(size)) => Ok(*size),
        Some(Dim::Batch(_)) => {
            Err(Error::shape(operation, format!("axis {axis} of {} is the batch", input.shape)))
        }
        None => Err(Error::shape(operation, format!("{} has no axis {axis}", input.shape))),
    }
}

fn with_axis(input: &TensorType, axis: usize, size: usize) -> TensorType {
    let mut ty = input.clone();
    ty.shape.0[axis] = Dim::Fixed(size);
    ty
}

/// An array of `shape` whose element at a coordinate is the input's at `source(coordinate)`, or zero.
fn gather(input: &Array, shape: &[usize], source: impl Fn(&[usize]) -> Option<Vec<usize>>) -> Vec<f64> {
    (0..shape.iter().product())
        .map(|index| {
            source(&coordinates(index, shape)).map_or(0.0, |at| input.data[linear(&at, &input.shape)])
        })
        .collect()
}
