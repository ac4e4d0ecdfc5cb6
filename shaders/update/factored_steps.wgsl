// The step. blocks as in factored_sums.wgsl; rates [tensors].
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    if (is_skipped() || number >= launch.count) {
        return;
    }
    let block = blocks[2u * number];
    let place = blocks[2u * number + 1u];
    for (var k = lane; k < block.y; k += LANES) {
        let i = block.x + k;
        let u = direction(gradient_at(i), square_at(i, block.z, place));
        let after = scalar.kept * theta_vector[i] - rates[block.z] * u;
        put_average(i, put_theta(i, after));
    }
}
