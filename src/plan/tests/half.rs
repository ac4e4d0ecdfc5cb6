//! Plans whose activations have 16 bits: products at awkward shapes with half operands and half results against f64,
//! gradients of a network, and what the planner keeps in 32 bits.

use super::fusion::{mlp, mlp_step};
use super::tilings::smallest_staged;
use super::{Loaded, gpu, random, relative_error};
use crate::gpu::{Gpu, GpuOptions, Kernels, Profile};
use crate::graph::reference::{StepContext, philox_uniform};
use crate::graph::{Graph, Var};
use crate::plan::kernels::matmul::{ProductShape, Tile, Tiling, Tilings, tiles, tiling_for};
use crate::plan::{Blueprint, Destination, Gradients, Home, Plan, Precision, Program};

/// Half the distance of neighbouring numbers of 16 bits (10 bits behind the first), relative to them.
const HALF_ROUNDING: f64 = 1.0 / 2048.0;

fn plan(program: &Program, precision: Precision, batch: usize) -> Plan {
    let blueprint = Blueprint::new(program, gpu().profile(), Gradients::Overwrite, precision).unwrap();
    blueprint.plan(batch).unwrap()
}

/// A matrix that a kernel of its own stores in an arena.
fn stored(graph: &mut Graph, var: Var) -> Var {
    graph.copy(var).unwrap()
}

/// A product with operands in 16 or 32 bits, as its case says.
struct Product {
    program: Program,
    step: StepContext,
    wanted: Vec<f64>,
}

/// Case `number`: its bits say how the operands lie and which of A, B and C have 16 bits. Numbers are multiples of 2⁻¹⁰ on
/// [−1, 1], which 16 bits hold exactly.
fn product(number: u32, [m, n, k]: [usize; 3]) -> Product {
    let bit = |place: u32| number >> place & 1 == 1;
    let (transpose_a, transpose_b) = (bit(0), bit(1));
    let mut graph = Graph::new();
    let mut a = graph.input("a", if transpose_a { [k, m] } else { [m, k] }).unwrap();
    let mut b = graph.input("b", if transpose_b { [n, k] } else { [k, n] }).unwrap();
    if bit(2) {
        a = stored(&mut graph, a);
    }
    if bit(3) {
        b = stored(&mut graph, b);
    }
    let mut c = graph.matmul_with(a, b, transpose_a, transpose_b).unwrap();
    c = graph.relu(c).unwrap();
    // What two outputs want lies in an arena and is copied to both.
    let outputs = [c, c].into_iter().take(1 + usize::from(bit(4))).enumerate();
    let outputs = outputs.map(|(i, var)| (var, Destination::Result(i))).collect();
    let exact = |seed: u64, count| -> Vec<f64> {
        random(3 * u64::from(number) + seed, count, -1.0, 1.0)
            .iter()
            .map(|x| (x * 1024.0).round() / 1024.0)
            .collect()
    };
    let mut step = StepContext { valid_rows: 1, row_weight: 1.0, ..StepContext::default() };
    step.inputs.insert("a".to_owned(), exact(0, m * k));
    step.inputs.insert("b".to_owned(), exact(1, k * n));
    let wanted = graph.evaluate(&[c], 1, &step)[0].data.clone();
    Product { program: Program { graph, outputs }, step, wanted }
}

#[test]
fn products_with_half_operands_and_results_are_those_of_f64() {
    let kernels = Kernels::new(gpu());
    for number in 0..256 {
        let length = |place: u32| {
            let part = philox_uniform(11, u64::from(place), 0, number);
            // Every fourth case has lengths that vectors of four divide.
            if number % 8 < 2 { 4 * (1 + (20.0 * part) as usize) } else { 1 + (80.0 * part) as usize }
        };
        let shape = [length(0), length(1), length(2)];
        // All 32 combinations come with aligned shapes and with others.
        let Product { program, step, wanted } = product(number / 8, shape);
        let blueprint = Blueprint::new(&program, gpu().profile(), Gradients::Overwrite, Precision::F16);
        let [m, n, k] = shape;
        let transposed = [0, 1].map(|place| ((number / 8) >> place) & 1 == 1);
        let shape =
            ProductShape { m, n, k, transposed, half: [2, 3].map(|place| ((number / 8) >> place) & 1 == 1) };
        let tiling = match number % 8 {
            // Aligned and not, through workgroup memory, and summed in parts.
            1 | 7 => Tiling { tile: smallest_staged(), parts: 2 },
            6 => Tiling { parts: 3, ..tiling_for(gpu().profile(), m, n, k) },
            _ => tiling_for(gpu().profile(), m, n, k),
        };
        let blueprint = blueprint.unwrap().with_tilings(Tilings::from([(shape, tiling)]));
        let loaded = Loaded::of(gpu(), &kernels, blueprint.plan(1).unwrap());
        loaded.fill(0xFF);
        loaded.step(&step);
        let found = relative_error(&loaded.values(&program)[0], &wanted);
        // Operands are exact and sums are f32, as in f32 itself; a half result is rounded once.
        let bound = if (number / 8) >> 4 & 1 == 1 { HALF_ROUNDING } else { 2e-6 };
        assert!(found < bound, "case {number}: {shape:?}: {found}");
    }
}

