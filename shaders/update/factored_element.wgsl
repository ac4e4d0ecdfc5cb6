// The mean square of element i. A block's second half: first element of the tensor, columns (0: not a matrix), place
// of R (or of V), place of C.
fn square_at(i: u32, tensor: u32, place: vec4<u32>) -> f32 {
    let k = i - place.x;
    if (place.y == 0u) {
        return second_moment_vector[place.z + k];
    }
    let by_row = second_moment_vector[place.z + k / place.y];
    return by_row * second_moment_vector[place.w + k % place.y] / means[tensor];
}
