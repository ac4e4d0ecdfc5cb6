// RMSProp (Tieleman and Hinton 2012; centred: Graves 2013).
//
// Averages are written a + (1 − α)(x − a): in f32, α and 1 − α round apart and αa + (1 − α)x would settle
// beside x.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.square_average += scalar.one_minus_alpha * (g * g - before.square_average);
    var variance = after.square_average;
    if (CENTERED) {
        after.gradient_average += scalar.one_minus_alpha * (g - before.gradient_average);
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
