// What differs from step to step, the same for all kernels of a step; src/plan/step.rs is its twin.
struct Step {
    seed: vec2<u32>,
    step: vec2<u32>,
    // Rows of the micro-batch that are there; the others fill it up and weigh nothing.
    valid_rows: u32,
    // Rows of the batch before this micro-batch.
    first_row: u32,
    // 1: gradients are added to those that are there; 0: they overwrite them.
    accumulate: u32,
    // The weight of a row in the mean over the batch.
    row_weight: f32,
    // What the loss is multiplied by on the way to its gradient.
    loss_scale: f32,
}
@group(0) @binding(0) var<uniform> step: Step;
