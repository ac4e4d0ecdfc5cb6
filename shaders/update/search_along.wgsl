// The trial point of a line search that the host runs, for `count` vec4s.
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * launch.fold;
    if (i >= launch.count) {
        return;
    }
    trial_vector[i] = theta_vector[i] - search[0].trial * scalar.learning_rate * direction_vector[i];
}
