//! Work that shares a dispatch: the same bits of every product, and sums and gradients of f64.

use super::fusion::{layers, mlp, mlp_step};
use super::planning::sound;
use super::{Loaded, gpu, random, relative_error};
use crate::gpu::{AdapterClass, Kernels, Profile, RowRuns};
use crate::graph::reference::StepContext;
use crate::graph::{Graph, Initial, Var};
use crate::plan::joined::Joins;
use crate::plan::kernels::matmul::{ProductShape, Tile, Tiling, Tilings, tiles};
use crate::plan::recompute::variants;
use crate::plan::{Blueprint, Destination, Gradients, Plan, Precision, Program};

const APART: Joins = Joins { sums: false, products_below: 0 };
const SUMS: Joins = Joins { sums: true, products_below: 0 };
const PRODUCTS: Joins = Joins { sums: false, products_below: usize::MAX };
const BOTH: Joins = Joins { sums: true, products_below: usize::MAX };

/// Sums of up to 300 numbers, through at most four layers.
const TOLERANCE: f64 = 1e-5;

/// What stands between an adapter and its plan.
#[derive(Clone)]
struct Way {
    profile: Profile,
    gradients: Gradients,
    precision: Precision,
}

impl Way {
    fn new(profile: &Profile) -> Self {
        Way { profile: profile.clone(), gradients: Gradients::Overwrite, precision: Precision::F32 }
    }

    fn plan(&self, program: &Program, batch: usize, joins: Joins) -> Plan {
        let blueprint = Blueprint::new(program, &self.profile, self.gradients, self.precision).unwrap();
        let plan = blueprint.with_joins(joins).plan(batch).unwrap();
        sound(&plan, &self.profile).unwrap();
        plan
    }
}

/// As a GPU gets its plans, one that promises no more than all do.
fn discrete() -> Profile {
    Profile { class: AdapterClass::Discrete, row_runs: RowRuns::Never, ..Profile::portable() }
}

fn count(plan: &Plan, label: &str) -> usize {
    plan.dispatches.iter().filter(|dispatch| plan.kernels[dispatch.kernel].label == label).count()
}

/// The largest error of a gradient, each relative to its own size.
fn error(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    found.iter().zip(expected).map(|(found, expected)| relative_error(found, expected)).fold(0.0, f64::max)
}

fn expected(program: &Program, batch: usize, step: &StepContext) -> Vec<Vec<f64>> {
    let vars: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
    super::data(program.graph.evaluate(&vars, batch, step))
}

/// Of the outputs of [`mlp`] the loss and the gradients of weights.
fn products(outputs: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    outputs
        .iter()
        .enumerate()
        .filter(|(number, _)| *number == 0 || number % 2 == 1)
        .map(|(_, it)| it)
        .collect()
}

#[test]
fn gradients_are_those_of_f64_whatever_shares_a_dispatch() {
    let kernels = Kernels::new(gpu());
    let own = gpu().profile().clone();
    let rows: [(&Profile, &[usize], &[usize]); 5] = [
        (&own, &[12, 16, 24, 10], &[1, 31, 64]),
        (&own, &[65, 63, 1, 3], &[3, 257]),
        (&own, &[8, 64, 68, 257, 12], &[65]),
        (&discrete(), &[20, 40, 36, 17], &[63, 64]),
        // An axis that fills no tile.
        (&discrete(), &[63, 65, 3], &[65]),
    ];
    for (profile, widths, batches) in rows {
        let (program, way, layers) = (mlp(widths).unwrap(), Way::new(profile), widths.len() - 1);
        for &batch in batches {
            let step = mlp_step(&program, widths, batch);
            let expected = expected(&program, batch, &step);
            let [apart, sums, pairs, both] = [APART, SUMS, PRODUCTS, BOTH].map(|joins| {
                let loaded = Loaded::of(gpu(), &kernels, way.plan(&program, batch, joins));
                loaded.fill(0xFF);
                loaded.step(&step);
                let error = error(&loaded.values(&program), &expected);
                assert!(error < TOLERANCE, "{widths:?}, {batch} rows, {joins:?}: {error:e}");
                let first = loaded.bytes(&program);
                loaded.step(&step);
                assert!(loaded.bytes(&program) == first, "{widths:?}, {batch} rows, {joins:?}");
                // That of the loss, in one stage or in two, and those of the biases.
                let sums = count(&loaded.plan, "sum");
                assert!(if joins.sums { sums <= 2 } else { sums > layers }, "{sums} sums, {joins:?}");
                let pairs = if joins.products_below > 0 { layers - 1 } else { 0 };
                assert_eq!(count(&loaded.plan, "two matmuls"), pairs, "{widths:?} {joins:?}");
                first
            });
            assert!(pairs == apart && both == sums, "{widths:?}, {batch} rows: pairs");
            assert!(products(&sums) == products(&apart), "{widths:?}, {batch} rows: sums");
        }
    }
}

