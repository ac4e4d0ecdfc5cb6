// y = a·y + b·c·x over a shard of flat vectors; y is not read where a is 0, so that what is no number does not stay.
//
// y, x: [elements of the shard]. a, b, c: slots of the block of scalars, a value and what rounding left of it.

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> a: vec2<f32>;
@group(0) @binding(3) var<storage, read> b: vec2<f32>;
@group(0) @binding(4) var<storage, read> c: vec2<f32>;

const WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let factor = b.x * c.x;
    for (var i = id.x; i < arrayLength(&y); i += WORKGROUP * groups.x) {
        if a.x == 0.0 {
            y[i] = factor * x[i];
        } else {
            y[i] = fma(a.x, y[i], factor * x[i]);
        }
    }
}
