//! Operations that walk the last axis: softmax, softmax cross-entropy with integer labels, its gradient, argmax.

use super::{Lowering, Op, Site};
use crate::graph::reference::{Array, StepContext};
use crate::graph::{Element, Graph, Shape, TensorType, Var};
use crate::{Error, Result};

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum RowKind {
    /// z [.., C] → [.., C]
    Softmax,
    /// (z [.., C], labels [..]) → −log softmax(z)[label], [..]
    CrossEntropy,
    /// (z [.., C], labels [..], u [..]) → (softmax(z) − onehot(label))·u, [.., C]
    CrossEntropyGradient,
    /// z [.., C] → the index of the first largest, [..]
    ArgMax,
}

/// One such operation at work.
#[derive(Debug)]
pub(crate) struct Row(pub RowKind);

impl Op for Row {
    fn name(&self) -> &'static str {
        match self.0 {
            RowKind::Softmax => "softmax",
            RowKind::CrossEntropy => "cross-entropy",
            RowKind::CrossEntropyGradient => "cross-entropy gradient",
            RowKind::ArgMax => "argmax",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        super::pointwise::require_f32(self.name(), &inputs[..1])?;
        let logits = &inputs[0].shape;
        let Some((_, outer)) = logits.dims().split_last() else {
            return Err(Error::shape(self.name(), "a scalar has no last axis"));
        };
        let rows = Shape(outer.to_vec());
        if let Some(labels) = inputs.get(1) {
            super::indexing::require_indices(self.name(), labels)?;
        }
        if let Some(other) = inputs[1..].iter().find(|ty| ty.shape != rows) {
            let message = format!("logits {logits} go with {rows}, not with {}", other.shape);
            return Err(Error::shape(self.name(), message));
        }
        Ok(match self.0 {
            RowKind::Softmax | RowKind::CrossEntropyGradient => inputs[0].clone(),
            RowKind::CrossEntropy => TensorType::f32(rows),
            RowKind::ArgMax => TensorType { shape: rows, element: Element::U32 },
        })
    }

    fn reference(&self, inputs: &[&Array], _: &[usize], _: &StepContext) -> Vec<f64> {
        let classes = *inputs[0].shape.last().unwrap_or(&1);
        let label = |row: usize| inputs[1].data[row] as usize;
        let rows = inputs[0].data.chunks(classes);
        match self.0 {
            RowKind::Softmax => rows.flat_map(softmax).collect(),
            RowKind::CrossEntropy => {
                rows.enumerate().map(|(row, z)| log_sum_exp(z) - z[label(row)]).collect()
            }
            RowKind::CrossEntropyGradient => rows
                .enumerate()
                .flat_map(|(row, z)| {
                    let upstream = inputs[2].data[row];
                    let mut slope = softmax(z);
                    slope[label(row)] -= 1.0;
                    slope.into_iter().map(move |value| value * upstream)
                })
                .collect(),
            RowKind::ArgMax => rows.map(|z| first_largest(z) as f64).collect(),
        }
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        match self.0 {
            RowKind::Softmax => Ok(vec![Some(softmax_product(g, site.output, cotangent)?)]),
            RowKind::CrossEntropy => {
                let to_logits = g.cross_entropy_gradient(site.inputs[0], site.inputs[1], cotangent)?;
                Ok(vec![Some(to_logits), None])
            }
            RowKind::CrossEntropyGradient => {
                let (to_logits, to_upstream) = self.second_order(g, site, cotangent)?;
                Ok(vec![Some(to_logits), None, Some(to_upstream)])
            }
            RowKind::ArgMax => Ok(vec![None]),
        }
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        match (self.0, tangents[0]) {
            (RowKind::Softmax, Some(tangent)) => softmax_product(g, site.output, tangent).map(Some),
            (RowKind::CrossEntropy, Some(tangent)) => {
                let slope = slope_of_cross_entropy(g, site)?;
                let product = g.mul(slope, tangent)?;
                sum_last(g, product).map(Some)
            }
            (RowKind::CrossEntropyGradient, tangent) => {
                let mut total = None;
                if let Some(tangent) = tangent {
                    // The Jacobian by the logits is symmetric, so its product with a tangent is its vjp.
                    let (along_logits, _) = self.second_order(g, site, tangent)?;
                    total = Some(along_logits);
                }
                if let Some(tangent) = tangents[2] {
                    let along_upstream = g.cross_entropy_gradient(site.inputs[0], site.inputs[1], tangent)?;
                    total = g.add_optional(total, Some(along_upstream))?;
                }
                Ok(total)
            }
            _ => Ok(None),
        }
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Row(self.0)
    }
}

impl Row {
    /// For s = softmax(z) and G = (s − onehot)·u: cotangent v gives u·(s⊙v − s·⟨s,v⟩) to z, ⟨s − onehot, v⟩ to u.
    fn second_order(&self, g: &mut Graph, site: &Site, v: Var) -> Result<(Var, Var)> {
        let softmax = g.softmax(site.inputs[0])?;
        let product = softmax_product(g, softmax, v)?;
        let upstream = spread_last(g, site.inputs[2], site.inputs[0])?;
        let to_logits = g.mul(product, upstream)?;
        let slope = slope_of_cross_entropy(g, site)?;
        let weighted = g.mul(slope, v)?;
        Ok((to_logits, sum_last(g, weighted)?))
    }
}

/// (diag s − s sᵀ)·v along the last axis: softmax's Jacobian, which is symmetric, times v.
fn softmax_product(g: &mut Graph, softmax: Var, v: Var) -> Result<Var> {
    let weighted = g.mul(softmax, v)?;
    let last = g.shape(softmax).rank() - 1;
    let total = g.sum_keeping_axes(weighted, &[last])?;
    let shape = g.shape(softmax).clone();
    let total = g.expand(total, shape)?;
    let correction = g.mul(softmax, total)?;
    g.sub(weighted, correction)
}

/// softmax(z) − onehot(label).
fn slope_of_cross_entropy(g: &mut Graph, site: &Site) -> Result<Var> {
    let one = g.constant(1.0)?;
    let rows = g.shape(site.inputs[1]).clone();
    let ones = g.broadcast_to(one, rows)?;
    g.cross_entropy_gradient(site.inputs[0], site.inputs[1], ones)
}

fn sum_last(g: &mut Graph, x: Var) -> Result<Var> {
    let last = g.shape(x).rank() - 1;
    g.sum(x, &[last])
}

/// [..] → [.., C], the value repeated along the last axis of `like`.
fn spread_last(g: &mut Graph, x: Var, like: Var) -> Result<Var> {
    let shape = g.shape(like).clone();
    let mut column = g.shape(x).clone();
    column.0.push(1.into());
    let column = g.reshape(x, column)?;
    g.expand(column, shape)
}

fn maximum(z: &[f64]) -> f64 {
    z.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn log_sum_exp(z: &[f64]) -> f64 {
    let largest = maximum(z);
    largest + z.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let normaliser = log_sum_exp(z);
    z.iter().map(|value| (value - normaliser).exp()).collect()
}

fn first_largest(z: &[f64]) -> usize {
    let largest = maximum(z);
    z.iter().position(|&value| value == largest).unwrap_or(0)
}