#[test]
fn gradients_of_half_activations_have_the_bits_that_they_have_apart() {
    let kernels = Kernels::new(gpu());
    let widths = [65, 63, 36, 10];
    let program = mlp(&widths).unwrap();
    let way = Way { precision: Precision::F16, ..Way::new(gpu().profile()) };
    for batch in [3, 65] {
        let step = mlp_step(&program, &widths, batch);
        let [apart, both] = [APART, BOTH].map(|joins| {
            let loaded = Loaded::of(gpu(), &kernels, way.plan(&program, batch, joins));
            loaded.step(&step);
            (loaded.bytes(&program), loaded.values(&program))
        });
        assert!(products(&apart.0) == products(&both.0), "{batch} rows");
        // Both add up the same numbers of 16 bits in f32.
        let error = error(&both.1, &apart.1);
        assert!(error < 1e-6, "{batch} rows: {error:e}");
    }
}

#[test]
fn gradients_add_up_over_micro_batches() {
    let kernels = Kernels::new(gpu());
    let widths = [12, 17, 24, 10];
    let program = mlp(&widths).unwrap();
    for profile in [gpu().profile().clone(), discrete()] {
        let way = Way { gradients: Gradients::Accumulate, ..Way::new(&profile) };
        let step = mlp_step(&program, &widths, 33);
        let once = expected(&program, 33, &step);
        let [apart, pairs, both] = [APART, PRODUCTS, BOTH].map(|joins| {
            let loaded = Loaded::of(gpu(), &kernels, way.plan(&program, 33, joins));
            loaded.fill(0xFF);
            for part in 0..3 {
                loaded.micro_step(&step, part > 0);
                // The loss is overwritten.
                let times = |number: usize| if number == 0 { 1.0 } else { f64::from(part + 1) };
                let wanted = once.iter().enumerate();
                let wanted = wanted.map(|(n, values)| values.iter().map(|v| times(n) * v).collect());
                let error = error(&loaded.values(&program), &wanted.collect::<Vec<_>>());
                assert!(error < TOLERANCE, "{joins:?}, part {part}: {error:e}");
            }
            loaded.bytes(&program)
        });
        assert!(pairs == apart);
        assert!(products(&both) == products(&apart));
    }
}

/// The product dw = gᵀ·x and the sum db of g over its rows, gradients of parameters, and what they are made from.
fn product_and_sum([m, n, k]: [usize; 3]) -> (Program, StepContext) {
    let mut graph = Graph::new();
    let g = graph.input("g", [k, m]).unwrap();
    let x = graph.input("x", [k, n]).unwrap();
    let mut step = StepContext { valid_rows: 1, row_weight: 1.0, ..StepContext::default() };
    for (number, shape) in [vec![m, n], vec![m]].into_iter().enumerate() {
        graph.parameter(&number.to_string(), &shape, Initial::Constant(0.0)).unwrap();
        step.theta.push(vec![0.0; shape.iter().product()]);
    }
    let dw = graph.matmul_with(g, x, true, false).unwrap();
    let db = graph.sum(g, &[0]).unwrap();
    step.inputs.insert("g".to_owned(), random(1, k * m, -1.0, 1.0));
    step.inputs.insert("x".to_owned(), random(2, k * n, -1.0, 1.0));
    let outputs = vec![(dw, Destination::Gradient(0)), (db, Destination::Gradient(1))];
    (Program { graph, outputs }, step)
}

/// Both by a tile, and the number of dispatches.
fn by_tile(
    kernels: &Kernels,
    shape: [usize; 3],
    tile: Tile,
    joins: Joins,
) -> (Vec<Vec<u8>>, Vec<Vec<f64>>, usize) {
    let (program, step) = product_and_sum(shape);
    let [m, n, k] = shape;
    let key = ProductShape { m, n, k, transposed: [true, false], half: [false; 2] };
    let blueprint = Blueprint::new(&program, gpu().profile(), Gradients::Overwrite, Precision::F32).unwrap();
    let tilings = Tilings::from([(key, Tiling { tile, parts: 1 })]);
    let plan = blueprint.with_tilings(tilings).with_joins(joins).plan(1).unwrap();
    let loaded = Loaded::of(gpu(), kernels, plan);
    loaded.fill(0xFF);
    loaded.step(&step);
    (loaded.bytes(&program), loaded.values(&program), loaded.plan.dispatches.len())
}

#[test]
fn every_tile_gives_sums_of_the_same_bits() {
    let kernels = Kernels::new(gpu());
    // Nothing by fours, and all: a kernel each. Below one tile, beside its end, and several.
    for shape in [[1, 65, 33], [131, 3, 67], [63, 129, 2], [132, 8, 68], [4, 64, 16], [257, 1, 257]] {
        let (program, step) = product_and_sum(shape);
        let expected = expected(&program, 1, &step);
        let mut before: Option<Vec<Vec<u8>>> = None;
        for tile in tiles(gpu().profile()) {
            let (bytes, values, dispatches) = by_tile(&kernels, shape, tile, SUMS);
            assert_eq!(dispatches, 1, "{tile} {shape:?}");
            let error = error(&values, &expected);
            // Sums of at most 257 numbers.
            assert!(error < 5e-6, "{tile} {shape:?}: {error:e}");
            assert!(before.is_none_or(|before| before == bytes), "{tile} {shape:?}");
            before = Some(bytes);
        }
    }
}

