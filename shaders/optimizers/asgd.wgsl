// Averaged stochastic gradient descent (Polyak and Juditsky 1992), its step as in Bottou 2010.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.theta = before.theta - scalar.shrinkage * before.theta - scalar.step_size * g;
    after.averaged_theta = averaged(before.averaged_theta, after.theta, scalar.weight_of_new);
    return after;
}
