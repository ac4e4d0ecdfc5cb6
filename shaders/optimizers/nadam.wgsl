// NAdam (Dozat 2016). How far it looks ahead, and the bias corrections of that, are in the scalars.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.first_moment = averaged(before.first_moment, g, scalar.one_minus_beta1);
    after.second_moment = averaged(before.second_moment, g * g, scalar.one_minus_beta2);
    let root = sqrt(after.second_moment) * scalar.root_correction;
    let shrunk = before.theta - scalar.decay * before.theta;
    let ahead = scalar.gradient_step * g + scalar.moment_step * after.first_moment;
    after.theta = shrunk - ahead / (root + scalar.eps);
    return after;
}
