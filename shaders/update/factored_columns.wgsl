// Mean squares of 32 columns by 8 lanes each. columns [2·workgroups]: first element of the first column, rows, columns in
// a row, place of C; and columns here.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let job = columns[2u * min(number, launch.count - 1u)];
    let width = columns[2u * min(number, launch.count - 1u) + 1u].x;
    let column = lane % 32u;
    var sum = 0.0;
    if (column < width) {
        for (var row = lane / 32u; row < job.y; row += 8u) {
            let gradient = gradient_at(job.x + row * job.z + column);
            sum += gradient * gradient;
        }
    }
    lanes[lane] = vec2<f32>(sum, 0.0);
    workgroupBarrier();
    if (lane < width && number < launch.count && !is_skipped()) {
        var all = 0.0;
        for (var strip = 0u; strip < 8u; strip++) {
            all += lanes[32u * strip + lane].x;
        }
        let place = job.w + lane;
        second_moment_vector[place] = towards(second_moment_vector[place], all / f32(job.y));
    }
}
