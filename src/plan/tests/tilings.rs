//! Tiles and split sums chosen by hand, where the adapter would not choose them: every tile gives the same bits, and
//! plans as a GPU gets them the same numbers.

use super::products::{RandomProduct, drawn_shape};
use super::{Loaded, gpu, relative_error};
use crate::gpu::Kernels;
use crate::plan::Gradients;
use crate::plan::kernels::matmul::{Tile, Tiling, tiles};

/// The bytes of C by a tile, written over NaN.
fn bytes(kernels: &Kernels, product: &RandomProduct, tile: Option<Tile>) -> Vec<u8> {
    let tiling = tile.map(|tile| Tiling { tile, parts: 1 });
    let loaded = Loaded::of(gpu(), kernels, product.plan(gpu().profile(), Gradients::Overwrite, tiling));
    loaded.fill(0xFF);
    loaded.step(&product.step);
    loaded.bytes(&product.program).concat()
}

#[test]
fn every_tile_gives_the_same_bits() {
    let kernels = Kernels::new(gpu());
    let shapes = [[131, 129, 67], [1, 65, 33], [63, 3, 1], [132, 136, 68], [4, 64, 16], [68, 4, 4]];
    for tile in tiles(gpu().profile()) {
        for layout in 0..4 {
            for (number, shape) in shapes.into_iter().enumerate() {
                let began = std::time::Instant::now();
                let product = RandomProduct::new(4 * number as u32 + layout, shape, layout % 2 == 1, false);
                let same = bytes(&kernels, &product, Some(tile)) == bytes(&kernels, &product, None);
                assert!(same, "{tile:?} {:?}", product.shape);
                println!("{tile:?} {:?} {:?}", shape, began.elapsed());
            }
        }
    }
}
