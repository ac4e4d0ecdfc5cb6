// LARS (You et al. 2017, equation 6), as Optax has it: the learning rate is inside the velocity.
fn prepare(before: Element, gradient: vec4<f32>) -> Element {
    return before;
}

fn direction(at: Element, gradient: vec4<f32>) -> vec4<f32> {
    return gradient + scalar.weight_decay * at.theta;
}

fn trust(theta_norm: f32, direction_norm: f32) -> f32 {
    return scalar.trust_coefficient * theta_norm / direction_norm;
}

fn go(at: Element, direction: vec4<f32>, ratio: f32) -> Element {
    var after = at;
    after.velocity = scalar.momentum * at.velocity + scalar.learning_rate * ratio * direction;
    after.theta = at.theta - after.velocity;
    return after;
}
