// Adam (Kingma and Ba 2015, algorithm 1): ε is added after the bias-corrected root. AdamW (Loshchilov and
// Hutter 2019, algorithm 2) shrinks θ instead of adding to the gradient; either scalar is then 0.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.first_moment = averaged(before.first_moment, g, scalar.one_minus_beta1);
    after.second_moment = averaged(before.second_moment, g * g, scalar.one_minus_beta2);
    let root = sqrt(after.second_moment) * scalar.root_correction;
    let shrunk = before.theta - scalar.decay * before.theta;
    after.theta = shrunk - scalar.step_size * (after.first_moment / (root + scalar.eps));
    return after;
}
