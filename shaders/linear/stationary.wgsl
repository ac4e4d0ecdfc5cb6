// Whether ‖defect‖² is within the tolerance, after a sweep; the history keeps it, from which the host sees how fast it goes.
const TARGET: u32 = 0u;
const RESIDUAL: u32 = 1u;

fn finish(product: Real, square: Real) {
    block.scalars[RESIDUAL] = square;
    block.history[2u * (block.iterations % HISTORY)] = square;
    block.iterations += 1u;
    if (is_at_most(square, block.scalars[TARGET])) {
        block.stop = CONVERGED;
    }
}
