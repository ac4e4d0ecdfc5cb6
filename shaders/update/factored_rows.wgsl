// Mean squares of rows, 32 at a time by 8 lanes each. rows [workgroups]: first element of the first row, columns, place of
// R, rows here.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let job = rows[min(number, launch.count - 1u)];
    for (var strip = 0u; strip < job.w; strip += 32u) {
        let row = strip + lane / 8u;
        var sum = 0.0;
        if (row < job.w) {
            for (var k = lane % 8u; k < job.y; k += 8u) {
                let gradient = gradient_at(job.x + row * job.y + k);
                sum += gradient * gradient;
            }
        }
        workgroupBarrier();
        lanes[lane] = vec2<f32>(sum, 0.0);
        workgroupBarrier();
        let own = strip + lane;
        if (lane < 32u && own < job.w && number < launch.count && !is_skipped()) {
            var all = 0.0;
            for (var part = 0u; part < 8u; part++) {
                all += lanes[8u * lane + part].x;
            }
            let place = job.z + own;
            second_moment_vector[place] = towards(second_moment_vector[place], all / f32(job.y));
        }
    }
}
