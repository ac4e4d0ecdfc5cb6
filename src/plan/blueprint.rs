//! What of planning does not depend on the micro-batch, done once: the outputs' homes, the cut into kernels, θ's
//! layout. From it the plan for any micro-batch follows in well under a millisecond, so that batches can be searched.

use std::collections::{BTreeMap, BTreeSet};

use super::by_rows::{self, RowRun};
use super::expression::Scope;
use super::fuse::{Group, fuse};
use super::half::stored_in_half;
use super::joined::Joins;
use super::kernels::matmul::{Tilings, tuned};
use super::lower::{Lowerer, advice};
use super::outputs::own_outputs;
use super::{Gradients, Home, Plan, Precision, Program, ThetaLayout};
use crate::gpu::Profile;
use crate::graph::ops::{Generated, Lowering, random_row};
use crate::graph::{Graph, Var};
use crate::{Error, Result};

/// Elements of a tensor: an index has 32 bits, and the last row of a folded dispatch overshoots the end.
const MOST_ELEMENTS: usize = u32::MAX as usize - (1 << 23);

/// A program cut into kernels for one adapter, for every micro-batch.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    graph: Graph,
    profile: Profile,
    tilings: Tilings,
    joins: Joins,
    gradients: Gradients,
    precision: Precision,
    /// Where the outputs lie.
    homes: BTreeMap<Var, Home>,
    groups: Vec<Group>,
    /// Those of them that one kernel can do block of rows by block of rows.
    run: Option<RowRun>,
    /// The roots of the groups.
    stored: BTreeSet<Var>,
    /// Those of them that are stored in 16 bits.
    half: BTreeSet<Var>,
    /// Every node that some output depends on.
    live: Vec<Var>,
    theta: ThetaLayout,
}

impl Blueprint {
    /// Cuts `program` into kernels for an adapter of `profile`, whose gradients are written as `gradients` says and whose
    /// activations are stored in `precision`.
    ///
    /// Errors: [`Error::DoesNotFit`] where a row of a parameter or what one operation reads is more than the adapter
    /// binds; [`Error::Shape`] where the program cannot be split into micro-batches; [`Error::Setting`] where the adapter
    /// has not this precision.
    pub fn new(
        program: &Program,
        profile: &Profile,
        gradients: Gradients,
        precision: Precision,
    ) -> Result<Self> {
        precision.check(profile)?;
        let shard = profile.max_binding_size.min(profile.max_buffer_size);
        // A layout counts floats of 4 bytes.
        let theta = ThetaLayout::new(program.graph.parameters(), 4 * shard / precision.float_bytes())?;
        let mut graph = program.graph.clone();
        let homes = own_outputs(&mut graph, &program.outputs)?;
        let roots: Vec<Var> = homes.keys().copied().collect();
        let live = graph.live(&roots);
        let live = (0..live.len()).filter(|&index| live[index]).map(|index| Var(index as u32)).collect();
        let groups = fuse(&graph, &roots, profile.max_storage_buffers as usize)?;
        let stored = groups.iter().map(|group| group.root).collect();
        let half = match precision {
            Precision::F32 | Precision::F64 => BTreeSet::new(),
            Precision::F16 => stored_in_half(&graph, &groups, &homes, &theta),
        };
        let run = by_rows::find(&graph, &groups, &homes, &theta);
        let blueprint = Blueprint {
            graph,
            profile: profile.clone(),
            tilings: tuned(profile),
            joins: Joins::of(profile.class),
            gradients,
            precision,
            homes,
            groups,
            run,
            stored,
            half,
            live,
            theta,
        };
        if gradients == Gradients::Accumulate {
            blueprint.randomness_by_rows()?;
        }
        Ok(blueprint)
    }

    /// The same with all numbers in 32 bits.
    pub fn in_f32(&self) -> Self {
        Blueprint { precision: Precision::F32, half: BTreeSet::new(), ..self.clone() }
    }

    /// The same with tilings of one's own for products of some shapes, which the adapter must be able to run.
    pub fn with_tilings(self, tilings: Tilings) -> Self {
        Blueprint { tilings, ..self }
    }

    /// The same with a choice of one's own of what shares a dispatch.
    #[cfg(test)]
    pub fn with_joins(self, joins: Joins) -> Self {
        Blueprint { joins, ..self }
    }

    /// Where the parameters lie.
    pub fn theta(&self) -> &ThetaLayout {
        &self.theta
    }

    /// The plan for micro-batches of `batch` rows.
    ///
    /// Errors: [`Error::DoesNotFit`] where a tensor is larger than the adapter binds or than a kernel can count.
    pub fn plan(&self, batch: usize) -> Result<Plan> {
        self.countable(batch)?;
        let results = self.homes.values().filter(|home| matches!(home, Home::Result(_))).count();
        let plan = Plan {
            batch,
            precision: self.precision,
            kernels: Vec::new(),
            dispatches: Vec::new(),
            tensors: Vec::new(),
            inputs: Vec::new(),
            results: vec![0; results],
            theta: self.theta.clone(),
            arena_slots: Vec::new(),
            arenas: Vec::new(),
            products: BTreeSet::new(),
        };
        let Blueprint { graph, stored, half, gradients, .. } = self;
        let scope = Scope {
            graph,
            batch,
            stored,
            half,
            precision: self.precision,
            block: None,
            gradients: *gradients,
        };
        let mut lowerer = Lowerer::new(scope, &self.profile, &self.tilings, self.joins, &self.homes, plan);
        match self.run.as_ref().and_then(|run| Some((run, lowerer.planned(run)?))) {
            Some((run, planned)) => {
                lowerer.groups(&run.before)?;
                lowerer.row_run(planned)?;
                lowerer.groups(&run.after)?;
            }
            None => lowerer.groups(&self.groups)?,
        }
        let mut plan = lowerer.plan;
        plan.place_activations(self.profile.max_buffer_size);
        Ok(plan)
    }

    /// Refuses what the 32-bit indices of kernels cannot count, stored or not.
    fn countable(&self, batch: usize) -> Result<()> {
        if batch == 0 {
            return Err(Error::shape("plan", "a micro-batch has at least one row"));
        }
        let graph = &self.graph;
        for &var in &self.live {
            if graph.shape(var).checked_elements(batch).is_none_or(|elements| elements > MOST_ELEMENTS) {
                return Err(Error::DoesNotFit(format!(
                    "{} {} has more than the {MOST_ELEMENTS} elements that a kernel can count at a micro-batch of \
                     {batch}; {}",
                    graph.node(var).op.name(),
                    graph.shape(var),
                    advice(graph, var)
                )));
            }
        }
        Ok(())
    }

    /// Refuses random numbers that micro-batches could not draw as their undivided batch does.
    fn randomness_by_rows(&self) -> Result<()> {
        for &var in &self.live {
            let (shape, lowering) = (self.graph.shape(var), self.graph.node(var).op.lower());
            let is_random = matches!(lowering, Lowering::Generated(Generated::Random { .. }));
            if is_random && random_row(shape).is_none() {
                let message = format!(
                    "random numbers of {shape} cannot be drawn by micro-batches: the batch is not the outermost axis; \
                     permute it to the front, or use a batch of one micro-batch"
                );
                return Err(Error::shape("random numbers", message));
            }
        }
        Ok(())
    }
}
