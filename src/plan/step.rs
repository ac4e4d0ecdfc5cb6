//! The uniform that every kernel of a step shares; `shaders/step.wgsl` is its twin.

/// What differs from step to step.
#[derive(Clone, Copy, PartialEq, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct StepUniform {
    pub seed: [u32; 2],
    pub step: [u32; 2],
    /// Rows of the micro-batch that are there; the others fill it up and weigh nothing.
    pub valid_rows: u32,
    /// The weight of a row in the mean over the batch.
    pub row_weight: f32,
    /// Rows of the batch before this micro-batch.
    pub first_row: u32,
    /// 1: gradients are added to those that are there; 0: they overwrite them.
    pub accumulate: u32,
    /// What the loss is multiplied by on the way to its gradient.
    pub loss_scale: f32,
    _padding: [u32; 3],
}

impl StepUniform {
    /// The uniform of step `step` with `valid_rows` rows in the micro-batch, each weighing `row_weight`: the first
    /// micro-batch of its batch, whose gradients overwrite.
    pub fn new(seed: u64, step: u64, valid_rows: usize, row_weight: f64) -> Self {
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        StepUniform {
            seed: halves(seed),
            step: halves(step),
            valid_rows: valid_rows as u32,
            row_weight: row_weight as f32,
            first_row: 0,
            accumulate: 0,
            loss_scale: 1.0,
            _padding: [0; 3],
        }
    }

    /// The same for a micro-batch that begins `first_row` rows into its batch. Where it does `accumulate`, a plan of
    /// [`super::Gradients::Accumulate`] adds to the gradients that are there.
    pub fn within_batch(self, first_row: usize, accumulate: bool) -> Self {
        StepUniform { first_row: first_row as u32, accumulate: u32::from(accumulate), ..self }
    }
}
