// result = factors · x, element by element: the inverse of a diagonal.
struct Params { fold: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> factors: array<Real>;
@group(0) @binding(2) var<storage, read> x: array<Real>;
@group(0) @binding(3) var<storage, read> block: Block;
@group(0) @binding(4) var<storage, read_write> result: array<Real>;

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    begin(groups);
    let i = id.x + id.y * p.fold;
    if (i < p.count && block.stop == 0u) {
        result[i] = multiply(factors[i], x[i]);
    }
}
