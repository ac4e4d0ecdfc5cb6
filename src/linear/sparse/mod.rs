//! Iterations on sparse matrices. A chunk of them is one submit; dot products and the coefficients that follow from them stay
//! in a small block on the device, which the host reads once a chunk.

mod block;
mod cg;
mod colouring;
mod incomplete_cholesky;
mod lsqr;
mod preconditioner;
mod stationary;

#[cfg(test)]
mod tests;

pub(super) use cg::conjugate_gradients;
pub(super) use incomplete_cholesky::incomplete_cholesky;
pub(super) use lsqr::lsqr;
pub(super) use preconditioner::{Preconditioner, symmetric_sweep};
pub(super) use stationary::{gauss_seidel, jacobi};

use super::device::{Device, LaunchList, Shader};
use super::matrix::SparseMatrix;
use crate::Result;
use crate::gpu::Buffer;

const BLOCK: &str = include_str!("../../../shaders/linear/block.wgsl");
const FINISH: &str = include_str!("../../../shaders/linear/finish.wgsl");

static PRODUCT: Shader = Shader {
    label: "sparse product",
    before: &[BLOCK],
    text: include_str!("../../../shaders/linear/product.wgsl"),
    reads: 5,
    writes: 1,
};

static DOTS: Shader = Shader {
    label: "dot products",
    before: &[BLOCK],
    text: include_str!("../../../shaders/linear/dots.wgsl"),
    reads: 3,
    writes: 1,
};

/// A kernel that ends dot products with `text`.
const fn finishing(label: &'static str, before: &'static [&'static str], text: &'static str) -> Shader {
    Shader { label, before, text, reads: 1, writes: 1 }
}

/// Where a product takes no coefficient from.
const NONE: u32 = u32::MAX;

/// Elements of a vector for each workgroup of a dot product, and the most workgroups: what the one invocation that finishes it
/// adds up.
const DOT_SHARE: usize = 1024;
const MOST_PARTS: usize = 64;

/// A matrix on a device.
struct DeviceMatrix {
    rows: usize,
    starts: Buffer,
    columns: Buffer,
    values: Buffer,
}

impl DeviceMatrix {
    fn new(device: &Device, matrix: &SparseMatrix) -> Result<Self> {
        Ok(DeviceMatrix {
            rows: matrix.rows(),
            starts: device.indices(&matrix.starts)?,
            columns: device.indices(&matrix.indices)?,
            values: device.vector(&matrix.values)?,
        })
    }

    fn buffers(&self) -> [&Buffer; 3] {
        [&self.starts, &self.columns, &self.values]
    }
}

/// A matrix divided by a power of two that brings its largest value near 1, and that power: what is computed from it then keeps
/// clear of the ends of f32.
fn scaled(matrix: &SparseMatrix) -> (SparseMatrix, f64) {
    let scale = match matrix.largest() {
        0.0 => 1.0,
        largest => largest.log2().floor().exp2(),
    };
    (matrix.map(|_, _, value| value / scale), scale)
}

/// Adds result = A·x − scalars[slot]·result.
fn product<'a>(
    list: &mut LaunchList<'a>,
    matrix: &'a DeviceMatrix,
    x: &'a Buffer,
    block: &'a Buffer,
    slot: u32,
    result: &'a Buffer,
) {
    let [starts, columns, values] = matrix.buffers();
    let buffers = [starts, columns, values, x, block, result];
    list.each(&PRODUCT, matrix.rows, &[matrix.rows as u32, slot], &buffers);
}

/// Adds x·y and y·y, ended by `finish`.
fn dots<'a>(list: &mut LaunchList<'a>, count: usize, [x, y, parts, block]: [&'a Buffer; 4], finish: &Shader) {
    let groups = count.div_ceil(DOT_SHARE).min(MOST_PARTS);
    list.groups(&DOTS, groups, &[count as u32, groups as u32], &[x, y, block, parts]);
    list.groups(finish, 1, &[groups as u32], &[parts, block]);
}
