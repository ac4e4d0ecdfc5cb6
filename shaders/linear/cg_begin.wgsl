// ρ = r·z at the start of conjugate gradients.
fn finish(product: Real, square: Real) {
    block.scalars[RHO] = product;
}
