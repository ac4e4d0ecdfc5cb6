//! A batch as several micro-batches: gradients are those of the undivided batch, and so are random numbers.

use super::fusion::{mlp, mlp_step};
use super::operations::{DEVICE_TOLERANCE, gradient_programs};
use super::{Loaded, gpu, lowered_gpu, random, relative_error, results_program};
use crate::gpu::{AdapterClass, Gpu, Kernels, LimitOverrides, Profile};
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::{Blueprint, Destination, Gradients, Plan, Precision, Program};
use crate::{Error, Result};

/// Rows of the batch that is divided: a prime, so that every micro-batch but 1 and 37 leaves a short last one.
const ROWS: usize = 37;

const MICRO_BATCHES: [usize; 4] = [1, 7, 16, ROWS];

/// Appends a model and its loss.
type Build = fn(&mut Graph) -> Result<Var>;

/// A model and a batch of [`ROWS`] rows.
type Model = (&'static str, Program, StepContext);

fn models() -> Vec<Model> {
    let widths = [12, 16, 24, 10];
    let program = mlp(&widths).unwrap();
    let step = mlp_step(&program, &widths, ROWS);
    let rest: [(&'static str, Build); 4] = [
        ("dropout of 7 columns", |g| with_dropout(g, 7)),
        ("dropout of 8 columns", |g| with_dropout(g, 8)),
        ("an embedding and an unused parameter", embedding),
        ("a product behind an epilogue", |g| {
            // The derivative by the scaled product of x and w goes through the scale: an epilogue of dw's own product.
            let x = g.input("features", [Dim::BATCH, Dim::Fixed(8)])?;
            let w = g.parameter("w", &[5, 8], Initial::Constant(0.0))?;
            let bent = g.tanh(w)?;
            let y = g.matmul_with(x, bent, false, true)?;
            squared_mean(g, y)
        }),
    ];
    let built = rest.into_iter().map(|(name, build)| {
        let program = trained(build).unwrap();
        let step = batch_for(&program);
        (name, program, step)
    });
    std::iter::once(("mlp", program, step)).chain(built).collect()
}

/// The program of the gradients of a loss.
fn trained(build: Build) -> Result<Program> {
    let mut graph = Graph::new();
    let loss = build(&mut graph)?;
    let parameters = graph.parameter_vars().to_vec();
    let gradients = graph.gradient(loss, &parameters)?.into_iter().enumerate();
    let outputs = gradients.map(|(i, var)| (var, Destination::Gradient(i))).collect();
    Ok(Program { graph, outputs })
}

fn squared_mean(g: &mut Graph, y: Var) -> Result<Var> {
    let square = g.mul(y, y)?;
    g.mean(square, &[0, 1])
}

fn with_dropout(g: &mut Graph, width: usize) -> Result<Var> {
    let x = g.input("features", [Dim::BATCH, Dim::Fixed(8)])?;
    let w = g.parameter("w", &[width, 8], Initial::Constant(0.0))?;
    let b = g.parameter("b", &[width], Initial::Constant(0.0))?;
    let product = g.matmul_with(x, w, false, true)?;
    let y = g.add(product, b)?;
    let y = g.tanh(y)?;
    let y = g.dropout(y, 0.5)?;
    squared_mean(g, y)
}

fn embedding(g: &mut Graph) -> Result<Var> {
    let words = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
    let words = g.input_of("targets", words)?;
    let table = g.parameter("table", &[10, 6], Initial::Constant(0.0))?;
    g.parameter("unused", &[3], Initial::Constant(0.0))?;
    let y = g.gather(table, words)?;
    squared_mean(g, y)
}

/// [`ROWS`] rows of 8 features and of labels below 10, and all parameters.
fn batch_for(program: &Program) -> StepContext {
    let mut step = StepContext { seed: 3, step: 9, ..StepContext::default() };
    step.valid_rows = ROWS;
    step.row_weight = 1.0 / ROWS as f64;
    step.inputs.insert("features".to_owned(), random(1, ROWS * 8, -1.0, 1.0));
    let labels = random(2, ROWS, 0.0, 10.0).into_iter().map(f64::floor).collect();
    step.inputs.insert("targets".to_owned(), labels);
    for (number, parameter) in program.graph.parameters().iter().enumerate() {
        step.theta.push(random(number as u64 + 3, parameter.elements(), -1.0, 1.0));
    }
    step
}

/// The micro-batches of `rows` rows of a batch; the last is filled up with copies of its first row.
fn micro_batches(batch: &StepContext, rows: usize) -> Vec<StepContext> {
    let part = |first: usize| {
        let valid = rows.min(ROWS - first);
        let cut = |values: &Vec<f64>| -> Vec<f64> {
            let width = values.len() / ROWS;
            let row = |i: usize| &values[(first + i) * width..(first + i + 1) * width];
            (0..rows).flat_map(|i| row(if i < valid { i } else { 0 })).copied().collect()
        };
        let inputs = batch.inputs.iter().map(|(name, values)| (name.clone(), cut(values))).collect();
        StepContext { valid_rows: valid, first_row: first, inputs, ..batch.clone() }
    };
    (0..ROWS).step_by(rows).map(part).collect()
}

fn accumulating(program: &Program, profile: &Profile, batch: usize) -> Result<Plan> {
    Blueprint::new(program, profile, Gradients::Accumulate, Precision::F32)?.plan(batch)
}

/// The gradients of a batch that is run as micro-batches of `rows`, over buffers of NaN.
fn accumulate<'a>(gpu: &'a Gpu, program: &Program, batch: &StepContext, rows: usize) -> Loaded<'a> {
    let plan = accumulating(program, gpu.profile(), rows).unwrap();
    let loaded = Loaded::of(gpu, &Kernels::new(gpu), plan);
    loaded.fill(0xFF);
    for (number, step) in micro_batches(batch, rows).iter().enumerate() {
        loaded.micro_step(step, number > 0);
    }
    loaded
}

