// Adam (Kingma and Ba 2015, algorithm 1): ε is added after the bias-corrected root.
//
// Averages are written a + (1 − β)(x − a): in f32, β and 1 − β round apart and βa + (1 − β)x would settle
// beside x.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.first_moment += scalar.one_minus_beta1 * (g - before.first_moment);
    after.second_moment += scalar.one_minus_beta2 * (g * g - before.second_moment);
    let root = sqrt(after.second_moment) * scalar.root_correction;
    after.theta = before.theta - scalar.step_size * (after.first_moment / (root + scalar.eps));
    return after;
}
