// α = ‖v‖ of LSQR, the rotation that takes β out of the bidiagonal matrix, and whether the residual, or its gradient, is within the
// tolerance: ‖r‖ = φ̄ and ‖Aᵀr‖ = φ̄·α·|c|.
fn finish(product: Real, square: Real) {
    let alpha = square_root(square);
    let beta = block.scalars[BETA];
    let rho_bar = block.scalars[RHO_BAR];
    let phi_bar = block.scalars[PHI_BAR];
    let rho = square_root(add(multiply(rho_bar, rho_bar), multiply(beta, beta)));
    let c = divide(rho_bar, rho);
    let s = divide(beta, rho);
    block.scalars[ALPHA] = alpha;
    block.scalars[INVERSE] = inverse(alpha);
    block.scalars[STEP] = divide(multiply(c, phi_bar), rho);
    block.scalars[TURN] = divide(multiply(s, alpha), rho);
    block.scalars[RHO_BAR] = negative(multiply(c, alpha));
    let residual = multiply(s, phi_bar);
    block.scalars[PHI_BAR] = residual;
    block.scalars[RESIDUAL] = residual;
    let place = 2u * (block.iterations % HISTORY);
    block.history[place] = alpha;
    block.history[place + 1u] = beta;
    block.iterations += 1u;
    let slope = multiply(alpha, c);
    let is_flat = is_at_most(slope, block.scalars[GRADIENT_TARGET])
        && is_at_most(negative(slope), block.scalars[GRADIENT_TARGET]);
    if (is_flat || is_at_most(residual, block.scalars[TARGET])) {
        block.ending = CONVERGED;
    }
}
