//! A run as dispatches: the kernel of all its members, and one that adds up the parts for each buffer that sums go to.

use std::collections::BTreeMap;

use super::{Block, Part, RowRun, Work};
use crate::gpu::{AdapterClass, RowRuns};
use crate::graph::ops::{Lowering, Source};
use crate::graph::{Graph, Var};
use crate::plan::expression::{Block as Places, Scope};
use crate::plan::kernels::WORKGROUP;
use crate::plan::kernels::by_rows::{self, Generated};
use crate::plan::lower::{Grid, Lowerer};
use crate::plan::{Binding, Gradients, Home, Precision, ThetaLayout};
use crate::{Error, Result};

/// Dispatches that each one of a run must stand for, at least.
const FEWEST_FOR_ONE: usize = 2;

/// Floats that all workgroups of a GPU leave together, at most: to move as many takes about as long as the launches that
/// are saved. Not measured.
const MOST_PARTS: usize = 1 << 20;

/// Floating-point operations of a run on llvmpipe, at most: up to here runs have been measured to be faster, and at a
/// million no longer.
const MOST_OPERATIONS: u64 = 1 << 19;

/// Sums that the text of a run on llvmpipe keeps in registers, at most: beyond, it takes over a second to compile.
const MOST_SUMS: usize = 320;

/// A run for one micro-batch.
pub(crate) struct Planned {
    block: Block,
    kernel: Generated,
    /// The kernels that add up the parts, each with those that it adds up.
    sums: Vec<(Vec<Part>, Generated)>,
    /// Of each parameter that stands for its shard of θ, the shard.
    shards: BTreeMap<Var, usize>,
    /// Floating-point operations of its products.
    operations: u64,
}

