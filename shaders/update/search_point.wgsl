// θ after a step of size `factor` against the gradient of loss and penalty.
fn stepped(i: u32, theta: vec4<f32>, factor: f32) -> vec4<f32> {
    return theta - factor * scalar.learning_rate * (gradient_at(i) + scalar.weight_decay * theta);
}
