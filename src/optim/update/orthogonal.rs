//! Muon: the momentum of all matrices at once, Newton-Schulz iterations as a plan on the engine's own matmul, and the
//! step. The gradient's memory holds the momentum and then what was made of it.

use super::super::muon::shape_factor;
use super::Stage;
use super::planner::Planner;
use super::text::{Access, FOUR, Frame, Vector};
use crate::Result;
use crate::graph::{Graph, Var};
use crate::optim::Optimizer;
use crate::plan::{Destination, Plan, Program};

const STEPS: &str = include_str!("../../../shaders/update/orthogonal_steps.wgsl");

impl Planner<'_> {
    pub(super) fn orthogonal(&mut self, group: usize) -> Result<()> {
        self.whole_parameters(group)?;
        let optimizer = self.plan.optimizers[group].clone();
        let modifiers = self.plan.modifiers.clone();
        let frame = |vectors| Frame { optimizer: &optimizer, modifiers: &modifiers, element: FOUR, vectors };
        let state = self.full_state(group, "velocity");
        let ranges = self.ranges_of(group);
        for (number, range) in ranges.iter().enumerate() {
            let vectors = vec![
                Vector::new("gradient", Access::ReadWrite, FOUR),
                Vector::new("velocity", Access::ReadWrite, FOUR),
            ];
            let kernel = self.kernel(frame(vectors).kernel("momentum", MOMENTUM));
            let places = vec![self.gradient(range), self.whole(state[number])];
            let launch = self.over_elements(group, kernel, places, range);
            self.then(launch);
        }
        let program = self.iterations(group, &optimizer)?;
        let plan = Plan::new(&program, self.profile, 1)?;
        self.plan.stages.push(Stage::Replay(Box::new(plan)));
        for range in &ranges {
            let shadows = self.shadow_places(range);
            let mut vectors = vec![
                Vector::new("direction", Access::Read, FOUR),
                Vector::new("theta", Access::ReadWrite, FOUR),
                Vector::table("blocks"),
            ];
            vectors.extend(shadows.iter().map(|(name, _)| Vector::new(name, Access::ReadWrite, FOUR)));
            let kernel = self.kernel(frame(vectors).kernel("steps", STEPS));
            let mut blocks = Vec::new();
            for &(parameter, piece) in &range.pieces {
                let original = optimizer.values.is("adjust_lr_fn", "original");
                let factor = shape_factor(original, &self.parameters[parameter].shape) as f32;
                let quads = self.blocks(range, parameter, piece).map(|(first, elements)| {
                    [(first / 4) as u32, elements.div_ceil(4) as u32, factor.to_bits(), 0]
                });
                blocks.extend(quads);
            }
            let table = self.table(&blocks);
            let mut places = vec![self.gradient(range), self.theta(range), table];
            places.extend(shadows.into_iter().map(|(_, place)| place));
            let launch = self.launch(group, kernel, places, blocks.len());
            self.then(launch);
        }
        Ok(())
    }

    /// For each matrix of the group, as a parameter that holds its momentum: that matrix with all singular values near 1.
    fn iterations(&self, group: usize, optimizer: &Optimizer) -> Result<Program> {
        let mut graph = Graph::new();
        for info in self.parameters {
            graph.parameter(&info.name, &info.shape, info.initial)?;
        }
        let groups: Vec<usize> = self.parameters.iter().map(|info| info.group).collect();
        graph.set_groups(&groups);
        let vars = graph.parameter_vars().to_vec();
        let mut outputs = Vec::new();
        for (number, var) in vars.into_iter().enumerate().filter(|(number, _)| groups[*number] == group) {
            let orthogonal = orthogonalised(&mut graph, var, optimizer)?;
            outputs.push((orthogonal, Destination::Gradient(number)));
        }
        Ok(Program { graph, outputs })
    }
}

/// X ← aX + (bS + cS²)X with S = XXᵀ, from X = matrix/‖matrix‖ (Jordan et al. 2024); for a tall matrix the same on the
/// other side, where S = XᵀX is smaller.
fn orthogonalised(graph: &mut Graph, matrix: Var, optimizer: &Optimizer) -> Result<Var> {
    let number = |name: &str| optimizer.values.number(name);
    let [rows, columns] = [0, 1].map(|axis| graph.shape(matrix).resolve(1)[axis]);
    let square = graph.mul(matrix, matrix)?;
    let norm = graph.sum(square, &[0, 1])?;
    let norm = graph.sqrt(norm)?;
    let eps = graph.constant(number("eps"))?;
    let norm = graph.maximum(norm, eps)?;
    let mut x = graph.div(matrix, norm)?;
    let wide = rows <= columns;
    for _ in 0..number("ns_steps") as usize {
        let gram = graph.matmul_with(x, x, !wide, wide)?;
        let squared = graph.matmul(gram, gram)?;
        let (linear, quadratic) = (graph.scale(gram, number("ns_b"))?, graph.scale(squared, number("ns_c"))?);
        let polynomial = graph.add(linear, quadratic)?;
        let update = if wide { graph.matmul(polynomial, x)? } else { graph.matmul(x, polynomial)? };
        let kept = graph.scale(x, number("ns_a"))?;
        x = graph.add(kept, update)?;
    }
    Ok(x)
}

/// The momentum takes the place of the gradient.
const MOMENTUM: &str = "
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * launch.fold;
    if (i >= launch.count || is_skipped()) {
        return;
    }
    let gradient = gradient_at(i);
    var before: Element;
    before.velocity = velocity_vector[i];
    let after = accumulate(before, gradient);
    velocity_vector[i] = after.velocity;
    gradient_vector[i] = direction(after, gradient);
}
";
