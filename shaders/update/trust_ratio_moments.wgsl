// Moments and norms. jobs [workgroups]: first vec4, vec4s, tensor, partial sum; partials [blocks]: (|θ|², |u|²).
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let job = jobs[min(number, launch.count - 1u)];
    var sums = vec2<f32>(0.0);
    for (var k = lane; k < job.y; k += LANES) {
        let i = job.x + k;
        let gradient = gradient_at(i);
        let after = prepare(element_at(i), gradient);
        if (!is_skipped() && number < launch.count) {
            put_moments(i, after);
        }
        let u = direction(after, gradient);
        sums += vec2<f32>(dot(after.theta, after.theta), dot(u, u));
    }
    let sum = total(lane, sums);
    if (lane == 0u && number < launch.count) {
        partials[job.w] = sum;
    }
}
