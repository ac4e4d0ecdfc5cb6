//! Factors on a device, and the triangular solutions by which they solve systems.

use super::batch::Batch;
use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, LaunchList, Launches, Shader};

pub(super) static SUBSTITUTE: Shader = Shader {
    label: "substitution",
    before: &[],
    text: include_str!("../../../shaders/linear/substitute.wgsl"),
    reads: 1,
    writes: 1,
};

/// Which triangle of a factor, and how it is read.
#[derive(Clone, Copy)]
pub(super) struct Triangle {
    /// Where it is stored.
    pub is_upper: bool,
    /// Whether it has ones on its diagonal, which are not stored.
    pub has_unit_diagonal: bool,
    /// Whether its transpose is solved with.
    pub is_transposed: bool,
}

/// Factors of the matrices of a batch.
pub(super) struct Factors<'a> {
    pub device: &'a Device<'a>,
    /// Of a matrix.
    pub rows: usize,
    pub columns: usize,
    pub batch: Batch,
    /// What else the launches read.
    pub _held: Vec<Buffer>,
    /// What made the factors of the batch's matrices.
    pub factorisation: Launches,
    /// The vectors that are solved for, one of the batch's padded rows for each matrix.
    pub x: Buffer,
    /// x = A⁻¹·x, with rows in the factor's order.
    pub forward: Launches,
    /// x = A⁻ᵀ·x, which leaves rows in the factor's order.
    pub backward: Launches,
    /// For each matrix the row that stands at each place of the factor.
    pub order: Vec<Vec<usize>>,
    /// The diagonal by which the factor divides, of each matrix.
    pub diagonals: Vec<Vec<f64>>,
}

impl Factors<'_> {
    /// A⁻¹ times a vector of as many numbers as there are rows, for each matrix.
    pub fn solve(&self, rhs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let ordered =
            rhs.iter().zip(&self.order).map(|(rhs, order)| order.iter().map(|&row| rhs[row]).collect());
        self.run(&self.forward, ordered, self.columns)
    }

    /// A⁻ᵀ times a vector of as many numbers as there are columns, for each matrix.
    pub fn solve_transposed(&self, rhs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let found = self.run(&self.backward, rhs.iter().cloned(), self.rows)?;
        let ordered = found.into_iter().zip(&self.order).map(|(found, order)| {
            let mut x = vec![0.0; found.len()];
            order.iter().zip(found).for_each(|(&row, value)| x[row] = value);
            x
        });
        Ok(ordered.collect())
    }

    fn run(
        &self,
        launches: &Launches,
        vectors: impl Iterator<Item = Vec<f64>>,
        length: usize,
    ) -> Result<Vec<Vec<f64>>> {
        let stride = self.batch.padded_rows;
        let mut values = vec![0.0; self.batch.count * stride];
        for (vector, place) in vectors.zip(values.chunks_exact_mut(stride)) {
            place[..vector.len()].copy_from_slice(&vector);
        }
        self.device.write(&self.x, &values)?;
        launches.submit(self.device.gpu, 1);
        let found = self.device.read(&self.x, values.len())?;
        Ok(found.chunks_exact(stride).map(|vector| vector[..length].to_vec()).collect())
    }
}

/// Adds x = T⁻¹·x for a triangle of the batch's matrices.
pub(super) fn substitute<'a>(list: &mut LaunchList<'a>, batch: &'a Batch, x: &'a Buffer, triangle: Triangle) {
    let steps = if triangle.is_transposed { [1, batch.ld] } else { [batch.ld, 1] };
    let parameters = [batch.ld, steps[0], steps[1], batch.stride(), batch.padded_rows];
    let [unit, upper] =
        [triangle.has_unit_diagonal, triangle.is_upper != triangle.is_transposed].map(u32::from);
    let parameters = [&parameters.map(|number| number as u32)[..], &[unit, upper]].concat();
    list.groups(&SUBSTITUTE, batch.count, &parameters, &[&batch.buffer, x]);
}

/// The first `columns` of the numbers of each matrix in a buffer with a vector of the batch's padded rows for each.
pub(super) fn read_vectors(device: &Device, batch: &Batch, buffer: &Buffer) -> Result<Vec<Vec<f64>>> {
    let numbers = device.read(buffer, batch.count * batch.padded_rows)?;
    Ok(numbers.chunks_exact(batch.padded_rows).map(|vector| vector[..batch.columns].to_vec()).collect())
}
