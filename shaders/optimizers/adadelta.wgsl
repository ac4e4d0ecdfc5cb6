// Adadelta (Zeiler 2012, algorithm 1), whose steps PyTorch scales by a learning rate.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    after.square_average = averaged(before.square_average, g * g, scalar.one_minus_rho);
    let direction = sqrt(before.step_square_average + scalar.eps) / sqrt(after.square_average + scalar.eps) * g;
    after.step_square_average =
        averaged(before.step_square_average, direction * direction, scalar.one_minus_rho);
    after.theta = before.theta - scalar.learning_rate * direction;
    return after;
}
