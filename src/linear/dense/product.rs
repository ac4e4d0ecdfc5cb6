//! Products of blocks of matrices by the engine's matmul, in either precision.

use crate::gpu::Buffer;
use crate::linear::device::{Device, LaunchList};
use crate::linear::number::Number;
use crate::plan::fold_groups;
use crate::plan::{
    Body, Epilogue, Former, MatmulLayout, MatmulParams, MatmulSpec, Operand, ProductText, Tile, matmul_wgsl,
    tiles, tiling_for,
};

/// A matrix, or one for each matrix of a batch, that an operand is a block of. All numbers are multiples of 32.
pub(super) struct Block<'a> {
    pub buffer: &'a Buffer,
    /// The first row and column, as they lie there.
    pub first: [usize; 2],
    pub ld: usize,
    pub stride: usize,
    pub is_transposed: bool,
}

impl<'a> Block<'a> {
    /// A block as it lies there.
    pub fn new(buffer: &'a Buffer, first: [usize; 2], ld: usize, stride: usize) -> Self {
        Block { buffer, first, ld, stride, is_transposed: false }
    }

    /// The same, read with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Block { is_transposed: !self.is_transposed, ..self }
    }
}

/// C = A·B or C += A·B, C being m × n and the sums k long.
pub(super) struct Product<'a> {
    pub size: [usize; 3],
    pub a: Block<'a>,
    pub b: Block<'a>,
    pub c: Block<'a>,
    pub adds: bool,
}

/// The tile for products of about this size; one for a whole factorisation, which then compiles one kernel for each kind.
pub(super) fn tile(device: &Device, [m, n, k]: [usize; 3]) -> Tile {
    let profile = device.gpu.profile();
    let usual = tiling_for(profile, m, n, k).tile;
    // Lanes hand round nothing of 64 bits, and what is staged is counted in words of 32.
    let direct = |tile: &Tile| tile.body == Body::Direct;
    match device.number {
        Number::Double => tiles(profile).find(direct).unwrap_or(usual),
        _ => usual,
    }
}

impl<'a> LaunchList<'a> {
    /// Adds a product for each of `batch` matrices.
    pub(super) fn product(&mut self, tile: Tile, batch: usize, product: &Product<'a>) {
        let Product { size: [m, n, k], a, b, c, adds } = product;
        // A stored K × M and B stored K × N have stride one along the axis that C keeps.
        let operand = |is_kept: bool| Operand {
            layout: if is_kept { MatmulLayout::Kept } else { MatmulLayout::Summed },
            vec4: true,
            half: false,
        };
        let spec = MatmulSpec {
            a: operand(a.is_transposed),
            b: operand(!b.is_transposed),
            tile,
            store_vec4: true,
            store_half: false,
            former: if *adds { Former::Continued } else { Former::Lost },
            sums_rows: false,
        };
        let device = self.device();
        let text = matmul_wgsl(&ProductText { spec, epilogue: Epilogue::default(), reads: 2 }, "");
        let [tiles_m, tiles_n] =
            [m.div_ceil(tile.workgroup_rows() as usize), n.div_ceil(tile.workgroup_columns() as usize)];
        let (groups, fold) = fold_groups(tiles_m * tiles_n * batch, device.gpu.profile());
        let offset = |block: &Block| (block.first[0] * block.ld + block.first[1]) as u32;
        let params = MatmulParams {
            m: *m as u32,
            n: *n as u32,
            k: *k as u32,
            last_k: *k as u32,
            batch: batch as u32,
            lda: a.ld as u32,
            ldb: b.ld as u32,
            ldc: c.ld as u32,
            a_stride: a.stride as u32,
            b_stride: b.stride as u32,
            c_stride: c.stride as u32,
            a_offset: offset(a),
            b_offset: offset(b),
            c_offset: 0,
            first_row: c.first[0] as u32,
            first_column: c.first[1] as u32,
            tiles_m: tiles_m as u32,
            tiles_n: tiles_n as u32,
            fold,
        };
        let parameters = bytemuck::cast_slice(&[params]).to_vec();
        self.matmul(device.number.typed(text), parameters, [a.buffer, b.buffer, c.buffer], groups);
    }
}
