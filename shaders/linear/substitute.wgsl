// x = T⁻¹·x for a triangular T of each matrix of a batch, in place, by blocks of 32 unknowns. A workgroup for each matrix.
struct Params {
    fold: u32,
    // Unknowns, a multiple of 32.
    count: u32,
    // The way from row to row of T and from column to column: exchanged, they read T transposed.
    row_stride: u32,
    column_stride: u32,
    stride: u32,
    vector_stride: u32,
    // 1 where the diagonal is not stored but 1; 1 where T is upper triangular.
    unit: u32,
    upper: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

const LANES: u32 = 64u;
const BLOCK: u32 = 32u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let entry = group.x + group.y * p.fold;
    let base = entry * p.stride;
    let vector = entry * p.vector_stride;
    let is_upper = p.upper != 0u;
    for (var number = 0u; number < p.count; number += BLOCK) {
        let first = select(number, p.count - BLOCK - number, is_upper);
        for (var step = 0u; step < BLOCK; step++) {
            let column = first + select(step, BLOCK - 1u - step, is_upper);
            if (lane == 0u && p.unit == 0u) {
                x[vector + column] /= a[base + column * (p.row_stride + p.column_stride)];
            }
            storageBarrier();
            workgroupBarrier();
            let row = first + lane;
            let is_next = select(row > column, row < column, is_upper);
            if (lane < BLOCK && is_next) {
                x[vector + row] -= a[base + row * p.row_stride + column * p.column_stride] * x[vector + column];
            }
            storageBarrier();
            workgroupBarrier();
        }
        let begin = select(first + BLOCK, 0u, is_upper);
        let end = select(p.count, first, is_upper);
        for (var row = begin + lane; row < end; row += LANES) {
            var sum = x[vector + row];
            for (var column = first; column < first + BLOCK; column++) {
                sum -= a[base + row * p.row_stride + column * p.column_stride] * x[vector + column];
            }
            x[vector + row] = sum;
        }
        storageBarrier();
        workgroupBarrier();
    }
}
