//! `downhill eval` and `downhill predict`: a trained run on other rows.

use std::path::Path;

use serde_json::json;

use super::arguments::{EvalArguments, Global, stored_config};
use super::output::{Ended, Output};
use super::progress::metric;
use crate::data::{DataSpec, Dataset, Schema, Task, load_for_evaluation, load_for_prediction};
use crate::nn::{Loss, ModelSpec};
use crate::run::{RunFolder, read_model};
use crate::train::{NamedTensor, Predictions, Predictor};
use crate::{Error, Result};

/// Loss and metrics of a run on rows with targets.
pub(super) fn evaluate(arguments: &EvalArguments, global: &Global, output: &Output) -> Ended {
    let (mut predictor, dataset, _) = open(arguments, global, load_for_evaluation)?;
    let evaluation = predictor.evaluate(&dataset)?;
    let metric = metric(evaluation.accuracy, evaluation.rmse);
    output.result(&format!("loss {:.4}{metric} on {} rows", evaluation.loss, evaluation.rows))?;
    let mut body = json!({ "rows": evaluation.rows, "test_loss": evaluation.loss });
    for (key, value) in [("test_accuracy", evaluation.accuracy), ("test_rmse", evaluation.rmse)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    output.event("done", &body)
}

/// A line for each row: the name or number of its class, or its numbers with commas between them.
pub(super) fn predict(arguments: &EvalArguments, global: &Global, output: &Output) -> Ended {
    let (mut predictor, dataset, schema) = open(arguments, global, load_for_prediction)?;
    match predictor.predict(&dataset)? {
        Predictions::Classes { labels, probabilities } => {
            for (row, (label, probability)) in labels.iter().zip(&probabilities).enumerate() {
                let name = class_name(&schema, *label);
                output.result(name.as_deref().unwrap_or(&label.to_string()))?;
                let label = name.map_or(json!(label), |name| json!(name));
                output.event(
                    "prediction",
                    &json!({ "row": row, "label": label, "probability": probability }),
                )?;
            }
        }
        Predictions::Values { width, values } => {
            for (row, values) in values.chunks_exact(width).enumerate() {
                output.result(&values.iter().map(f32::to_string).collect::<Vec<_>>().join(","))?;
                output.event("prediction", &json!({ "row": row, "values": values }))?;
            }
        }
    }
    output.event("done", &json!({ "rows": dataset.rows() }))
}

fn class_name(schema: &Schema, label: u32) -> Option<String> {
    match &schema.task {
        Task::Classes { names, .. } => names.get(label as usize).cloned(),
        Task::Values { .. } => None,
    }
}

/// The run's model on a device, and the rows, which are checked before a device is opened.
fn open(
    arguments: &EvalArguments,
    global: &Global,
    load: fn(&DataSpec, &Schema, u64) -> Result<Dataset>,
) -> Result<(Predictor, Dataset, Schema)> {
    let gpu_options = global.gpu_options()?;
    let trained = Trained::open(&arguments.run)?;
    let dataset = load(&arguments.data.parse()?, &trained.schema, trained.seed)?;
    let gpu = global.open(gpu_options)?;
    let Trained { folder, model, schema, loss, parameters, .. } = trained;
    let predictor = Predictor::new(&gpu, &model, &schema, loss, parameters);
    Ok((predictor.map_err(|error| of_another_model(&folder, error))?, dataset, schema))
}

/// What a run has come to.
pub(super) struct Trained {
    pub folder: RunFolder,
    pub model: ModelSpec,
    pub schema: Schema,
    pub loss: Loss,
    pub seed: u64,
    pub parameters: Vec<NamedTensor>,
}

impl Trained {
    pub fn open(run: &Path) -> Result<Self> {
        let folder = RunFolder::open(run)?;
        let config = stored_config(&folder)?;
        let (Some(schema), Some(loss)) = (config.schema, config.options.loss) else {
            let message = "its config.toml has no [schema] or no loss, so no run was started with it";
            return Err(Error::run(folder.path(), message));
        };
        if !folder.model_path().exists() {
            return Err(Error::run(folder.path(), "holds no model.safetensors: no epoch was finished"));
        }
        let parameters = read_model(&folder.model_path())?;
        let (model, seed) = (config.options.model, config.options.seed);
        Ok(Trained { folder, model, schema, loss, seed, parameters })
    }
}

/// The same error for a run's user.
pub(super) fn of_another_model(folder: &RunFolder, error: Error) -> Error {
    match error {
        Error::Shape { message, .. } => {
            Error::run(&folder.model_path(), format!("it is of another model: {message}"))
        }
        other => other,
    }
}
