//! What a run takes of the GPU's memory for any micro-batch, and about how long a step of it lasts: pure arithmetic,
//! no device.

use super::engine::needs;
use super::evaluate::EVALUATION_ROWS;
use super::full_batch;
use super::layout::upload_bytes;
use super::line_search::LineSearch;
use super::options::{Choice, TrainOptions};
use super::program::{Feed, Recipe, resident_names};
use crate::data::{Dataset, Schema, Split};
use crate::gpu::Profile;
use crate::graph::ParameterInfo;
use crate::nn::Loss;
use crate::optim::UpdatePlan;
use crate::plan::cost::accumulation_seconds;
use crate::plan::memory::{ByteCounts, Needs};
use crate::plan::recompute::variants;
use crate::plan::{Blueprint, Gradients, Plan, Precision, Program};
use crate::solve::{Method, check_dense};
use crate::{Error, Result};

/// What the rows are called that are trained on, and those to test with, where they lie on the GPU.
const TRAIN_ROWS: &str = "train";
const TEST_ROWS: &str = "test";

/// A run's programs without a micro-batch size.
///
/// ```
/// use downhill::{MemoryModel, Optimizer, Profile, TrainOptions, data};
///
/// let digits = data::load(&"digits".parse()?, None, None, 0)?;
/// let options = TrainOptions::new("mlp:256,256".parse()?, Optimizer::new("adam")?);
/// let model = MemoryModel::new(&digits, &options, &Profile::portable())?;
/// assert!(model.bytes(64)?.total < model.bytes(1024)?.total);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct MemoryModel {
    pub(super) profile: Profile,
    pub(super) options: TrainOptions,
    pub(super) rows: usize,
    schema: Schema,
    loss: Loss,
    test_rows: Option<usize>,
    /// Which data sets lie in an app's buffers.
    lent: Vec<&'static str>,
    /// Rows uploaded for every step and nothing made again: what all other ways are measured against.
    streamed: Way,
    /// The optimizer's part of a step, the same in every way.
    pub(super) update: UpdatePlan,
}

/// One way to lay out a run: where its rows are, and what is made again.
#[derive(Clone)]
pub(super) struct Way {
    program: Program,
    pub train_feed: Feed,
    pub test_feed: Feed,
    /// Tensors of the forward pass that are made again in the backward pass.
    pub recomputed: usize,
    training: Blueprint,
    evaluation: Option<Blueprint>,
    /// The forward pass at the trial points of a line search.
    trial: Option<Blueprint>,
    /// The product of a curvature with a vector, where a method takes one.
    product: Option<(Program, Blueprint)>,
    precision: Precision,
}

/// A way planned for one micro-batch.
pub(super) struct Sized {
    /// The training step, the evaluation where there is a test set, and the product of a curvature where a method takes one.
    pub plans: Vec<Plan>,
    /// The forward pass of a line search.
    pub trial: Option<Plan>,
    pub needs: Needs,
    pub bytes: ByteCounts,
    /// Bytes that a step uploads at most.
    pub upload_bytes: u64,
}

impl MemoryModel {
    /// The model of a run with `options` on rows like those of `data`, on an adapter like `profile`.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) and [`Error::Shape`](crate::Error::Shape) for options that no run can have or that do not go with the data.
    pub fn new(data: &Split, options: &TrainOptions, profile: &Profile) -> Result<Self> {
        options.check()?;
        let options = &options.completed();
        let options = &options.on_all_rows(data.train.rows())?;
        let schema = data.train.schema().clone();
        let parts = [(TRAIN_ROWS, Some(&data.train)), (TEST_ROWS, data.test.as_ref())];
        let is_lent = |rows: Option<&Dataset>| rows.is_some_and(|rows| rows.lent().is_some());
        let lent: Vec<&str> =
            parts.into_iter().filter(|(_, rows)| is_lent(*rows)).map(|(part, _)| part).collect();
        if !lent.is_empty() && options.resident == Choice::No {
            let message = "rows in an app's buffers are on the GPU already; say auto or yes";
            return Err(Error::setting("resident", message));
        }
        let loss = Loss::for_task(options.loss, &schema)?;
        let recipe = recipe(options, &schema, loss);
        let evaluated = data.test.is_some();
        let test_feed = evaluated.then_some(Feed::Streamed);
        let streamed = Way::new(&recipe, profile, Feed::Streamed, test_feed, options)?;
        if options.method.as_ref().is_some_and(Method::is_dense) {
            let unknowns = streamed.program.graph.parameters().iter().map(ParameterInfo::elements).sum();
            check_dense(unknowns)?;
        }
        let TrainOptions { optimizer, modifiers, .. } = options;
        let (parameters, theta) = (streamed.program.graph.parameters(), streamed.training.theta());
        let update = match options.search {
            Some(LineSearch::Batched { trials }) => {
                UpdatePlan::searching(optimizer, modifiers, trials, parameters, theta, profile)?
            }
            Some(LineSearch::Backtracking | LineSearch::StrongWolfe) => {
                UpdatePlan::searched_by_host(optimizer, modifiers, parameters, theta, profile)?
            }
            None => UpdatePlan::new(optimizer, modifiers, parameters, theta, profile)?,
        };
        Ok(MemoryModel {
            profile: profile.clone(),
            options: options.clone(),
            rows: data.train.rows(),
            loss,
            test_rows: data.test.as_ref().map(|test| test.rows()),
            lent,
            streamed,
            update,
            schema,
        })
    }

