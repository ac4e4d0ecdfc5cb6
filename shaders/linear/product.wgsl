// result[rows] = A · x − scalars[slot] · result, A in compressed rows of `starts`, `columns` and `values`, a row an invocation. With
// slot = NONE what stood in the result is not read.
struct Params { fold: u32, rows: u32, slot: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> columns: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<Real>;
@group(0) @binding(4) var<storage, read> x: array<Real>;
@group(0) @binding(5) var<storage, read> block: Block;
@group(0) @binding(6) var<storage, read_write> result: array<Real>;

const NONE: u32 = 0xffffffffu;

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    begin(groups);
    let row = id.x + id.y * p.fold;
    if (row >= p.rows || block.stop != 0u) {
        return;
    }
    var sum = real(0.0);
    if (p.slot != NONE) {
        sum = negative(multiply(block.scalars[p.slot], result[row]));
    }
    let end = starts[row + 1u];
    for (var place = starts[row]; place < end; place++) {
        sum = add(sum, multiply(values[place], x[columns[place]]));
    }
    result[row] = sum;
}
