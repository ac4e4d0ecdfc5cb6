//! Products of matrices of hundreds of random shapes, in all layouts and by every tile, against f64.

use super::{Loaded, gpu, random, relative_error};
use crate::gpu::{Kernels, Profile};
use crate::graph::reference::{StepContext, philox_uniform};
use crate::graph::{Graph, Initial};
use crate::plan::kernels::matmul::{ProductShape, Tiling, Tilings};
use crate::plan::{Blueprint, Destination, Gradients, Plan, Precision, Program};

/// A product of random matrices, and what it gives in f64.
pub(super) struct RandomProduct {
    pub program: Program,
    pub step: StepContext,
    pub wanted: Vec<f64>,
    pub shape: ProductShape,
}

impl RandomProduct {
    /// C = A·B with bias and ReLU where `epilogue` says so; `case` gives the numbers and in its last two bits the layout.
    /// C is the gradient of a parameter where `is_gradient`, else a result.
    pub fn new(case: u32, [m, n, k]: [usize; 3], epilogue: bool, is_gradient: bool) -> Self {
        let [transpose_a, transpose_b] = [case % 2 == 1, case / 2 % 2 == 1];
        let mut graph = Graph::new();
        let a = graph.input("a", if transpose_a { [k, m] } else { [m, k] }).unwrap();
        let b = graph.input("b", if transpose_b { [n, k] } else { [k, n] }).unwrap();
        let bias = graph.input("bias", [n]).unwrap();
        let mut c = graph.matmul_with(a, b, transpose_a, transpose_b).unwrap();
        if epilogue {
            c = graph.add(c, bias).unwrap();
            c = graph.relu(c).unwrap();
        }
        let mut step = StepContext { valid_rows: 1, row_weight: 1.0, ..StepContext::default() };
        let destination = match is_gradient {
            true => {
                graph.parameter("c", &[m, n], Initial::Constant(0.0)).unwrap();
                step.theta.push(vec![0.0; m * n]);
                Destination::Gradient(0)
            }
            false => Destination::Result(0),
        };
        let seed = 3 * u64::from(case);
        let [left, right, shift] =
            [(0, m * k), (1, k * n), (2, n)].map(|(i, count)| random(seed + i, count, -1.0, 1.0));
        let mut wanted = vec![0.0; m * n];
        for row in 0..m {
            for middle in 0..k {
                let factor: f64 = if transpose_a { left[middle * m + row] } else { left[row * k + middle] };
                for column in 0..n {
                    let other: f64 =
                        if transpose_b { right[column * k + middle] } else { right[middle * n + column] };
                    wanted[row * n + column] += factor * other;
                }
            }
            if epilogue {
                wanted[row * n..(row + 1) * n]
                    .iter_mut()
                    .zip(&shift)
                    .for_each(|(c, shift)| *c = (*c + shift).max(0.0));
            }
        }
        for (name, values) in [("a", left), ("b", right), ("bias", shift)] {
            step.inputs.insert(name.to_owned(), values);
        }
        let shape = ProductShape { m, n, k, transposed: [transpose_a, transpose_b], half: [false; 2] };
        RandomProduct { program: Program { graph, outputs: vec![(c, destination)] }, step, wanted, shape }
    }

    /// The plan with a tiling of one's own, or that of the profile.
    pub fn plan(&self, profile: &Profile, gradients: Gradients, tiling: Option<Tiling>) -> Plan {
        let tilings: Tilings = tiling.into_iter().map(|tiling| (self.shape, tiling)).collect();
        let blueprint = Blueprint::new(&self.program, profile, gradients, Precision::F32).unwrap();
        blueprint.with_tilings(tilings).plan(1).unwrap()
    }
}

/// A whole number from `least` to `most`, a function of the numbers before.
fn drawn(case: u32, place: u32, least: usize, most: usize) -> usize {
    let part = philox_uniform(97, u64::from(place), 0, case);
    least + ((most - least + 1) as f64 * part) as usize
}

/// The shape of a case: where a tile ends, and one beside it, are met often; every fourth length is a multiple of four.
pub(super) fn drawn_shape(case: u32) -> [usize; 3] {
    let length = |place| match drawn(case, place, 0, 3) {
        0 => drawn(case, place + 3, 1, 9),
        1 => 4 * drawn(case, place + 3, 1, 24),
        _ => drawn(case, place + 3, 1, 80),
    };
    [length(0), length(1), length(2)]
}

/// The largest relative error over all of C.
fn error(kernels: &Kernels, case: u32, shape: [usize; 3], epilogue: bool) -> f64 {
    let product = RandomProduct::new(case, shape, epilogue, false);
    let loaded = Loaded::new(gpu(), kernels, gpu().profile(), &product.program, 1);
    loaded.step(&product.step);
    relative_error(&loaded.values(&product.program)[0], &product.wanted)
}

#[test]
fn five_hundred_random_shapes_are_the_products_of_f64() {
    let kernels = Kernels::new(gpu());
    for case in 0..500 {
        let shape = drawn_shape(case);
        let found = error(&kernels, case, shape, case % 3 == 0);
        // Sums of up to 96 products, each rounded by 6e-8 of the sum so far.
        assert!(found < 2e-6, "case {case}: {shape:?}: {found}");
    }
}

/// Work that takes the larger tiles of a software adapter, at sizes beside their multiples.
#[test]
fn larger_products_are_those_of_f64() {
    let kernels = Kernels::new(gpu());
    let shapes = [[130, 129, 131], [257, 63, 260], [33, 516, 130], [545, 497, 503], [512, 516, 520]];
    for (number, shape) in shapes.into_iter().enumerate() {
        for layout in 0..4 {
            let found = error(&kernels, 4 * number as u32 + layout, shape, layout == 1);
            // Roundings go both ways: about the root of 520 times 6e-8, and some room.
            assert!(found < 5e-6, "{shape:?} {layout}: {found}");
        }
    }
}
