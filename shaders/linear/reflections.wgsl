// Applies the reflections of qr_panel.wgsl to a vector of each matrix of a batch: Qᵀ·x from the first of `count` on, or Q·x from the last. A
// workgroup for each matrix.
struct Params {
    fold: u32,
    rows: u32,
    ld: u32,
    count: u32,
    stride: u32,
    vector_stride: u32,
    tau_stride: u32,
    // 1 for Q.
    reversed: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> taus: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const LANES: u32 = 64u;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let entry = group.x + group.y * p.fold;
    let base = entry * p.stride;
    let vector = entry * p.vector_stride;
    for (var number = 0u; number < p.count; number++) {
        let column = select(number, p.count - 1u - number, p.reversed != 0u);
        var sum = f32(0.0);
        for (var row = column + 1u + lane; row < p.rows; row += LANES) {
            sum += a[base + row * p.ld + column] * x[vector + row];
        }
        sums[lane] = sum;
        workgroupBarrier();
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            if (lane < half) {
                sums[lane] += sums[lane + half];
            }
            workgroupBarrier();
        }
        let along = taus[entry * p.tau_stride + column] * (x[vector + column] + sums[0]);
        storageBarrier();
        workgroupBarrier();
        if (lane == 0u) {
            x[vector + column] -= along;
        }
        for (var row = column + 1u + lane; row < p.rows; row += LANES) {
            x[vector + row] -= along * a[base + row * p.ld + column];
        }
        storageBarrier();
        workgroupBarrier();
    }
}
