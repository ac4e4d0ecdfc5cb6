// The step that solves the linear model, halved as long as it fails.
fn begin(fit: u32) {
    state[field(REACH, fit)] = 1.0;
}

fn damping(fit: u32, j: u32) -> T {
    return 0.0;
}

fn limit(fit: u32) {
    for (var j = 0u; j < N; j++) {
        state[field(STEP + j, fit)] *= state[field(REACH, fit)];
    }
}

fn adapt(fit: u32, accepted: bool, gain: T) {
    let reach = state[field(REACH, fit)];
    state[field(REACH, fit)] = select(0.5 * reach, T(1.0), accepted);
}
