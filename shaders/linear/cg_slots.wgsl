// The scalars of conjugate gradients.
const TARGET: u32 = 0u;
const RESIDUAL: u32 = 1u;
const RHO: u32 = 2u;
const CURVATURE: u32 = 3u;
const SQUARE: u32 = 4u;
const ALPHA: u32 = 5u;
const BETA: u32 = 6u;
// p·A·p / p·p up to which a direction is taken to 0, as far as rounding lets one tell.
const FLAT: u32 = 7u;
