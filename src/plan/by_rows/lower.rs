//! A run as dispatches: the kernel of all its members, and one that adds up the parts for each buffer that sums go to.

use std::collections::BTreeMap;

use super::{Block, Part, RowRun, Work};
use crate::gpu::{AdapterClass, RowRuns};
use crate::graph::ops::{Lowering, Source};
use crate::graph::{Graph, Var};
use crate::plan::expression::{Block as Places, Scope};
use crate::plan::kernels::by_rows::{self, Generated};
use crate::plan::lower::{Grid, Lowerer};
use crate::plan::{Binding, Gradients, Home, ThetaLayout};
use crate::{Error, Result};

/// Floats that all workgroups leave together, at most: beyond, moving them costs more than launches.
const MOST_PARTS: usize = 1 << 22;

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
        let Scope { graph, batch, .. } = self.scope;
        let theta = &self.plan.theta;
        let block = Block::new(run, graph, self.profile, batch)?.with_parts(run, graph, self.homes, theta);
        let operations = operations(run, batch);
        if !self.chooses(&block) {
            return None;
        }
        let shards = shards(run, graph, theta);
        let places = Places { places: &block.places, shards: &shards };
        let scope = Scope { batch: block.rows, block: Some(places), ..self.scope };
        let kernel = by_rows::run(scope, &run.members, &block)?;
        let together = |a: &Part, b: &Part| a.shard.is_some() && shard(a) == shard(b);
        let sums = block.parts.chunk_by(together).map(|parts| {
            let accumulate = shard(&parts[0]).is_some() && self.scope.gradients == Gradients::Accumulate;
            let kernel = by_rows::sum_of_parts(self.scope, parts, accumulate)?;
            (kernel.loads.len() < self.max_reads()).then(|| (parts.to_vec(), kernel))
        });
        let sums = sums.collect::<Option<Vec<_>>>()?;
        let fits = kernel.loads.len() <= self.max_reads();
        let shards = shards.values().map(|&(var, _)| (var, shard_of(var, graph, theta))).collect();
        fits.then_some(Planned { block, kernel, sums, shards, operations })
    }

    /// Whether the run is to be one kernel: its parts fit, and it is wanted or expected to be faster.
    fn chooses(&self, block: &Block) -> bool {
        let parts = block.workgroups * block.stride();
        let chosen = match self.profile.row_runs {
            RowRuns::Never => false,
            RowRuns::Always => true,
            RowRuns::Chosen => parts <= MOST_PARTS && self.profile.class != AdapterClass::Software,
        };
        chosen && 4 * parts as u64 <= self.profile.max_binding_size
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
