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

/// Sums over the rows of an evaluation whose results have arrived.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    loss: f64,
    right: f64,
    rows: usize,
}

impl Sums {
    /// Adds the results of a micro-batch of `rows` rows.
    pub fn add(&mut self, results: &Results, rows: usize) {
        self.loss += f64::from(results.loss) * rows as f64;
        self.right += f64::from(results.right);
        self.rows += rows;
    }

    /// What they say of a model that is trained by `loss`.
    pub fn evaluation(&self, loss: Loss) -> Evaluation {
        let rows = self.rows as f64;
        let mean = self.loss / rows;
        let (accuracy, rmse) = match loss {
            Loss::CrossEntropy => (Some(self.right / rows), None),
            Loss::MeanSquaredError => (None, Some(mean.sqrt())),
        };
        Evaluation { loss: mean, accuracy, rmse, rows: self.rows }
    }
}

/// Gives the next micro-batch of an evaluation to `send`; its rows, or none after the last.
pub(super) fn send_next(
    stream: &mut Stream,
    feed: &Feed,
    send: impl FnOnce(&StepInputs) -> Result<()>,
) -> Result<Option<usize>> {
    let Some(micro_batch) = stream.next_batch()? else { return Ok(None) };
    let uniform = StepUniform::new(0, 0, micro_batch.rows, 1.0 / micro_batch.rows as f64);
    send(&StepInputs { uniform, update: None, uploads: &uploads(feed, micro_batch), keep_loss: None })?;
    Ok(Some(micro_batch.rows))
}

/// The mean loss and accuracy of plan `part`, which is of a model that nothing trains, over `dataset`.
pub(super) fn evaluate(
    engine: &mut Engine,
    part: usize,
    dataset: &Dataset,
    loss: Loss,
) -> Result<Evaluation> {
    let batch = engine.plan(part).batch;
    let mut sums = Sums::default();
    let mut left = dataset.rows();
    let mut add = |results: Results| {
        let rows = left.min(batch);
        sums.add(&results, rows);
        left -= rows;
    };
    let feed = Feed::Streamed;
    let mut stream = in_order(dataset, &feed, batch)?;
    while send_next(&mut stream, &feed, |inputs| engine.step(part, inputs).map(drop))?.is_some() {
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
    Ok(sums.evaluation(loss))
}
