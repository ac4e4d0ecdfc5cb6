// The ratio of each tensor, 1 where a norm is 0. spans [tensors]: first partial sum, partial sums.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let span = spans[min(number, launch.count - 1u)];
    var sums = vec2<f32>(0.0);
    for (var k = lane; k < span.y; k += LANES) {
        sums += partials[span.x + k];
    }
    let norms = sqrt(total(lane, sums));
    if (lane == 0u && number < launch.count) {
        ratios[number] = select(trust(norms.x, norms.y), 1.0, norms.x == 0.0 || norms.y == 0.0);
    }
}
