// defect = b − A·x, a row an invocation; A as in product.wgsl.
struct Params { fold: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> columns: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<Real>;
@group(0) @binding(4) var<storage, read> b: array<Real>;
@group(0) @binding(5) var<storage, read> x: array<Real>;
@group(0) @binding(6) var<storage, read> block: Block;
@group(0) @binding(7) var<storage, read_write> defect: array<Real>;

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
    var sum = b[row];
    let end = starts[row + 1u];
    for (var place = starts[row]; place < end; place++) {
        sum = subtract(sum, multiply(values[place], x[columns[place]]));
    }
    defect[row] = sum;
}
