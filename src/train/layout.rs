//! A run on paper, before anything is allocated: its plans, where the rows come from, and what it takes.

use std::collections::BTreeSet;

use super::event::{LimitedBy, PlanReport, TensorBytes};
use super::fit::Fitted;
use super::memory_model::{MemoryModel, Sized};
use super::options::BatchSize;
use super::program::{FEATURES, Feed, INDICES, TARGETS};
use crate::Result;
use crate::graph::ParameterInfo;
use crate::plan::memory::Needs;
use crate::plan::{Gradients, MemoryMap, Plan, Precision, ProductShape};

/// Tensors that a report names.
const REPORTED_TENSORS: usize = 8;

/// A run on paper.
pub(super) struct Layout {
    /// The training step, and the evaluation where there is a test set.
    pub plans: Vec<Plan>,
    /// The forward pass of a line search.
    pub trial: Option<Plan>,
    pub needs: Needs,
    /// Bytes that a step uploads at most.
    pub upload_bytes: u64,
    pub train_feed: Feed,
    pub test_feed: Feed,
    pub report: PlanReport,
}

impl MemoryModel {
    /// What a run within `budget` bytes would take and how it would be done, and its step's memory by time.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`](crate::Error::DoesNotFit) where not even one row fits, with what is largest and what
    /// would help.
    pub fn report(&self, budget: u64, adapter: &str) -> Result<(PlanReport, MemoryMap)> {
        let layout = self.lay_out(budget, adapter)?;
        Ok((layout.report, layout.plans[0].memory_map()))
    }

    /// The plans of a run within `budget` bytes: the training step first.
    pub(crate) fn planned(&self, budget: u64, adapter: &str) -> Result<Vec<Plan>> {
        let Layout { mut plans, trial, .. } = self.lay_out(budget, adapter)?;
        plans.extend(trial);
        Ok(plans)
    }

    /// The products of all plans of a run within `budget` bytes.
    pub(crate) fn products(&self, budget: u64, adapter: &str) -> Result<Vec<ProductShape>> {
        let plans = self.planned(budget, adapter)?;
        let all: BTreeSet<ProductShape> = plans.into_iter().flat_map(|plan| plan.products).collect();
        Ok(all.into_iter().collect())
    }

    /// Lays a run out within `budget` bytes, on the adapter that is called `adapter`.
    pub(super) fn lay_out(&self, budget: u64, adapter: &str) -> Result<Layout> {
        let fitted = self.fit(budget)?;
        let Sized { plans, trial, needs, bytes, upload_bytes } =
            self.size(&fitted.way, fitted.micro_batch, fitted.gradients(), budget)?;
        let report = PlanReport {
            micro_batch: fitted.micro_batch,
            batch: fitted.batch,
            accumulate: fitted.parts(),
            bytes,
            bytes_per_sample: self.bytes_per_sample(&fitted),
            budget,
            parameters: self.parameters().iter().map(ParameterInfo::elements).sum(),
            resident: fitted.way.resident(),
            adapter: adapter.to_owned(),
            largest_micro_batch: fitted.largest,
            limited_by: self.limited_by(&fitted),
            recomputed_tensors: fitted.way.recomputed,
            f16_saves: self.f16_saves(&fitted, bytes.total),
            why: self.why(&fitted, self.limited_by(&fitted)),
            largest_tensors: plans[0]
                .largest_tensors(REPORTED_TENSORS)
                .into_iter()
                .map(|(tensor, bytes)| TensorBytes { tensor, bytes })
                .collect(),
        };
        let (train_feed, test_feed) = (fitted.way.train_feed, fitted.way.test_feed);
        Ok(Layout { plans, trial, needs, upload_bytes, train_feed, test_feed, report })
    }

    /// What one more row costs: the slope between this micro-batch and twice it, or half of it where that cannot be
    /// planned.
    fn bytes_per_sample(&self, fitted: &Fitted) -> u64 {
        let total =
            |rows| self.size(&fitted.way, rows, fitted.gradients(), u64::MAX).map(|sized| sized.bytes.total);
        let (rows, half) = (fitted.micro_batch, fitted.micro_batch / 2);
        let slope = |from: usize, to: usize| -> Result<u64> {
            Ok(total(to)?.saturating_sub(total(from)?) / (to - from).max(1) as u64)
        };
        // Over enough rows that rounding to whole pages of memory does not show.
        slope(rows, rows + rows.max(256)).or_else(|_| slope(half.max(1), rows)).unwrap_or(0)
    }

    /// Bytes that f32 would take more than the `total` of f16, in the same micro-batches.
    fn f16_saves(&self, fitted: &Fitted, total: u64) -> Option<u64> {
        if self.options.precision == Precision::F32 {
            return None;
        }
        // Where a tensor of f32 is more than the adapter binds, there is nothing to compare with.
        let in_f32 = self.size(&fitted.way.in_f32(), fitted.micro_batch, fitted.gradients(), u64::MAX);
        in_f32.ok().map(|sized| sized.bytes.total.saturating_sub(total))
    }

    fn limited_by(&self, fitted: &Fitted) -> LimitedBy {
        match fitted.largest {
            all if all == self.rows => LimitedBy::Rows,
            largest => match self.size(&fitted.way, largest + 1, Gradients::Overwrite, u64::MAX) {
                Ok(_) => LimitedBy::Budget,
                Err(_) => LimitedBy::Adapter,
            },
        }
    }

    /// Why the micro-batch is what it is.
    fn why(&self, fitted: &Fitted, limited_by: LimitedBy) -> String {
        let Fitted { batch, micro_batch, largest, .. } = *fitted;
        let most = if self.options.batch == BatchSize::Auto { self.rows } else { batch };
        let up_to = match limited_by {
            LimitedBy::Rows => format!("all {largest} rows fit at once"),
            LimitedBy::Budget => format!("up to {largest} rows fit the budget at once"),
            LimitedBy::Adapter => format!("up to {largest} rows are within this adapter's limits at once"),
        };
        let size = match self.options.micro_batch {
            BatchSize::Rows(_) => format!("as asked for; {up_to}"),
            BatchSize::Auto if micro_batch < largest.min(most) => {
                format!("more are no faster, by estimate; {up_to}")
            }
            BatchSize::Auto if micro_batch < batch => format!("the batch does not fit at once; {up_to}"),
            BatchSize::Auto => up_to,
        };
        let clamped = match self.options.batch {
            BatchSize::Rows(asked) if asked > batch => {
                format!("; a batch of {asked} is all {batch} rows there are")
            }
            _ => String::new(),
        };
        let again = match fitted.way.recomputed {
            0 => String::new(),
            1 => "; 1 activation is made again in the backward pass".to_owned(),
            recomputed => format!("; {recomputed} activations are made again in the backward pass"),
        };
        format!("{size}{clamped}{again}")
    }
}

/// Bytes of the slots that are filled for every step of a plan: for a resident data set only the indices.
pub(super) fn upload_bytes(plan: &Plan, feed: &Feed) -> u64 {
    let uploaded = plan.inputs.iter().filter(|slot| match feed {
        Feed::Streamed => [FEATURES, TARGETS].contains(&slot.name.as_str()),
        Feed::Resident { .. } => slot.name == INDICES,
    });
    uploaded.map(|slot| slot.ty.element.bytes(slot.ty.shape.elements(plan.batch))).sum()
}
