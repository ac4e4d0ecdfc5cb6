// AdaBelief (Zhuang et al. 2020, algorithm 2). As in Optax the second ε stays in the state.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    after.first_moment = averaged(before.first_moment, gradient, scalar.one_minus_beta1);
    let surprise = gradient - after.first_moment;
    after.variance = averaged(before.variance, surprise * surprise, scalar.one_minus_beta2) + scalar.eps_root;
    let root = sqrt(after.variance) * scalar.root_correction;
    after.theta = before.theta - scalar.step_size * (after.first_moment / (root + scalar.eps));
    return after;
}
