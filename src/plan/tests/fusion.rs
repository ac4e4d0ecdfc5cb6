//! What fusion makes of the graphs that matter: how many kernels, which, and how many buffers each binds.

use super::{Loaded, gpu, planning::sound, random, relative_error, results_program, run_with};
use crate::Result;
use crate::gpu::{AdapterClass, Kernels, Profile, RowRuns};
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::{Destination, Plan, Program};

/// A training step of an MLP with ReLU on `widths[0]` floats a row: the loss and the gradient of every parameter.
pub(in crate::plan) fn mlp(widths: &[usize]) -> Result<Program> {
    layers(widths, true)
}

/// The same, with relu between the layers or nothing.
pub(super) fn layers(widths: &[usize], activated: bool) -> Result<Program> {
    let mut graph = Graph::new();
    let mut x = graph.input("features", [Dim::BATCH, Dim::Fixed(widths[0])])?;
    let labels = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
    let labels = graph.input_of("targets", labels)?;
    for (number, pair) in widths.windows(2).enumerate() {
        let weight =
            graph.parameter(&format!("{number}.weight"), &[pair[1], pair[0]], Initial::Constant(0.0))?;
        let bias = graph.parameter(&format!("{number}.bias"), &[pair[1]], Initial::Constant(0.0))?;
        let product = graph.matmul_with(x, weight, false, true)?;
        x = graph.add(product, bias)?;
        if activated && number + 2 < widths.len() {
            x = graph.relu(x)?;
        }
    }
    let losses = graph.cross_entropy(x, labels)?;
    let loss = graph.mean(losses, &[0])?;
    let parameters = graph.parameter_vars().to_vec();
    let gradients = graph.gradient(loss, &parameters)?.into_iter().enumerate();
    let gradients = gradients.map(|(i, var)| (var, Destination::Gradient(i)));
    let outputs = [(loss, Destination::Result(0))].into_iter().chain(gradients).collect();
    Ok(Program { graph, outputs })
}

/// What a step of [`mlp`] runs on: `batch` rows of features and labels, and all parameters.
pub(super) fn mlp_step(program: &Program, widths: &[usize], batch: usize) -> StepContext {
    let mut step =
        StepContext { valid_rows: batch, row_weight: 1.0 / batch as f64, ..StepContext::default() };
    step.inputs.insert("features".to_owned(), random(1, batch * widths[0], -1.0, 1.0));
    let classes = widths[widths.len() - 1] as f64;
    let labels = random(2, batch, 0.0, classes).into_iter().map(f64::floor).collect();
    step.inputs.insert("targets".to_owned(), labels);
    for (number, parameter) in program.graph.parameters().iter().enumerate() {
        let bound = (*parameter.shape.last().unwrap_or(&1) as f64).sqrt().recip();
        step.theta.push(random(number as u64 + 3, parameter.elements(), -bound, bound));
    }
    step
}

fn labels(plan: &Plan) -> Vec<&str> {
    plan.dispatches.iter().map(|dispatch| plan.kernels[dispatch.kernel].label.as_str()).collect()
}

#[test]
fn a_training_step_has_no_kernel_for_biases_activations_and_their_derivatives() {
    // Software shares no dispatch among products and splits none.
    let class = AdapterClass::Software;
    let profile = Profile { row_runs: RowRuns::Never, class, ..gpu().profile().clone() };
    let plan = Plan::new(&mlp(&[12, 16, 24, 10]).unwrap(), &profile, 32).unwrap();
    let mut found = labels(&plan);
    let forward = ["matmul", "matmul", "matmul", "cross-entropy", "sum", "cross-entropy gradient"];
    assert_eq!(found[..6], forward);
    // The gradients of three weights, each with that of its bias, and of two hidden layers with relu's derivative.
    found.sort_unstable();
    assert_eq!(found.iter().filter(|label| **label == "matmul").count(), 3 + 3 + 2);
    assert_eq!(found.iter().filter(|label| **label == "sum").count(), 1);
    assert_eq!(found.len(), 11);
    let text = |wanted: &str| {
        plan.dispatches.iter().filter(|d| plan.kernels[d.kernel].wgsl.contains(wanted)).count()
    };
    assert_eq!(text("max("), 2 + 2, "two relus, and the row maxima of cross-entropy and its gradient");
    assert_eq!(text("sign("), 2);
}

#[test]
fn a_chain_of_elementwise_operations_is_one_kernel_with_one_load() {
    let mut graph = Graph::new();
    let x = graph.input("x", [Dim::BATCH, Dim::Fixed(12)]).unwrap();
    let mut y = x;
    for name in ["sin", "relu", "tanh", "abs", "sigmoid", "negate", "exp", "cos", "sqrt", "erf"] {
        y = graph.unary(name, y).unwrap();
    }
    let plan = Plan::new(&results_program(&graph, &[y]), gpu().profile(), 7).unwrap();
    assert_eq!(labels(&plan), ["map"]);
    assert_eq!(plan.dispatches[0].reads.len(), 1);
    assert!(plan.arenas.is_empty());
}

