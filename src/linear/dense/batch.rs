//! Matrices of one shape on a device, filled up to whole blocks with the rows and columns of a unit matrix.

use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::Device;
use crate::linear::matrix::SparseMatrix;

/// Columns of a panel; its twin is `BLOCK` in `shaders/linear/panel.wgsl`.
pub(super) const BLOCK: usize = 32;

/// Row-major matrices behind one another.
pub(super) struct Batch {
    pub count: usize,
    /// Of the matrices as they were given.
    pub rows: usize,
    pub columns: usize,
    /// With what fills them up; the columns are the leading dimension.
    pub padded_rows: usize,
    pub ld: usize,
    pub buffer: Buffer,
}

impl Batch {
    /// Copies matrices with at least as many rows as columns.
    pub fn new(device: &Device, matrices: &[SparseMatrix]) -> Result<Self> {
        let (rows, columns) = matrices.first().map_or((1, 1), |matrix| (matrix.rows(), matrix.columns()));
        let ld = columns.next_multiple_of(BLOCK);
        let padded_rows = (rows + ld - columns).next_multiple_of(BLOCK);
        // Before the host takes as much memory.
        let buffer = device.zeros(matrices.len() * padded_rows * ld)?;
        let batch = Batch { count: matrices.len(), rows, columns, padded_rows, ld, buffer };
        batch.fill(device, matrices)?;
        Ok(batch)
    }

    /// Puts matrices in the place of what is there.
    pub fn fill(&self, device: &Device, matrices: &[SparseMatrix]) -> Result<()> {
        let Batch { rows, columns, ld, .. } = *self;
        let mut values = vec![0.0; self.count * self.stride()];
        for (matrix, values) in matrices.iter().zip(values.chunks_exact_mut(self.stride())) {
            matrix.entries().for_each(|(row, column, value)| values[row * ld + column] = value);
            (0..ld - columns).for_each(|more| values[(rows + more) * ld + columns + more] = 1.0);
        }
        device.write(&self.buffer, &values)
    }

    /// Numbers of one matrix.
    pub fn stride(&self) -> usize {
        self.padded_rows * self.ld
    }

    /// The first column of each panel.
    pub fn panels(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.ld).step_by(BLOCK)
    }

    /// The parameters of a kernel of `panel.wgsl`, of which `rows` differ in meaning.
    pub fn panel(&self, rows: usize, first: usize, copy_stride: usize) -> [u32; 6] {
        [rows, self.ld, first, self.stride(), self.padded_rows, copy_stride].map(|number| number as u32)
    }
}
