// The sum of all parts of a dot product, times a scalar, into a slot of the block of scalars, in an order that is always
// the same.
//
// parts: [parts of all shards]. slot, factor: a value and what rounding left of it. One workgroup.

@group(0) @binding(0) var<storage, read> parts: array<Real>;
@group(0) @binding(1) var<storage, read_write> slot: vec2<f32>;
// Written by nobody, but of the buffer that holds `slot`, which a dispatch may not bind for reading alone too.
@group(0) @binding(2) var<storage, read_write> factor: vec2<f32>;

const WORKGROUP = 64u;

var<workgroup> sums: array<Real, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3<u32>) {
    begin(groups);
    var sum = real(0.0);
    for (var i = lane; i < arrayLength(&parts); i += WORKGROUP) {
        sum = add(sum, parts[i]);
    }
    sums[lane] = sum;
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] = add(sums[lane], sums[lane + half]);
        }
    }
    if lane == 0u {
        slot = in_slot(multiply(real(factor.x), sums[0]));
    }
}
