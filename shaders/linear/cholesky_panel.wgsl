// The Cholesky factor L of A = L·Lᵀ in a panel, at and below the diagonal. `squares` gets the squares of L's diagonal before their roots are
// taken: one that is not above 0 tells that A is not positive definite. `copies` gets L of the rows below the panel, 32 a row, and behind all
// of that −L.
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;
@group(0) @binding(3) var<storage, read_write> copies: array<f32>;

const LANES: u32 = 64u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let entry = group.x + group.y * p.fold;
    let base = entry * p.stride;
    let end = p.first + BLOCK;
    for (var column = p.first; column < end; column++) {
        let square = a[base + column * p.ld + column];
        var root = f32(1.0);
        if (square > 0.0) {
            root = sqrt(square);
        }
        storageBarrier();
        workgroupBarrier();
        for (var row = column + lane; row < p.rows; row += LANES) {
            if (row == column) {
                squares[entry * p.vector_stride + column] = square;
                a[base + row * p.ld + column] = root;
            } else {
                a[base + row * p.ld + column] /= root;
            }
        }
        storageBarrier();
        workgroupBarrier();
        for (var row = column + 1u + lane; row < p.rows; row += LANES) {
            let line = base + row * p.ld;
            for (var other = column + 1u; other < min(end, row + 1u); other++) {
                a[line + other] -= a[line + column] * a[base + other * p.ld + column];
            }
        }
        storageBarrier();
        workgroupBarrier();
    }
    for (var place = lane; place < (p.rows - end) * BLOCK; place += LANES) {
        let row = end + place / BLOCK;
        let column = place % BLOCK;
        let value = a[base + row * p.ld + p.first + column];
        let copy = entry * p.copy_stride + row * BLOCK + column;
        copies[copy] = value;
        copies[copy + p.rows * BLOCK] = -value;
    }
}
