//! An expression as methods on flat vectors see it: plans of its value with its gradient, and of products of its
//! curvatures with a vector, each compiled when it is first wanted.

use super::Objective;
use super::planned::cut_chains;
use crate::gpu::Buffer;
use crate::graph::{Graph, Var};
use crate::plan::memory::{Needs, result_offsets};
use crate::plan::replay::{Memory, Replay};
use crate::plan::{Blueprint, Destination, Gradients, Plan, Precision, Program, StepUniform, ThetaLayout};
use crate::solve::{Curvature, Problem, Slot, Space, Vector};
use crate::{Error, Gpu, Result};

/// What a method says that needs residuals and has none.
pub(super) const NEEDS_RESIDUALS: &str =
    "works on residuals, whose squares are summed: give a vector, as in \"[10*(y-x^2), 1-x]\", and no sum";

/// An expression on a device.
pub(super) struct Flat<'a> {
    objective: &'a Objective,
    precision: Precision,
    layout: ThetaLayout,
    theta: Vector,
    gradient: Vector,
    evaluation: Compiled,
    products: Vec<(Curvature, Compiled)>,
}

/// A plan with its memory.
struct Compiled {
    plan: Plan,
    memory: Memory,
    replay: Replay,
}

impl<'a> Flat<'a> {
    /// The expression, and the vectors beside it, with θ at its start.
    ///
    /// Errors: as [`Blueprint::new`] and [`Blueprint::plan`]; what the device fails with.
    pub fn new(gpu: &Gpu, objective: &'a Objective, precision: Precision) -> Result<(Self, Space)> {
        let plan = plan(&evaluation(objective), gpu, precision)?;
        let layout = plan.theta.clone();
        let mut space = Space::new(gpu, &layout.shards, precision)?;
        let (theta, gradient) = (space.vector()?, space.vector()?);
        let evaluation = Compiled::new(&space, objective, plan, &theta, &gradient)?;
        let flat = Flat { objective, precision, layout, theta, gradient, evaluation, products: Vec::new() };
        space.write_vector(&flat.theta, &flat.layout, objective.start())?;
        Ok((flat, space))
    }
}

impl Compiled {
    /// `plan` with its parameters in `theta` and its gradients in `gradient`.
    fn new(
        space: &Space,
        objective: &Objective,
        plan: Plan,
        theta: &Vector,
        gradient: &Vector,
    ) -> Result<Self> {
        let gpu = &space.gpu;
        let own = Needs { shards: Vec::new(), has_gradient: false, ..Needs::of(&[&plan]) };
        let memory = Memory { gradient: gradient.0.clone(), ..Memory::new(gpu, &own)? };
        let replay =
            Replay::new(gpu, space.kernels(), &plan, &memory, &theta.0.iter().collect::<Vec<&Buffer>>())?;
        gpu.keep_pipelines();
        let step = StepUniform::new(0, 0, 1, 1.0);
        gpu.write_buffer(memory.uniforms.raw(), 0, &step.bytes(plan.precision))?;
        for (name, buffer) in &memory.inputs {
            if let Some(table) = objective.tables.get(name) {
                gpu.write_buffer(buffer.raw(), 0, &space.bytes(table))?;
            }
        }
        Ok(Compiled { plan, memory, replay })
    }
}

impl Problem for Flat<'_> {
    fn theta(&self) -> &Vector {
        &self.theta
    }

    fn gradient(&self) -> &Vector {
        &self.gradient
    }

    fn evaluate(&mut self, space: &mut Space, value: Slot) -> Result<()> {
        self.evaluation.replay.record(space.pass());
        let at = result_offsets(&self.evaluation.plan).0[0];
        space.copy_to_slot(&self.evaluation.memory.results, at, value);
        Ok(())
    }

    fn product(
        &mut self,
        space: &mut Space,
        curvature: Curvature,
        vector: &Vector,
        product: &Vector,
    ) -> Result<()> {
        if !self.products.iter().any(|(known, _)| *known == curvature) {
            let program = product_program(self.objective, curvature)?;
            let plan = plan(&program, &space.gpu, self.precision)?;
            let own = space.vector()?;
            self.products.push((curvature, Compiled::new(space, self.objective, plan, &self.theta, &own)?));
        }
        let known = self.products.iter().find(|(known, _)| *known == curvature);
        let Some((_, compiled)) = known else { return Ok(()) };
        let width = space.element_bytes();
        for (number, pieces) in self.layout.pieces.iter().enumerate() {
            let Some(input) = compiled.memory.inputs.get(&direction(number)) else { continue };
            for piece in pieces {
                let from = vector.0[piece.shard].raw();
                let [from_at, to_at, bytes] =
                    [piece.offset, piece.start, piece.elements].map(|elements| width * elements as u64);
                space.encoder().copy_buffer_to_buffer(from, from_at, input.raw(), to_at, bytes);
            }
        }
        compiled.replay.record(space.pass());
        space.copy(product, &Vector(compiled.memory.gradient.clone()));
        Ok(())
    }

    fn layout(&self) -> &ThetaLayout {
        &self.layout
    }
}

/// The name of the input that holds the part of a direction that belongs to an unknown.
fn direction(unknown: usize) -> String {
    format!("direction of unknown {unknown}")
}

fn plan(program: &Program, gpu: &Gpu, precision: Precision) -> Result<Plan> {
    Blueprint::new(program, gpu.profile(), Gradients::Overwrite, precision)?.plan(1)
}

/// Value and gradient.
pub(super) fn evaluation(objective: &Objective) -> Program {
    let outputs = std::iter::once((objective.loss, Destination::Result(0)));
    Program {
        graph: with_cut_chains(objective.graph.clone()),
        outputs: outputs.chain(gradients(&objective.gradient)).collect(),
    }
}

/// The product of a curvature with the direction in the inputs.
fn product_program(objective: &Objective, curvature: Curvature) -> Result<Program> {
    let mut graph = objective.graph.clone();
    let unknowns = graph.parameter_vars().to_vec();
    let mut tangents = Vec::new();
    for (number, &unknown) in unknowns.iter().enumerate() {
        let shape = graph.shape(unknown).clone();
        tangents.push((unknown, graph.input(&direction(number), shape)?));
    }
    let product = match (curvature, objective.residuals) {
        (Curvature::Hessian, _) => graph.jvp(&objective.gradient, &tangents)?,
        (Curvature::GaussNewton, Some(residuals)) => {
            let moved = graph.jvp(&[residuals], &tangents)?;
            let two = graph.constant(2.0)?;
            let cotangent = graph.mul(moved[0], two)?;
            graph.vjp(&[(residuals, cotangent)], &unknowns)?
        }
        (Curvature::GaussNewton, None) => {
            return Err(Error::setting("method", NEEDS_RESIDUALS));
        }
    };
    Ok(Program { graph: with_cut_chains(graph), outputs: gradients(&product).collect() })
}

fn gradients(of: &[Var]) -> impl Iterator<Item = (Var, Destination)> {
    of.iter().enumerate().map(|(unknown, &var)| (var, Destination::Gradient(unknown)))
}

fn with_cut_chains(mut graph: Graph) -> Graph {
    cut_chains(&mut graph);
    graph
}
