// Parts of x·y, or of Σ|x|, over a shard, each as exact as if it had been summed in twice the digits and rounded once:
// algorithm Dot2 of Ogita, Rump and Oishi, 2005, "Accurate Sum and Dot Product". A product's rounding error is what fma
// leaves of it.
//
// x, y: [elements of the shard]. parts: [invocations]; an invocation sums every element whose index is its own modulo their
// number, so that the order, and with it every bit, depends on that number alone.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> parts: array<vec2<f32>>;

const WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    var sum: f32 = 0.0;
    var left: f32 = 0.0;
    for (var i = id.x; i < arrayLength(&x); i += WORKGROUP * groups.x) {
        let factor = select(y[i], sign(x[i]), ABSOLUTE);
        let product = x[i] * factor;
        let next = two_sum(sum, product);
        sum = next.x;
        left += next.y + fma(x[i], factor, -product);
    }
    parts[id.x] = two_sum(sum, left);
}