#[test]
fn gradients_of_micro_batches_add_up_to_those_of_the_undivided_batch() {
    for (name, mut program, batch) in models() {
        program.outputs.retain(|(_, destination)| matches!(destination, Destination::Gradient(_)));
        let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
        let whole = program.graph.evaluate(&vars, ROWS, &batch);
        if name == "a product behind an epilogue" {
            let plan = accumulating(&program, gpu().profile(), ROWS).unwrap();
            assert!(plan.kernels.iter().any(|kernel| kernel.wgsl.contains("accumulated((p.c_offset")));
        }
        for rows in MICRO_BATCHES {
            // The same in f64, where only the order of at most 37 terms differs.
            let mut sums: Vec<Vec<f64>> = whole.iter().map(|array| vec![0.0; array.data.len()]).collect();
            for step in micro_batches(&batch, rows) {
                let parts = program.graph.evaluate(&vars, rows, &step);
                for (sum, part) in sums.iter_mut().flatten().zip(parts.iter().flat_map(|part| &part.data)) {
                    *sum += part;
                }
            }
            let found = accumulate(gpu(), &program, &batch, rows).values(&program);
            for (number, whole) in whole.iter().enumerate() {
                let error = relative_error(&sums[number], &whole.data);
                assert!(error < 1e-13, "{name}: by {rows} rows, f64 gradient {number} is off by {error:e}");
                let error = relative_error(&found[number], &whole.data);
                // f32: sums of at most 37 terms through four layers.
                assert!(error < 1e-5, "{name}: by {rows} rows, gradient {number} is off by {error:e}");
            }
        }
    }
}

#[test]
fn sums_of_products_over_micro_batches_have_the_bits_of_one_product() {
    // dw = xᵀ·u is one sum over the rows, in their order, however they are divided.
    let mut graph = Graph::new();
    let x = graph.input("features", [Dim::BATCH, Dim::Fixed(8)]).unwrap();
    graph.parameter("w", &[8, 8], Initial::Constant(0.0)).unwrap();
    let product = graph.matmul_with(x, x, true, false).unwrap();
    let program = Program { graph, outputs: vec![(product, Destination::Gradient(0))] };
    let batch = batch_for(&program);
    let whole = accumulate(gpu(), &program, &batch, ROWS).bytes(&program);
    // Micro-batches without rows that fill up: those would add to a product that is no mean.
    assert!(accumulate(gpu(), &program, &batch, 1).bytes(&program) == whole);
}

#[test]
fn masks_of_micro_batches_are_those_of_the_undivided_batch_to_the_bit() {
    for width in [1, 7, 8, 12] {
        let mut graph = Graph::new();
        let numbers = graph.random_uniform([Dim::BATCH, Dim::Fixed(width)]).unwrap();
        let fixed = graph.random_uniform([3, 5]).unwrap();
        let program = results_program(&graph, &[numbers, fixed]);
        let batch = batch_for(&program);
        let of = |step: &StepContext, rows: usize| {
            let plan = accumulating(&program, gpu().profile(), rows).unwrap();
            let loaded = Loaded::of(gpu(), &Kernels::new(gpu()), plan);
            loaded.micro_step(step, false);
            loaded.values(&program)
        };
        let whole = of(&batch, ROWS);
        let reference = graph.evaluate(&[numbers, fixed], ROWS, &batch);
        assert_eq!(whole, [reference[0].data.clone(), reference[1].data.clone()]);
        for rows in MICRO_BATCHES {
            let mut joined = Vec::new();
            for step in micro_batches(&batch, rows) {
                let [numbers, own] = <[Vec<f64>; 2]>::try_from(of(&step, rows)).unwrap();
                joined.extend_from_slice(&numbers[..step.valid_rows * width]);
                assert_eq!(own, whole[1], "without a batch axis all draw the same");
            }
            assert_eq!(joined, whole[0], "{width} columns by {rows} rows");
        }
    }
}

