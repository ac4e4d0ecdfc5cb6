// Muon (Jordan et al. 2024), as PyTorch has it: before and after the Newton-Schulz iterations, which are a plan.
fn accumulate(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    after.velocity = before.velocity + scalar.fresh * (gradient - before.velocity);
    return after;
}

// The matrix to be made orthogonal.
fn direction(after: Element, gradient: vec4<f32>) -> vec4<f32> {
    if (NESTEROV) {
        return scalar.fresh * gradient + scalar.momentum * after.velocity;
    }
    return after.velocity;
}
