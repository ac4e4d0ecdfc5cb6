// Damping λ·D² added to JᵀJ (Levenberg, 1944, D = 1; Marquardt, 1963, the norms of J's columns).
fn begin(fit: u32) {
    var trace = T(0.0);
    for (var k = 0u; k < N; k++) {
        for (var j = k; j < N; j++) {
            let element = state[field(ROWS + k * (N + 1u) + j, fit)];
            trace += element * element;
        }
    }
    let reference = select(trace, T(1.0), SCALED);
    state[field(REFERENCE, fit)] = reference;
    state[field(REACH, fit)] = FIRST_DAMPING * reference;
    state[field(GROWTH, fit)] = 2.0;
}

fn damping(fit: u32, j: u32) -> T {
    return sqrt(state[field(REACH, fit)]) * state[field(SCALE + j, fit)];
}

fn limit(fit: u32) {
}

fn damp(fit: u32, reach: T) {
    let reference = state[field(REFERENCE, fit)];
    state[field(REACH, fit)] = clamp(reach, EPSILON * reference, LARGEST_DAMPING * reference);
}
