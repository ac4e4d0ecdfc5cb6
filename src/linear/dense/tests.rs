//! The kernels of factorisations by themselves.

use super::*;
use crate::linear::number::Number;
use crate::plan::tests::translation::translate;

#[test]
fn kernels_are_valid_for_vulkan_metal_and_dx12() {
    let shaders = [
        &lu::ELIMINATE,
        &lu::ROWS,
        &cholesky::PANEL,
        &qr::PANEL,
        &qr::TURN,
        &qr::REFLECTIONS,
        &factors::SUBSTITUTE,
    ];
    for shader in shaders {
        let text = Number::Single.kernel_text(shader);
        translate(&text, false).unwrap_or_else(|message| panic!("{}: {message}\n{text}", shader.label));
        assert!(shader.reads + shader.writes <= 8, "{}", shader.label);
    }
}
