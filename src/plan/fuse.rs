//! Which nodes become kernels and which ride inside another's: one pass over the graph, from its end to its start.
//!
//! Elementwise operations and views join the one kernel that needs them; a matmul or reduction takes the chain of
//! elementwise operations behind it as its epilogue, a reduction also the chain before it. What is needed in
//! memory, or by several kernels and not cheap to make again, gets a kernel of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::ops::{Lowering, View};
use crate::graph::{Graph, Var};

/// One kernel to be: everything between its stored inputs and its stored result `root`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// The node whose value is stored.
    pub root: Var,
    /// The matmul or reduction inside, whose result goes through the elementwise operations up to `root`;
    /// `root` itself where it is an operation with a kernel of its own.
    pub anchor: Option<Var>,
}

/// The kernels of a graph in the order in which they run.
pub(crate) struct Fusion {
    pub groups: Vec<Group>,
}

/// An operand that must lie in memory, seen through reshapes, which move nothing.
pub(crate) fn storage(graph: &Graph, var: Var) -> Var {
    match graph.node(var).op.lower() {
        Lowering::View(View::Reshape) => storage(graph, graph.node(var).inputs[0]),
        _ => var,
    }
}

/// A matmul's operand as it lies in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixOperand {
    pub stored: Var,
    /// Whether the last two axes are read swapped.
    pub transposed: bool,
    /// Whether one matrix serves all batches.
    pub shared: bool,
}

/// Looks through a swap of the last two axes and through the repetition of one matrix over the batches.
pub(crate) fn matrix_operand(graph: &Graph, operand: Var, transposed: bool) -> MatrixOperand {
    let mut found = MatrixOperand { stored: operand, transposed, shared: false };
    loop {
        let node = graph.node(found.stored);
        let rank = node.ty.shape.rank();
        match node.op.lower() {
            Lowering::View(View::Permute(axes)) if swaps_last_two(axes) => {
                found.transposed = !found.transposed
            }
            Lowering::View(View::Expand) => {
                let input = graph.shape(node.inputs[0]);
                let one_matrix = input.dims()[..rank - 2].iter().all(|dim| dim.resolve(2) == 1)
                    && input.dims()[rank - 2..] == node.ty.shape.dims()[rank - 2..];
                if !one_matrix {
                    return found;
                }
                found.shared = true;
            }
            Lowering::View(View::Reshape) => {
                let input = graph.shape(node.inputs[0]);
                let keeps_matrix = input.rank() >= 2
                    && input.dims()[input.rank() - 2..] == node.ty.shape.dims()[rank.saturating_sub(2)..];
                if !keeps_matrix {
                    found.stored = storage(graph, found.stored);
                    return found;
                }
            }
            _ => return found,
        }
        found.stored = node.inputs[0];
    }
}

fn swaps_last_two(axes: &[usize]) -> bool {
    let rank = axes.len();
    rank >= 2
        && axes[..rank - 2].iter().enumerate().all(|(i, &axis)| i == axis)
        && axes[rank - 2..] == [rank - 1, rank - 2]
}

/// What a node reads: through its kernel (soft, may be computed on the way) or from memory (hard).
fn operands(graph: &Graph, var: Var) -> Vec<(Var, bool)> {
    let node = graph.node(var);
    let hard = |&input: &Var| (storage(graph, input), true);
    match node.op.lower() {
        Lowering::Source(_) | Lowering::Generated(_) => Vec::new(),
        Lowering::Pointwise { .. } | Lowering::View(_) | Lowering::Reduce(_) => {
            node.inputs.iter().map(|&input| (input, false)).collect()
        }
        Lowering::MatMul(matmul) => {
            let flags = [matmul.transpose_a, matmul.transpose_b];
            let operands = node.inputs.iter().zip(flags);
            operands.map(|(&input, flag)| (matrix_operand(graph, input, flag).stored, true)).collect()
        }
        Lowering::Gather | Lowering::ScatterAdd => node.inputs.iter().map(hard).collect(),
        // The upstream factor of a row is one number, made where it is used.
        Lowering::Row(_) => {
            let inputs = node.inputs.iter().enumerate();
            inputs.map(|(i, input)| if i < 2 { hard(input) } else { (*input, false) }).collect()
        }
    }
}

/// How a node that is no root stands in the kernels that hold it.
#[derive(Clone, Default)]
struct Place {
    /// The roots of those kernels.
    hosts: BTreeSet<Var>,
    /// Whether it is needed only at the very element that the kernel writes.
    aligned: bool,
}

/// Cuts the graph of `outputs` (each to be stored) into kernels that bind at most `max_buffers` storage buffers.
pub(crate) fn fuse(graph: &Graph, outputs: &[Var], max_buffers: usize) -> Fusion {
    let mut forced: BTreeSet<Var> = outputs.iter().copied().collect();
    loop {
        let groups = cut(graph, &forced);
        // A kernel with too many inputs gives one of its inner nodes a kernel of its own, and all is cut again.
        let too_wide = groups.iter().find(|group| loads(graph, &groups, group).len() + 1 > max_buffers);
        match too_wide.and_then(|group| split_point(graph, &groups, group, max_buffers)) {
            Some(node) => forced.insert(node),
            None => return Fusion { groups },
        };
    }
}