impl Lowerer<'_> {
    /// The run for this micro-batch, if this adapter is to do it so and can.
    pub fn planned(&self, run: &RowRun) -> Option<Planned> {
        if self.profile.row_runs == RowRuns::Never || self.scope.precision == Precision::F64 {
            return None;
        }
        let Scope { graph, batch, .. } = self.scope;
        let theta = &self.plan.theta;
        let block = Block::new(run, graph, self.profile, batch)?.with_parts(run, graph, self.homes, theta);
        let shards = shards(run, graph, theta);
        let places = Places { places: &block.places, shards: &shards };
        let scope = Scope { batch: block.rows, block: Some(places), ..self.scope };
        let kernel = by_rows::run(scope, &run.members, &block)?;
        let together = |a: &Part, b: &Part| a.shard.is_some() && shard(a) == shard(b);
        let sums = block.parts.chunk_by(together).map(|parts| {
            let accumulate = shard(&parts[0]).is_some() && self.scope.gradients == Gradients::Accumulate;
            Some((parts.to_vec(), by_rows::sum_of_parts(self.scope, parts, accumulate)?))
        });
        let sums = sums.collect::<Option<Vec<_>>>()?;
        if !self.fits(&block, &kernel, &sums) {
            return None;
        }
        let shards = shards.values().map(|&(var, _)| (var, shard_of(var, graph, theta))).collect();
        let operations = operations(run, batch);
        let planned = Planned { block, kernel, sums, shards, operations };
        let wanted = self.profile.row_runs == RowRuns::Always || self.is_faster(&planned, run.members.len());
        wanted.then_some(planned)
    }

    /// Whether the adapter takes it: all parts in one binding, and so many workgroups.
    fn fits(&self, block: &Block, kernel: &Generated, sums: &[(Vec<Part>, Generated)]) -> bool {
        let most = self.profile.max_workgroups_per_dimension as usize;
        let elements =
            |(parts, _): &(Vec<Part>, Generated)| parts.iter().map(|part| part.elements).sum::<usize>();
        let groups = sums.iter().map(|sum| elements(sum).div_ceil(WORKGROUP)).chain([block.workgroups]);
        kernel.loads.len() <= self.max_reads()
            && sums.iter().all(|(_, sum)| sum.loads.len() < self.max_reads())
            && groups.max().is_some_and(|groups| groups.div_ceil(most) <= most)
            && 4 * block.floats() as u64 <= self.profile.max_binding_size
    }

    /// Whether it is expected to be faster than a dispatch for each of its `members`. What has fewer rows than a
    /// workgroup takes is short of memory, which the parts would take more of.
    fn is_faster(&self, planned: &Planned, members: usize) -> bool {
        let Planned { block, kernel, sums, operations, .. } = planned;
        let saves = members >= FEWEST_FOR_ONE * (1 + sums.len()) && self.scope.batch >= block.rows;
        let fast = match self.profile.class {
            AdapterClass::Software => {
                block.broadcast && *operations <= MOST_OPERATIONS && kernel.sums <= MOST_SUMS
            }
            _ => block.floats() <= MOST_PARTS,
        };
        saves && fast
    }

    /// Appends what does a run.
    pub fn row_run(&mut self, planned: Planned) -> Result<()> {
        let Planned { block, kernel, sums, shards, operations } = planned;
        let mut reads = Vec::new();
        for load in &kernel.loads {
            reads.push(match shards.get(&load.var) {
                Some(&shard) => self.shard(Home::ThetaShard(shard), "θ")?,
                None => self.bind_read(load.var)?,
            });
        }
        let stride = block.stride();
        let parts = self.scratch("sums of blocks of rows".to_owned(), block.workgroups * stride)?;
        let grid = Grid::Workgroups(block.workgroups);
        self.dispatch("rows", kernel.source, reads, parts, grid, &[self.scope.batch])?;
        self.hold(block.bytes());
        if let Some(dispatch) = self.plan.dispatches.last_mut() {
            dispatch.operations = operations;
        }
        for (own, kernel) in sums {
            let mut reads = vec![parts];
            reads.extend(self.bind_loads(&kernel.loads)?);
            let write = match shard(&own[0]) {
                Some(shard) => self.shard(Home::GradientShard(shard), "gradient")?,
                None => self.bind_result(own[0].root)?,
            };
            let elements = own.iter().map(|part| part.elements).sum();
            let fields = [own[0].start, stride, block.workgroups];
            let grid = Grid::Invocations(elements);
            self.dispatch("sums of rows", kernel.source, reads, write, grid, &fields)?;
        }
        Ok(())
    }

    /// A whole shard of θ or of the gradient.
    fn shard(&mut self, home: Home, label: &str) -> Result<Binding> {
        let known = self.plan.tensors.iter().position(|tensor| tensor.home == home);
        let (Home::ThetaShard(shard) | Home::GradientShard(shard)) = home else {
            return Err(Error::shape("plan", "only θ and its gradient have shards"));
        };
        let bytes = 4 * self.plan.theta.shards[shard] as u64;
        let tensor = match known {
            Some(tensor) => tensor,
            None => self.new_tensor(format!("{label}, shard {shard}"), bytes, home, "use a smaller model")?,
        };
        Ok(Binding { tensor, piece: 0 })
    }
}

/// The shard of the gradient that a part is for.
fn shard(part: &Part) -> Option<usize> {
    part.shard.map(|(shard, _)| shard)
}

fn shard_of(parameter: Var, graph: &Graph, theta: &ThetaLayout) -> usize {
    match graph.node(parameter).op.lower() {
        Lowering::Source(Source::Parameter(number)) => theta.pieces[number][0].shard,
        _ => 0,
    }
}

/// A parameter of each shard that the run reads, for all of the shard; and where each lies.
fn shards(run: &RowRun, graph: &Graph, theta: &ThetaLayout) -> BTreeMap<Var, (Var, usize)> {
    let mut first: BTreeMap<usize, Var> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for &read in run.members.iter().flat_map(|member| &member.reads) {
        if let Lowering::Source(Source::Parameter(number)) = graph.node(read).op.lower()
            && let Some(piece) = theta.pieces[number].first()
        {
            found.insert(read, (*first.entry(piece.shard).or_insert(read), piece.offset));
        }
    }
    found
}

/// Floating-point operations of the products of a run.
fn operations(run: &RowRun, batch: usize) -> u64 {
    let of = |work: &Work| match *work {
        Work::Product { lines, n, k, .. } => 2 * (batch * lines * n * k) as u64,
        Work::ProductSum { lines, m, n, .. } => 2 * (batch * lines * m * n) as u64,
        _ => 0,
    };
    run.members.iter().map(|member| of(&member.work)).sum()
}
