// β = r·z / ρ of conjugate gradients, and whether ‖r‖² is within the tolerance.
fn finish(product: Real, square: Real) {
    let beta = divide(product, block.scalars[RHO]);
    block.scalars[BETA] = beta;
    block.scalars[RHO] = product;
    block.scalars[RESIDUAL] = square;
    block.history[2u * (block.iterations % HISTORY) + 1u] = beta;
    block.iterations += 1u;
    if (is_at_most(square, block.scalars[TARGET])) {
        block.stop = CONVERGED;
    }
}
