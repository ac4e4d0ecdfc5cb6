// Rprop (Riedmiller and Braun 1993) as PyTorch has it, the variant iRprop⁻ (Igel and Hüsken 2000): where the sign
// changed there is no step, and the next one knows of no gradient before it.
fn update(before: Element, gradient: vec4<f32>) -> Element {
    var after = before;
    // The product of two small gradients would be 0.
    let agreement = sign(gradient) * sign(before.previous_gradient);
    var factor = select(vec4<f32>(1.0), vec4<f32>(scalar.eta_plus), agreement > vec4<f32>(0.0));
    factor = select(factor, vec4<f32>(scalar.eta_minus), agreement < vec4<f32>(0.0));
    let step_size = (before.step_size + scalar.initial) * factor;
    after.step_size = min(max(step_size, vec4<f32>(scalar.step_min)), vec4<f32>(scalar.step_max));
    after.previous_gradient = select(gradient, vec4<f32>(0.0), agreement < vec4<f32>(0.0));
    after.theta = before.theta - sign(after.previous_gradient) * after.step_size;
    return after;
}
