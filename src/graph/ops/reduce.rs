//! Sum and maximum over a block of adjacent axes; the reduced axes stay, with one element.

use std::ops::Range;

use super::{Lowering, Op, Site};
use crate::graph::reference::{Array, StepContext};
use crate::graph::{Dim, Graph, TensorType, Var};
use crate::{Error, Result};

/// What is done with the elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ReduceKind {
    Sum,
    Max,
}

/// One reduction. Adjacent axes are one loop over memory; the graph splits others into several of these.
#[derive(Debug)]
pub(crate) struct Reduce {
    pub kind: ReduceKind,
    pub axes: Range<usize>,
}

impl Reduce {
    /// Sizes seen from the reduced block: (elements outside, inside the block, after it).
    pub fn extents(&self, shape: &[usize]) -> (usize, usize, usize) {
        (
            shape[..self.axes.start].iter().product(),
            shape[self.axes.clone()].iter().product(),
            shape[self.axes.end..].iter().product(),
        )
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "sum",
            ReduceKind::Max => "max over axes",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        super::pointwise::require_f32(self.name(), inputs)?;
        let mut ty = inputs[0].clone();
        if self.axes.is_empty() || self.axes.end > ty.shape.rank() {
            let message = format!("{} has no axes {:?}", ty.shape, self.axes);
            return Err(Error::shape(self.name(), message));
        }
        ty.shape.0[self.axes.clone()].fill(Dim::Fixed(1));
        Ok(ty)
    }

    fn reference(&self, inputs: &[&Array], shape: &[usize], _: &StepContext) -> Vec<f64> {
        let (_, block, inner) = self.extents(&inputs[0].shape);
        let element =
            |output: usize, r: usize| inputs[0].data[((output / inner) * block + r) * inner + output % inner];
        let reduce = |output: usize| match self.kind {
            ReduceKind::Sum => (0..block).map(|r| element(output, r)).sum(),
            ReduceKind::Max => (0..block).map(|r| element(output, r)).fold(f64::NEG_INFINITY, f64::max),
        };
        (0..shape.iter().product()).map(reduce).collect()
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let shape = g.shape(site.inputs[0]).clone();
        let spread = g.expand(cotangent, shape)?;
        match self.kind {
            ReduceKind::Sum => Ok(vec![Some(spread)]),
            ReduceKind::Max => {
                let share = self.share_of_maximum(g, site)?;
                Ok(vec![Some(g.mul(spread, share)?)])
            }
        }
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        let Some(tangent) = tangents[0] else { return Ok(None) };
        let axes: Vec<usize> = self.axes.clone().collect();
        let weighted = match self.kind {
            ReduceKind::Sum => tangent,
            ReduceKind::Max => {
                let share = self.share_of_maximum(g, site)?;
                g.mul(tangent, share)?
            }
        };
        g.sum_keeping_axes(weighted, &axes).map(Some)
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Reduce(self)
    }
}

impl Reduce {
    /// 1/ties where an element is the maximum, else 0: ties share the derivative equally.
    fn share_of_maximum(&self, g: &mut Graph, site: &Site) -> Result<Var> {
        let axes: Vec<usize> = self.axes.clone().collect();
        let shape = g.shape(site.inputs[0]).clone();
        let maximum = g.expand(site.output, shape.clone())?;
        let is_maximum = g.binary("eq", site.inputs[0], maximum)?;
        let ties = g.sum_keeping_axes(is_maximum, &axes)?;
        let ties = g.expand(ties, shape)?;
        g.div(is_maximum, ties)
    }
}
