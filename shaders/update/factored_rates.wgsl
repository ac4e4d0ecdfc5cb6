// The rate of each tensor. spans [2·tensors]: what factored_means.wgsl says; and first partial sum, partial sums,
// elements.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let span = spans[2u * min(number, launch.count - 1u) + 1u];
    var sums = vec2<f32>(0.0);
    for (var k = lane; k < span.y; k += LANES) {
        sums += partials[span.x + k];
    }
    let roots = sqrt(total(lane, sums) / f32(span.z));
    if (lane == 0u && number < launch.count) {
        rates[number] = rate(roots.x, roots.y);
    }
}
