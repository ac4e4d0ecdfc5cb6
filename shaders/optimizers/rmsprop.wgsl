// RMSProp (Tieleman and Hinton 2012; centred: Graves 2013).
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.square_average = averaged(before.square_average, g * g, scalar.one_minus_alpha);
    var variance = after.square_average;
    if (CENTERED) {
        after.gradient_average = averaged(before.gradient_average, g, scalar.one_minus_alpha);
        // Never negative but by rounding, whose root would be NaN.
        variance = max(variance - after.gradient_average * after.gradient_average, vec4<f32>(0.0));
    }
    var direction: vec4<f32>;
    if (EPS_IN_SQRT) {
        direction = g / sqrt(variance + scalar.eps);
    } else {
        direction = g / (sqrt(variance) + scalar.eps);
    }
    after.velocity = scalar.momentum * before.velocity + direction;
    after.theta = before.theta - scalar.learning_rate * after.velocity;
    return after;
}
