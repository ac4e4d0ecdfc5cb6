// Householder reflections of a panel: R at and above the diagonal, which `diagonals` gets too, the vectors v below, whose first number is 1, and in `taus` the factors of
// Q = Π (1 − τ·v·vᵀ). For products `vectors` gets the v as columns, 32 a row, with their ones and zeros, and `turns` the upper triangle T of
// the panel's 1 − V·T·Vᵀ (Schreiber and Van Loan, "A storage-efficient WY representation", 1989).
//
// A lane has one column and every eighth row. The sums of a column's squares and of its products with the columns right of it are taken in one pass,
// before the reflection is known: they differ from v's by a factor.
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> taus: array<f32>;
@group(0) @binding(3) var<storage, read_write> diagonals: array<f32>;
@group(0) @binding(4) var<storage, read_write> vectors: array<f32>;
@group(0) @binding(5) var<storage, read_write> turns: array<f32>;

const LANES: u32 = 256u;
const PARTS: u32 = LANES / BLOCK;
var<workgroup> sums: array<f32, LANES>;
var<workgroup> gram: array<f32, 1024>;

fn reflect(lane: u32, entry: u32, column: u32) {
    let base = entry * p.stride;
    let other = p.first + lane % BLOCK;
    let part = lane / BLOCK;
    var sum = f32(0.0);
    for (var row = column + 1u + part; row < p.rows && other >= column; row += PARTS) {
        sum += a[base + row * p.ld + column] * a[base + row * p.ld + other];
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half >= BLOCK; half /= 2u) {
        if (lane < half) {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    let head = a[base + column * p.ld + column];
    let rest = sums[column - p.first];
    var turned = sqrt(head * head + rest);
    if (head > 0.0) {
        turned = -turned;
    }
    // The column is 0 below the diagonal: there is nothing to turn.
    let is_done = rest == 0.0;
    var factor = f32(0.0);
    var tau = f32(0.0);
    if (!is_done) {
        factor = 1.0 / (head - turned);
        tau = (turned - head) / turned;
    }
    let along = tau * (a[base + column * p.ld + other] + factor * sums[lane % BLOCK]);
    storageBarrier();
    workgroupBarrier();
    if (other > column) {
        if (part == 0u) {
            a[base + column * p.ld + other] -= along;
        }
        for (var row = column + 1u + part; row < p.rows; row += PARTS) {
            a[base + row * p.ld + other] -= along * factor * a[base + row * p.ld + column];
        }
    }
    storageBarrier();
    workgroupBarrier();
    for (var row = column + 1u + lane; row < p.rows && !is_done; row += LANES) {
        a[base + row * p.ld + column] *= factor;
    }
    if (lane == 0u) {
        taus[entry * p.vector_stride + column] = tau;
        diagonals[entry * p.vector_stride + column] = select(turned, head, is_done);
        a[base + column * p.ld + column] = select(turned, head, is_done);
    }
    storageBarrier();
    workgroupBarrier();
}

// Tᵢⱼ = −τⱼ · Σ Tᵢₗ·(vₗ·vⱼ) over i ≤ l < j, Tⱼⱼ = τⱼ, column by column.
fn join(lane: u32, entry: u32) {
    let copies = entry * p.copy_stride;
    for (var place = lane; place < BLOCK * BLOCK; place += LANES) {
        var sum = f32(0.0);
        for (var row = p.first + place % BLOCK; row < p.rows; row++) {
            sum += vectors[copies + row * BLOCK + place / BLOCK] * vectors[copies + row * BLOCK + place % BLOCK];
        }
        gram[place] = sum;
    }
    storageBarrier();
    workgroupBarrier();
    let turn = entry * BLOCK * BLOCK;
    for (var column = 0u; column < BLOCK; column++) {
        let tau = taus[entry * p.vector_stride + p.first + column];
        if (lane < BLOCK) {
            var value = f32(0.0);
            if (lane == column) {
                value = tau;
            }
            for (var l = lane; l < column; l++) {
                value -= tau * turns[turn + lane * BLOCK + l] * gram[l * BLOCK + column];
            }
            turns[turn + lane * BLOCK + column] = value;
        }
        storageBarrier();
        workgroupBarrier();
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let entry = group.x + group.y * p.fold;
    for (var column = p.first; column < p.first + BLOCK; column++) {
        reflect(lane, entry, column);
    }
    for (var place = lane; place < (p.rows - p.first) * BLOCK; place += LANES) {
        let row = p.first + place / BLOCK;
        let column = p.first + place % BLOCK;
        var value = f32(0.0);
        if (row == column) {
            value = 1.0;
        } else if (row > column) {
            value = a[entry * p.stride + row * p.ld + column];
        }
        vectors[entry * p.copy_stride + row * BLOCK + place % BLOCK] = value;
    }
    storageBarrier();
    workgroupBarrier();
    join(lane, entry);
}
