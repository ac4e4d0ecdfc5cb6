// What every kernel has that ends dot products: one invocation adds up the parts of dots.wgsl, of which there are few, and goes on with `finish`
// of the method's own text.
struct Params { fold: u32, groups: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<Real>;
@group(0) @binding(2) var<storage, read_write> block: Block;

@compute @workgroup_size(1)
fn main(@builtin(num_workgroups) groups: vec3<u32>) {
    begin(groups);
    if (block.stop != 0u) {
        return;
    }
    var product = real(0.0);
    var square = real(0.0);
    for (var group = 0u; group < p.groups; group++) {
        product = add(product, parts[2u * group]);
        square = add(square, parts[2u * group + 1u]);
    }
    finish(product, square);
}
