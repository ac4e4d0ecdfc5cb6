// A trial point of the line search, and partial sums of its penalty λΣθ²/2: workgroup w of `count` takes every
// count-th group of 256 of the `first` vec4s and writes partial `second` + w.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let workgroup = group.x + group.y * launch.fold;
    if (workgroup >= launch.count) {
        return;
    }
    let factor = search[0].trial;
    var squares = 0.0;
    for (var i = workgroup * LANES + lane; i < launch.first; i += launch.count * LANES) {
        let point = stepped(i, theta_vector[i], factor);
        trial_vector[i] = point;
        squares += dot(point, point);
    }
    let all = total(lane, vec2<f32>(squares, 0.0));
    if (lane == 0u) {
        partials[launch.second + workgroup] = 0.5 * scalar.weight_decay * all.x;
    }
}
