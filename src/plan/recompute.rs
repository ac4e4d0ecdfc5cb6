//! Activations made again in the backward pass instead of being kept for it: a transform of the program, after Chen
//! et al. (2016), "Training Deep Nets with Sublinear Memory Cost".
//!
//! Kernels run in the order of nodes, so what is made again right before the first backward node that reads it lives
//! no longer than the backward pass of its segment. It is made by the same kernel from the same bits, a random stream
//! included, so the gradients are the same to the bit. For this the program is cut into kernels where it was without
//! recomputation: a driver may round a sum of products otherwise when it stands in another kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::fuse::fuse;
use super::outputs::own_outputs;
use super::{Destination, Program};
use crate::Result;
use crate::gpu::Profile;
use crate::graph::ops::Lowering;
use crate::graph::{Graph, Var};

/// A program that gives the same outputs and makes some activations twice.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub program: Program,
    /// Stored tensors of the forward pass that are made a second time.
    pub recomputed: usize,
}

/// Sensible choices of what to make again, from little to much; none where the backward pass reads no activation.
///
/// The first is to make only elementwise maps again. The others cut the forward pass into segments, keep what one
/// segment hands to the next, and make a segment's activations again when its backward pass begins.
///
/// Errors: [`crate::Error::DoesNotFit`] where the program cannot be cut into kernels.
pub(crate) fn variants(program: &Program, profile: &Profile) -> Result<Vec<Variant>> {
    let pass = ForwardPass::of(program, profile)?;
    let mut seen = BTreeSet::new();
    let mut found: Vec<(usize, Variant)> = Vec::new();
    let segmented = pass.segment_counts().into_iter().map(|count| pass.kept_between_segments(count));
    for kept in std::iter::once(pass.costly_from(Var(0))).chain(segmented) {
        let again = pass.rebuild(program, &kept);
        if !again.remade.is_empty() && seen.insert(again.kept.clone()) {
            let costly = again.remade.iter().filter(|&var| !pass.stored[var].is_cheap).count();
            found.push((costly, Variant { program: again.program, recomputed: again.remade.len() }));
        }
    }
    found.sort_by_key(|(costly, variant)| (*costly, variant.recomputed));
    Ok(found.into_iter().map(|(_, variant)| variant).collect())
}

/// A tensor that the forward pass stores.
struct Activation {
    /// Bytes that a row of the batch adds to it.
    bytes: u64,
    /// Whether one elementwise kernel makes it from what else is stored.
    is_cheap: bool,
    /// The last stored tensor of the forward pass that is computed from it.
    last_read: Var,
}

/// What the results depend on, seen as the tensors that are stored for it.
struct ForwardPass {
    graph: Graph,
    /// What is stored without recomputation, the backward pass included.
    roots: BTreeSet<Var>,
    live: Vec<bool>,
    forward: Vec<bool>,
    stored: BTreeMap<Var, Activation>,
    /// Behind those of them that the backward pass reads, in the order in which they are made.
    places: Vec<Place>,
}

/// Where the forward pass can be cut.
struct Place {
    /// The tensor that is made last before the cut.
    var: Var,
    /// Bytes of a row, of all that the backward pass reads and that is made before the cut.
    end: u64,
    /// Bytes of a row that cross the cut, and how many cheap tensors do: of equal places the costly ones are kept.
    handed_on: u64,
    cheap: usize,
}

/// A program with values made again.
struct Rebuilt {
    program: Program,
    /// What the backward pass reads of the forward pass.
    kept: BTreeSet<Var>,
    /// Stored tensors that are made a second time.
    remade: BTreeSet<Var>,
}

