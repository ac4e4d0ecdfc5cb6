// Nesterov's accelerated gradient (Sutskever et al. 2013, equations 3 and 4).
//
// The lecture's form v ← μv − α∇L(θ + μv), θ ← θ + v needs the gradient at the look-ahead point φ = θ + μv, so
// φ is what the theta vector holds. Then φ' = θ' + μv' = φ − μv + v' + μv' = φ − αg + μv'.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    let g = gradient + scalar.weight_decay * before.theta;
    if (FORM_LECTURE) {
        after.velocity = scalar.momentum * before.velocity - scalar.learning_rate * g;
        after.theta = before.theta - scalar.learning_rate * g + scalar.momentum * after.velocity;
    } else {
        after.velocity = scalar.momentum * before.velocity + g;
        after.theta = before.theta - scalar.learning_rate * (g + scalar.momentum * after.velocity);
    }
    return after;
}

// θ = φ − μv.
fn readout(at: Element) -> vec4<f32> {
    return at.theta - scalar.momentum * at.velocity;
}
