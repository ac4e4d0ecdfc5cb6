//! A model on a whole data set, micro-batch by micro-batch.

use super::engine::{Engine, Results, StepInputs};
use super::event::Evaluation;
use super::program::{FEATURES, Feed, INDICES, TARGETS};
use crate::Result;
use crate::data::{Batch, Contents, Dataset, Order, Position, Stream, StreamOptions};
use crate::gpu::Patience;
use crate::nn::Loss;
use crate::plan::StepUniform;

/// Rows of an evaluation's micro-batch where training's is smaller: evaluating a row at a time would take longer
/// than training.
pub(super) const EVALUATION_ROWS: usize = 256;

/// What of a micro-batch is uploaded for a feed.
pub(super) fn uploads<'a>(feed: &Feed, batch: &'a Batch) -> Vec<(&'static str, &'a [u8])> {
    match feed {
        Feed::Streamed if batch.targets().is_empty() => vec![(FEATURES, batch.features())],
        Feed::Streamed => vec![(FEATURES, batch.features()), (TARGETS, batch.targets())],
        Feed::Resident { .. } => vec![(INDICES, batch.indices())],
    }
}

/// What a stream holds for a feed.
pub(super) fn contents(feed: &Feed) -> Contents {
    match feed {
        Feed::Streamed => Contents::Rows,
        Feed::Resident { .. } => Contents::Indices,
    }
}

/// All rows of a data set in their order, once.
pub(super) fn in_order(dataset: &Dataset, feed: &Feed, batch: usize) -> Result<Stream> {
    let options = StreamOptions {
        batch,
        micro_batch: batch,
        order: Order::AsStored,
        contents: contents(feed),
        start: Position::default(),
        end_epoch: 1,
    };
    Stream::new(dataset.clone(), options)
}

/// The mean loss and accuracy of plan `part` over `dataset`. The history of training must have been read.
pub(super) fn evaluate(
    engine: &mut Engine,
    part: usize,
    feed: &Feed,
    dataset: &Dataset,
    loss: Loss,
) -> Result<Evaluation> {
    engine.refresh_readout()?;
    let batch = engine.plan(part).batch;
    let rows = dataset.rows() as f64;
    let (mut loss_sum, mut right) = (0.0, 0.0);
    let mut left = dataset.rows();
    let mut add = |Results { loss: mean, right: count, .. }: Results| {
        let rows = left.min(batch);
        loss_sum += f64::from(mean) * rows as f64;
        right += f64::from(count);
        left -= rows;
    };
    let mut stream = in_order(dataset, feed, batch)?;
    while let Some(micro_batch) = stream.next_batch()? {
        let uniform = StepUniform::new(0, 0, micro_batch.rows, 1.0 / micro_batch.rows as f64);
        let inputs =
            StepInputs { uniform, update: None, uploads: &uploads(feed, micro_batch), keep_loss: None };
        engine.step(part, &inputs)?;
        if engine.history_is_full() {
            if !engine.has_room() {
                engine.collect(Patience::Oldest, &mut add)?;
            }
            engine.fetch_history()?;
        }
    }
    engine.collect(Patience::All, &mut add)?;
    engine.fetch_history()?;
    engine.collect(Patience::All, &mut add)?;
    let mean = loss_sum / rows;
    let (accuracy, rmse) = match loss {
        Loss::CrossEntropy => (Some(right / rows), None),
        Loss::MeanSquaredError => (None, Some(mean.sqrt())),
    };
    Ok(Evaluation { loss: mean, accuracy, rmse, rows: dataset.rows() })
}
