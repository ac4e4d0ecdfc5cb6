// Parts of x·y, or of Σ|x|, over a shard, in the numbers of `linear`: pairs of f32, which keep the digits that a sum of f32
// loses, or f64.
//
// x, y: [elements of the shard]. parts: [invocations]; an invocation sums every element whose index is its own modulo their
// number, so that the order, and with it every bit, depends on that number alone.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> parts: array<Real>;

const WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    begin(groups);
    var sum = real(0.0);
    for (var i = id.x; i < arrayLength(&x); i += WORKGROUP * groups.x) {
        let factor = select(y[i], sign(x[i]), ABSOLUTE);
        sum = add(sum, multiply(real(x[i]), real(factor)));
    }
    parts[id.x] = sum;
}
