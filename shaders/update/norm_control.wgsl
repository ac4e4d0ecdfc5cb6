// The norm from its `count` partial sums, and what follows from it. `first`: the bits of the largest norm that is let
// pass; `second`: whether a step whose norm is not finite is skipped.
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < launch.count; i += LANES) {
        sum += partials[i];
    }
    let norm = sqrt(total(lane, vec2<f32>(sum, 0.0)).x);
    if (lane != 0u) {
        return;
    }
    // By its bits: compilers may take NaN and infinity for things that do not happen.
    let is_finite = (bitcast<u32>(norm) & 0x7f800000u) != 0x7f800000u;
    let skip = select(launch.second, 0u, is_finite);
    let before = control_vector[0];
    var after: Control;
    // PyTorch's clip_grad_norm_ has the 1e-6.
    after.scale = min(1.0, bitcast<f32>(launch.first) / (norm + 1e-6));
    after.skip = skip;
    after.skipped = before.skipped + skip;
    after.norm = norm;
    control_vector[0] = after;
}
