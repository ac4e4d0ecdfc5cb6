// What every kernel of an update has: where it works, what the gradient's norm decided, and sums over a workgroup.
struct Launch {
    // Invocations or workgroups that have something to do, and how many of them lie in a row of the two-dimensional
    // dispatch.
    count: u32,
    fold: u32,
    first: u32,
    second: u32,
}

struct Control {
    // What the gradient is multiplied by: clipping, and the loss scale taken out.
    scale: f32,
    // 1: this step changes nothing.
    skip: u32,
    // Steps that were skipped so far.
    skipped: u32,
    // The gradient's norm before it was clipped, without the loss scale.
    norm: f32,
    // What the loss is multiplied by in the next step; 1 where it is not scaled.
    loss_scale: f32,
    // Steps since the loss scale changed.
    steady: u32,
}

const LANES: u32 = 256u;
var<workgroup> lanes: array<vec2<f32>, 256>;

// The sum of all lanes' values, the same in every lane; always in the same order.
fn total(lane: u32, value: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    lanes[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    return lanes[0];
}
