//! How a run is laid out before anything is allocated: which plans, where the rows come from, and what it takes.

use super::engine::needs;
use super::event::PlanReport;
use super::options::{Resident, TrainOptions};
use super::program::{Feed, Recipe};
use crate::data::{Dataset, Split};
use crate::gpu::{Gpu, format_bytes};
use crate::graph::ParameterInfo;
use crate::plan::Plan;
use crate::plan::memory::{ByteCounts, Needs};
use crate::{Error, Result};

/// Rows of an evaluation's micro-batch where training's is smaller: evaluating a row at a time would take longer
/// than training.
const EVALUATION_ROWS: usize = 256;

/// What to do where resident rows do not fit.
const STREAM: &str = "use --resident no (rows are then uploaded)";

/// A run on paper.
pub(super) struct Layout {
    /// The training step, and the evaluation where there is a test set.
    pub plans: Vec<Plan>,
    pub needs: Needs,
    /// Bytes that a step uploads at most.
    pub upload_bytes: u64,
    pub train_feed: Feed,
    pub test_feed: Feed,
    pub parameters: Vec<ParameterInfo>,
    pub report: PlanReport,
}

/// Lays out a run; the data lives on the GPU if that is wanted and it fits.
pub(super) fn lay_out(gpu: &Gpu, recipe: &Recipe, data: &Split, options: &TrainOptions) -> Result<Layout> {
    let budget = gpu.budget().bytes;
    let resident = |part, dataset: &Dataset| Feed::Resident { part, rows: dataset.rows() };
    let mut tried = None;
    if options.resident != Resident::No {
        let test = data.test.as_ref().map_or(Feed::Streamed, |test| resident("test", test));
        let layout = with_feeds(gpu, recipe, data, options, resident("train", &data.train), test);
        match layout {
            Ok(layout) if layout.report.bytes.total <= budget => return Ok(layout),
            // The message names the streamed plan's lack where that is tried too.
            Ok(layout) => tried = Some(does_not_fit(&layout.report, STREAM)),
            Err(error @ Error::DoesNotFit(_)) => tried = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let (Resident::Yes, Some(error)) = (options.resident, tried) {
        return Err(error);
    }
    let layout = with_feeds(gpu, recipe, data, options, Feed::Streamed, Feed::Streamed)?;
    if layout.report.bytes.total > budget {
        return Err(does_not_fit(&layout.report, "use a smaller batch or model"));
    }
    Ok(layout)
}

fn with_feeds(
    gpu: &Gpu,
    recipe: &Recipe,
    data: &Split,
    options: &TrainOptions,
    train_feed: Feed,
    test_feed: Feed,
) -> Result<Layout> {
    let program = recipe.training(&train_feed)?;
    let parameters = program.graph.parameters().to_vec();
    let micro_batch = options.batch.min(data.train.rows());
    let evaluation = match &data.test {
        Some(test) => {
            let program = recipe.evaluation(&test_feed)?;
            let rows = evaluation_rows(micro_batch, test.rows());
            // Many rows are faster, but what training fits must not fail for them.
            let fits = Plan::new(&program, gpu.profile(), rows).is_ok();
            Some((program, if fits { rows } else { micro_batch.min(test.rows()) }))
        }
        None => None,
    };
    let plan_all = |micro_batch: usize| -> Result<(Vec<Plan>, Needs, u64)> {
        let mut plans = vec![Plan::new(&program, gpu.profile(), micro_batch)?];
        if let Some((evaluation, rows)) = &evaluation {
            plans.push(Plan::new(evaluation, gpu.profile(), *rows)?);
        }
        let upload_bytes = plans.iter().map(|plan| upload_bytes(plan, &train_feed)).max().unwrap_or(0);
        let needs = needs(&plans.iter().collect::<Vec<_>>(), Some(&options.optimizer), upload_bytes);
        Ok((plans, needs, upload_bytes))
    };
    let (plans, needs, upload_bytes) = plan_all(micro_batch)?;
    let bytes = needs.bytes();
    let report = PlanReport {
        micro_batch,
        batch: micro_batch,
        accumulate: 1,
        bytes,
        bytes_per_sample: per_sample(&bytes, micro_batch, |batch| {
            plan_all(batch).map(|(_, needs, _)| needs.bytes())
        }),
        budget: gpu.budget().bytes,
        parameters: parameters.iter().map(ParameterInfo::elements).sum(),
        resident: matches!(train_feed, Feed::Resident { .. }),
        adapter: gpu.adapter_info().name.clone(),
    };
    Ok(Layout { plans, needs, upload_bytes, train_feed, test_feed, parameters, report })
}

/// What one more row costs: the slope between this micro-batch and twice it, or none where that cannot be planned.
fn per_sample(bytes: &ByteCounts, batch: usize, plan: impl Fn(usize) -> Result<ByteCounts>) -> u64 {
    plan(2 * batch).map_or(0, |double| double.total.saturating_sub(bytes.total) / batch as u64)
}

/// Rows of an evaluation's micro-batch.
pub(super) fn evaluation_rows(micro_batch: usize, rows: usize) -> usize {
    micro_batch.max(EVALUATION_ROWS).min(rows)
}

/// Bytes of the slots that are filled for every step of a plan: for a resident data set only the indices.
pub(super) fn upload_bytes(plan: &Plan, feed: &Feed) -> u64 {
    let uploaded = plan.inputs.iter().filter(|slot| match feed {
        Feed::Streamed => true,
        Feed::Resident { .. } => slot.name == super::program::INDICES,
    });
    uploaded.map(|slot| slot.ty.element.bytes(slot.ty.shape.elements(plan.batch))).sum()
}

fn does_not_fit(report: &PlanReport, advice: &str) -> Error {
    over_budget("the run", &report.bytes, report.batch, report.budget, advice)
}

/// `what` takes more than the budget: which roles take how much, and what to do besides raising the limit.
pub(super) fn over_budget(what: &str, bytes: &ByteCounts, batch: usize, budget: u64, advice: &str) -> Error {
    let mut roles = [
        ("parameters, gradient and optimizer state", bytes.theta + bytes.gradient + bytes.state),
        ("activations", bytes.activations),
        ("data", bytes.data),
        ("staging", bytes.staging),
        ("uniforms, results and wgpu's own buffers", bytes.other),
    ];
    roles.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let largest: Vec<String> =
        roles.iter().map(|(name, bytes)| format!("{name} {}", format_bytes(*bytes))).collect();
    Error::DoesNotFit(format!(
        "{what} takes {} of GPU memory at a batch of {batch} and the budget is {} ({}); {advice}, or raise the memory \
         limit",
        format_bytes(bytes.total),
        format_bytes(budget),
        largest.join(", ")
    ))
}
