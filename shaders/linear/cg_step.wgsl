// x += α·p and r −= α·q, elements of vectors of `count`.
struct Params { fold: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> direction: array<Real>;
@group(0) @binding(2) var<storage, read> product: array<Real>;
@group(0) @binding(3) var<storage, read> block: Block;
@group(0) @binding(4) var<storage, read_write> x: array<Real>;
@group(0) @binding(5) var<storage, read_write> residual: array<Real>;

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
    let alpha = block.scalars[ALPHA];
    x[i] = add(x[i], multiply(alpha, direction[i]));
    residual[i] = subtract(residual[i], multiply(alpha, product[i]));
}
