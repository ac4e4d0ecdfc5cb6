// α = ρ / p·q of conjugate gradients, q = A·p. A curvature that is not positive, to rounding, ends them: A is not positive
// definite.
fn finish(product: Real, square: Real) {
    block.scalars[CURVATURE] = product;
    block.scalars[SQUARE] = square;
    if (is_at_most(product, multiply(block.scalars[FLAT], square))) {
        block.stop = CURVED;
        return;
    }
    let alpha = divide(block.scalars[RHO], product);
    block.scalars[ALPHA] = alpha;
    block.history[2u * (block.iterations % HISTORY)] = alpha;
}
