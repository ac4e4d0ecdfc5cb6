// Partial sums of the penalty at the trial point and of the slope along the direction, from the gradient there:
// workgroup w of `count` takes every count-th group of 256 of the `first` vec4s and writes partial `second` + w.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let workgroup = group.x + group.y * launch.fold;
    if (workgroup >= launch.count) {
        return;
    }
    var sums = vec2<f32>();
    for (var i = workgroup * LANES + lane; i < launch.first; i += launch.count * LANES) {
        let point = trial_vector[i];
        let uphill = gradient_at(i) + scalar.weight_decay * point;
        sums += vec2<f32>(dot(point, point), dot(direction_vector[i], uphill));
    }
    let all = total(lane, sums);
    if (lane == 0u) {
        partials[launch.second + workgroup] = all * vec2<f32>(0.5 * scalar.weight_decay, -scalar.learning_rate);
    }
}
