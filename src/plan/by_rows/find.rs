//! Which of a program's kernels one kernel can do block of rows by block of rows, whatever the network: those whose
//! results depend, row for row, on the same rows of others, and the sums over the batch at their end.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::ops::{Generated, Lowering, Reduce, ReduceKind, RowKind, Source, View, random_row};
use crate::graph::{Dim, Graph, Shape, Var};
use crate::plan::fuse::{Group, Kernels, matrix_operand, storage};
use crate::plan::{Home, ThetaLayout};

/// Elements of a row that a tensor in workgroup memory may have.
const WIDEST: usize = 128;

/// What one group does with the rows of a block. Sizes are of one row of the batch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Work {
    /// Every element by itself.
    Map,
    /// [rows, outer, extent, inner] → [rows, outer, inner]
    Reduce { kind: ReduceKind, extent: usize, inner: usize },
    /// [rows·lines, k] · op(B) [k, n], B without a batch.
    Product { a: Var, b: Var, transposed: bool, lines: usize, n: usize, k: usize },
    /// A softmax or its relatives over lines of `classes`.
    Line { kind: RowKind, classes: usize },
    /// The sum over the batch: [rows, extent, inner] → [inner]
    Sum { extent: usize, inner: usize },
    /// The sum over the batch of outer products: Aᵀ [m, rows·lines] · B [rows·lines, n]
    ProductSum { a: Var, b: Var, lines: usize, m: usize, n: usize },
}

impl Work {
    /// Whether the batch is gone from the result.
    pub fn sums(&self) -> bool {
        matches!(self, Work::Sum { .. } | Work::ProductSum { .. })
    }
}

/// One group of a run.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub group: Group,
    pub work: Work,
    /// The stored nodes that it reads.
    pub reads: BTreeSet<Var>,
}

/// Groups that one kernel can do, and the others: those that come before it, and those that need its sums.
#[derive(Clone, Debug)]
pub(crate) struct RowRun {
    pub before: Vec<Group>,
    pub members: Vec<Member>,
    pub after: Vec<Group>,
}

/// The run in the program of `groups`, if it has one that ends in sums over the batch.
pub(crate) fn find(
    graph: &Graph,
    groups: &[Group],
    homes: &BTreeMap<Var, Home>,
    theta: &ThetaLayout,
) -> Option<RowRun> {
    let search = Search { graph, kernels: Kernels { graph, groups }, homes, theta };
    let reads: BTreeMap<Var, BTreeSet<Var>> =
        groups.iter().map(|group| (group.root, search.kernels.of(group.root).1)).collect();
    let mut readers: BTreeMap<Var, Vec<Var>> = BTreeMap::new();
    for (&root, reads) in &reads {
        reads.iter().for_each(|&read| readers.entry(read).or_default().push(root));
    }
    let mut works: BTreeMap<Var, Work> =
        groups.iter().filter_map(|group| Some((group.root, search.work(group)?))).collect();
    let needs_sums = loop {
        let before = works.len();
        let needs_sums = needing_sums(&reads, &works);
        works.retain(|var, _| !needs_sums.contains(var));
        // From the end, so that what only an outcast reads goes with it.
        for var in works.keys().rev().copied().collect::<Vec<_>>() {
            let escapes = || {
                let mut readers = readers.get(&var).into_iter().flatten();
                homes.contains_key(&var) || readers.any(|reader| !works.contains_key(reader))
            };
            // Of a sum over what lies in memory alone there is nothing to save.
            let useless = match works[&var].sums() {
                true => !reads[&var].iter().any(|read| works.contains_key(read)),
                false => escapes(),
            };
            if useless {
                works.remove(&var);
            }
        }
        if works.len() == before {
            break needs_sums;
        }
    };
    if works.values().all(Work::sums) || !works.values().any(Work::sums) {
        return None;
    }
    let mut run = RowRun { before: Vec::new(), members: Vec::new(), after: Vec::new() };
    for (group, reads) in groups.iter().zip(reads.into_values()) {
        match works.get(&group.root) {
            Some(&work) => run.members.push(Member { group: group.clone(), work, reads }),
            None if needs_sums.contains(&group.root) => run.after.push(group.clone()),
            None => run.before.push(group.clone()),
        }
    }
    Some(run)
}

/// The roots of groups that depend on a sum of the run.
fn needing_sums(reads: &BTreeMap<Var, BTreeSet<Var>>, works: &BTreeMap<Var, Work>) -> BTreeSet<Var> {
    let mut found = BTreeSet::new();
    // Every group comes after those that it reads.
    for (&root, reads) in reads {
        let is_sum = |read: &Var| works.get(read).is_some_and(Work::sums);
        if reads.iter().any(|read| is_sum(read) || found.contains(read)) {
            found.insert(root);
        }
    }
    found
}

struct Search<'a> {
    graph: &'a Graph,
    kernels: Kernels<'a>,
    homes: &'a BTreeMap<Var, Home>,
    theta: &'a ThetaLayout,
}

