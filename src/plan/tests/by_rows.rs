//! Narrow networks block of rows by block of rows: the numbers of ordinary plans, the same bits on every run, and what
//! the planner leaves to ordinary kernels.

use super::planning::sound;
use super::{Loaded, gpu, random, relative_error};
use crate::Result;
use crate::gpu::{AdapterClass, Kernels, Profile, RowRuns};
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::{Destination, Plan, Program};

/// A profile of this device on which all that can is done by rows, with workgroups as that class has them.
fn by_rows(class: AdapterClass) -> Profile {
    Profile { class, row_runs: RowRuns::Always, ..gpu().profile().clone() }
}

const CLASSES: [AdapterClass; 3] = [AdapterClass::Software, AdapterClass::Integrated, AdapterClass::Discrete];

#[derive(Clone, Copy, PartialEq, Debug)]
enum Loss {
    CrossEntropy,
    SquaredError,
}

/// A network and its loss.
#[derive(Clone, Debug)]
struct Network {
    widths: Vec<usize>,
    activation: &'static str,
    dropout: f64,
    loss: Loss,
}

impl Network {
    /// Loss (result 0) and the gradient of every parameter.
    fn program(&self) -> Result<Program> {
        let mut g = Graph::new();
        let mut x = g.input("features", [Dim::BATCH, Dim::Fixed(self.widths[0])])?;
        for (number, pair) in self.widths.windows(2).enumerate() {
            let weight =
                g.parameter(&format!("{number}.weight"), &[pair[1], pair[0]], Initial::Constant(0.0))?;
            let bias = g.parameter(&format!("{number}.bias"), &[pair[1]], Initial::Constant(0.0))?;
            let product = g.matmul_with(x, weight, false, true)?;
            x = g.add(product, bias)?;
            if number + 2 < self.widths.len() {
                x = g.unary(self.activation, x)?;
                x = g.dropout(x, self.dropout)?;
            }
        }
        let outputs = self.widths[self.widths.len() - 1];
        let loss = match self.loss {
            Loss::CrossEntropy => {
                let labels = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
                let labels = g.input_of("targets", labels)?;
                let losses = g.cross_entropy(x, labels)?;
                g.mean(losses, &[0])?
            }
            Loss::SquaredError => {
                let targets = g.input("targets", [Dim::BATCH, Dim::Fixed(outputs)])?;
                g.mean_squared_error(x, targets)?
            }
        };
        let parameters = g.parameter_vars().to_vec();
        let gradients = g.gradient(loss, &parameters)?.into_iter().enumerate();
        let gradients = gradients.map(|(i, var)| (var, Destination::Gradient(i)));
        let outputs = [(loss, Destination::Result(0))].into_iter().chain(gradients).collect();
        Ok(Program { graph: g, outputs })
    }

    /// A batch of `rows`, of which `valid` are there.
    fn step(&self, program: &Program, rows: usize, valid: usize, seed: u64) -> StepContext {
        let mut step = StepContext { seed, step: 5, ..StepContext::default() };
        (step.valid_rows, step.row_weight) = (valid, 1.0 / valid as f64);
        let outputs = self.widths[self.widths.len() - 1];
        let targets = match self.loss {
            Loss::CrossEntropy => {
                random(seed + 1, rows, 0.0, outputs as f64).into_iter().map(f64::floor).collect()
            }
            Loss::SquaredError => random(seed + 1, rows * outputs, -1.0, 1.0),
        };
        step.inputs.insert("features".to_owned(), random(seed, rows * self.widths[0], -1.0, 1.0));
        step.inputs.insert("targets".to_owned(), targets);
        for (number, parameter) in program.graph.parameters().iter().enumerate() {
            let bound = (*parameter.shape.last().unwrap() as f64).sqrt().recip();
            step.theta.push(random(seed + number as u64 + 2, parameter.elements(), -bound, bound));
        }
        step
    }
}

fn networks() -> Vec<Network> {
    let awkward = [1, 3, 16, 63, 65, 128];
    let mut networks = Vec::new();
    for number in 0..12usize {
        let depth = 2 + number % 3;
        let choice = random(number as u64 + 100, depth + 1, 0.0, awkward.len() as f64);
        networks.push(Network {
            widths: choice.into_iter().map(|place| awkward[place as usize]).collect(),
            activation: ["relu", "tanh", "sigmoid"][number % 3],
            dropout: [0.0, 0.25][number / 2 % 2],
            loss: [Loss::CrossEntropy, Loss::SquaredError][number % 2],
        });
    }
    networks
}

fn labels(plan: &Plan) -> Vec<&str> {
    plan.dispatches.iter().map(|dispatch| plan.kernels[dispatch.kernel].label.as_str()).collect()
}

#[test]
fn gradients_of_random_narrow_networks_are_those_of_f64() {
    let kernels = Kernels::new(gpu());
    for (number, network) in networks().iter().enumerate() {
        let program = network.program().unwrap();
        let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
        for (rows, valid) in [(1, 1), (3, 2), (65, 65), (128, 77)] {
            let profile = by_rows(CLASSES[number % CLASSES.len()]);
            let step = network.step(&program, rows, valid, number as u64);
            let loaded = Loaded::new(gpu(), &kernels, &profile, &program, rows);
            assert_eq!(labels(&loaded.plan), ["rows", "sums of rows", "sums of rows"], "{network:?}");
            sound(&loaded.plan, &profile).unwrap();
            loaded.fill(0xFF);
            loaded.step(&step);
            let expected = program.graph.evaluate(&vars, rows, &step);
            for (output, (found, expected)) in loaded.values(&program).iter().zip(&expected).enumerate() {
                let error = relative_error(found, &expected.data);
                // f32: sums of at most 128 terms through four layers.
                assert!(
                    error < 1e-5,
                    "{network:?}, {valid} of {rows} rows: output {output} is off by {error:e}"
                );
            }
        }
    }
}
