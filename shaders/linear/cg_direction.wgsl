// p = z + β·p, elements of vectors of `count`.
struct Params { fold: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<Real>;
@group(0) @binding(2) var<storage, read> block: Block;
@group(0) @binding(3) var<storage, read_write> direction: array<Real>;

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
    direction[i] = add(z[i], multiply(block.scalars[BETA], direction[i]));
}