impl Search<'_> {
    /// What the group does with rows, if that is all it does.
    fn work(&self, group: &Group) -> Option<Work> {
        let (inner, loads) = self.kernels.of(group.root);
        let readable = loads.iter().all(|&load| self.is_readable(load));
        let local = inner.iter().all(|&var| self.is_local(var, group.anchor));
        let work = match group.anchor {
            None => Some(Work::Map),
            Some(anchor) => match self.graph.node(anchor).op.lower() {
                Lowering::MatMul(matmul) => self.product(anchor, [matmul.transpose_a, matmul.transpose_b]),
                Lowering::Reduce(reduce) => self.reduction(reduce, anchor),
                Lowering::Row(kind) => self.line(kind, anchor),
                _ => None,
            },
        };
        let fits = |work: &Work| match work.sums() {
            true => self.is_sum(group.root),
            false => self.row(group.root).is_some_and(|row| (1..=WIDEST).contains(&row)),
        };
        work.filter(|work| readable && local && fits(work))
    }

    /// Elements of one row; 0 without a batch, none where the batch is not the outermost axis.
    fn row(&self, var: Var) -> Option<usize> {
        random_row(self.graph.shape(var))
    }

    fn is_readable(&self, load: Var) -> bool {
        let whole = match self.graph.node(load).op.lower() {
            Lowering::Source(Source::Parameter(number)) => self.theta.pieces[number].len() == 1,
            _ => true,
        };
        whole && self.row(load).is_some()
    }

    /// Whether the result of a sum is written whole.
    fn is_sum(&self, root: Var) -> bool {
        let whole = match self.homes.get(&root) {
            Some(Home::Gradient(number)) => self.theta.pieces[*number].len() == 1,
            _ => true,
        };
        whole && self.row(root) == Some(0)
    }

    /// Whether an element of the node depends on nothing but the same row of what it reads, or on what has no rows.
    fn is_local(&self, var: Var, anchor: Option<Var>) -> bool {
        let node = self.graph.node(var);
        let by_rows = self.row(var).is_some() && node.inputs.iter().all(|&input| self.row(input).is_some());
        match node.op.lower() {
            Lowering::Generated(Generated::Iota { axis }) => {
                by_rows && matches!(node.ty.shape.dims()[axis], Dim::Fixed(_))
            }
            Lowering::Gather => by_rows && self.row(storage(self.graph, node.inputs[0])) == Some(0),
            Lowering::Generated(_)
            | Lowering::Pointwise { .. }
            | Lowering::View(
                View::Reshape | View::Expand | View::Permute(_) | View::Slice { .. } | View::Pad { .. },
            ) => by_rows,
            // The anchor is looked at as a whole.
            _ => anchor == Some(var),
        }
    }

    fn product(&self, anchor: Var, transposed: [bool; 2]) -> Option<Work> {
        let inputs = &self.graph.node(anchor).inputs;
        let a = matrix_operand(self.graph, inputs[0], transposed[0]);
        let b = matrix_operand(self.graph, inputs[1], transposed[1]);
        let rows = [a.stored, b.stored].map(|var| self.row(var));
        let shape = self.graph.shape(anchor);
        // The summed axis as the first operand has it.
        let summed = self.graph.shape(inputs[0]).dims().get(usize::from(!transposed[0])).copied()?;
        match (shape.dims(), summed, rows) {
            (&[Dim::Batch(lines), Dim::Fixed(n)], Dim::Fixed(k), [Some(_), Some(0)]) if !a.transposed => {
                Some(Work::Product { a: a.stored, b: b.stored, transposed: b.transposed, lines, n, k })
            }
            (&[Dim::Fixed(m), Dim::Fixed(n)], Dim::Batch(lines), [Some(_), Some(_)])
                if a.transposed && !b.transposed =>
            {
                Some(Work::ProductSum { a: a.stored, b: b.stored, lines, m, n })
            }
            _ => None,
        }
    }

    fn reduction(&self, reduce: &Reduce, anchor: Var) -> Option<Work> {
        let shape = self.graph.shape(self.graph.node(anchor).inputs[0]);
        self.row_of(shape)?;
        let batch = shape.dims().iter().position(|dim| matches!(dim, Dim::Batch(_)))?;
        let (_, extent, inner) = reduce.extents(&shape.resolve(1));
        match (reduce.axes.start > batch, reduce.kind) {
            (true, kind) => Some(Work::Reduce { kind, extent, inner }),
            (false, ReduceKind::Sum) if reduce.axes.end > batch => Some(Work::Sum { extent, inner }),
            _ => None,
        }
    }

    fn line(&self, kind: RowKind, anchor: Var) -> Option<Work> {
        let inputs = &self.graph.node(anchor).inputs;
        let shape = self.graph.shape(inputs[0]);
        self.row_of(shape)?;
        match shape.dims().last() {
            Some(&Dim::Fixed(classes)) => Some(Work::Line { kind, classes }),
            _ => None,
        }
    }

    /// Elements of one row of what has a batch.
    fn row_of(&self, shape: &Shape) -> Option<usize> {
        random_row(shape).filter(|row| *row > 0)
    }
}
