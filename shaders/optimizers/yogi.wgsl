// Yogi (Zaheer et al. 2018, algorithm 2), both moments starting at a small number as in Optax.
//
// But where θ and its gradient are 0 the first moment starts at 0: in the padding of θ, which is to stay 0.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let moves = (before.theta != vec4<f32>(0.0)) | (gradient != vec4<f32>(0.0));
    let first_moment = before.first_moment + select(vec4<f32>(0.0), vec4<f32>(scalar.initial), moves);
    let second_moment = before.second_moment + scalar.initial;
    let square = gradient * gradient;
    after.first_moment = averaged(first_moment, gradient, scalar.one_minus_beta1);
    after.second_moment = second_moment - scalar.one_minus_beta2 * sign(second_moment - square) * square;
    let root = sqrt(after.second_moment) * scalar.root_correction;
    after.theta = before.theta - scalar.step_size * (after.first_moment / (root + scalar.eps));
    return after;
}
