//! Tiles and split sums chosen by hand, where the adapter would not choose them: every tile gives the same bits, and
//! plans as a GPU gets them the same numbers.

use super::fusion::{mlp, mlp_step};
use super::planning::sound;
use super::products::{RandomProduct, drawn_shape};
use super::{Loaded, gpu, lowered_gpu, random, relative_error, results_program};
use crate::gpu::{AdapterClass, Gpu, GpuOptions, Kernels, LimitOverrides, Profile, RowRuns};
use crate::graph::reference::StepContext;
use crate::graph::{Graph, Initial};
use crate::plan::kernels::matmul::{Body, ProductShape, Tile, Tiling, Tilings, tiles, tiling_for};
use crate::plan::{Blueprint, Gradients, Plan, Precision};

/// Sums of up to 2,100 products in f32: roundings go both ways, about the root of that times 6e-8, and some room.
const TOLERANCE: f64 = 5e-6;

/// The bytes of C by a tiling, written over NaN.
fn bytes(gpu: &Gpu, kernels: &Kernels, product: &RandomProduct, tiling: Option<Tiling>) -> Vec<u8> {
    let loaded = Loaded::of(gpu, kernels, product.plan(gpu.profile(), Gradients::Overwrite, tiling));
    loaded.fill(0xFF);
    loaded.step(&product.step);
    loaded.bytes(&product.program).concat()
}

/// Whether C has the bits by a tile that it has by the adapter's own.
fn same_bits(kernels: &Kernels, product: &RandomProduct, tile: Tile) -> bool {
    let tiling = Tiling { tile, parts: 1 };
    bytes(gpu(), kernels, product, Some(tiling)) == bytes(gpu(), kernels, product, None)
}

/// The smallest tile through workgroup memory, whose kernels compile fastest.
pub(super) fn smallest_staged() -> Tile {
    let staged = tiles(gpu().profile()).filter(|tile| tile.body == Body::Staged);
    staged.min_by_key(Tile::workgroup_rows).unwrap()
}

#[test]
fn every_tile_gives_the_same_bits() {
    let kernels = Kernels::new(gpu());
    // Nothing by fours, and all: a kernel each. Below one tile, beside its end, and several.
    let shapes = [[131, 129, 67], [1, 65, 33], [63, 3, 1], [132, 136, 68], [4, 64, 16], [68, 4, 4]];
    for tile in tiles(gpu().profile()) {
        // Neither transposed and both: between them every way to read either operand.
        for layout in [0, 3] {
            for (number, shape) in shapes.into_iter().enumerate() {
                let product = RandomProduct::new(4 * number as u32 + layout, shape, false, false);
                assert!(same_bits(&kernels, &product, tile), "{tile} {:?}", product.shape);
            }
        }
    }
}

#[test]
fn random_shapes_through_workgroup_memory_have_the_same_bits() {
    let (kernels, tile) = (Kernels::new(gpu()), smallest_staged());
    for case in 0..120 {
        // By fours along all axes, along none, and along the summed one alone, so that few kernels do.
        let shape = drawn_shape(case);
        let shape = match case % 3 {
            0 => shape.map(|length| length.next_multiple_of(4)),
            1 => shape.map(|length| length | 1),
            _ => [shape[0] | 1, shape[1] | 1, shape[2].next_multiple_of(4)],
        };
        let product = RandomProduct::new(case, shape, false, false);
        assert!(same_bits(&kernels, &product, tile), "case {case}: {:?}", product.shape);
    }
}

