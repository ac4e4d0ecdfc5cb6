//! What a run said, one JSON object a line: the same objects that the command line prints with `--json`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::train::{Bound, EpochRecord, Event, StepRecord};
use crate::{Error, Result, atomic};

/// One line of `metrics.jsonl`.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::{Event, Record};
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// match Record::of(&trainer.next_event(&AtomicBool::new(false))?) {
///     Some(Record::Epoch(epoch)) => assert_eq!(epoch.epoch, 1),
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(Record::of(&Event::Finished), None);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A step whose loss was asked for.
    Step(StepRecord),
    /// An epoch.
    Epoch(EpochMetrics),
}

/// An epoch as files and streams hold it; a metric that was not taken has no key.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::{EpochMetrics, Event};
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// if let Event::Epoch(epoch) = trainer.next_event(&AtomicBool::new(false))? {
///     let metrics = EpochMetrics::from(&epoch);
///     assert_eq!((metrics.step, metrics.train_loss), (epoch.step, epoch.train_loss));
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpochMetrics {
    /// Its number, from 1.
    pub epoch: u64,
    /// Steps done since the start of the run.
    pub step: u64,
    /// The mean of the losses of its rows, each before the update that it took part in.
    pub train_loss: f64,
    /// Steps since the start of the run that changed nothing because their gradient was not finite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// The mean loss on the test set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// The fraction of test rows whose class was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// The root of the mean squared error on the test set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_rmse: Option<f64>,
    /// Training rows a second, evaluation not counted.
    pub samples_per_second: f64,
    /// What bounded that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// Seconds of training and evaluation since the process began to train.
    pub seconds: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<&EpochRecord> for EpochMetrics {
    fn from(record: &EpochRecord) -> Self {
        EpochMetrics {
            epoch: record.epoch,
            step: record.step,
            train_loss: record.train_loss,
            skipped: record.skipped,
            test_loss: record.test.map(|test| test.loss),
            test_accuracy: record.test.and_then(|test| test.accuracy),
            test_rmse: record.test.and_then(|test| test.rmse),
            samples_per_second: record.samples_per_second,
            bound: Some(record.bound),
            seconds: record.seconds,
        }
    }
}

impl Record {
    /// The record that an event leaves, if it leaves one.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            // JSON has no word for the loss of a step that was skipped.
            Event::Step(step) => step.loss.is_finite().then_some(Record::Step(*step)),
            Event::Epoch(epoch) => Some(Record::Epoch(epoch.into())),
            Event::Replanned(_) | Event::Interrupted | Event::Finished => None,
        }
    }
}

/// The file of a run's records, and its epochs in memory.
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    epochs: Vec<EpochMetrics>,
}

impl Metrics {
    /// An empty file at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| Error::write(path, error))?;
        Ok(Metrics { path: path.to_owned(), file, epochs: Vec::new() })
    }

    /// The file at `path` less what a run that goes on after `step`, with `epochs` whole epochs done, says again:
    /// later steps, and the epoch that an earlier end had cut short.
    pub fn resume(path: &Path, step: u64, epochs: u64) -> Result<Self> {
        let stays = |record: &Record| match record {
            Record::Step(record) => record.step <= step,
            Record::Epoch(record) => record.epoch <= epochs,
        };
        let (mut text, mut epochs) = (String::new(), Vec::new());
        for (line, record) in read(path)?.into_iter().filter(|(_, record)| stays(record)) {
            text.push_str(&line);
            text.push('\n');
            if let Record::Epoch(epoch) = record {
                epochs.push(epoch);
            }
        }
        atomic::write(path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(|error| Error::write(path, error))?;
        Ok(Metrics { path: path.to_owned(), file, epochs })
    }

    pub fn append(&mut self, record: Record) -> Result<()> {
        let written = serde_json::to_string(&record).map_err(std::io::Error::other);
        let written = written.and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|error| Error::write(&self.path, error))?;
        if let Record::Epoch(epoch) = record {
            self.epochs.push(epoch);
        }
        Ok(())
    }

    pub fn epochs(&self) -> &[EpochMetrics] {
        &self.epochs
    }
}

/// The lines of the file at `path` with what they say, up to the first that is no record: after a power cut the end
/// of the file may be anything, and the checkpoint does not need it. A missing file has no lines.
fn read(path: &Path) -> Result<Vec<(String, Record)>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::read(path, error)),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(index, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(record) => Some((line.to_owned(), record)),
        Err(error) => {
            log::warn!(
                "{}: line {} is no record ({error}); it and what follows are dropped",
                path.display(),
                index + 1
            );
            None
        }
    };
    Ok(whole.lines().enumerate().map_while(parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"{"event":"step","step":2,"epoch":1,"loss":0.5,"lr":0.001}"#;
    const EPOCH: &str =
        r#"{"event":"epoch","epoch":1,"step":3,"train_loss":0.5,"samples_per_second":9.0,"seconds":1.0}"#;
    const LATER: &str = r#"{"event":"step","step":4,"epoch":2,"loss":0.25,"lr":0.001}"#;

    #[test]
    fn resuming_forgets_what_came_after_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        // What is written, steps and epochs of the checkpoint, how many lines are left of it.
        let rows: [(String, u64, u64, usize); 7] = [
            (format!("{STEP}\n{EPOCH}\n{LATER}\n"), 4, 1, 3),
            (format!("{STEP}\n{EPOCH}\n{LATER}\n"), 3, 1, 2),
            (format!("{STEP}\n{EPOCH}\n"), 3, 0, 1),
            (format!("{STEP}\n{EPOCH}\n{LATER}\n"), 0, 0, 0),
            (format!("{STEP}\n{EPOCH}\n{}", &LATER[..20]), 9, 9, 2),
            (STEP[..9].to_owned(), 9, 9, 0),
            (String::new(), 9, 9, 0),
        ];
        for (text, step, epochs, left) in rows {
            fs::write(&path, &text).unwrap();
            let mut metrics = Metrics::resume(&path, step, epochs).unwrap();
            let kept: String = text.split_inclusive('\n').take(left).collect();
            assert_eq!(fs::read_to_string(&path).unwrap(), kept, "after step {step}");
            assert_eq!(metrics.epochs().len(), usize::from(left >= 2));
            metrics.append(serde_json::from_str(LATER).unwrap()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{kept}{LATER}\n"));
        }
    }

    #[test]
    fn records_end_at_the_first_line_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, format!("{STEP}\nnonsense\n{LATER}\n")).unwrap();
        Metrics::resume(&path, 9, 9).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{STEP}\n"));
    }
}
