// Partial sums of the squared gradient [vec4s]: workgroup w of `count` takes every count-th group of 256 and writes
// partial `second` + w. `first` is the number of vec4s.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = group.x * LANES + lane; i < launch.first; i += launch.count * LANES) {
        let gradient = gradient_vector[i];
        sum += dot(gradient, gradient);
    }
    let all = total(lane, vec2<f32>(sum, 0.0));
    if (lane == 0u) {
        partials[launch.second + group.x] = all.x;
    }
}
