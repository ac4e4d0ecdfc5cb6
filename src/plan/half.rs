//! Mixed precision: which tensors of a plan are stored in 16 bits.
//!
//! Arithmetic and sums are f32 with them or without; what changes is how a value lies in memory between two kernels
//! (Micikevicius et al. 2018, "Mixed Precision Training"). θ, its gradient and the optimizer's state stay f32.

use std::collections::{BTreeMap, BTreeSet};

use super::Home;
use super::fuse::{Group, Kernels, matrix_operand, storage};
use super::theta::ThetaLayout;
use crate::graph::ops::{Lowering, Source};
use crate::graph::{Element, Graph, Var};

/// The nodes that [`super::Precision::F16`] stores in 16 bits: the results of products and of elementwise kernels, and the
/// gradients of logits, where they are matrices and lie in an arena.
///
/// What stays f32: outputs, and what sums that are results read, such as predictions with their squared errors;
/// sums and maxima, vectors and scalars, which are few and feed sums; logits, whose exponentials and differences the loss
/// takes; and what is summed by index.
pub(super) fn stored_in_half(
    graph: &Graph,
    groups: &[Group],
    homes: &BTreeMap<Var, Home>,
    theta: &ThetaLayout,
) -> BTreeSet<Var> {
    let lowering = |var: Var| graph.node(var).op.lower();
    let kernels = Kernels { graph, groups };
    let mut exact: BTreeSet<Var> = groups
        .iter()
        .filter_map(|group| group.anchor)
        .filter(|&anchor| matches!(lowering(anchor), Lowering::Row(_) | Lowering::ScatterAdd))
        .flat_map(|anchor| graph.node(anchor).inputs.iter().map(|&input| storage(graph, input)))
        .collect();
    for group in groups.iter().filter(|group| matches!(homes.get(&group.root), Some(Home::Result(_)))) {
        if let Some(sum) = group.anchor.filter(|&anchor| matches!(lowering(anchor), Lowering::Reduce(_))) {
            exact.extend(kernels.of(sum).1);
        }
    }
    let fits = |group: &&Group| {
        let root = group.root;
        let is_kind = match group.anchor.map(lowering) {
            None | Some(Lowering::Row(_)) => true,
            Some(Lowering::MatMul(_)) => !sums_in_pieces(graph, group, theta),
            Some(_) => false,
        };
        is_kind
            && graph.element(root) == Element::F32
            && graph.shape(root).rank() >= 2
            && !homes.contains_key(&root)
            && !exact.contains(&root)
    };
    groups.iter().filter(fits).map(|group| group.root).collect()
}

/// Whether a product's sums may be continued by a second dispatch from what the first one stored.
fn sums_in_pieces(graph: &Graph, group: &Group, theta: &ThetaLayout) -> bool {
    let Some(anchor) = group.anchor else { return false };
    graph.node(anchor).inputs.iter().any(|&input| {
        let stored = matrix_operand(graph, input, false).stored;
        match graph.node(stored).op.lower() {
            Lowering::Source(Source::Parameter(number)) => theta.pieces[number].len() > 1,
            _ => false,
        }
    })
}
