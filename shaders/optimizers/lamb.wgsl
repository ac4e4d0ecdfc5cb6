// LAMB (You et al. 2020, algorithm 2), as Optax has it: Adam's direction with decay, scaled to the tensor's norm.
//
// Averages are written a + (1 − β)(x − a); see averaged.wgsl.
fn prepare(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    after.first_moment += scalar.one_minus_beta1 * (gradient - before.first_moment);
    after.second_moment += scalar.one_minus_beta2 * (gradient * gradient - before.second_moment);
    return after;
}

fn direction(at: Element, gradient: vec4<f32>) -> vec4<f32> {
    let root = sqrt(at.second_moment) * scalar.root_correction;
    return scalar.mean_correction * at.first_moment / (root + scalar.eps) + scalar.weight_decay * at.theta;
}

fn trust(theta_norm: f32, direction_norm: f32) -> f32 {
    return theta_norm / direction_norm;
}

fn go(at: Element, direction: vec4<f32>, ratio: f32) -> Element {
    var after = at;
    after.theta = at.theta - scalar.learning_rate * ratio * direction;
    return after;
}
