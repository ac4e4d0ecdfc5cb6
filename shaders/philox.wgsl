// Uniform random numbers on [0, 1): Philox4x32-10 (Salmon et al., 2011), counted by (element / 4, stream, step)
// and keyed by the seed. Four neighbouring elements share one call; src/graph/reference.rs is its twin.

fn philox_product(a: u32, b: u32) -> vec2<u32> {
    // (high, low) of a·b by halves: WGSL has no 64-bit integers.
    let low = (a & 0xffffu) * (b & 0xffffu);
    let cross_a = (a >> 16u) * (b & 0xffffu);
    let cross_b = (a & 0xffffu) * (b >> 16u);
    let middle = (low >> 16u) + (cross_a & 0xffffu) + (cross_b & 0xffffu);
    return vec2<u32>((a >> 16u) * (b >> 16u) + (cross_a >> 16u) + (cross_b >> 16u) + (middle >> 16u), a * b);
}

fn philox_uniform4(quad: u32, stream: u32) -> vec4<f32> {
    var counter = vec4<u32>(quad, stream, step.step.x, step.step.y);
    var key = step.seed;
    for (var round = 0u; round < 10u; round++) {
        let first = philox_product(counter.x, 0xD2511F53u);
        let second = philox_product(counter.z, 0xCD9E8D57u);
        counter = vec4<u32>(second.x ^ counter.y ^ key.x, second.y, first.x ^ counter.w ^ key.y, first.y);
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return vec4<f32>(counter >> vec4<u32>(8u)) * 5.9604644775390625e-8;
}

fn philox_uniform(index: u32, stream: u32) -> f32 {
    return philox_uniform4(index / 4u, stream)[index % 4u];
}
