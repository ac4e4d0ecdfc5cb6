// Adagrad (Duchi, Hazan and Singer 2011), diagonal.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.square_sum = before.square_sum + scalar.initial + g * g;
    var direction: vec4<f32>;
    if (EPS_IN_SQRT) {
        direction = g / sqrt(after.square_sum + scalar.eps);
    } else {
        direction = g / (sqrt(after.square_sum) + scalar.eps);
    }
    after.theta = before.theta - scalar.step_size * direction;
    return after;
}
