// Gaussian elimination with partial pivoting in a panel: L below the diagonal, whose own is 1, and U in its place (Golub and Van Loan,
// "Matrix Computations", 3.4). `pivots` gets the row that each row was exchanged with, `diagonals` U's
// diagonal, `negated` −L of the rows below the panel, 32 a row.
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> pivots: array<u32>;
@group(0) @binding(3) var<storage, read_write> diagonals: array<f32>;
@group(0) @binding(4) var<storage, read_write> negated: array<f32>;

const LANES: u32 = 64u;
var<workgroup> sizes: array<f32, LANES>;
var<workgroup> places: array<u32, LANES>;

// The row at or below `column` with the largest number there; of equals the first.
fn pivot_row(lane: u32, base: u32, column: u32) -> u32 {
    var size = f32(-1.0);
    var place = column;
    for (var row = column + lane; row < p.rows; row += LANES) {
        let other = abs(a[base + row * p.ld + column]);
        if (other > size) {
            size = other;
            place = row;
        }
    }
    sizes[lane] = size;
    places[lane] = place;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            let other = lane + half;
            let is_larger = sizes[other] > sizes[lane];
            if (is_larger || (sizes[other] == sizes[lane] && places[other] < places[lane])) {
                sizes[lane] = sizes[other];
                places[lane] = places[other];
            }
        }
        workgroupBarrier();
    }
    return places[0];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let entry = group.x + group.y * p.fold;
    let base = entry * p.stride;
    for (var column = p.first; column < p.first + BLOCK; column++) {
        let pivot = pivot_row(lane, base, column);
        if (lane == 0u) {
            pivots[entry * p.vector_stride + column] = pivot;
        }
        if (lane < BLOCK && pivot != column) {
            let upper = base + column * p.ld + p.first + lane;
            let lower = base + pivot * p.ld + p.first + lane;
            let moved = a[upper];
            a[upper] = a[lower];
            a[lower] = moved;
        }
        storageBarrier();
        workgroupBarrier();
        let diagonal = a[base + column * p.ld + column];
        if (lane == 0u) {
            diagonals[entry * p.vector_stride + column] = diagonal;
        }
        for (var row = column + 1u + lane; row < p.rows && diagonal != 0.0; row += LANES) {
            let line = base + row * p.ld;
            let factor = a[line + column] / diagonal;
            a[line + column] = factor;
            for (var other = column + 1u; other < p.first + BLOCK; other++) {
                a[line + other] -= factor * a[base + column * p.ld + other];
            }
        }
        storageBarrier();
        workgroupBarrier();
    }
    for (var place = lane; place < (p.rows - p.first - BLOCK) * BLOCK; place += LANES) {
        let row = p.first + BLOCK + place / BLOCK;
        let column = place % BLOCK;
        negated[entry * p.copy_stride + row * BLOCK + column] = -a[base + row * p.ld + p.first + column];
    }
}
