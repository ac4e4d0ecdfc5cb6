//! The graph evaluated on the CPU in f64: what the GPU's results are compared with.

use std::collections::HashMap;

use super::{Graph, Var};

/// A tensor of f64 on the host.
///
/// ```
/// use downhill::{Array, Graph, StepContext};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [2])?;
/// let square = graph.mul(x, x)?;
/// let step = StepContext { inputs: [("x".to_owned(), vec![2.0, 3.0])].into(), ..StepContext::default() };
/// assert_eq!(graph.evaluate(&[square], 1, &step), [Array { shape: vec![2], data: vec![4.0, 9.0] }]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its sizes, outermost first.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub data: Vec<f64>,
}

/// What differs from step to step.
///
/// ```
/// use downhill::{Dim, Graph, Initial, StepContext};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [Dim::BATCH, Dim::Fixed(2)])?;
/// let weight = graph.parameter("weight", &[2], Initial::Constant(0.0))?;
/// let weighted = graph.mul(x, weight)?;
/// let y = graph.sum(weighted, &[1])?;
/// let step = StepContext {
///     valid_rows: 2,
///     inputs: [("x".to_owned(), vec![1.0, 2.0, 3.0, 4.0])].into(),
///     theta: vec![vec![10.0, 1.0]],
///     ..StepContext::default()
/// };
/// assert_eq!(graph.evaluate(&[y], 2, &step)[0].data, [12.0, 34.0]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepContext {
    /// The seed of random numbers.
    pub seed: u64,
    /// The step's number, from 0.
    pub step: u64,
    /// Rows of the micro-batch that are there; the others fill it up.
    pub valid_rows: usize,
    /// The weight of a row in the mean over the batch.
    pub row_weight: f64,
    /// Rows of the batch before this micro-batch: random numbers are counted by the element within the batch.
    pub first_row: usize,
    /// The values of the input slots by name; a slot that is missing, or of another size, reads as NaN.
    pub inputs: HashMap<String, Vec<f64>>,
    /// The parameters, in the graph's order.
    pub theta: Vec<Vec<f64>>,
}

impl Graph {
    /// The values of `vars` for a micro-batch of `batch` rows, computed on the CPU in f64.
    pub fn evaluate(&self, vars: &[Var], batch: usize, step: &StepContext) -> Vec<Array> {
        let live = self.live(vars);
        let mut values: Vec<Option<Array>> = vec![None; self.len()];
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| live[*index]) {
            let shape = node.ty.shape.resolve(batch);
            let inputs: Vec<&Array> =
                node.inputs.iter().filter_map(|input| values[input.index()].as_ref()).collect();
            let data = node.op.reference(&inputs, &shape, step);
            values[index] = Some(Array { shape, data });
        }
        vars.iter().filter_map(|var| values[var.index()].clone()).collect()
    }
}

/// The coordinates of element `index` of a row-major tensor.
pub(crate) fn coordinates(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        at[axis] = index % shape[axis];
        index /= shape[axis];
    }
    at
}

/// The index of the element at `coordinates`.
pub(crate) fn linear(coordinates: &[usize], shape: &[usize]) -> usize {
    coordinates.iter().zip(shape).fold(0, |index, (&coordinate, &size)| index * size + coordinate)
}

/// Element `index` of the uniform numbers of a stream: 24 bits of Philox on [0, 1), the same on the GPU.
pub(crate) fn philox_uniform(seed: u64, step: u64, stream: u32, index: u32) -> f64 {
    philox_uniform4(seed, step, stream, index / 4)[index as usize % 4]
}

/// Elements `4·quad` to `4·quad + 3`, which come from one call of Philox.
pub(crate) fn philox_uniform4(seed: u64, step: u64, stream: u32, quad: u32) -> [f64; 4] {
    let counter = [quad, stream, step as u32, (step >> 32) as u32];
    let words = philox(counter, [seed as u32, (seed >> 32) as u32]);
    words.map(|word| f64::from(word >> 8) / f64::from(1u32 << 24))
}

/// Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        let ones = u32::MAX;
        let rows = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in rows {
            assert_eq!(philox(counter, key), expected);
        }
    }
}