    /// Bytes by role of a run that uploads its rows and computes `micro_batch` of them at once.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`](crate::Error::DoesNotFit) where one tensor is larger than the adapter binds.
    pub fn bytes(&self, micro_batch: usize) -> Result<ByteCounts> {
        Ok(self.size(&self.streamed, micro_batch, Gradients::Overwrite, u64::MAX)?.bytes)
    }

    /// The parameters, in their order in θ.
    pub fn parameters(&self) -> &[ParameterInfo] {
        self.streamed.program.graph.parameters()
    }

    pub(super) fn loss(&self) -> Loss {
        self.loss
    }

    /// Whether rows may be on the GPU, may not, or both, the better first.
    pub(super) fn residencies(&self) -> &'static [bool] {
        match self.options.resident {
            Choice::Auto if self.lent.is_empty() => &[true, false],
            Choice::Auto | Choice::Yes => &[true],
            Choice::No => &[false],
        }
    }

    /// The rows on the GPU or not, nothing made again.
    pub(super) fn plain_way(&self, resident: bool) -> Result<Way> {
        if !resident {
            return Ok(self.streamed.clone());
        }
        let recipe = recipe(&self.options, &self.schema, self.loss);
        let feed = |part, rows| Feed::Resident { part, rows };
        let test = self.test_rows.map(|rows| feed(TEST_ROWS, rows));
        Way::new(&recipe, &self.profile, feed(TRAIN_ROWS, self.rows), test, &self.options)
    }

    /// `plain` with less and less kept from the forward pass.
    pub(super) fn recomputing_ways(&self, plain: &Way) -> Result<Vec<Way>> {
        let ways = variants(&plain.program, &self.profile)?.into_iter().map(|variant| {
            Ok(Way {
                training: Blueprint::new(
                    &variant.program,
                    &self.profile,
                    Gradients::Overwrite,
                    plain.precision,
                )?,
                program: variant.program,
                recomputed: variant.recomputed,
                ..Way::clone(plain)
            })
        });
        ways.collect()
    }

    /// Plans `way` for a micro-batch. The evaluation takes many rows at once, which is faster, but only as far as
    /// the whole stays in `budget`: what training fits must not fail for them.
    pub(super) fn size(
        &self,
        way: &Way,
        micro_batch: usize,
        gradients: Gradients,
        budget: u64,
    ) -> Result<Sized> {
        let planned = |program: &Program, whole: &Blueprint| match gradients {
            Gradients::Overwrite => whole.plan(micro_batch),
            Gradients::Accumulate => {
                Blueprint::new(program, &self.profile, Gradients::Accumulate, way.precision)?
                    .plan(micro_batch)
            }
        };
        let training = planned(&way.program, &way.training)?;
        let product = way.product.as_ref().map(|(program, whole)| planned(program, whole)).transpose()?;
        let trial = way.trial.as_ref().map(|trial| trial.plan(micro_batch)).transpose()?;
        let (Some(evaluation), Some(test_rows)) = (&way.evaluation, self.test_rows) else {
            let plans = [training].into_iter().chain(product).collect();
            return Ok(self.counted(way, plans, trial));
        };
        let mut rows = evaluation_rows(micro_batch, test_rows);
        loop {
            let planned = evaluation.plan(rows);
            if rows == 1 || planned.is_ok() {
                let plans = [training.clone(), planned?].into_iter().chain(product.clone()).collect();
                let sized = self.counted(way, plans, trial.clone());
                if rows == 1 || sized.bytes.total <= budget {
                    return Ok(sized);
                }
            }
            rows /= 2;
        }
    }

    fn counted(&self, way: &Way, plans: Vec<Plan>, trial: Option<Plan>) -> Sized {
        let upload_bytes = plans.iter().map(|plan| upload_bytes(plan, &way.train_feed)).max().unwrap_or(0);
        let mut needs =
            needs(&plans.iter().chain(&trial).collect::<Vec<_>>(), Some(&self.update), upload_bytes);
        for name in self.lent.iter().flat_map(|part| resident_names(part)) {
            needs.inputs.remove(&name);
        }
        if let Some(method) = &self.options.method {
            full_batch::count(&mut needs, method, &plans[0], self.rows);
        }
        Sized { bytes: needs.bytes(), plans, trial, needs, upload_bytes }
    }

    /// About how long an update takes whose batch is done in `parts` replays of `plan`.
    pub(super) fn seconds(&self, plan: &Plan, parts: usize) -> f64 {
        let class = self.profile.class;
        let theta: u64 = plan.theta.shards.iter().map(|floats| 4 * *floats as u64).sum();
        parts as f64 * plan.seconds(class)
            + (parts - 1) as f64 * accumulation_seconds(theta, class)
            + self.update.seconds(class)
    }

    /// The training step alone for a micro-batch.
    pub(super) fn training_plan(&self, way: &Way, micro_batch: usize) -> Result<Plan> {
        way.training.plan(micro_batch)
    }
}

