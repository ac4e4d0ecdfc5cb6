// What an iteration knows of itself, in one small buffer that the host reads once a chunk of iterations; src/linear/sparse/block.rs is
// its twin. Kernels read their coefficients here, so that no dot product leaves the device.
struct Block {
    // Iterations since the start.
    iterations: u32,
    // 0 while it goes on, else a place in `STOPS` of the twin, counted from 1. Kernels that meet it leave all as it is.
    stop: u32,
    // The `stop` that the next iteration begins with.
    ending: u32,
    padding: u32,
    scalars: array<Real, 14>,
    // Two numbers of each of the last iterations, that of number i at place i % HISTORY.
    history: array<Real>,
}

const HISTORY: u32 = 64u;

const CONVERGED: u32 = 1u;
const CURVED: u32 = 2u;
