// The step along what was made orthogonal, which lies where the gradient was. blocks [workgroups]: first vec4, vec4s,
// the bits of the factor of the tensor's shape.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    if (is_skipped() || number >= launch.count) {
        return;
    }
    let block = blocks[number];
    let rate = scalar.learning_rate * bitcast<f32>(block.z);
    for (var k = lane; k < block.y; k += LANES) {
        let i = block.x + k;
        let after = scalar.kept * theta_vector[i] - rate * direction_vector[i];
        put_average(i, put_theta(i, after));
    }
}
