// One colour of a sweep of successive over-relaxation, in place: x += ω · defect / diagonal for `count` rows from `first` on, none of which is
// coupled to another. `inverses` are ω / diagonal. The defects that were met are kept for the norm.
struct Params { fold: u32, first: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> columns: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<Real>;
@group(0) @binding(4) var<storage, read> inverses: array<Real>;
@group(0) @binding(5) var<storage, read> b: array<Real>;
@group(0) @binding(6) var<storage, read> block: Block;
@group(0) @binding(7) var<storage, read_write> x: array<Real>;
@group(0) @binding(8) var<storage, read_write> defect: array<Real>;

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    begin(groups);
    let i = id.x + id.y * p.fold;
    if (i >= p.count || block.stop != 0u) {
        return;
    }
    let row = p.first + i;
    var sum = b[row];
    let end = starts[row + 1u];
    for (var place = starts[row]; place < end; place++) {
        sum = subtract(sum, multiply(values[place], x[columns[place]]));
    }
    defect[row] = sum;
    x[row] = add(x[row], multiply(inverses[row], sum));
}