impl ForwardPass {
    fn of(program: &Program, profile: &Profile) -> Result<Self> {
        let mut graph = program.graph.clone();
        let outputs: Vec<Var> = own_outputs(&mut graph, &program.outputs)?.into_keys().collect();
        let groups = fuse(&graph, &outputs, profile.max_storage_buffers as usize)?;
        let roots = groups.iter().map(|group| group.root).collect();
        let of = |wanted: fn(&Destination) -> bool| -> Vec<Var> {
            program.outputs.iter().filter(|(_, to)| wanted(to)).map(|(var, _)| *var).collect()
        };
        let live = graph.live(&of(|_| true));
        let forward = graph.live(&of(|to| matches!(to, Destination::Result(_))));
        let mut stored = BTreeMap::new();
        for group in groups.iter().filter(|group| forward[group.root.index()]) {
            let ty = &graph.node(group.root).ty;
            let bytes = |batch| ty.element.bytes(ty.shape.elements(batch));
            let is_cheap = group.anchor.is_none();
            let activation = Activation { bytes: bytes(2) - bytes(1), is_cheap, last_read: group.root };
            stored.insert(group.root, activation);
        }
        let mut pass = ForwardPass { graph, roots, live, forward, stored, places: Vec::new() };
        let made: Vec<Var> = pass.stored.keys().copied().collect();
        for var in made {
            for read in pass.stored_below(pass.graph.node(var).inputs.clone()) {
                if let Some(activation) = pass.stored.get_mut(&read) {
                    activation.last_read = activation.last_read.max(var);
                }
            }
        }
        let backward = (0..pass.graph.len()).filter(|&index| pass.live[index] && !pass.forward[index]);
        let read: Vec<Var> =
            backward.flat_map(|index| pass.graph.node(Var(index as u32)).inputs.clone()).collect();
        let read = read.into_iter().filter(|var| pass.forward[var.index()]).collect();
        pass.places = pass.places(pass.stored_below(read));
        Ok(pass)
    }

    /// The stored tensors from which the values `open` are computed.
    fn stored_below(&self, mut open: Vec<Var>) -> Vec<Var> {
        let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
        while let Some(var) = open.pop() {
            if self.stored.contains_key(&var) {
                found.insert(var);
            } else if seen.insert(var) {
                open.extend(&self.graph.node(var).inputs);
            }
        }
        found.into_iter().collect()
    }

    /// Stored tensors from `first` on that more than an elementwise kernel makes.
    fn costly_from(&self, first: Var) -> BTreeSet<Var> {
        self.stored
            .range(first..)
            .filter(|(_, activation)| !activation.is_cheap)
            .map(|(var, _)| *var)
            .collect()
    }

    /// Into how many segments to cut: half as many as there are tensors, a quarter … two, and the square root of
    /// their number, which is where n equal tensors take least, n/s + s of them.
    fn segment_counts(&self) -> BTreeSet<usize> {
        let tensors = self.places.len();
        let halves = std::iter::successors(Some(tensors / 2), |count| Some(count / 2));
        let root = (tensors as f64).sqrt().round() as usize;
        halves.take_while(|&count| count >= 2).chain([root]).filter(|&count| count >= 2).collect()
    }

    /// What is kept when the forward pass is cut into `segments` of about equal bytes: what crosses the cuts, and of
    /// the last segment, whose backward pass comes at once, all that is costly.
    fn kept_between_segments(&self, segments: usize) -> BTreeSet<Var> {
        let mut kept = BTreeSet::new();
        let mut last_cut = Var(0);
        for number in 1..segments {
            if let Some(cut) = self.cut_after(number, segments) {
                kept.extend(self.crossing(cut));
                last_cut = last_cut.max(cut);
            }
        }
        kept.extend(self.costly_from(last_cut));
        kept
    }

    /// The tensor behind which segment `number` of `segments` ends: where least is handed on, of the places within a
    /// quarter of a segment of the balanced one; the nearest place where there is none so near.
    fn cut_after(&self, number: usize, segments: usize) -> Option<Var> {
        let total = self.places.last()?.end;
        let (number, segments) = (number as u64, segments as u64);
        let rated = self.places.iter().map(|place| {
            // In units of a byte by four segments, in which a quarter of a segment is `total`.
            let distance = (4 * segments * place.end).abs_diff(4 * number * total);
            let too_far = if distance > total { distance } else { 0 };
            (too_far, place.handed_on, place.cheap, distance, place.var)
        });
        rated.min().map(|(.., var)| var)
    }

