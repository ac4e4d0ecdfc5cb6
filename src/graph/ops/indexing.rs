//! Rows picked by an index from memory, and its adjoint: rows added up by index.

use super::{Lowering, Op, Site};
use crate::graph::reference::{Array, StepContext};
use crate::graph::{Dim, Element, Graph, Shape, TensorType, Var};
use crate::{Error, Result};

/// (table [N, D…], indices [I…]) → [I…, D…]. The table may hold bytes or integers: a resident data set is one.
#[derive(Debug)]
pub(crate) struct Gather;

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let (table, indices) = (inputs[0], inputs[1]);
        require_indices("gather", indices)?;
        if table.shape.rank() == 0 {
            return Err(Error::shape("gather", "the table is a scalar and has no rows"));
        }
        let mut dims = indices.shape.dims().to_vec();
        dims.extend(&table.shape.dims()[1..]);
        Ok(TensorType { shape: Shape(dims), element: table.element })
    }

    /// An index past the table's end reads as NaN here; on the GPU the kernel reads the last row.
    fn reference(&self, inputs: &[&Array], _: &[usize], _: &StepContext) -> Vec<f64> {
        let (table, indices) = (inputs[0], inputs[1]);
        let width: usize = table.shape[1..].iter().product();
        let row = |&index: &f64| {
            let start = index as usize * width;
            table.data.get(start..start + width).map_or_else(|| vec![f64::NAN; width], <[f64]>::to_vec)
        };
        indices.data.iter().flat_map(row).collect()
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        if g.element(site.inputs[0]) != Element::F32 {
            return Ok(vec![None, None]);
        }
        let rows = g.shape(site.inputs[0]).dims()[0];
        Ok(vec![Some(g.scatter_add(site.inputs[1], cotangent, rows)?), None])
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        tangents[0].map(|tangent| g.gather(tangent, site.inputs[1])).transpose()
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Gather
    }
}

/// (indices [I…], updates [I…, D…]) → [rows, D…]: row n is the sum of the updates whose index is n, always
/// added in the same order.
#[derive(Debug)]
pub(crate) struct ScatterAdd {
    pub rows: Dim,
}

impl Op for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter-add"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let (indices, updates) = (inputs[0], inputs[1]);
        require_indices("scatter-add", indices)?;
        super::pointwise::require_f32("scatter-add", &inputs[1..])?;
        let rank = indices.shape.rank();
        if updates.shape.rank() < rank || updates.shape.dims()[..rank] != *indices.shape.dims() {
            let message =
                format!("updates {} do not begin with the indices' {}", updates.shape, indices.shape);
            return Err(Error::shape("scatter-add", message));
        }
        let mut dims = vec![self.rows];
        dims.extend(&updates.shape.dims()[rank..]);
        Ok(TensorType::f32(Shape(dims)))
    }

    fn reference(&self, inputs: &[&Array], shape: &[usize], _: &StepContext) -> Vec<f64> {
        let width: usize = shape[1..].iter().product();
        let mut sums = vec![0.0; shape.iter().product()];
        for (&index, row) in inputs[0].data.iter().zip(inputs[1].data.chunks(width)) {
            let start = index as usize * width;
            for (sum, update) in sums.iter_mut().skip(start).zip(row) {
                *sum += update;
            }
        }
        sums
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        Ok(vec![None, Some(g.gather(cotangent, site.inputs[0])?)])
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        tangents[1].map(|tangent| g.scatter_add(site.inputs[0], tangent, self.rows)).transpose()
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::ScatterAdd
    }
}

pub(super) fn require_indices(operation: &str, indices: &TensorType) -> Result<()> {
    if indices.element != Element::U32 {
        return Err(Error::shape(operation, format!("indices are {:?}, not U32", indices.element)));
    }
    Ok(())
}