#[test]
fn a_value_that_two_kernels_need_is_stored_once_and_a_constant_never() {
    let mut graph = Graph::new();
    let x = graph.input("x", [Dim::BATCH, Dim::Fixed(12)]).unwrap();
    let y = graph.sin(x).unwrap();
    let scaled = graph.scale(y, 3.0).unwrap();
    let sum = graph.sum(y, &[0]).unwrap();
    let plan = Plan::new(&results_program(&graph, &[scaled, sum]), gpu().profile(), 7).unwrap();
    assert_eq!(labels(&plan), ["map", "map", "sum"]);
    assert_eq!(plan.arenas.len(), 1);
}

/// Parameters of four numbers, and what is computed from them.
struct Wide {
    name: &'static str,
    parameters: usize,
    build: fn(&mut Graph, &[Var]) -> Result<Var>,
    max_buffers: u32,
    dispatches: usize,
}

/// Each kernel binds what it reads and one result.
const WIDE: [Wide; 5] = [
    Wide { name: "a sum", parameters: 20, build: sum_of_all, max_buffers: 8, dispatches: 4 },
    Wide { name: "a sum that just fits", parameters: 7, build: sum_of_all, max_buffers: 8, dispatches: 1 },
    Wide {
        name: "each as rows and as columns",
        parameters: 4,
        // By fours a row is read as vectors and a column as single numbers: two bindings of one buffer.
        build: |g, x| {
            let mut total = None;
            for &x in x {
                let column = g.reshape(x, [4, 1])?;
                let column = g.expand(column, [4, 4])?;
                let both = g.mul(column, x)?;
                total = g.add_optional(total, Some(both))?;
            }
            Ok(total.unwrap_or(x[0]))
        },
        max_buffers: 5,
        dispatches: 1,
    },
    Wide {
        name: "a product with its own operand added",
        parameters: 1,
        build: |g, x| {
            let square = g.reshape(x[0], [2, 2])?;
            let product = g.matmul_with(square, square, false, true)?;
            let sum = g.add(product, square)?;
            g.tanh(sum)
        },
        max_buffers: 3,
        dispatches: 2,
    },
    Wide {
        name: "a sum behind a product",
        parameters: 9,
        build: |g, x| {
            let square = g.reshape(x[0], [2, 2])?;
            let mut total = g.matmul(square, square)?;
            for &x in x {
                let addend = g.reshape(x, [2, 2])?;
                total = g.add(total, addend)?;
            }
            Ok(total)
        },
        max_buffers: 8,
        dispatches: 2,
    },
];

fn sum_of_all(g: &mut Graph, x: &[Var]) -> Result<Var> {
    let mut total = x[0];
    for &x in &x[1..] {
        total = g.add(total, x)?;
    }
    Ok(total)
}

#[test]
fn kernels_with_more_inputs_than_the_adapter_binds_are_split() {
    for Wide { name, parameters, build, max_buffers, dispatches } in WIDE {
        let mut graph = Graph::new();
        let mut step = StepContext::default();
        for number in 0..parameters {
            graph.parameter(&number.to_string(), &[4], Initial::Constant(0.0)).unwrap();
            step.theta.push(random(number as u64, 4, -1.0, 1.0));
        }
        let parameters = graph.parameter_vars().to_vec();
        let y = build(&mut graph, &parameters).unwrap();
        let profile = Profile { max_storage_buffers: max_buffers, ..gpu().profile().clone() };
        let plan = Plan::new(&results_program(&graph, &[y]), &profile, 1).unwrap();
        sound(&plan, &profile).unwrap_or_else(|message| panic!("{name}: {message}"));
        assert_eq!(plan.dispatches.len(), dispatches, "{name}");
        let expected = &graph.evaluate(&[y], 1, &step)[0].data;
        let found = &run_with(gpu(), &profile, &graph, &[y], 1, &step)[0];
        // Sums of at most 20 numbers of about 1.
        assert!(relative_error(found, expected) < 1e-6, "{name}: {found:?}, not {expected:?}");
    }
}

#[test]
fn planning_takes_time_linear_in_a_chain_whose_links_are_used_twice() {
    let mut graph = Graph::new();
    let x = graph.parameter("x", &[3], Initial::Constant(0.0)).unwrap();
    let mut y = x;
    // As a tree this is 2⁶⁴ nodes.
    for _ in 0..64 {
        y = graph.mul(y, y).unwrap();
    }
    let plan = Plan::new(&results_program(&graph, &[y]), gpu().profile(), 1).unwrap();
    assert_eq!(labels(&plan), ["map"]);
}

#[test]
fn a_training_step_agrees_with_its_reference() {
    let widths = [12, 16, 24, 10];
    let program = mlp(&widths).unwrap();
    for batch in [1, 31, 64] {
        let step = mlp_step(&program, &widths, batch);
        let loaded = Loaded::new(gpu(), &Kernels::new(gpu()), gpu().profile(), &program, batch);
        loaded.step(&step);
        let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
        let expected = program.graph.evaluate(&vars, batch, &step);
        for (found, expected) in loaded.values(&program).iter().zip(&expected) {
            // Sums of at most 64 terms through four layers.
            assert!(relative_error(found, &expected.data) < 1e-5);
        }
    }
}