fn cut(graph: &Graph, forced: &BTreeSet<Var>) -> Vec<Group> {
    let mut live: BTreeSet<Var> = forced.clone();
    let mut consumers: BTreeMap<Var, Vec<(Var, bool)>> = BTreeMap::new();
    let mut places: BTreeMap<Var, Place> = BTreeMap::new();
    let mut groups: BTreeMap<Var, Group> = BTreeMap::new();
    // Every node comes after all its consumers, so its place follows from theirs.
    while let Some(var) = live.pop_last() {
        for (operand, hard) in operands(graph, var) {
            live.insert(operand);
            consumers.entry(operand).or_default().push((var, hard));
        }
        let uses = consumers.get(&var).map_or(&[][..], Vec::as_slice);
        let lowering = graph.node(var).op.lower();
        if matches!(lowering, Lowering::Source(_)) {
            continue;
        }
        let mut place = Place { aligned: true, ..Place::default() };
        for (consumer, _) in uses {
            let transparent = matches!(
                graph.node(*consumer).op.lower(),
                Lowering::Pointwise { .. } | Lowering::View(View::Reshape)
            );
            match places.get(consumer) {
                Some(inner) => {
                    place.hosts.extend(&inner.hosts);
                    place.aligned &= transparent && inner.aligned;
                }
                None => {
                    place.hosts.insert(*consumer);
                    place.aligned &= transparent;
                }
            }
        }
        let must_store = forced.contains(&var) || uses.iter().any(|(_, hard)| *hard);
        let inlined = !must_store && joins(&lowering, &place, var, &mut groups);
        if inlined {
            places.insert(var, place);
        } else {
            let anchor = is_anchor(&lowering).then_some(var);
            groups.insert(var, Group { root: var, anchor });
        }
    }
    groups.into_values().collect()
}

/// Whether the node can live in the kernels that need it; a matmul or reduction becomes the anchor of its one host.
fn joins(lowering: &Lowering, place: &Place, var: Var, groups: &mut BTreeMap<Var, Group>) -> bool {
    let only_host = if place.hosts.len() == 1 { place.hosts.first() } else { None };
    match lowering {
        Lowering::Generated(_) | Lowering::View(_) | Lowering::Gather => true,
        Lowering::Pointwise { .. } => only_host.is_some(),
        Lowering::MatMul(_) | Lowering::Reduce(_) => match only_host.and_then(|host| groups.get_mut(host)) {
            Some(group) if place.aligned && group.anchor.is_none() => {
                group.anchor = Some(var);
                true
            }
            _ => false,
        },
        Lowering::Source(_) | Lowering::Row(_) | Lowering::ScatterAdd => false,
    }
}

fn is_anchor(lowering: &Lowering) -> bool {
    matches!(lowering, Lowering::MatMul(_) | Lowering::Reduce(_) | Lowering::Row(_) | Lowering::ScatterAdd)
}

/// The stored nodes that a kernel reads.
fn loads(graph: &Graph, groups: &[Group], group: &Group) -> BTreeSet<Var> {
    operands(graph, group.root).iter().flat_map(|(operand, _)| loads_below(graph, groups, *operand)).collect()
}

fn loads_below(graph: &Graph, groups: &[Group], var: Var) -> BTreeSet<Var> {
    let stored = groups.binary_search_by_key(&var, |group| group.root).is_ok();
    if stored || matches!(graph.node(var).op.lower(), Lowering::Source(_)) {
        return BTreeSet::from([var]);
    }
    operands(graph, var).iter().flat_map(|(operand, _)| loads_below(graph, groups, *operand)).collect()
}

/// The inner elementwise node of a kernel that takes the most inputs with it and still fits.
fn split_point(graph: &Graph, groups: &[Group], group: &Group, max_buffers: usize) -> Option<Var> {
    let mut best: Option<(usize, Var)> = None;
    let mut open: Vec<Var> = operands(graph, group.root).iter().map(|(operand, _)| *operand).collect();
    while let Some(var) = open.pop() {
        let stored = groups.binary_search_by_key(&var, |group| group.root).is_ok();
        if stored {
            continue;
        }
        let width = loads_below(graph, groups, var).len();
        let elementwise = matches!(graph.node(var).op.lower(), Lowering::Pointwise { .. });
        if elementwise && width > 1 && width < max_buffers && best.is_none_or(|(widest, _)| width > widest) {
            best = Some((width, var));
        }
        open.extend(operands(graph, var).iter().map(|(operand, _)| *operand));
    }
    best.map(|(_, var)| var)
}
