// Nielsen, "Damping parameter in Marquardt's method" (1999): less by how well the step was foreseen, more and more at
// steps that fail in a row. His least factor is 1/3.
fn adapt(fit: u32, accepted: bool, gain: T) {
    let growth = state[field(GROWTH, fit)];
    let reach = state[field(REACH, fit)];
    if (accepted) {
        let misfit = 2.0 * min(gain, T(2.0)) - 1.0;
        damp(fit, reach * max(T(0.1), 1.0 - misfit * misfit * misfit));
        state[field(GROWTH, fit)] = 2.0;
    } else {
        damp(fit, reach * growth);
        state[field(GROWTH, fit)] = min(2.0 * growth, T(1024.0));
    }
}
