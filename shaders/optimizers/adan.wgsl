// Adan (Xie et al. 2022, algorithm 1) as Optax has it: βs weigh the past, and θ shrinks before the step.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let change = scalar.has_previous * (gradient - before.previous_gradient);
    let ahead = gradient + scalar.one_minus_beta2 * change;
    after.first_moment = averaged(before.first_moment, gradient, scalar.one_minus_beta1);
    after.change_average = averaged(before.change_average, change, scalar.one_minus_beta2);
    after.square_average = averaged(before.square_average, ahead * ahead, scalar.one_minus_beta3);
    after.previous_gradient = gradient;
    let direction = scalar.mean_step * after.first_moment + scalar.change_step * after.change_average;
    let divisor = sqrt(after.square_average * scalar.square_correction + scalar.eps_root) + scalar.eps;
    after.theta = before.theta - scalar.decay * before.theta - direction / divisor;
    return after;
}