#[test]
fn a_sum_longer_than_a_reduction_allows_or_without_a_binding_is_made_apart() {
    let of = |max_storage_buffers, k| {
        let (program, _) = product_and_sum([5, 3, k]);
        // Software splits no product.
        let class = AdapterClass::Software;
        let profile = Profile { max_storage_buffers, class, ..gpu().profile().clone() };
        let plan = Way::new(&profile).plan(&program, 1, SUMS);
        (count(&plan, "matmul"), count(&plan, "sum"))
    };
    assert_eq!(of(4, 4096), (1, 0));
    assert_eq!(of(3, 4096), (1, 2));
    assert_eq!(of(4, 4097), (1, 2));
}

#[test]
fn products_share_a_dispatch_only_where_all_of_them_can_be_bound() {
    let kernels = Kernels::new(gpu());
    let widths = [9, 17, 12, 5];
    let program = mlp(&widths).unwrap();
    let step = mlp_step(&program, &widths, 13);
    let expected = expected(&program, 13, &step);
    // Operands of two products, the mask of one, two results, and with a sum three: the last layer's, whose input has no
    // sum apart, and the one before.
    let rows = [(4, 0), (5, 0), (6, 0), (7, 0), (8, 2), (9, 2)];
    for (max_storage_buffers, pairs) in rows {
        let profile = Profile { max_storage_buffers, ..gpu().profile().clone() };
        let loaded = Loaded::of(gpu(), &kernels, Way::new(&profile).plan(&program, 13, BOTH));
        assert_eq!(count(&loaded.plan, "two matmuls"), pairs, "{max_storage_buffers} buffers");
        loaded.fill(0xFF);
        loaded.step(&step);
        assert!(error(&loaded.values(&program), &expected) < TOLERANCE);
    }
}

#[test]
fn a_gpu_gets_both_where_products_are_small_and_software_never_pairs() {
    let pairs = |class, widths: &[usize]| {
        let profile = Profile { class, ..discrete() };
        let plan = Plan::new(&mlp(widths).unwrap(), &profile, 128).unwrap();
        count(&plan, "two matmuls")
    };
    let (small, large) = ([64, 256, 256, 10], [784, 1024, 1024, 10]);
    assert_eq!(pairs(AdapterClass::Discrete, &small), 2);
    assert_eq!(pairs(AdapterClass::Integrated, &small), 1);
    // 32 by 32 tiles of 32 × 32 for dW are more than fill either; those of the last layer are few.
    assert_eq!(pairs(AdapterClass::Discrete, &large), 1);
    assert_eq!(pairs(AdapterClass::Software, &small), 0);
}

#[test]
fn sharing_takes_no_more_memory() {
    let bytes = |widths: &[usize], batch, joins| -> u64 {
        let plan = Way::new(&discrete()).plan(&mlp(widths).unwrap(), batch, joins);
        plan.arenas.iter().sum()
    };
    let linear = |batch, joins| -> u64 {
        // Layers without an activation between them, whose products come in the other order.
        let program = layers(&[64, 100, 32, 64, 150, 300, 64, 4], false).unwrap();
        Way::new(&discrete()).plan(&program, batch, joins).arenas.iter().sum()
    };
    for batch in [63, 512] {
        assert!(linear(batch, BOTH) <= linear(batch, APART), "{batch} rows");
    }
    for widths in [&[20, 40, 36, 10][..], &[784, 512, 512, 10], &[8, 8, 8, 8, 8]] {
        for batch in [1, 63, 64, 300] {
            let apart = bytes(widths, batch, APART);
            for joins in [SUMS, PRODUCTS, BOTH] {
                assert!(bytes(widths, batch, joins) <= apart, "{widths:?}, {batch} rows, {joins:?}");
            }
        }
    }
}

#[test]
fn activations_made_again_give_the_same_bits() {
    let kernels = Kernels::new(gpu());
    let widths = [12, 24, 17, 24, 16, 5];
    let (program, way) = (mlp(&widths).unwrap(), Way::new(gpu().profile()));
    let step = mlp_step(&program, &widths, 33);
    let run = |program: &Program| {
        let loaded = Loaded::of(gpu(), &kernels, way.plan(program, 33, BOTH));
        loaded.fill(0xFF);
        loaded.step(&step);
        assert_eq!(count(&loaded.plan, "two matmuls"), widths.len() - 2);
        loaded.bytes(program)
    };
    let kept = run(&program);
    let again = variants(&program, gpu().profile()).unwrap();
    assert!(!again.is_empty());
    for variant in again {
        assert!(run(&variant.program) == kept, "{} made again", variant.recomputed);
    }
}
