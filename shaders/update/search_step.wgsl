// θ after the chosen step, for `count` vec4s. Where no trial was better, θ stays, whatever the gradient is.
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * launch.fold;
    let factor = search[0].chosen;
    if (i >= launch.count || factor == 0.0) {
        return;
    }
    theta_vector[i] = stepped(i, theta_vector[i], factor);
}
