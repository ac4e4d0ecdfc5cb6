// AMSGrad (Reddi, Kale and Kumar 2018, algorithm 2), with Adam's bias corrections as PyTorch and Optax have it.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.first_moment = averaged(before.first_moment, g, scalar.one_minus_beta1);
    after.second_moment = averaged(before.second_moment, g * g, scalar.one_minus_beta2);
    var root: vec4<f32>;
    if (CORRECTED) {
        let square = after.second_moment * scalar.root_correction * scalar.root_correction;
        after.largest_second_moment = max(before.largest_second_moment, square);
        root = sqrt(after.largest_second_moment);
    } else {
        after.largest_second_moment = max(before.largest_second_moment, after.second_moment);
        root = sqrt(after.largest_second_moment) * scalar.root_correction;
    }
    after.theta = before.theta - scalar.step_size * (after.first_moment / (root + scalar.eps));
    return after;
}
