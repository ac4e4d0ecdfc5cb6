// result = −Tᵀ·w for the columns right of a panel, T upper triangular, 32 × 32, w and result 32 × ld. `rows` are the numbers of the whole batch.
@group(0) @binding(1) var<storage, read> turns: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * p.fold;
    let column = i % p.ld;
    if (i >= p.rows || column < p.first + BLOCK) {
        return;
    }
    let row = i / p.ld % BLOCK;
    let entry = i / (p.ld * BLOCK);
    var sum = f32(0.0);
    for (var l = 0u; l <= row; l++) {
        sum -= turns[(entry * BLOCK + l) * BLOCK + row] * w[(entry * BLOCK + l) * p.ld + column];
    }
    result[i] = sum;
}
