//! Which nodes become kernels and which ride inside another's: one pass over the graph, from its end to its start.
//!
//! Elementwise operations and views join the one kernel that needs them; a matmul or reduction takes the chain of
//! elementwise operations behind it as its epilogue, a reduction also the chain before it. What is needed in
//! memory, or by several kernels and not cheap to make again, gets a kernel of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::ops::{Lowering, View};
use crate::graph::{Graph, Var};
use crate::{Error, Result};

/// One kernel to be: everything between its stored inputs and its stored result `root`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// The node whose value is stored.
    pub root: Var,
    /// The matmul or reduction inside, whose result goes through the elementwise operations up to `root`;
    /// `root` itself where it is an operation with a kernel of its own.
    pub anchor: Option<Var>,
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
///
/// Errors: [`Error::DoesNotFit`] where one operation alone reads more.
pub(crate) fn fuse(graph: &Graph, outputs: &[Var], max_buffers: usize) -> Result<Vec<Group>> {
    let mut forced: BTreeSet<Var> = outputs.iter().copied().collect();
    loop {
        let groups = cut(graph, &forced);
        let kernels = Kernels { graph, groups: &groups };
        // A kernel with too many inputs gives one of its inner nodes a kernel of its own, and all is cut again.
        let Some(wide) = groups.iter().find(|group| kernels.reads(group) + 1 > max_buffers) else {
            return Ok(groups);
        };
        let split = kernels.split_point(wide, max_buffers).ok_or_else(|| {
            let name = graph.node(wide.root).op.name();
            Error::DoesNotFit(format!(
                "a kernel that ends in `{name}` reads {} tensors, but this adapter binds at most {max_buffers} at once, \
                 the result included",
                kernels.reads(wide)
            ))
        })?;
        forced.insert(split);
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
        let must_store = forced.contains(&var) || graph.is_stored(var) || uses.iter().any(|(_, hard)| *hard);
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

/// A graph that is cut into kernels.
pub(crate) struct Kernels<'a> {
    pub graph: &'a Graph,
    /// In the order of their roots.
    pub groups: &'a [Group],
}

impl Kernels<'_> {
    fn is_stored(&self, var: Var) -> bool {
        self.groups.binary_search_by_key(&var, |group| group.root).is_ok()
            || matches!(self.graph.node(var).op.lower(), Lowering::Source(_))
    }

    /// The nodes between `from` and what is stored, and the stored nodes, none of them behind `stop`.
    fn below(&self, from: impl Iterator<Item = Var>, stop: Option<Var>) -> (BTreeSet<Var>, BTreeSet<Var>) {
        let (mut inner, mut loads) = (BTreeSet::new(), BTreeSet::new());
        let mut open: Vec<Var> = from.collect();
        while let Some(var) = open.pop() {
            if self.is_stored(var) {
                loads.insert(var);
            } else if inner.insert(var) && Some(var) != stop {
                open.extend(operands(self.graph, var).iter().map(|(operand, _)| *operand));
            }
        }
        (inner, loads)
    }

    /// The same below a node, which is one of the former itself whether or not it is stored.
    pub fn of(&self, node: Var) -> (BTreeSet<Var>, BTreeSet<Var>) {
        let (mut inner, loads) = self.below(operands(self.graph, node).into_iter().map(|(var, _)| var), None);
        inner.insert(node);
        (inner, loads)
    }

    /// The number of buffers that the kernel of `group` reads.
    fn reads(&self, group: &Group) -> usize {
        let soft =
            |var: Var| operands(self.graph, var).into_iter().filter(|(_, hard)| !hard).map(|(var, _)| var);
        let all = |var: Var| operands(self.graph, var).into_iter().map(|(var, _)| var);
        let Some(anchor) = group.anchor else { return self.below(all(group.root), None).1.len() };
        let mut loads = match anchor == group.root {
            true => BTreeSet::new(),
            false => self.below(all(group.root), Some(anchor)).1,
        };
        let behind = loads.len();
        loads.extend(self.below(soft(anchor), None).1);
        match self.graph.node(anchor).op.lower() {
            // In two stages the second reads the first's parts and what stands behind the reduction.
            Lowering::Reduce(_) => loads.len().max(behind + 1),
            // An operand from memory has a binding of its own, even where the epilogue reads the same tensor.
            _ => loads.len() + operands(self.graph, anchor).iter().filter(|(_, hard)| *hard).count(),
        }
    }

    /// The inner node of a kernel (an elementwise one, or the anchor) that takes the most inputs with it and
    /// still fits.
    fn split_point(&self, group: &Group, max_buffers: usize) -> Option<Var> {
        let (inner, _) = self.below(operands(self.graph, group.root).iter().map(|(var, _)| *var), None);
        let fits = |&var: &Var| {
            let is_anchor = group.anchor == Some(var);
            if !is_anchor && !matches!(self.graph.node(var).op.lower(), Lowering::Pointwise { .. }) {
                return None;
            }
            let below = self.below(std::iter::once(var), None).0;
            let reads = self
                .reads(&Group { root: var, anchor: group.anchor.filter(|anchor| below.contains(anchor)) });
            (reads > 1 && reads < max_buffers).then_some((reads, var))
        };
        inner
            .iter()
            .filter_map(fits)
            .max_by_key(|&(reads, var)| (reads, std::cmp::Reverse(var)))
            .map(|(_, var)| var)
    }
}
