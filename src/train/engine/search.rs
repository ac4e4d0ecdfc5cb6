//! The line searches that the host runs: every trial is a submit whose value is read back before the next is chosen, for
//! each depends on the one before. [`LineSearch::Batched`] reads nothing back.

use std::mem::offset_of;

use super::super::line_search::LineSearch;
use super::{Engine, HISTORY, RECORD_BYTES, Results};
use crate::gpu::Buffer;
use crate::optim::{SearchPlan, Updater};
use crate::solve::{Limits, LineValue, Outcome, backtracking, strong_wolfe};
use crate::{Error, Result};

/// Evaluations of a step at most; near a minimum differences drown in rounding, and no step is found.
const EVALUATIONS: usize = 20;

impl Engine {
    /// Finds the step size of the step that was just sent, and takes the step. Where none is found, θ stays.
    pub fn search(&mut self, search: LineSearch) -> Result<()> {
        let find = match search {
            // The device has found it already.
            LineSearch::Batched { .. } => return Ok(()),
            LineSearch::Backtracking => backtracking,
            LineSearch::StrongWolfe => strong_wolfe,
        };
        let limits = Limits { evaluations: EVALUATIONS, ..Limits::default() };
        let (last, here) = (self.step_factor()?, self.trial_value()?);
        // Twice the last step, so that steps can grow; exact minima along the gradient make descent zigzag, longer steps
        // do not.
        let first = 2.0 * last;
        let outcome: Outcome = find(here, first, &limits, &mut |factor| self.evaluate(factor))?;
        let (chosen, factor) = match outcome {
            Ok(found) => (found.step as f32, SearchPlan::around(found.step) as f32),
            Err(_) => (0.0, SearchPlan::below(last) as f32),
        };
        // Both searches end with the trial that they choose, so θ is to be what it left.
        self.end_search(factor, chosen)
    }

    fn evaluate(&mut self, factor: f64) -> Result<LineValue> {
        self.send_trial(factor as f32)?;
        self.trial_value()
    }

    fn trial_value(&mut self) -> Result<LineValue> {
        let [value, slope] = self.searched(SearchPlan::VALUE)?.map(f64::from);
        Ok(LineValue { value, slope })
    }

    fn step_factor(&mut self) -> Result<f64> {
        let [factor, _] = self.searched(SearchPlan::FACTOR)?;
        Ok(f64::from(factor))
    }

    /// Two neighbouring numbers of what a line search remembers, from the byte `at` on.
    fn searched(&mut self, at: u64) -> Result<[f32; 2]> {
        self.submits.flush();
        let bytes = self.gpu.read_buffer(self.search_buffer()?.raw(), at..at + 8)?;
        Ok(bytemuck::pod_read_unaligned(&bytes))
    }

    /// Has the device make value and slope of the trial point at `factor`.
    fn send_trial(&mut self, factor: f32) -> Result<()> {
        self.submits.flush();
        self.gpu.write_buffer(self.search_buffer()?.raw(), SearchPlan::TRIAL, bytemuck::bytes_of(&factor))?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        if let Some(update) = &self.update {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            update.record_evaluation(&mut pass, self.trial.as_ref().map(|(_, replay)| replay));
        }
        self.gpu.submit(encoder);
        Ok(())
    }

    /// Ends the search of the step that was sent last: θ becomes the trial point unless `chosen` is 0, which is told in
    /// its results, and the next search begins at `factor`.
    fn end_search(&mut self, factor: f32, chosen: f32) -> Result<()> {
        self.submits.flush();
        // The trial of the next step's first value is θ.
        let told: [f32; 2] = [factor, 0.0];
        self.gpu.write_buffer(
            self.search_buffer()?.raw(),
            SearchPlan::FACTOR,
            bytemuck::cast_slice(&told),
        )?;
        let row = ((self.replays - 1) % HISTORY) * RECORD_BYTES;
        let at = row + offset_of!(Results, step_factor) as u64;
        self.gpu.write_buffer(self.history.raw(), at, bytemuck::bytes_of(&chosen))?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let trial = self.update.as_ref().and_then(Updater::trial).filter(|_| chosen > 0.0);
        for (from, to) in trial.into_iter().flatten().zip(&self.memory.theta) {
            encoder.copy_buffer_to_buffer(from.raw(), 0, to.raw(), 0, to.bytes());
        }
        self.gpu.submit(encoder);
        Ok(())
    }

    fn search_buffer(&self) -> Result<&Buffer> {
        let buffer = self.update.as_ref().and_then(Updater::search);
        buffer.ok_or_else(|| Error::shape("line search", "the plan has none"))
    }
}