#[test]
fn staged_kernels_with_runtime_checks_give_the_same_bits() {
    let checked = Gpu::new(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap();
    let [without, with] = [gpu(), &checked].map(Kernels::new);
    let tiling = Some(Tiling { tile: smallest_staged(), parts: 2 });
    for (number, shape) in [[37, 65, 41], [36, 64, 40]].into_iter().enumerate() {
        for layout in [0, 3] {
            let product = RandomProduct::new(4 * number as u32 + layout, shape, false, false);
            let unchecked = bytes(gpu(), &without, &product, tiling);
            assert!(bytes(&checked, &with, &product, tiling) == unchecked, "{:?}", product.shape);
        }
    }
}

/// The error of a gradient that is overwritten and then added to, over NaN, and the plan.
fn accumulated(kernels: &Kernels, product: &RandomProduct, tiling: Tiling) -> (f64, Plan) {
    let plan = product.plan(gpu().profile(), Gradients::Accumulate, Some(tiling));
    sound(&plan, gpu().profile()).unwrap();
    let loaded = Loaded::of(gpu(), kernels, plan.clone());
    loaded.fill(0xFF);
    loaded.micro_step(&product.step, false);
    let once = relative_error(&loaded.values(&product.program)[0], &product.wanted);
    loaded.micro_step(&product.step, true);
    let twice: Vec<f64> = product.wanted.iter().map(|value| 2.0 * value).collect();
    (once.max(relative_error(&loaded.values(&product.program)[0], &twice)), plan)
}

#[test]
fn gradients_through_workgroup_memory_accumulate_with_and_without_an_epilogue() {
    let kernels = Kernels::new(gpu());
    for (number, shape) in [[37, 65, 21], [36, 64, 20]].into_iter().enumerate() {
        for epilogue in [false, true] {
            let product = RandomProduct::new(number as u32, shape, epilogue, true);
            let (error, _) = accumulated(&kernels, &product, Tiling { tile: smallest_staged(), parts: 1 });
            assert!(error < TOLERANCE, "{shape:?} {epilogue}: {error}");
        }
    }
}

#[test]
fn sums_in_parts_are_those_of_f64() {
    let kernels = Kernels::new(gpu());
    // As many parts as asked for; fewer, for they are whole sixteens; one, for there is nothing to split.
    let rows = [
        ([33, 21, 515], 3, 3),
        ([32, 20, 516], 3, 3),
        ([5, 64, 131], 7, 5),
        ([1, 1, 2051], 8, 8),
        ([8, 4, 16], 4, 1),
    ];
    for (number, (shape, asked, parts)) in rows.into_iter().enumerate() {
        for case in 0..8 {
            let [m, n, k] = shape;
            let own = tiling_for(gpu().profile(), m, n, k).tile;
            // The staged tile in one layout alone, for its kernels take long to compile.
            let tile = if case == 1 { smallest_staged() } else { own };
            let product = RandomProduct::new(8 * number as u32 + case, shape, case > 3, true);
            let (error, plan) = accumulated(&kernels, &product, Tiling { tile, parts: asked });
            assert!(error < TOLERANCE, "{shape:?} {case}: {error}");
            assert_eq!(plan.operations(), 2 * (m * n * k) as u64);
            let (split, dispatch) = (parts > 1, &plan.dispatches[0]);
            assert_eq!(plan.dispatches.len(), 1 + usize::from(split));
            assert_eq!(dispatch.groups, [(parts * tile.workgroups(m, n)) as u32, 1], "{shape:?}");
            // There is room for what was asked for, and nothing else lies in an arena.
            let bytes = if split { 4 * asked * m * n } else { 0 };
            assert_eq!(plan.arenas.iter().sum::<u64>(), bytes.next_multiple_of(256) as u64, "{shape:?}");
        }
    }
}

#[test]
fn sums_that_go_on_over_cut_parameters_do_so_through_workgroup_memory() {
    let overrides = LimitOverrides { max_binding_size: Some(16 << 10), ..LimitOverrides::default() };
    let small = lowered_gpu(overrides);
    let mut graph = Graph::new();
    let rows = graph.input("rows", [5, 300]).unwrap();
    let w = graph.parameter("w", &[300, 70], Initial::Constant(0.0)).unwrap();
    let product = graph.matmul(rows, w).unwrap();
    let program = results_program(&graph, &[product]);
    let mut step = StepContext { theta: vec![random(1, 300 * 70, -1.0, 1.0)], ..StepContext::default() };
    step.inputs.insert("rows".to_owned(), random(2, 5 * 300, -1.0, 1.0));
    let run = |gpu: &Gpu, tilings: Tilings| {
        let blueprint =
            Blueprint::new(&program, gpu.profile(), Gradients::Overwrite, Precision::F32).unwrap();
        let plan = blueprint.with_tilings(tilings).plan(1).unwrap();
        let loaded = Loaded::of(gpu, &Kernels::new(gpu), plan);
        loaded.fill(0xFF);
        loaded.step(&step);
        (loaded.bytes(&program), loaded.plan.clone())
    };
    // Parts are asked for too: a sum that the cut divides is not split again.
    let tiling = Tiling { tile: smallest_staged(), parts: 2 };
    let shape = |k| ProductShape { m: 5, n: 70, k, transposed: [false; 2], half: [false; 2] };
    let (cut, plan) = run(&small, (1..=300).map(|k| (shape(k), tiling)).collect());
    assert!(plan.kernels.iter().all(|kernel| kernel.wgsl.contains("var<workgroup> a_slice")));
    assert_eq!((plan.kernels.len(), plan.dispatches.len()), (2, plan.theta.pieces[0].len()));
    assert!(cut == run(gpu(), Tilings::new()).0);
}

/// What a GPU gets that promises no more than all do.
fn portable(class: AdapterClass) -> Profile {
    Profile { class, row_runs: RowRuns::Never, ..Profile::portable() }
}

#[test]
fn products_as_a_gpu_gets_them_are_those_of_f64() {
    let kernels = Kernels::new(gpu());
    let (discrete, integrated) = (AdapterClass::Discrete, AdapterClass::Integrated);
    // 32 × 32 whole and split, 64 × 64, 128 × 128, and narrow.
    let rows = [
        (discrete, [60, 41, 50], 1),
        (discrete, [48, 33, 2050], 2),
        (integrated, [512, 512, 20], 1),
        (integrated, [1024, 1024, 17], 1),
        (discrete, [10, 512, 1100], 2),
    ];
    for (number, (class, shape, dispatches)) in rows.into_iter().enumerate() {
        let product = RandomProduct::new(5 * number as u32, shape, number == 1, false);
        let profile = portable(class);
        let plan = product.plan(&profile, Gradients::Overwrite, None);
        sound(&plan, &profile).unwrap();
        assert_eq!(plan.dispatches.len(), dispatches, "{shape:?}");
        let loaded = Loaded::of(gpu(), &kernels, plan);
        loaded.fill(0xFF);
        loaded.step(&product.step);
        let error = relative_error(&loaded.values(&product.program)[0], &product.wanted);
        assert!(error < TOLERANCE, "{shape:?}: {error}");
    }
}

#[test]
fn a_training_step_as_a_gpu_gets_it_is_that_of_f64() {
    let (widths, batch) = ([20, 40, 36, 10], 1100);
    let program = mlp(&widths).unwrap();
    let step = mlp_step(&program, &widths, batch);
    let profile = portable(AdapterClass::Discrete);
    let loaded = Loaded::new(gpu(), &Kernels::new(gpu()), &profile, &program, batch);
    sound(&loaded.plan, &profile).unwrap();
    let split = loaded.plan.tensors.iter().filter(|tensor| tensor.label == "products of parts").count();
    assert_eq!(split, 3, "the gradient of every weight is split along the batch");
    assert!(loaded.plan.kernels.iter().any(|kernel| kernel.wgsl.contains("var<workgroup> a_slice")));
    loaded.fill(0xFF);
    loaded.step(&step);
    let vars: Vec<_> = program.outputs.iter().map(|(var, _)| *var).collect();
    let expected = program.graph.evaluate(&vars, batch, &step);
    for (number, (found, expected)) in loaded.values(&program).iter().zip(&expected).enumerate() {
        let error = relative_error(found, &expected.data);
        // Sums of 1,100 rows that partly cancel, through three layers.
        assert!(error < 1e-5, "output {number} is off by {error:e}");
    }
}
