// parts[2g] and parts[2g + 1] are the sums of x · y and y · y over the elements of workgroup g of `groups`; whoever finishes a dot product adds
// the parts up. Each lane takes every 64·groups-th element, so the order of sums is always the same.
struct Params { fold: u32, count: u32, groups: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Real>;
@group(0) @binding(2) var<storage, read> y: array<Real>;
@group(0) @binding(3) var<storage, read> block: Block;
@group(0) @binding(4) var<storage, read_write> parts: array<Real>;

var<workgroup> products: array<Real, 64>;
var<workgroup> squares: array<Real, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    begin(groups);
    var product = real(0.0);
    var square = real(0.0);
    for (var i = group.x * 64u + lane; i < p.count && block.stop == 0u; i += 64u * p.groups) {
        product = add(product, multiply(x[i], y[i]));
        square = add(square, multiply(y[i], y[i]));
    }
    products[lane] = product;
    squares[lane] = square;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) {
            products[lane] = add(products[lane], products[lane + half]);
            squares[lane] = add(squares[lane], squares[lane + half]);
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        parts[2u * group.x] = products[0];
        parts[2u * group.x + 1u] = squares[0];
    }
}
