// The norm from its `count` partial sums, and what follows from it. `first`: the bits of the largest norm that is let
// pass; `second`: 1, a step whose norm is not finite is skipped; 2, the loss scale follows from that.

// As PyTorch's GradScaler: half of it after a step that was skipped, twice as much after 2,000 that were not.
const STEADY: u32 = 2000u;
const LARGEST_SCALE: f32 = 1073741824.0;
// What is not finite without a scale is not for want of range; smaller ones would round gradients to nothing.
const LEAST_SCALE: f32 = 1.0;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < launch.count; i += LANES) {
        sum += partials[i];
    }
    let scaled_norm = sqrt(total(lane, vec2<f32>(sum, 0.0)).x);
    if (lane != 0u) {
        return;
    }
    // By its bits: compilers may take NaN and infinity for things that do not happen.
    let is_finite = (bitcast<u32>(scaled_norm) & 0x7f800000u) != 0x7f800000u;
    let skip = select(launch.second & 1u, 0u, is_finite);
    let before = control_vector[0];
    let norm = scaled_norm / before.loss_scale;
    var after = before;
    // PyTorch's clip_grad_norm_ has the 1e-6.
    after.scale = min(1.0, bitcast<f32>(launch.first) / (norm + 1e-6)) / before.loss_scale;
    after.skip = skip;
    after.skipped = before.skipped + skip;
    after.norm = norm;
    if ((launch.second & 2u) != 0u) {
        after.steady = select(0u, before.steady + 1u, is_finite);
        if (!is_finite) {
            after.loss_scale = max(before.loss_scale * 0.5, LEAST_SCALE);
        } else if (after.steady == STEADY) {
            after.loss_scale = min(before.loss_scale * 2.0, LARGEST_SCALE);
            after.steady = 0u;
        }
    }
    control_vector[0] = after;
}
