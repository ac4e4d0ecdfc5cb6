// Stochastic gradient descent, L2 penalty λ: θ ← θ − α (g + λ θ).
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.theta = before.theta - scalar.learning_rate * g;
    return after;
}
