// Lion (Chen et al. 2023, algorithm 2).
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let direction = sign(averaged(before.first_moment, gradient, scalar.one_minus_beta1));
    after.first_moment = averaged(before.first_moment, gradient, scalar.one_minus_beta2);
    after.theta = before.theta - scalar.decay * before.theta - scalar.learning_rate * direction;
    return after;
}
