// The direction of a step, to be gone along backwards: the gradient of loss and penalty, for `count` vec4s.
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * launch.fold;
    if (i >= launch.count) {
        return;
    }
    direction_vector[i] = gradient_at(i) + scalar.weight_decay * theta_vector[i];
}
