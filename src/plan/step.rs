//! The uniform that every kernel of a step shares; `shaders/step.wgsl` is its twin.

use std::mem::offset_of;

use super::Precision;

/// What differs from step to step.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct StepUniform {
    pub seed: u64,
    pub step: u64,
    /// Rows of the micro-batch that are there; the others fill it up and weigh nothing.
    pub valid_rows: u32,
    /// The weight of a row in the mean over the batch.
    pub row_weight: f64,
    /// Rows of the batch before this micro-batch.
    pub first_row: u32,
    /// Gradients are added to those that are there; else they overwrite them.
    pub accumulate: bool,
}

/// As it lies in memory for kernels in f32. Floats come last, so that what is before them lies as in [`Double`].
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Single {
    integers: [u32; 7],
    row_weight: f32,
    loss_scale: f32,
    _padding: [u32; 3],
}

/// As it lies in memory for kernels in f64, whose floats are aligned to 8 bytes.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Double {
    integers: [u32; 7],
    _padding: u32,
    row_weight: f64,
    loss_scale: f64,
}

impl StepUniform {
    /// Its bytes in either precision.
    pub const BYTES: usize = size_of::<Single>();

    /// Where kernels in f32 find what the loss is multiplied by on the way to its gradient: 1, unless a copy on the device
    /// puts another number there.
    pub const LOSS_SCALE: u64 = offset_of!(Single, loss_scale) as u64;

    /// The uniform of step `step` with `valid_rows` rows in the micro-batch, each weighing `row_weight`: the first
    /// micro-batch of its batch, whose gradients overwrite.
    pub fn new(seed: u64, step: u64, valid_rows: usize, row_weight: f64) -> Self {
        StepUniform { seed, step, valid_rows: valid_rows as u32, row_weight, first_row: 0, accumulate: false }
    }

    /// The same for a micro-batch that begins `first_row` rows into its batch. Where it does `accumulate`, a plan of
    /// [`super::Gradients::Accumulate`] adds to the gradients that are there.
    pub fn within_batch(self, first_row: usize, accumulate: bool) -> Self {
        StepUniform { first_row: first_row as u32, accumulate, ..self }
    }

    /// As kernels of a plan in `precision` read it.
    pub fn bytes(&self, precision: Precision) -> [u8; Self::BYTES] {
        let StepUniform { seed, step, valid_rows, row_weight, first_row, accumulate } = *self;
        let high = |value: u64| (value >> 32) as u32;
        let integers =
            [seed as u32, high(seed), step as u32, high(step), valid_rows, first_row, u32::from(accumulate)];
        match precision {
            Precision::F32 | Precision::F16 => bytemuck::cast(Single {
                integers,
                row_weight: row_weight as f32,
                loss_scale: 1.0,
                _padding: [0; 3],
            }),
            Precision::F64 => bytemuck::cast(Double { integers, _padding: 0, row_weight, loss_scale: 1.0 }),
        }
    }
}
