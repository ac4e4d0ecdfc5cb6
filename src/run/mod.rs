//! A run on disk: its configuration, its folder with metrics, curves, model and checkpoint, and how it goes on.
//!
//! [`Run`] drives a [`Trainer`] and keeps the folder so that a process killed at any moment loses no more than
//! the epoch under way. Nothing here prints.

mod atomic;
mod checkpoint;
#[cfg(feature = "cli")]
mod config;
#[cfg(feature = "cli")]
mod curves;
mod folder;
mod metrics;
#[cfg(feature = "cli")]
mod settings;

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use checkpoint::{read_checkpoint, read_model, write_checkpoint, write_model};
#[cfg(feature = "cli")]
pub use config::RunConfig;
pub use folder::RunFolder;
pub use metrics::{EpochMetrics, Record};
#[cfg(feature = "cli")]
pub(crate) use settings::{OptimizerSettings, Settings, given};

use crate::train::{Event, Trainer};
use crate::{Error, Result};
use metrics::Metrics;

/// What a viewer looks at, model and curves, is written no more often than this while a run goes on: short epochs
/// would spend more time on it than on training. The checkpoint is written at the end of every epoch.
const BETWEEN_VIEWS: Duration = Duration::from_secs(1);

/// A trainer and the folder that keeps what it does.
pub struct Run {
    trainer: Trainer,
    folder: RunFolder,
    metrics: Metrics,
    /// Steps that the checkpoint holds.
    saved: Option<u64>,
    viewed: Option<Instant>,
}

impl Run {
    /// A run from its first step, in a folder that holds no metrics and no checkpoint.
    ///
    /// # Errors
    /// [`Error::Write`] where the folder takes no files.
    pub fn start(trainer: Trainer, folder: RunFolder) -> Result<Self> {
        let metrics = Metrics::create(&folder.metrics_path())?;
        Ok(Run { trainer, folder, metrics, saved: None, viewed: None })
    }

    /// A run from its checkpoint, or from its first step where it was ended before it had one. `trainer` is new
    /// and made with the folder's configuration. What was recorded after the checkpoint is forgotten: it comes
    /// again.
    ///
    /// # Errors
    /// [`Error::Run`] where the checkpoint is damaged or does not go with the trainer.
    pub fn resume(mut trainer: Trainer, folder: RunFolder) -> Result<Self> {
        let path = folder.checkpoint_path();
        let (mut saved, mut epochs) = (None, 0);
        if path.exists() {
            let snapshot = read_checkpoint(&path)?;
            trainer.restore(&snapshot).map_err(|error| match error {
                Error::Shape { message, .. } => Error::run(&path, format!("it is of another run: {message}")),
                other => other,
            })?;
            (saved, epochs) = (Some(snapshot.step), snapshot.epoch);
        }
        let metrics = Metrics::resume(&folder.metrics_path(), saved.unwrap_or(0), epochs)?;
        Ok(Run { trainer, folder, metrics, saved, viewed: None })
    }

    /// Trains until there is something to say, which the folder then holds already. After
    /// [`Event::Interrupted`] and [`Event::Finished`] the folder is complete.
    ///
    /// # Errors
    /// As [`Trainer::next_event`]; [`Error::Write`] where the disk is full: what stood there still does.
    pub fn next_event(&mut self, interrupted: &AtomicBool) -> Result<Event> {
        self.advance(interrupted).map_err(|error| self.explain(error))
    }

    fn advance(&mut self, interrupted: &AtomicBool) -> Result<Event> {
        let event = self.trainer.next_event(interrupted)?;
        if let Some(record) = Record::of(&event) {
            self.metrics.append(record)?;
        }
        match &event {
            // A resumed run must find the record of the epoch that its checkpoint ends: records come first.
            Event::Epoch(_) => {
                self.save_checkpoint()?;
                if self.viewed.is_none_or(|viewed| viewed.elapsed() > BETWEEN_VIEWS) {
                    self.save_views()?;
                }
            }
            Event::Interrupted | Event::Finished => {
                self.save_checkpoint()?;
                self.save_views()?;
            }
            Event::Step(_) => {}
        }
        Ok(event)
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The epochs that the run has recorded, before it was resumed too.
    pub fn epochs(&self) -> &[EpochMetrics] {
        self.metrics.epochs()
    }

    /// Steps that the checkpoint holds; 0 before there is one.
    pub fn saved_steps(&self) -> u64 {
        self.saved.unwrap_or(0)
    }

    fn save_checkpoint(&mut self) -> Result<()> {
        let snapshot = self.trainer.snapshot()?;
        if self.saved != Some(snapshot.step) {
            write_checkpoint(&self.folder.checkpoint_path(), &snapshot)?;
            self.saved = Some(snapshot.step);
        }
        Ok(())
    }

    fn save_views(&mut self) -> Result<()> {
        write_model(&self.folder.model_path(), &self.trainer.parameters()?)?;
        #[cfg(feature = "cli")]
        curves::draw(&self.folder.curves_path(), self.metrics.epochs())?;
        self.viewed = Some(Instant::now());
        Ok(())
    }

    /// Says where the last good parameters are when the run has none any more.
    fn explain(&self, error: Error) -> Error {
        let Error::Diverged(message) = error else { return error };
        let rescue = match self.saved {
            None => "there is no checkpoint yet".to_owned(),
            Some(step) => {
                format!("{} holds step {step}, the last good one", self.folder.checkpoint_path().display())
            }
        };
        Error::Diverged(format!("{message}; {rescue}"))
    }
}