#[test]
fn random_numbers_with_the_batch_inside_cannot_be_divided() {
    for shape in [[Dim::Fixed(2), Dim::BATCH], [Dim::BATCH, Dim::BATCH]] {
        let mut graph = Graph::new();
        let numbers = graph.random_uniform(shape).unwrap();
        let program = results_program(&graph, &[numbers]);
        assert!(Plan::new(&program, gpu().profile(), 4).is_ok());
        let error = accumulating(&program, gpu().profile(), 4).map(|plan| plan.batch).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(error.to_string().contains("the batch is not the outermost axis"), "{error}");
    }
}

/// The profile of the device, and that as a GPU would have it: with kernels that workgroups share.
fn profiles() -> [Profile; 2] {
    let own = gpu().profile().clone();
    [Profile { class: AdapterClass::Discrete, ..own.clone() }, own]
}

#[test]
fn every_operation_overwrites_gradients_bit_for_bit_as_before_or_adds_to_them() {
    let kernels = Kernels::new(gpu());
    for (name, program, step) in gradient_programs() {
        let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
        let expected = program.graph.evaluate(&vars, 1, &step);
        for profile in profiles() {
            let plain = Loaded::new(gpu(), &kernels, &profile, &program, 1);
            plain.step(&step);
            let loaded = Loaded::of(gpu(), &kernels, accumulating(&program, &profile, 1).unwrap());
            loaded.fill(0xFF);
            loaded.micro_step(&step, false);
            assert!(loaded.bytes(&program) == plain.bytes(&program), "{name}");
            loaded.micro_step(&step, true);
            for (found, expected) in loaded.values(&program).iter().zip(&expected) {
                let twice: Vec<f64> = expected.data.iter().map(|value| 2.0 * value).collect();
                let error = relative_error(found, &twice);
                assert!(error < DEVICE_TOLERANCE, "{name}: twice the gradient is off by {error:e}");
            }
        }
    }
}

#[test]
fn parameters_that_are_cut_accumulate_in_their_pieces() {
    let overrides = LimitOverrides { max_binding_size: Some(16 << 10), ..LimitOverrides::default() };
    let small = lowered_gpu(overrides);
    let widths = [8, 70, 300, 10];
    let mut program = mlp(&widths).unwrap();
    program.outputs.retain(|(_, destination)| matches!(destination, Destination::Gradient(_)));
    let batch = mlp_step(&program, &widths, ROWS);
    let whole = accumulate(gpu(), &program, &batch, 7);
    let cut = accumulate(&small, &program, &batch, 7);
    assert!(cut.plan.theta.pieces.iter().any(|pieces| pieces.len() > 1));
    assert!(cut.bytes(&program) == whole.bytes(&program));
}

#[test]
fn a_product_summed_in_pieces_adds_what_was_there_once() {
    // The summed axis is that of the parameter's cut rows: several dispatches continue one sum.
    let overrides = LimitOverrides { max_binding_size: Some(16 << 10), ..LimitOverrides::default() };
    let small = lowered_gpu(overrides);
    let mut graph = Graph::new();
    let w = graph.parameter("w", &[300, 70], Initial::Constant(0.0)).unwrap();
    let x = graph.parameter("x", &[2, 300], Initial::Constant(0.0)).unwrap();
    let out = graph.parameter("out", &[2, 70], Initial::Constant(0.0)).unwrap();
    let product = graph.matmul(x, w).unwrap();
    let scaled = graph.scale(product, 3.0).unwrap();
    let number = graph.parameter_vars().iter().position(|var| *var == out).unwrap();
    let sum = Program { graph: graph.clone(), outputs: vec![(product, Destination::Gradient(number))] };
    let loaded = Loaded::of(&small, &Kernels::new(&small), accumulating(&sum, small.profile(), 1).unwrap());
    assert!(loaded.plan.dispatches.len() > 1);
    let step = batch_for(&sum);
    loaded.fill(0xFF);
    for accumulate in [false, true, true] {
        loaded.micro_step(&step, accumulate);
    }
    let thrice = sum.graph.evaluate(&[scaled], 1, &step);
    // f32: sums of 900 terms of about 1.
    assert!(relative_error(&loaded.values(&sum)[0], &thrice[0].data) < 1e-5);

    let behind = Program { graph, outputs: vec![(scaled, Destination::Gradient(number))] };
    let error = accumulating(&behind, small.profile(), 1).map(|plan| plan.batch).unwrap_err().to_string();
    assert!(error.contains("cannot be accumulated"), "{error}");
    assert!(Plan::new(&behind, small.profile(), 1).is_ok());
}
