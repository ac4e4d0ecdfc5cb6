//! Narrow networks block of rows by block of rows: the numbers of ordinary plans, the same bits on every run, and what
//! the planner leaves to ordinary kernels.

use super::planning::sound;
use super::translation::{self, Translated, translate_all};
use super::{Loaded, gpu, lowered_gpu, random, relative_error, results_program};
use crate::Result;
use crate::gpu::{AdapterClass, Gpu, GpuOptions, Kernels, LimitOverrides, Profile, RowRuns};
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::{Blueprint, Destination, Gradients, Plan, Precision, Program};

/// A profile of `gpu` on which all that can is done by rows, with workgroups as that class has them.
fn by_rows(gpu: &Gpu, class: AdapterClass) -> Profile {
    Profile { class, row_runs: RowRuns::Always, ..gpu.profile().clone() }
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

/// A whole step: its rows, its loss, its gradients.
const WHOLE: [&str; 3] = ["rows", "sums of rows", "sums of rows"];

fn network(widths: &[usize]) -> Network {
    Network { widths: widths.to_vec(), activation: "tanh", dropout: 0.25, loss: Loss::CrossEntropy }
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
            let profile = by_rows(gpu(), CLASSES[number % CLASSES.len()]);
            let step = network.step(&program, rows, valid, number as u64);
            let loaded = Loaded::new(gpu(), &kernels, &profile, &program, rows);
            assert_eq!(labels(&loaded.plan), WHOLE, "{network:?}");
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

#[test]
fn a_step_by_rows_gives_the_same_bits_whatever_memory_held_and_leaves_the_padding_of_gradients() {
    let network = network(&[16, 33, 5]);
    let program = network.program().unwrap();
    let step = network.step(&program, 65, 65, 3);
    let kernels = Kernels::new(gpu());
    for class in CLASSES {
        let loaded = Loaded::new(gpu(), &kernels, &by_rows(gpu(), class), &program, 65);
        let gradient = || {
            let buffer = &loaded.memory.gradient[0];
            gpu().read_buffer(buffer.raw(), 0..buffer.bytes()).unwrap()
        };
        loaded.fill(0);
        loaded.step(&step);
        let (first, zeros) = (loaded.bytes(&program), gradient());
        // As floats these bytes are NaN.
        loaded.fill(0xFF);
        loaded.step(&step);
        assert!(loaded.bytes(&program) == first, "{class:?}: memory's contents show");
        let padding = zeros.iter().zip(gradient()).filter(|(zero, one)| **zero == 0 && *one == 0xFF);
        let floats: usize = program.graph.parameters().iter().map(|parameter| parameter.elements()).sum();
        assert_eq!(padding.count(), zeros.len() - 4 * floats, "{class:?}");
    }
}

/// The rows `first .. first + rows` of a batch of `of` rows, filled up with copies of the first of them.
fn part(batch: &StepContext, of: usize, first: usize, rows: usize) -> StepContext {
    let valid = rows.min(of - first);
    let cut = |values: &Vec<f64>| -> Vec<f64> {
        let width = values.len() / of;
        let row = |i: usize| &values[(first + i) * width..(first + i + 1) * width];
        (0..rows).flat_map(|i| row(if i < valid { i } else { 0 })).copied().collect()
    };
    let inputs = batch.inputs.iter().map(|(name, values)| (name.clone(), cut(values))).collect();
    StepContext { valid_rows: valid, first_row: first, inputs, ..batch.clone() }
}

#[test]
fn gradients_of_micro_batches_by_rows_add_up_to_those_of_the_undivided_batch() {
    let kernels = Kernels::new(gpu());
    for (number, network) in networks().iter().take(6).enumerate() {
        let mut program = network.program().unwrap();
        program.outputs.retain(|(_, destination)| matches!(destination, Destination::Gradient(_)));
        let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
        let batch = network.step(&program, 37, 37, number as u64);
        let whole = program.graph.evaluate(&vars, 37, &batch);
        for rows in [1, 16, 37] {
            let profile = by_rows(gpu(), CLASSES[number % CLASSES.len()]);
            let blueprint =
                Blueprint::new(&program, &profile, Gradients::Accumulate, Precision::F32).unwrap();
            let loaded = Loaded::of(gpu(), &kernels, blueprint.plan(rows).unwrap());
            assert!(labels(&loaded.plan).contains(&"rows"), "{network:?}");
            loaded.fill(0xFF);
            for first in (0..37).step_by(rows) {
                loaded.micro_step(&part(&batch, 37, first, rows), first > 0);
            }
            for (found, whole) in loaded.values(&program).iter().zip(&whole) {
                let error = relative_error(found, &whole.data);
                // f32: sums of at most 128 terms through four layers.
                assert!(error < 1e-5, "{network:?} by {rows} rows is off by {error:e}");
            }
        }
    }
}

#[test]
fn by_rows_nothing_is_rounded_to_16_bits() {
    let network = network(&[16, 64, 10]);
    let program = network.program().unwrap();
    let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
    let step = network.step(&program, 65, 65, 7);
    let profile = by_rows(gpu(), AdapterClass::Discrete);
    let blueprint = Blueprint::new(&program, &profile, Gradients::Overwrite, Precision::F16).unwrap();
    let loaded = Loaded::of(gpu(), &Kernels::new(gpu()), blueprint.plan(65).unwrap());
    assert_eq!(labels(&loaded.plan), WHOLE);
    // The scale of the loss would be in the gradients: the uniform says 1.
    loaded.step(&step);
    for (found, expected) in loaded.values(&program).iter().zip(&program.graph.evaluate(&vars, 65, &step)) {
        assert!(relative_error(found, &expected.data) < 1e-5);
    }
}

/// Bytes of pixels, of which the conversion is too wide for workgroup memory, and rows picked by an index.
fn picked_pixels() -> Result<Program> {
    let mut g = Graph::new();
    let of = |dims: [Dim; 2], element| TensorType { shape: Shape::from(dims), element };
    let pixels = g.input_of("pixels", of([Dim::Fixed(50), Dim::Fixed(150)], Element::U8))?;
    let labels = TensorType { shape: Shape::from([50]), element: Element::U32 };
    let labels = g.input_of("labels", labels)?;
    let indices = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
    let indices = g.input_of("indices", indices)?;
    let (rows, labels) = (g.gather(pixels, indices)?, g.gather(labels, indices)?);
    let x = g.to_f32(rows)?;
    let x = g.scale(x, 1.0 / 255.0)?;
    let w = g.parameter("w", &[10, 150], Initial::Constant(0.0))?;
    let z = g.matmul_with(x, w, false, true)?;
    let losses = g.cross_entropy(z, labels)?;
    let loss = g.mean(losses, &[0])?;
    let gradient = g.gradient(loss, &[w])?[0];
    // As an evaluation counts: the guesses stay integers in workgroup memory.
    let guesses = g.argmax(z)?;
    let [guesses, labels] = [guesses, labels].map(|var| g.to_f32(var));
    let right = g.equal(guesses?, labels?)?;
    let right = g.sum(right, &[0])?;
    let outputs = vec![
        (loss, Destination::Result(0)),
        (right, Destination::Result(1)),
        (gradient, Destination::Gradient(0)),
    ];
    Ok(Program { graph: g, outputs })
}

#[test]
fn what_is_too_wide_for_workgroup_memory_comes_before_the_rows() {
    let program = picked_pixels().unwrap();
    let mut step = StepContext { valid_rows: 60, row_weight: 1.0 / 60.0, ..StepContext::default() };
    let whole = |seed, count, end| -> Vec<f64> {
        random(seed, count, 0.0, end).into_iter().map(f64::floor).collect()
    };
    step.inputs.insert("pixels".to_owned(), whole(1, 50 * 150, 256.0));
    step.inputs.insert("labels".to_owned(), whole(2, 50, 10.0));
    step.inputs.insert("indices".to_owned(), whole(3, 65, 50.0));
    step.theta.push(random(4, 1500, -0.3, 0.3));
    let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
    let expected = program.graph.evaluate(&vars, 65, &step);
    let kernels = Kernels::new(gpu());
    for class in CLASSES {
        let profile = by_rows(gpu(), class);
        for precision in [Precision::F32, Precision::F16] {
            let blueprint = Blueprint::new(&program, &profile, Gradients::Overwrite, precision).unwrap();
            let loaded = Loaded::of(gpu(), &kernels, blueprint.plan(65).unwrap());
            let found = labels(&loaded.plan);
            assert_eq!(found, ["map", "rows", "sums of rows", "sums of rows", "sums of rows"]);
            sound(&loaded.plan, &profile).unwrap();
            loaded.step(&step);
            // Pixels in 16 bits are rounded once.
            let bound = if precision == Precision::F16 { 1e-3 } else { 1e-5 };
            for (found, expected) in loaded.values(&program).iter().zip(&expected) {
                let error = relative_error(found, &expected.data);
                assert!(error < bound, "{class:?} {precision}: off by {error:e}");
            }
        }
    }
}

/// A mean over the batch in the midst of the network.
fn centred() -> Result<Program> {
    let mut g = Graph::new();
    let x = g.input("features", [Dim::BATCH, Dim::Fixed(8)])?;
    let w = g.parameter("w", &[8, 8], Initial::Constant(0.0))?;
    let y = g.matmul(x, w)?;
    let mean = g.mean(y, &[0])?;
    let y = g.sub(y, mean)?;
    let y = g.tanh(y)?;
    let square = g.mul(y, y)?;
    let loss = g.mean(square, &[0, 1])?;
    let gradient = g.gradient(loss, &[w])?[0];
    Ok(Program {
        graph: g,
        outputs: vec![(loss, Destination::Result(0)), (gradient, Destination::Gradient(0))],
    })
}

/// The gradient of a table's rows, which are added up by index.
fn embedded() -> Result<Program> {
    let mut g = Graph::new();
    let words = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
    let words = g.input_of("words", words)?;
    let table = g.parameter("table", &[10, 6], Initial::Constant(0.0))?;
    let y = g.gather(table, words)?;
    let y = g.tanh(y)?;
    let square = g.mul(y, y)?;
    let loss = g.mean(square, &[0, 1])?;
    let gradient = g.gradient(loss, &[table])?[0];
    Ok(Program { graph: g, outputs: vec![(gradient, Destination::Gradient(0))] })
}

/// A result with a row for each of the batch's.
fn predicted() -> Result<Program> {
    let mut g = Graph::new();
    let x = g.input("features", [Dim::BATCH, Dim::Fixed(8)])?;
    let w = g.parameter("w", &[8, 8], Initial::Constant(0.0))?;
    let y = g.matmul(x, w)?;
    let y = g.softmax(y)?;
    Ok(results_program(&g, &[y]))
}

#[test]
fn what_cannot_be_done_by_rows_or_is_not_to_be_is_left_to_ordinary_kernels() {
    type Change = fn(&mut Profile);
    let mlp = |widths: &[usize]| network(widths).program();
    let rows: [(&str, Result<Program>, Change, bool); 12] = [
        ("a narrow network", mlp(&[16, 32, 4]), |_| (), true),
        ("on a GPU's choice", mlp(&[16, 32, 4]), chosen, true),
        ("with all that webgpu promises", mlp(&[16, 32, 4]), |p| p.max_storage_buffers = 8, true),
        ("switched off", mlp(&[16, 32, 4]), |p| p.row_runs = RowRuns::Never, false),
        ("too few bindings", mlp(&[16, 32, 4]), |p| p.max_storage_buffers = 3, false),
        ("too little workgroup memory", mlp(&[16, 32, 4]), |p| p.max_workgroup_memory = 1024, false),
        ("parts larger than a binding", mlp(&[128, 128, 4]), |p| p.max_binding_size = 128 << 10, false),
        ("a parameter that is cut", mlp(&[128, 128, 4]), |p| p.max_binding_size = 34 << 10, false),
        ("a batch of many parts on a GPU's choice", mlp(&[128, 128, 4]), chosen, false),
        ("a mean over the batch that rows need", centred(), |_| (), false),
        ("rows added up by index", embedded(), |_| (), false),
        ("a result with rows", predicted(), |_| (), false),
    ];
    for (name, program, change, expected) in rows {
        let program = program.unwrap();
        let mut profile = by_rows(gpu(), AdapterClass::Discrete);
        change(&mut profile);
        let batch = if name.starts_with("a batch") { 4096 } else { 65 };
        let plan = Plan::new(&program, &profile, batch).unwrap();
        sound(&plan, &profile).unwrap_or_else(|message| panic!("{name}: {message}"));
        // What is left of a network may still be by rows, but none of its products.
        let found = labels(&plan).contains(&"rows") && !labels(&plan).contains(&"matmul");
        assert_eq!(found, expected, "{name}: {:?}", labels(&plan));
    }
}

fn chosen(profile: &mut Profile) {
    profile.row_runs = RowRuns::Chosen;
}

#[test]
fn a_layer_that_is_too_wide_keeps_its_own_kernels() {
    let profile = by_rows(gpu(), AdapterClass::Discrete);
    for (width, expected) in [(128, 0), (129, 5)] {
        let plan = Plan::new(&network(&[16, width, 4]).program().unwrap(), &profile, 32).unwrap();
        let products = labels(&plan).iter().filter(|label| **label == "matmul").count();
        assert_eq!(products, expected, "{width}: {:?}", labels(&plan));
    }
}

/// Two layers whose weights are kept apart in θ by a parameter that nothing reads.
fn parted() -> Result<Program> {
    let mut g = Graph::new();
    let x = g.input("features", [Dim::BATCH, Dim::Fixed(16)])?;
    let first = g.parameter("first", &[32, 16], Initial::Constant(0.0))?;
    g.parameter("unread", &[7900], Initial::Constant(0.0))?;
    let second = g.parameter("second", &[4, 32], Initial::Constant(0.0))?;
    let y = g.matmul_with(x, first, false, true)?;
    let y = g.tanh(y)?;
    let y = g.matmul_with(y, second, false, true)?;
    let square = g.mul(y, y)?;
    let loss = g.mean(square, &[0, 1])?;
    let parameters = g.parameter_vars().to_vec();
    let gradients = g.gradient(loss, &parameters)?.into_iter().enumerate();
    let outputs = gradients.map(|(i, var)| (var, Destination::Gradient(i))).collect();
    Ok(Program { graph: g, outputs })
}

#[test]
fn theta_in_several_shards_is_bound_and_written_shard_by_shard() {
    let overrides = LimitOverrides { max_binding_size: Some(32 << 10), ..LimitOverrides::default() };
    let small = lowered_gpu(overrides);
    let program = parted().unwrap();
    let mut step = StepContext { valid_rows: 9, row_weight: 1.0 / 9.0, ..StepContext::default() };
    step.inputs.insert("features".to_owned(), random(1, 9 * 16, -1.0, 1.0));
    for (seed, parameter) in program.graph.parameters().iter().enumerate() {
        step.theta.push(random(seed as u64 + 2, parameter.elements(), -0.3, 0.3));
    }
    let profile = by_rows(&small, AdapterClass::Discrete);
    let loaded = Loaded::new(&small, &Kernels::new(&small), &profile, &program, 9);
    assert_eq!(loaded.plan.theta.shards.len(), 2);
    // The map is the gradient of what nothing reads.
    assert_eq!(labels(&loaded.plan), ["map", "rows", "sums of rows", "sums of rows"]);
    sound(&loaded.plan, &profile).unwrap();
    loaded.fill(0xFF);
    loaded.step(&step);
    let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
    for (found, expected) in loaded.values(&program).iter().zip(&program.graph.evaluate(&vars, 9, &step)) {
        assert!(relative_error(found, &expected.data) < 1e-5);
    }
}

#[test]
fn kernels_by_rows_with_runtime_checks_give_the_same_bits() {
    let checked = Gpu::new(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap();
    let network = network(&[17, 33, 9, 5]);
    let program = network.program().unwrap();
    for class in CLASSES {
        // 65 rows leave one in the last block.
        let step = network.step(&program, 65, 50, 11);
        let [with, without] = [&checked, gpu()].map(|gpu| {
            let loaded = Loaded::new(gpu, &Kernels::new(gpu), &by_rows(gpu, class), &program, 65);
            loaded.fill(0xFF);
            loaded.step(&step);
            loaded.bytes(&program)
        });
        assert!(with == without, "{class:?}");
    }
}

#[test]
fn kernels_by_rows_are_valid_for_vulkan_metal_and_dx12() {
    let mut translated = Translated::new();
    let mut programs: Vec<Program> = networks().iter().map(|network| network.program().unwrap()).collect();
    programs.push(picked_pixels().unwrap());
    for program in &programs {
        for (adapter, profile) in translation::profiles() {
            let profile = Profile { row_runs: RowRuns::Always, ..profile };
            for (gradients, precision) in
                [(Gradients::Overwrite, Precision::F32), (Gradients::Accumulate, Precision::F16)]
            {
                let blueprint = Blueprint::new(program, &profile, gradients, precision).unwrap();
                translate_all(&blueprint.plan(65).unwrap(), profile.subgroups, &mut translated)
                    .unwrap_or_else(|message| panic!("{adapter}: {message}"));
            }
        }
    }
    let rows = translated.values().filter(|label| *label == "rows").count();
    assert!(rows > 4 * programs.len(), "only {rows} kernels by rows");
}
