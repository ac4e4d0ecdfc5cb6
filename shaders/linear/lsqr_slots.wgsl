// The scalars of LSQR, with the names of Paige and Saunders.
const TARGET: u32 = 0u;
const RESIDUAL: u32 = 1u;
// The tolerance times ‖A‖: within it, the least squares are found.
const GRADIENT_TARGET: u32 = 2u;
const ALPHA: u32 = 3u;
const BETA: u32 = 4u;
const INVERSE: u32 = 5u;
const RHO_BAR: u32 = 6u;
const PHI_BAR: u32 = 7u;
const STEP: u32 = 8u;
const TURN: u32 = 9u;

// 1 / x, or 0 for 0: the vector of that norm is 0 then.
fn inverse(x: Real) -> Real {
    if (is_at_most(x, real(0.0))) {
        return real(0.0);
    }
    return divide(real(1.0), x);
}
