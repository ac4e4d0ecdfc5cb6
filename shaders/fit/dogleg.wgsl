// Powell (1970): within a length, from the start down the gradient to the least of the linear model there, and on
// towards the step that solves it.
fn begin(fit: u32) {
    var square = T(0.0);
    for (var j = 0u; j < N; j++) {
        let scaled = state[field(SCALE + j, fit)] * state[field(THETA + j, fit)] / settings[UNIT + j];
        square += scaled * scaled;
    }
    state[field(REACH, fit)] = select(T(1.0), sqrt(square), square > 0.0);
}

fn damping(fit: u32, j: u32) -> T {
    return 0.0;
}

// The way downhill, −D⁻²·Jᵀr.
fn downhill(fit: u32, j: u32) -> T {
    var slope = T(0.0);
    for (var k = 0u; k <= j; k++) {
        slope += state[field(ROWS + k * (N + 1u) + j, fit)] * state[field(ROWS + k * (N + 1u) + N, fit)];
    }
    let scale = state[field(SCALE + j, fit)];
    return -slope * state[field(FREE + j, fit)] / (scale * scale);
}

fn limit(fit: u32) {
    let reach = state[field(REACH, fit)];
    var whole = T(0.0);
    var steepness = T(0.0);
    for (var j = 0u; j < N; j++) {
        let scale = state[field(SCALE + j, fit)];
        let step = scale * state[field(STEP + j, fit)];
        whole += step * step;
        let down = scale * downhill(fit, j);
        steepness += down * down;
        // Its place is free until the step is tried.
        state[field(TRIAL + j, fit)] = downhill(fit, j);
    }
    if (whole <= reach * reach || steepness == 0.0) {
        return;
    }
    var curvature = T(0.0);
    for (var k = 0u; k < N; k++) {
        var moved = T(0.0);
        for (var j = k; j < N; j++) {
            moved += state[field(ROWS + k * (N + 1u) + j, fit)] * state[field(TRIAL + j, fit)];
        }
        curvature += moved * moved;
    }
    let far = reach / sqrt(steepness);
    let least = select(far, steepness / curvature, curvature > 0.0);
    if (least >= far) {
        for (var j = 0u; j < N; j++) {
            state[field(STEP + j, fit)] = far * state[field(TRIAL + j, fit)];
        }
        return;
    }
    // Where the second leg crosses the length: the root of along·τ² + 2·both·τ = missing.
    var along = T(0.0);
    var both = T(0.0);
    for (var j = 0u; j < N; j++) {
        let scale = state[field(SCALE + j, fit)];
        let first = scale * least * state[field(TRIAL + j, fit)];
        let second = scale * state[field(STEP + j, fit)] - first;
        along += second * second;
        both += first * second;
    }
    let missing = reach * reach - least * least * steepness;
    let part = missing / (both + sqrt(both * both + along * missing));
    for (var j = 0u; j < N; j++) {
        let first = least * state[field(TRIAL + j, fit)];
        state[field(STEP + j, fit)] = first + part * (state[field(STEP + j, fit)] - first);
    }
}

fn adapt(fit: u32, accepted: bool, gain: T) {
    let reach = state[field(REACH, fit)];
    let length = state[field(LENGTH, fit)];
    if (!accepted || gain < 0.25) {
        state[field(REACH, fit)] = 0.25 * min(length, reach);
    } else if (gain > 0.75) {
        state[field(REACH, fit)] = max(reach, 2.0 * length);
    }
}
