// Marquardt (1963): a tenth of it, or ten times.
fn adapt(fit: u32, accepted: bool, gain: T) {
    damp(fit, state[field(REACH, fit)] * select(T(10.0), T(0.1), accepted));
}