    /// The places at which the forward pass can be cut: behind each of `read_backward`.
    fn places(&self, read_backward: Vec<Var>) -> Vec<Place> {
        let bytes = |var: &Var| self.stored[var].bytes;
        let mut end = 0;
        let place = |var: Var| {
            end += bytes(&var);
            let handed_on = self.crossing(var).map(|var| bytes(&var)).sum();
            let cheap = self.crossing(var).filter(|var| self.stored[var].is_cheap).count();
            Place { var, end, handed_on, cheap }
        };
        read_backward.into_iter().map(place).collect()
    }

    /// The stored tensors that the forward pass makes up to `cut` and reads after it.
    fn crossing(&self, cut: Var) -> impl Iterator<Item = Var> + '_ {
        self.stored
            .range(..=cut)
            .filter(move |(_, activation)| activation.last_read > cut)
            .map(|(var, _)| *var)
    }

    /// The program in which the backward pass takes `kept` and sources from the forward pass, and all else that it
    /// needs of it is made again right before the first node that reads it.
    fn rebuild(&self, program: &Program, keep: &BTreeSet<Var>) -> Rebuilt {
        let mut graph = self.graph.without_nodes();
        // Where the nodes of the old graph stand in the new one: as they were, and as the backward pass sees them.
        let (mut first, mut seen_backward) = (BTreeMap::new(), BTreeMap::new());
        let (mut kept, mut remade) = (BTreeSet::new(), BTreeSet::new());
        for var in (0..self.graph.len()).map(|index| Var(index as u32)) {
            let node = self.graph.node(var);
            let is_source = matches!(node.op.lower(), Lowering::Source(_));
            if !self.live[var.index()] && !is_source {
                continue;
            }
            if self.forward[var.index()] || is_source {
                let inputs = node.inputs.iter().map(|input| first[input]).collect();
                first.insert(var, self.append(&mut graph, var, inputs));
                continue;
            }
            for missing in self.missing(node.inputs.clone(), keep, &seen_backward) {
                let node = self.graph.node(missing);
                let is_source = matches!(node.op.lower(), Lowering::Source(_));
                let seen = if keep.contains(&missing) || is_source {
                    kept.extend((!is_source).then_some(missing));
                    first[&missing]
                } else {
                    remade.extend(self.stored.contains_key(&missing).then_some(missing));
                    let inputs = node.inputs.iter().map(|input| seen_backward[input]).collect();
                    self.append(&mut graph, missing, inputs)
                };
                seen_backward.insert(missing, seen);
            }
            let inputs = node.inputs.iter().map(|input| seen_backward[input]).collect();
            let new = self.append(&mut graph, var, inputs);
            first.insert(var, new);
            seen_backward.insert(var, new);
        }
        let outputs = program.outputs.iter().map(|(var, to)| (first[var], *to)).collect();
        Rebuilt { program: Program { graph, outputs }, kept, remade }
    }

    /// Appends `var` of the old graph to the new one, stored if it was.
    fn append(&self, graph: &mut Graph, var: Var, inputs: Vec<Var>) -> Var {
        let new = graph.append(self.graph.node(var), inputs);
        if self.roots.contains(&var) {
            graph.store(new);
        }
        new
    }

    /// The values among `open`, and those from which they are made again, that the backward pass has not `seen`, in
    /// the order in which they are to be made.
    fn missing(&self, mut open: Vec<Var>, keep: &BTreeSet<Var>, seen: &BTreeMap<Var, Var>) -> BTreeSet<Var> {
        let mut missing = BTreeSet::new();
        while let Some(var) = open.pop() {
            if !seen.contains_key(&var) && missing.insert(var) && !keep.contains(&var) {
                open.extend(&self.graph.node(var).inputs);
            }
        }
        missing
    }
}
