//! The product of (batches of) matrices, either of which may be read transposed.

use super::{Lowering, Op, Site};
use crate::graph::reference::{Array, StepContext};
use crate::graph::{Graph, Shape, TensorType, Var};
use crate::{Error, Result};

/// C = op(A)·op(B) over the last two axes, op being the transpose where its flag is set; all axes before are
/// batches and equal.
#[derive(Debug)]
pub(crate) struct MatMul {
    pub transpose_a: bool,
    pub transpose_b: bool,
}

/// The sizes of one product: C is m×n, the sum runs over k.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extents {
    pub batches: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl MatMul {
    /// The sizes, from the resolved shapes of A and of C.
    pub fn extents(&self, a: &[usize], c: &[usize]) -> Extents {
        let rank = c.len();
        Extents {
            batches: c[..rank - 2].iter().product(),
            m: c[rank - 2],
            n: c[rank - 1],
            k: if self.transpose_a { a[rank - 2] } else { a[rank - 1] },
        }
    }

    fn fail(&self, a: &Shape, b: &Shape) -> Error {
        let mark = |transposed| if transposed { "ᵀ" } else { "" };
        let (ta, tb) = (mark(self.transpose_a), mark(self.transpose_b));
        Error::shape("matmul", format!("cannot multiply {a}{ta} by {b}{tb}"))
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        super::pointwise::require_f32("matmul", inputs)?;
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        let rank = a.rank();
        if rank < 2 || b.rank() != rank || a.dims()[..rank - 2] != b.dims()[..rank - 2] {
            return Err(self.fail(a, b));
        }
        let side = |shape: &Shape, transposed: bool| {
            let (rows, columns) = (shape.dims()[rank - 2], shape.dims()[rank - 1]);
            if transposed { (columns, rows) } else { (rows, columns) }
        };
        let ((m, k), (k_of_b, n)) = (side(a, self.transpose_a), side(b, self.transpose_b));
        if k != k_of_b {
            return Err(self.fail(a, b));
        }
        let mut dims = a.dims()[..rank - 2].to_vec();
        dims.extend([m, n]);
        Ok(TensorType::f32(Shape(dims)))
    }

    fn reference(&self, inputs: &[&Array], shape: &[usize], _: &StepContext) -> Vec<f64> {
        let Extents { batches, m, n, k } = self.extents(&inputs[0].shape, shape);
        let at = |data: &[f64],
                  batch: usize,
                  row: usize,
                  column: usize,
                  rows: usize,
                  columns: usize,
                  transposed| {
            let within = if transposed { column * rows + row } else { row * columns + column };
            data[batch * rows * columns + within]
        };
        let mut product = Vec::with_capacity(batches * m * n);
        for batch in 0..batches {
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let term = |p| {
                    at(&inputs[0].data, batch, i, p, m, k, self.transpose_a)
                        * at(&inputs[1].data, batch, p, j, k, n, self.transpose_b)
                };
                product.push((0..k).map(term).sum());
            }
        }
        product
    }

    /// With op(A) = A or Aᵀ each derivative is again one product, its result in the operand's own layout.
    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let [a, b] = [site.inputs[0], site.inputs[1]];
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        let to_a = if ta {
            g.matmul_with(b, cotangent, tb, true)?
        } else {
            g.matmul_with(cotangent, b, false, !tb)?
        };
        let to_b = if tb {
            g.matmul_with(cotangent, a, true, ta)?
        } else {
            g.matmul_with(a, cotangent, !ta, false)?
        };
        Ok(vec![Some(to_a), Some(to_b)])
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        let mut total = None;
        if let Some(tangent) = tangents[0] {
            let term = g.matmul_with(tangent, site.inputs[1], self.transpose_a, self.transpose_b)?;
            total = Some(term);
        }
        if let Some(tangent) = tangents[1] {
            let term = g.matmul_with(site.inputs[0], tangent, self.transpose_a, self.transpose_b)?;
            total = g.add_optional(total, Some(term))?;
        }
        Ok(total)
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::MatMul(self)
    }
}
