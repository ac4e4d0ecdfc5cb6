// The mean of R of each tensor. spans [2·tensors]: place of R, rows (0: not a matrix).
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let span = spans[2u * min(number, launch.count - 1u)];
    var sum = 0.0;
    for (var k = lane; k < span.y; k += LANES) {
        sum += second_moment_vector[span.x + k];
    }
    let all = total(lane, vec2<f32>(sum, 0.0)).x;
    if (lane == 0u && number < launch.count) {
        means[number] = max(all / f32(max(span.y, 1u)), scalar.eps1);
    }
}