fn recipe<'a>(options: &'a TrainOptions, schema: &'a Schema, loss: Loss) -> Recipe<'a> {
    Recipe {
        model: &options.model,
        schema,
        loss,
        update: Some((&options.optimizer, &options.modifiers)),
        penalised: options.method.is_some(),
        precision: options.precision,
    }
}

impl Way {
    fn new(
        recipe: &Recipe,
        profile: &Profile,
        train_feed: Feed,
        test_feed: Option<Feed>,
        options: &TrainOptions,
    ) -> Result<Self> {
        let program = recipe.training(&train_feed)?;
        let curvature = options.method.as_ref().and_then(Method::curvature);
        let product = curvature.map(|curvature| {
            let product = recipe.product(&train_feed, curvature)?;
            let blueprint = recipe.cut(&product, profile)?;
            Ok((product, blueprint))
        });
        let trial = match options.search {
            None => None,
            // It looks at slopes.
            Some(LineSearch::StrongWolfe) => Some(program.clone()),
            Some(LineSearch::Batched { .. } | LineSearch::Backtracking) => Some(Recipe::trial(&program)),
        };
        let trial = trial.map(|trial| recipe.cut(&trial, profile));
        let evaluation = match &test_feed {
            Some(feed) => Some(recipe.cut(&recipe.evaluation(feed)?, profile)?),
            None => None,
        };
        Ok(Way {
            training: recipe.cut(&program, profile)?,
            program,
            train_feed,
            test_feed: test_feed.unwrap_or(Feed::Streamed),
            recomputed: 0,
            evaluation,
            trial: trial.transpose()?,
            product: product.transpose()?,
            precision: recipe.precision,
        })
    }

    /// The same with all numbers in 32 bits.
    pub fn in_f32(&self) -> Self {
        Way {
            training: self.training.in_f32(),
            evaluation: self.evaluation.as_ref().map(Blueprint::in_f32),
            trial: self.trial.as_ref().map(Blueprint::in_f32),
            precision: Precision::F32,
            ..self.clone()
        }
    }

    /// Whether the rows live on the GPU.
    pub fn resident(&self) -> bool {
        matches!(self.train_feed, Feed::Resident { .. })
    }
}

/// Rows of an evaluation's micro-batch, at most.
pub(super) fn evaluation_rows(micro_batch: usize, rows: usize) -> usize {
    micro_batch.max(EVALUATION_ROWS).min(rows)
}
