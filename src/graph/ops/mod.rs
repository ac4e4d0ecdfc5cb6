//! The operations of a graph, one file a family, each operation whole: its shape, its f64 reference, both
//! derivatives and what the planner makes of it.

mod indexing;
mod matmul;
mod movement;
mod pointwise;
mod reduce;
mod rows;
mod source;

pub(crate) use indexing::{Gather, ScatterAdd};
pub(crate) use matmul::{Extents, MatMul};
pub(crate) use movement::{Expand, Pad, Permute, Reshape, Slice};
#[cfg(test)]
pub(crate) use pointwise::UNARY;
pub(crate) use pointwise::{BINARY, Binary, Select, Unary, unary_rule};
pub(crate) use reduce::{Reduce, ReduceKind};
pub(crate) use rows::{Row, RowKind};
pub(crate) use source::{Generate, Input, Parameter, random_row};

use std::fmt::Debug;

use super::reference::{Array, StepContext};
use super::{Graph, TensorType, Var};
use crate::Result;

/// Where an operation stands in its graph: what it reads and its own result.
pub(crate) struct Site<'a> {
    pub inputs: &'a [Var],
    pub output: Var,
}

/// One operation. Shapes are checked by `infer`; everything after may rely on them.
pub(crate) trait Op: Debug + Send + Sync {
    /// The name that errors and labels use.
    fn name(&self) -> &'static str;

    /// The type of the result, or what is wrong with the inputs.
    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType>;

    /// The result in f64; `shape` is the resolved shape of the result.
    fn reference(&self, inputs: &[&Array], shape: &[usize], step: &StepContext) -> Vec<f64>;

    /// Cotangents of the inputs, given that of the output; `None` where nothing flows.
    fn vjp(&self, graph: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>>;

    /// The tangent of the output, given those of the inputs; `None` where all are zero.
    fn jvp(&self, graph: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>>;

    /// What the planner makes of it.
    fn lower(&self) -> Lowering<'_>;
}

/// What the planner makes of an operation.
pub(crate) enum Lowering<'a> {
    /// Memory that is there already.
    Source(Source<'a>),
    /// Each element from the inputs' elements at the same index: WGSL in `{a}`, `{b}`, `{c}` of type `T`,
    /// with functions that it calls.
    Pointwise { expression: &'a str, functions: &'static str },
    /// Each element from its own linear index; no inputs.
    Generated(Generated),
    /// The input's elements under other indices.
    View(View<'a>),
    /// Rows of input 0 picked by input 1: a view with an index from memory.
    Gather,
    /// Sum or maximum over a block of adjacent axes.
    Reduce(&'a Reduce),
    /// The product of matrices.
    MatMul(&'a MatMul),
    /// Kernels that walk the last axis.
    Row(RowKind),
    /// Rows of input 1 added up by the index in input 0.
    ScatterAdd,
}

/// What memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// The input slot of this name.
    Input(&'a str),
    /// The range of θ that is the graph's parameter of this number.
    Parameter(usize),
}

/// An element that is computed from its index alone, or from the step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Generated {
    /// The same number everywhere.
    Constant(f64),
    /// The coordinate on one axis.
    Iota { axis: usize },
    /// Uniform on [0, 1): Philox keyed by (seed, step, stream), counted by the element's index within the batch.
    Random { stream: u32 },
    /// [batch]: 1 for the rows that are there, 0 for those that fill up the last, short micro-batch.
    RowMask,
    /// [batch]: the weight of a row in the mean over the batch (1/rows), 0 for rows that fill up.
    RowWeight,
    /// What the loss is multiplied by on the way to its gradient, so that this stays within 16 bits.
    LossScale,
}

/// A re-indexing without arithmetic.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a> {
    Reshape,
    Permute(&'a [usize]),
    Expand,
    Slice { axis: usize, start: usize },
    Pad { axis: usize, before: usize },
}
