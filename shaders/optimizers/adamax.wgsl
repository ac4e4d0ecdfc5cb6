// AdaMax (Kingma and Ba 2015, algorithm 2). As in PyTorch ε is added to |g| within the maximum, which is thus
// never 0.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.first_moment = averaged(before.first_moment, g, scalar.one_minus_beta1);
    let decayed = before.largest_gradient - scalar.one_minus_beta2 * before.largest_gradient;
    after.largest_gradient = max(decayed, abs(g) + scalar.eps);
    after.theta = before.theta - scalar.step_size * (after.first_moment / after.largest_gradient);
    return after;
}
