// RAdam (Liu et al. 2020, algorithm 2). One of the two steps is 0: the plain one once the root can be trusted, the
// rectified one before.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.first_moment = averaged(before.first_moment, g, scalar.one_minus_beta1);
    after.second_moment = averaged(before.second_moment, g * g, scalar.one_minus_beta2);
    let rectified = scalar.rectified_step * after.first_moment / (sqrt(after.second_moment) + scalar.eps);
    let shrunk = before.theta - scalar.decay * before.theta;
    after.theta = shrunk - scalar.plain_step * after.first_moment - rectified;
    return after;
}
