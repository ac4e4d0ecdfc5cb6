// Sums of squares of θ and of the direction. blocks [2·workgroups]: first element, elements, tensor, partial sum; and
// what factored_element.wgsl says. V of what is not a matrix is brought up to date on the way.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.x + group.y * launch.fold;
    let block = blocks[2u * min(number, launch.count - 1u)];
    let place = blocks[2u * min(number, launch.count - 1u) + 1u];
    var sums = vec2<f32>(0.0);
    for (var k = lane; k < block.y; k += LANES) {
        let i = block.x + k;
        let gradient = gradient_at(i);
        if (place.y == 0u && number < launch.count && !is_skipped()) {
            let v = place.z + i - place.x;
            second_moment_vector[v] = towards(second_moment_vector[v], gradient * gradient);
        }
        let u = direction(gradient, square_at(i, block.z, place));
        sums += vec2<f32>(theta_vector[i] * theta_vector[i], u * u);
    }
    let sum = total(lane, sums);
    if (lane == 0u && number < launch.count) {
        partials[block.w] = sum;
    }
}