/// Every tile on matrix units in all layouts, below one tile and beyond, in whole vectors and not, whole and in parts.
#[test]
fn products_on_matrix_units_are_those_of_f64() {
    let gpu = Gpu::new(&GpuOptions { matrix_units: true, ..GpuOptions::default() }).unwrap();
    let on_units: Vec<Tile> = tiles(gpu.profile()).filter(Tile::on_units).collect();
    if !gpu.profile().matrix_units {
        assert!(on_units.is_empty());
        return;
    }
    let kernels = Kernels::new(&gpu);
    for (tile, case) in on_units.into_iter().flat_map(|tile| (0..4).map(move |case| (tile, case))) {
        for shape in [[5, 3, 7], [132, 68, 36], [129, 300, 201], [256, 128, 2048]] {
            // Both operands in 16 bits.
            let number = case | 0b1100;
            let Product { program, step, wanted } = product(number, shape);
            let [m, n, k] = shape;
            let transposed = [0, 1].map(|place| (number >> place) & 1 == 1);
            let key = ProductShape { m, n, k, transposed, half: [true; 2] };
            let blueprint =
                Blueprint::new(&program, gpu.profile(), Gradients::Overwrite, Precision::F16).unwrap();
            for parts in [1, 4] {
                let tilings = Tilings::from([(key, Tiling { tile, parts })]);
                let plan = blueprint.clone().with_tilings(tilings).plan(1).unwrap();
                let loaded = Loaded::of(&gpu, &kernels, plan);
                assert!(loaded.plan.kernels.iter().any(|kernel| kernel.wgsl.contains("coop_mat")));
                loaded.fill(0xFF);
                loaded.step(&step);
                let found = relative_error(&loaded.values(&program)[0], &wanted);
                // Sums of up to 2,048 exact products, in f32 that some units cut short instead of rounding it.
                assert!(found < 1e-4, "{tile}, case {case}, {shape:?} in {parts} parts: {found}");
            }
        }
    }
}

#[test]
fn gradients_of_half_activations_are_near_those_of_f64() {
    let widths = [65, 63, 33, 10];
    let program = mlp(&widths).unwrap();
    let kernels = Kernels::new(gpu());
    for batch in [1, 3, 65, 128] {
        let step = mlp_step(&program, &widths, batch);
        let outputs: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
        let exact = program.graph.evaluate(&outputs, batch, &step);
        let loaded = Loaded::of(gpu(), &kernels, plan(&program, Precision::F16, batch));
        loaded.step(&step);
        for (values, wanted) in loaded.values(&program).iter().zip(&exact) {
            let found = relative_error(values, &wanted.data);
            // Inputs, weights, activations and their gradients are rounded once each on the way through three layers, to
            // either side; units near 0 may be cut by ReLU or not.
            assert!(found < 8.0 * HALF_ROUNDING, "batch {batch}: {found}");
            assert!(found > 0.0, "rounding to 16 bits must show");
        }
    }
}

#[test]
fn half_plans_store_matrices_alone_in_16_bits() {
    let program = mlp(&[64, 32, 16, 8]).unwrap();
    let plan = plan(&program, Precision::F16, 4);
    let rows = [
        // Label, bytes.
        ("relu [batch, 32]", Some(2 * 4 * 32)),
        ("0.weight [32, 64] in f16", Some(2 * 64 * 32)),
        // Logits, which the loss takes differences of, and the loss of each row.
        ("add [batch, 8]", Some(4 * 4 * 8)),
        ("cross-entropy [batch]", Some(4 * 4)),
    ];
    for (label, bytes) in rows {
        let found = plan.tensors.iter().find(|tensor| tensor.label == label).map(|tensor| tensor.bytes);
        let labels: Vec<&str> = plan.tensors.iter().map(|tensor| tensor.label.as_str()).collect();
        assert_eq!(found, bytes, "{label} of {labels:?}");
    }
    let outputs = plan.tensors.iter().filter(|tensor| matches!(tensor.home, Home::Gradient(_)));
    let floats: u64 = outputs.map(|tensor| tensor.bytes / 4).sum();
    assert_eq!(floats, (64 * 32 + 32 + 32 * 16 + 16 + 16 * 8 + 8) as u64, "gradients are f32");
}

/// What is too large for 16 bits must become infinite, not the largest number: so an overflow is noticed.
#[test]
fn an_overflow_of_16_bits_shows_in_the_gradient() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 2]).unwrap();
    let y = stored(&mut graph, x);
    let z = graph.matmul(y, y).unwrap();
    let program = Program { graph, outputs: vec![(z, Destination::Result(0))] };
    let loaded = Loaded::of(gpu(), &Kernels::new(gpu()), plan(&program, Precision::F16, 1));
    for (large, is_finite) in [(60000.0, true), (70000.0, false), (-1e30, false)] {
        let mut step = StepContext { valid_rows: 1, row_weight: 1.0, ..StepContext::default() };
        step.inputs.insert("x".to_owned(), vec![large, 0.0, 0.0, 1.0]);
        loaded.step(&step);
        assert_eq!(loaded.values(&program)[0][0].is_finite(), is_finite, "{large}");
    }
}

#[test]
fn an_adapter_without_16_bits_is_told() {
    let program = mlp(&[4, 2]).unwrap();
    let refused = Blueprint::new(&program, &Profile::portable(), Gradients::Overwrite, Precision::F16);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("precision") && message.contains("no f16"), "{message}");
}
