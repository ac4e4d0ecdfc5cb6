// β = ‖u‖ of LSQR.
fn finish(product: Real, square: Real) {
    if (block.ending != 0u) {
        block.stop = block.ending;
        return;
    }
    let beta = square_root(square);
    block.scalars[BETA] = beta;
    block.scalars[INVERSE] = inverse(beta);
}
