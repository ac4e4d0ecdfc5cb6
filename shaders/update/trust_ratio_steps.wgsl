// The step. jobs as in trust_ratio_moments.wgsl; ratios [tensors].
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    if (is_skipped() || number >= launch.count) {
        return;
    }
    let job = jobs[number];
    let ratio = ratios[job.z];
    for (var k = lane; k < job.y; k += LANES) {
        let i = job.x + k;
        let at = element_at(i);
        let after = go(at, direction(at, gradient_at(i)), ratio);
        put_rest(i, after);
        put_average(i, put_theta(i, after.theta));
    }
}
