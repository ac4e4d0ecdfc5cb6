// The columns beside a panel: the exchanges of rows that the panel made, and right of it U = L⁻¹·A for the panel's rows, of which `upper` gets
// a copy. A column of a matrix of the batch for each invocation.
@group(0) @binding(1) var<storage, read> pivots: array<u32>;
@group(0) @binding(2) var<storage, read_write> a: array<f32>;
@group(0) @binding(3) var<storage, read_write> upper: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * p.fold;
    let entry = i / p.ld;
    let column = i % p.ld;
    let end = p.first + BLOCK;
    // `rows` are here the columns of the whole batch.
    if (i >= p.rows || (column >= p.first && column < end)) {
        return;
    }
    let top = entry * p.stride + column;
    for (var row = p.first; row < end; row++) {
        let pivot = pivots[entry * p.vector_stride + row];
        if (pivot != row) {
            let moved = a[top + row * p.ld];
            a[top + row * p.ld] = a[top + pivot * p.ld];
            a[top + pivot * p.ld] = moved;
        }
    }
    if (column < end) {
        return;
    }
    for (var row = p.first; row < end; row++) {
        var sum = a[top + row * p.ld];
        for (var other = p.first; other < row; other++) {
            sum -= a[entry * p.stride + row * p.ld + other] * a[top + other * p.ld];
        }
        a[top + row * p.ld] = sum;
        upper[entry * p.copy_stride + (row - p.first) * p.ld + column] = sum;
    }
}
