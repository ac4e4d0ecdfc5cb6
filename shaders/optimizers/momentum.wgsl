// Heavy ball (Polyak 1964). PyTorch's velocity is a sum of gradients and α scales all of it; the lecture's
// has each gradient's own α in it. They part as soon as α changes.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    if (FORM_LECTURE) {
        after.velocity = scalar.momentum * before.velocity - scalar.learning_rate * scalar.fresh * g;
        after.theta = before.theta + after.velocity;
    } else {
        after.velocity = scalar.momentum * before.velocity + scalar.fresh * g;
        after.theta = before.theta - scalar.learning_rate * after.velocity;
    }
    return after;
}
