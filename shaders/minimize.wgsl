// What the kernel that minimises a small objective is generated around: src/minimize/kernel.rs.
alias T = f32;

struct Control {
    done: u32, // updates before the submit
    until: u32, // updates after it
    trace: u32, // steps between two points of the trace; 0: none
    may_stop: u32,
    tolerance: f32,
    looks_from: u32, // updates before which the gradient's norm is not looked at
}

const CONVERGED: u32 = 1u;
const DIVERGED: u32 = 2u;
const STALLED: u32 = 3u;

@group(0) @binding(0) var<uniform> control: Control;
// The optimizer's scalars, a line for each step of the submit.
@group(0) @binding(1) var<storage, read> schedule: array<f32>;
// The theta vector and then each state vector.
@group(0) @binding(2) var<storage, read_write> state: array<vec4<f32>>;
// (updates, why it stopped, updates in a row that changed nothing, gradients), then θ, then the trace: the bits of
// floats, since a float's way through a register may turn small integers into 0.
@group(0) @binding(3) var<storage, read_write> record: array<vec4<u32>>;

var<private> scalar: Scalars;

// By the exponent's bits: compilers may assume that comparisons see no NaN.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn is_finite4(x: vec4<f32>) -> bool {
    return all((bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u));
}

// past + weight·(newest − past); by rounding, that may be another number than `newest` where the weight is 1.
fn approach(past: vec4<f32>, newest: vec4<f32>, weight: f32) -> vec4<f32> {
    return select(past + weight * (newest - past), newest, weight == 1.0);
}

fn are_same(a: vec4<f32>, b: vec4<f32>) -> bool {
    return all(bitcast<vec4<u32>>(a) == bitcast<vec4<u32>>(b));
}

fn max4(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}
