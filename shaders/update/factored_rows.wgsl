// Mean squares of rows. rows [workgroups]: first element, columns, place of R.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let job = rows[min(number, launch.count - 1u)];
    var sum = 0.0;
    for (var k = lane; k < job.y; k += LANES) {
        let gradient = gradient_at(job.x + k);
        sum += gradient * gradient;
    }
    let mean = total(lane, vec2<f32>(sum, 0.0)).x / f32(job.y);
    if (lane == 0u && number < launch.count && !is_skipped()) {
        second_moment_vector[job.z] = towards(second_moment_vector[job.z], mean);
    }
}
