//! A trained model at work: evaluation and prediction.

use super::engine::{Engine, StepInputs, needs};
use super::evaluate::{evaluate, in_order, uploads};
use super::event::Evaluation;
use super::fit::over_budget;
use super::layout::upload_bytes;
use super::memory_model::evaluation_rows;
use super::program::{Feed, Recipe};
use super::tensors::{NamedTensor, write_vector};
use crate::data::{Dataset, Schema};
use crate::gpu::Gpu;
#[cfg(feature = "onnx")]
use crate::graph::{Graph, Var};
use crate::nn::{Loss, ModelSpec};
use crate::plan::memory::Needs;
use crate::plan::{Plan, Program, StepUniform};
use crate::{Error, Result};

/// What a model says of a data set's rows, in their order.
///
/// ```
/// use downhill::Predictions;
///
/// let predictions = Predictions::Classes { labels: vec![3, 1], probabilities: vec![0.9, 0.6] };
/// match predictions {
///     Predictions::Classes { labels, .. } => assert_eq!(labels, [3, 1]),
///     Predictions::Values { width, values } => println!("{} rows", values.len() / width),
/// }
/// ```
#[derive(Clone, PartialEq, Debug)]
pub enum Predictions {
    /// The likeliest class of each row.
    Classes {
        /// Its number.
        labels: Vec<u32>,
        /// Its probability.
        probabilities: Vec<f32>,
    },
    /// Numbers.
    Values {
        /// Numbers a row.
        width: usize,
        /// All of them, row after row.
        values: Vec<f32>,
    },
}

/// A model with its parameters on a device.
///
/// ```
/// use downhill::data::{Dataset, Targets, Task};
/// use downhill::{Loss, ModelSpec, NamedTensor, Predictor};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let model: ModelSpec = "linear".parse()?;
/// let rows = Dataset::from_f32(vec![3.0, 0.0, 0.0, 3.0], &[2], Task::classes(2), Targets::Labels(vec![0, 1]))?;
/// // In an application read by `read_model`, or from a trainer.
/// let parameters = vec![
///     NamedTensor { name: "0.weight".to_owned(), shape: vec![2, 2], values: vec![1.0, 0.0, 0.0, 1.0] },
///     NamedTensor { name: "0.bias".to_owned(), shape: vec![2], values: vec![0.0, 0.0] },
/// ];
/// let mut predictor = Predictor::new(&gpu, &model, rows.schema(), Loss::CrossEntropy, parameters)?;
/// assert_eq!(predictor.evaluate(&rows)?.accuracy, Some(1.0));
/// println!("{:?}", predictor.predict(&rows)?);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Predictor {
    gpu: Gpu,
    model: ModelSpec,
    schema: Schema,
    loss: Loss,
    parameters: Vec<NamedTensor>,
}

impl Predictor {
    /// A model for rows of `schema` with these parameters.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where the parameters are another model's.
    pub fn new(
        gpu: &Gpu,
        model: &ModelSpec,
        schema: &Schema,
        loss: Loss,
        parameters: Vec<NamedTensor>,
    ) -> Result<Self> {
        let predictor =
            Predictor { gpu: gpu.clone(), model: model.clone(), schema: schema.clone(), loss, parameters };
        let program = predictor.recipe().prediction()?;
        super::tensors::check(program.graph.parameters(), &predictor.parameters)?;
        Ok(predictor)
    }

    /// The loss and metrics on `data`, which must have targets.
    pub fn evaluate(&mut self, data: &Dataset) -> Result<Evaluation> {
        let program = self.recipe().evaluation(&Feed::Streamed)?;
        let mut engine = self.engine(&program, data)?;
        evaluate(&mut engine, 0, data, self.loss)
    }

    /// What the model says of every row of `data`.
    pub fn predict(&mut self, data: &Dataset) -> Result<Predictions> {
        let program = self.recipe().prediction()?;
        let width = self.schema.task.outputs();
        let mut engine = self.engine(&program, data)?;
        let mut stream = in_order(data, &Feed::Streamed, engine.plan(0).batch)?;
        let mut outputs: Vec<f32> = Vec::with_capacity(data.rows() * width);
        while let Some(batch) = stream.next_batch()? {
            let uniform = StepUniform::new(0, 0, batch.rows, 1.0);
            let uploads = &uploads(&Feed::Streamed, batch)[..1];
            engine.step(0, &StepInputs { uniform, update: None, uploads, keep_loss: None })?;
            engine.drop_history();
            let bytes = engine.read_result(0, 0)?;
            outputs.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes[..4 * width * batch.rows]));
        }
        Ok(match self.loss {
            Loss::MeanSquaredError => Predictions::Values { width, values: outputs },
            Loss::CrossEntropy => {
                let best = outputs.chunks_exact(width).map(likeliest);
                let (labels, probabilities) = best.unzip();
                Predictions::Classes { labels, probabilities }
            }
        })
    }

    fn recipe(&self) -> Recipe<'_> {
        Recipe::at_work(&self.model, &self.schema, self.loss)
    }

    /// The program on the device with the parameters in place.
    fn engine(&self, program: &Program, data: &Dataset) -> Result<Engine> {
        let (plan, needs, upload) = self.lay_out(program, evaluation_rows(1, data.rows()))?;
        let engine = Engine::new(&self.gpu, vec![plan], None, &needs, None, upload, Vec::new())?;
        let infos = program.graph.parameters();
        write_vector(&self.gpu, &engine.plan(0).theta, infos, &engine.theta(), &self.parameters)?;
        Ok(engine)
    }

    /// The plan for `most` rows, or for half as many and so on until it fits; with it what it takes, and the bytes
    /// that a step uploads.
    fn lay_out(&self, program: &Program, most: usize) -> Result<(Plan, Needs, u64)> {
        let budget = self.gpu.budget().bytes;
        let mut rows = most;
        loop {
            let refused = match Plan::new(program, self.gpu.profile(), rows) {
                Ok(plan) => {
                    let upload = upload_bytes(&plan, &Feed::Streamed);
                    let needs = needs(&[&plan], None, upload);
                    let bytes = needs.bytes();
                    if bytes.total <= budget {
                        return Ok((plan, needs, upload));
                    }
                    over_budget("the model", &bytes, rows, budget, "use a smaller model")
                }
                Err(error @ Error::DoesNotFit(_)) => error,
                Err(error) => return Err(error),
            };
            if rows == 1 {
                return Err(refused);
            }
            rows /= 2;
        }
    }
}

/// The graph of what a model says of rows, from the slot `features` to the outputs: probabilities of classes, or values.
///
/// # Errors
/// [`Error::Shape`] for a model that does not go with the rows.
#[cfg(feature = "onnx")]
pub(crate) fn prediction(model: &ModelSpec, schema: &Schema, loss: Loss) -> Result<(Graph, Var)> {
    let Program { graph, outputs } = Recipe::at_work(model, schema, loss).prediction()?;
    Ok((graph, outputs[0].0))
}

/// The first largest probability and its place.
fn likeliest(probabilities: &[f32]) -> (u32, f32) {
    let first = (0, f32::NEG_INFINITY);
    let larger =
        |best: (u32, f32), (label, &p): (usize, &f32)| if p > best.1 { (label as u32, p) } else { best };
    probabilities.iter().enumerate().fold(first, larger)
}
