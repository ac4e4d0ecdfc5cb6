//! A run at one micro-batch: how many rows a workgroup takes, in which phases it works, and where in workgroup memory
//! each tensor lies.

use std::collections::{BTreeMap, BTreeSet};

use super::{Member, RowRun, Work};
use crate::gpu::{AdapterClass, Profile};
use crate::graph::{Element, Graph, Var};
use crate::plan::Home;
use crate::plan::arena::{self, Lifetime};
use crate::plan::kernels::matmul::{SUBGROUP, broadcasts};
use crate::plan::theta::ThetaLayout;

/// Rows of a workgroup; powers of two.
const FEWEST_ROWS: usize = 4;
const MOST_ROWS: usize = 32;

/// A run as workgroups do it.
pub(crate) struct Block {
    /// Rows of a workgroup.
    pub rows: usize,
    /// Invocations of a workgroup.
    pub lanes: usize,
    /// Whether they are one subgroup, whose lanes read for each other.
    pub broadcast: bool,
    pub workgroups: usize,
    /// Members by number: those of one phase do not need one another, and a barrier parts it from the next.
    pub phases: Vec<Vec<usize>>,
    /// Elements before each tensor in the array of its kind of numbers.
    pub places: BTreeMap<Var, usize>,
    /// Elements of the arrays of floats and of integers.
    pub lengths: [usize; 2],
    /// What the sums of a workgroup lie in, one after the other.
    pub parts: Vec<Part>,
}

/// The sums of one member.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub root: Var,
    pub anchor: Var,
    /// Where the whole sum goes: the shard of the gradient and the floats before it there, or a tensor of its own.
    pub shard: Option<(usize, usize)>,
    /// Floats before it in a workgroup's parts, and its own.
    pub start: usize,
    pub elements: usize,
}

impl Block {
    /// The run on micro-batches of `batch` rows with as many rows a workgroup as memory allows; none where it is too
    /// little for the fewest.
    pub fn new(run: &RowRun, graph: &Graph, profile: &Profile, batch: usize) -> Option<Self> {
        let (phases, phase_of) = phases(&run.members);
        let (lanes, wanted) = wanted(profile, batch);
        let mut rows = wanted;
        loop {
            let (places, lengths) = place(run, graph, &phase_of, rows);
            let block = Block {
                rows,
                lanes,
                broadcast: broadcasts(profile),
                workgroups: batch.div_ceil(rows),
                phases: phases.clone(),
                places,
                lengths,
                parts: Vec::new(),
            };
            if block.bytes() <= profile.max_workgroup_memory {
                return Some(block);
            }
            if rows == FEWEST_ROWS {
                return None;
            }
            rows /= 2;
        }
    }

    /// Bytes of workgroup memory.
    pub fn bytes(&self) -> u32 {
        4 * (self.lengths[0] + self.lengths[1]) as u32
    }

    /// Floats that a workgroup leaves.
    pub fn stride(&self) -> usize {
        self.parts.last().map_or(0, |part| part.start + part.elements)
    }

    /// Floats that all workgroups leave.
    pub fn floats(&self) -> usize {
        self.workgroups * self.stride()
    }

    /// Places the parts, those of one shard of the gradient next to each other.
    pub fn with_parts(
        mut self,
        run: &RowRun,
        graph: &Graph,
        homes: &BTreeMap<Var, Home>,
        theta: &ThetaLayout,
    ) -> Self {
        let sums = run.members.iter().filter(|member| member.work.sums());
        let part = |member: &Member| {
            let root = member.group.root;
            let shard = match homes.get(&root) {
                Some(&Home::Gradient(number)) => {
                    theta.pieces[number].first().map(|piece| (piece.shard, piece.offset))
                }
                _ => None,
            };
            let anchor = member.group.anchor.unwrap_or(root);
            Part { root, anchor, shard, start: 0, elements: graph.shape(root).elements(1) }
        };
        self.parts = sums.map(part).collect();
        self.parts.sort_by_key(|part| part.shard);
        let mut start = 0;
        for part in &mut self.parts {
            part.start = start;
            start += part.elements;
        }
        self
    }
}

/// Invocations of a workgroup, and the rows that it should take.
fn wanted(profile: &Profile, batch: usize) -> (usize, usize) {
    // Lanes of one subgroup need no coroutines at barriers on a software adapter, which has a core or two to fill. A
    // GPU is to be given workgroups enough for its multiprocessors; not measured.
    let (lanes, workgroups) = match profile.class {
        AdapterClass::Software => (SUBGROUP as usize, 2),
        AdapterClass::Integrated | AdapterClass::Other => (128, 8),
        AdapterClass::Discrete => (128, 32),
    };
    let share = batch.div_ceil(workgroups).next_power_of_two();
    (lanes.min(profile.max_workgroup_invocations as usize), share.clamp(FEWEST_ROWS, MOST_ROWS))
}

/// The members by the phase in which they can work at the earliest, and the phase of each.
fn phases(members: &[Member]) -> (Vec<Vec<usize>>, BTreeMap<Var, usize>) {
    let mut phases: Vec<Vec<usize>> = Vec::new();
    let mut phase_of = BTreeMap::new();
    for (number, member) in members.iter().enumerate() {
        let after = member.reads.iter().filter_map(|read| phase_of.get(read)).max();
        let phase = after.map_or(0, |phase| phase + 1);
        phase_of.insert(member.group.root, phase);
        if phase == phases.len() {
            phases.push(Vec::new());
        }
        phases[phase].push(number);
    }
    (phases, phase_of)
}

/// Places in workgroup memory for blocks of `rows`, and the elements of the arrays of floats and of integers.
fn place(
    run: &RowRun,
    graph: &Graph,
    phase_of: &BTreeMap<Var, usize>,
    rows: usize,
) -> (BTreeMap<Var, usize>, [usize; 2]) {
    let mut places = BTreeMap::new();
    let lengths = [Element::F32, Element::U32].map(|element| {
        let (mut vars, mut lives) = (Vec::new(), Vec::new());
        for member in &run.members {
            let var = member.group.root;
            let row = match member.work {
                // Sums along each row come first.
                Work::Sum { extent, inner } if extent > 1 => inner,
                _ if member.work.sums() => continue,
                _ => graph.shape(var).elements(1),
            };
            if graph.element(var) == element {
                let first = phase_of[&var];
                let readers = run.members.iter().filter(|other| other.reads.contains(&var));
                let last = readers.map(|reader| phase_of[&reader.group.root]).max().unwrap_or(first);
                vars.push(var);
                lives.push(Lifetime { bytes: 4 * (rows * row) as u64, first, last });
            }
        }
        // Nothing is apart and no size too large: there is one arena.
        let arenas = arena::place(&lives, &BTreeSet::new(), u64::MAX);
        places.extend(vars.into_iter().zip(&arenas.slots).map(|(var, slot)| (var, slot.offset as usize / 4)));
        arenas.sizes.first().map_or(0, |&bytes| bytes as usize / 4)
    });
    (places, lengths)
}
