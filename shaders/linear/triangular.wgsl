// One level of the solution of T·result = x, T triangular: the rows order[first ..], `count` of them, need only rows of levels before and are
// an invocation each. `starts`, `columns` and `values` hold T without its diagonal, `inverses` the diagonal's inverses.
struct Params { fold: u32, first: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> columns: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<Real>;
@group(0) @binding(4) var<storage, read> order: array<u32>;
@group(0) @binding(5) var<storage, read> inverses: array<Real>;
@group(0) @binding(6) var<storage, read> x: array<Real>;
@group(0) @binding(7) var<storage, read_write> result: array<Real>;

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    begin(groups);
    let i = id.x + id.y * p.fold;
    if (i >= p.count) {
        return;
    }
    let row = order[p.first + i];
    var sum = x[row];
    let end = starts[row + 1u];
    for (var place = starts[row]; place < end; place++) {
        sum = subtract(sum, multiply(values[place], result[columns[place]]));
    }
    result[row] = multiply(sum, inverses[row]);
}
