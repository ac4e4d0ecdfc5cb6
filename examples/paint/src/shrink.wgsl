// page: 32 rows of 32 dots, a bit each. features: 8 × 8 bytes, four to a word, the dots in each block of 4 × 4: 0 to 16, as in
// the data set. A workgroup of 16, a word each.

@group(0) @binding(0) var<storage, read_write> page: array<u32>;
@group(0) @binding(1) var<storage, read_write> features: array<u32>;

@compute @workgroup_size(16)
fn shrink(@builtin(local_invocation_id) id: vec3<u32>) {
    let word = id.x;
    var packed = 0u;
    for (var byte = 0u; byte < 4u; byte++) {
        let pixel = 4u * word + byte;
        let x = 4u * (pixel % 8u);
        let y = 4u * (pixel / 8u);
        var dots = 0u;
        for (var row = y; row < y + 4u; row++) {
            dots += countOneBits((page[row] >> x) & 0xfu);
        }
        packed |= dots << (8u * byte);
    }
    features[word] = packed;
}
