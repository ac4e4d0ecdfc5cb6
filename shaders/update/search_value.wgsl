// The objective and its slope at the trial point, from the `count` partial sums.
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sums = vec2<f32>();
    for (var i = lane; i < launch.count; i += LANES) {
        sums += partials[i];
    }
    let all = total(lane, sums);
    if (lane == 0u) {
        search[0].value = losses[0] + all.x;
        search[0].slope = all.y;
    }
}
