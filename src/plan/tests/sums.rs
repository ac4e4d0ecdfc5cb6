//! How much of their digits long sums keep in f32.

use super::{gpu, run_with};
use crate::gpu::{AdapterClass, Profile};
use crate::graph::reference::StepContext;
use crate::graph::{Graph, Initial};

/// What rounding adds at most to a sum of positive terms, relative to it: half a unit in the last of 24 bits for each addition
/// that a term goes through, in its block of 64, over the blocks of its part, over the lanes and likewise over the parts. Here
/// parts are at most 4,096 elements, of which 64 blocks, and at most 8,192, of which 128.
const BOUND: f64 = (64 + 64 + 6 + 64 + 128) as f64 / (1 << 24) as f64;

/// Equal terms are rounded to the same side again and again: a plain sum would be off by 4e-5 to 6e-5.
#[test]
fn sums_of_equal_terms_go_block_by_block() {
    for (terms, columns) in [(4096, 1), (1_000_000, 1), (300_000, 4), (9000, 8192)] {
        let mut graph = Graph::new();
        let x = graph.parameter("x", &[1, columns], Initial::Constant(0.0)).unwrap();
        let spread = graph.expand(x, [terms, columns]).unwrap();
        let sum = graph.sum(spread, &[0]).unwrap();
        let term = f64::from(0.1_f32);
        let step = StepContext { theta: vec![vec![term; columns]], valid_rows: 1, ..StepContext::default() };
        for class in [AdapterClass::Software, AdapterClass::Discrete] {
            let profile = Profile { class, ..gpu().profile().clone() };
            let found = run_with(gpu(), &profile, &graph, &[sum], 1, &step).concat();
            let expected = terms as f64 * term;
            assert_eq!(found.len(), columns);
            let error = found.iter().map(|found| (found - expected).abs() / expected).fold(0.0, f64::max);
            assert!(error < BOUND, "{terms} terms by {columns}, {class:?}: off by {error:e}");
        }
    }
}
