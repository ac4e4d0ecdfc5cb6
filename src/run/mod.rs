//! A run on disk: its configuration, its folder with metrics, curves, model and checkpoint, and how it goes on.
//!
//! [`Run`] drives a [`Trainer`] and keeps the folder so that a process killed at any moment loses no more than
//! the epoch under way, or two seconds of a method's steps. Nothing here prints.

mod checkpoint;
#[cfg(feature = "cli")]
mod config;
#[cfg(feature = "cli")]
mod curves;
mod folder;
#[cfg(feature = "cli")]
mod memory_chart;
mod metrics;
#[cfg(feature = "cli")]
mod modifiers;
#[cfg(feature = "cli")]
mod settings;
mod tensor_file;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use checkpoint::{
    checkpoint_from_bytes, checkpoint_to_bytes, model_from_bytes, model_to_bytes, read_checkpoint,
    read_model, write_checkpoint, write_model,
};
#[cfg(feature = "cli")]
pub use config::RunConfig;
#[cfg(feature = "cli")]
pub(crate) use config::{method, optimizer};
pub use folder::RunFolder;
#[cfg(feature = "cli")]
pub(crate) use memory_chart::draw_memory;
pub use metrics::{EpochMetrics, Record};
#[cfg(feature = "cli")]
pub(crate) use modifiers::modifiers;
#[cfg(feature = "cli")]
pub(crate) use settings::{OptimizerSettings, Settings, given};

use crate::train::{DATA, Event, Trainer};
use crate::{Error, Result};
use metrics::Metrics;

/// The curves are drawn no more often than this while a run goes on: short epochs would spend more time on them than
/// on training. Checkpoint and model are written at the end of every epoch, but for methods, so that they are of the same step.
const BETWEEN_CURVES: Duration = Duration::from_secs(1);

/// Checkpoint and model of a run by a method are written no more often than this while it goes on.
const BETWEEN_SAVES: Duration = Duration::from_secs(2);

/// A trainer and the folder that keeps what it does.
///
/// What waits for the device says so; nothing else does.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::{Event, Run, RunFolder};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let folder = RunFolder::create(&folder.join("run"), "data = \"random:64x4:2\"\n", false)?;
/// let mut run = Run::start(trainer, folder)?;
/// let never = AtomicBool::new(false);
/// while run.next_event(&never)? != Event::Finished {}
/// assert_eq!((run.epochs().len(), run.saved_steps()), (10, 10));
/// assert!(run.folder().model_path().exists());
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Run {
    trainer: Trainer,
    folder: RunFolder,
    metrics: Metrics,
    /// Steps that the checkpoint holds, and when it was written here.
    saved: Option<u64>,
    saved_at: Option<Instant>,
    drawn: Option<Instant>,
}

impl Run {
    /// A run from its first step, in a folder that holds no metrics and no checkpoint.
    ///
    /// # Errors
    /// [`Error::Write`] where the folder takes no files, [`Error::Run`] where another process writes a run there.
    pub fn start(trainer: Trainer, folder: RunFolder) -> Result<Self> {
        let folder = folder.locked()?;
        let metrics = Metrics::create(&folder.metrics_path())?;
        let mut run = Run { trainer, folder, metrics, saved: None, saved_at: None, drawn: None };
        run.draw_memory()?;
        Ok(run)
    }

    /// A run from its checkpoint, or from its first step where it was ended before it had one. `trainer` is new
    /// and made with the folder's configuration. What was recorded after the checkpoint is forgotten: it comes
    /// again. Waits until what the checkpoint holds is on the device.
    ///
    /// # Errors
    /// [`Error::Run`] where the checkpoint is damaged or does not go with the trainer, or another process writes the
    /// run.
    pub fn resume(mut trainer: Trainer, folder: RunFolder) -> Result<Self> {
        let folder = folder.locked()?;
        let path = folder.checkpoint_path();
        let (mut saved, mut epochs) = (None, 0);
        if path.exists() {
            let snapshot = read_checkpoint(&path)?;
            same_origin(&path, &snapshot.origin, trainer.origin())?;
            trainer.restore(&snapshot).map_err(|error| match error {
                Error::Shape { message, .. } => Error::run(&path, format!("it is of another run: {message}")),
                other => other,
            })?;
            (saved, epochs) = (Some(snapshot.step), snapshot.epoch);
        }
        let metrics = Metrics::resume(&folder.metrics_path(), saved.unwrap_or(0), epochs)?;
        let mut run = Run { trainer, folder, metrics, saved, saved_at: None, drawn: None };
        run.draw_memory()?;
        Ok(run)
    }

    /// Trains until there is something to say, which the folder then holds already. After
    /// [`Event::Interrupted`] and [`Event::Finished`] the folder is complete. Waits as [`Trainer::next_event`] does,
    /// and for what it saves.
    ///
    /// # Errors
    /// As [`Trainer::next_event`]; [`Error::Write`] where the disk is full: what stood there still does.
    pub fn next_event(&mut self, interrupted: &AtomicBool) -> Result<Event> {
        let event = self.advance(interrupted);
        match &event {
            Err(Error::OutOfMemory(_)) => self.save_checkpoint()?,
            // A method is back at its last good step, which may not be saved yet; where it is not, there is one before.
            Err(Error::Diverged(_)) if self.trainer.is_by_method() => {
                if let Err(error) = self.save() {
                    log::warn!("the last good step is not saved: {error}");
                }
            }
            _ => {}
        }
        event.map_err(|error| self.explain(error))
    }

    fn advance(&mut self, interrupted: &AtomicBool) -> Result<Event> {
        let event = self.trainer.next_event(interrupted)?;
        if let Some(record) = Record::of(&event) {
            self.metrics.append(record)?;
        }
        match &event {
            // A resumed run must find the record of the epoch that its checkpoint ends: records come first.
            Event::Epoch(_) => {
                if self.is_save_due() {
                    self.save()?;
                }
                if self.drawn.is_none_or(|drawn| drawn.elapsed() > BETWEEN_CURVES) {
                    self.draw()?;
                }
            }
            Event::Interrupted | Event::Finished => {
                self.save()?;
                self.draw()?;
            }
            Event::Replanned(_) => self.draw_memory()?,
            Event::Step(_) => {}
        }
        Ok(event)
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The trainer, without the folder, which stays as the last save left it.
    pub fn into_trainer(self) -> Trainer {
        self.trainer
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

    /// Always at the end of an epoch; but the epochs of a method are steps, and what it remembers is many times θ.
    fn is_save_due(&self) -> bool {
        !self.trainer.is_by_method() || self.saved_at.is_none_or(|saved| saved.elapsed() > BETWEEN_SAVES)
    }

    /// Checkpoint and model of the same step.
    fn save(&mut self) -> Result<()> {
        self.save_checkpoint()?;
        self.saved_at = Some(Instant::now());
        write_model(&self.folder.model_path(), &self.trainer.parameters()?)
    }

    fn save_checkpoint(&mut self) -> Result<()> {
        let snapshot = self.trainer.snapshot()?;
        if self.saved != Some(snapshot.step) {
            write_checkpoint(&self.folder.checkpoint_path(), &snapshot)?;
            self.saved = Some(snapshot.step);
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<()> {
        #[cfg(feature = "cli")]
        curves::draw(&self.folder.curves_path(), self.metrics.epochs())?;
        self.drawn = Some(Instant::now());
        Ok(())
    }

    /// Draws who holds which memory over a step; needed anew where the run is planned anew.
    fn draw_memory(&mut self) -> Result<()> {
        #[cfg(feature = "cli")]
        draw_memory(&self.folder.memory_path(), &self.trainer.memory_map()?, self.trainer.report())?;
        Ok(())
    }

    /// Says where the last good parameters are when the run has none any more, or no memory for them.
    fn explain(&self, error: Error) -> Error {
        let rescue = match self.saved {
            None => "there is no checkpoint yet".to_owned(),
            Some(step) => {
                format!("{} holds step {step}, the last good one", self.folder.checkpoint_path().display())
            }
        };
        match error {
            Error::Diverged(message) => Error::Diverged(format!("{message}; {rescue}")),
            Error::OutOfMemory(message) => Error::OutOfMemory(format!("{message}; {rescue}")),
            other => other,
        }
    }
}

/// Errors where the numbers of a checkpoint come from other settings or other rows than the trainer's.
fn same_origin(path: &Path, was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Result<()> {
    let mut changed = was.iter().filter(|(name, was)| is.get(*name) != Some(*was));
    // Other rows change what else is derived from them, so they are told first.
    let rows = changed.clone().find(|(name, _)| *name == DATA);
    let Some((name, was)) = rows.or_else(|| changed.next()) else { return Ok(()) };
    let message = match (name.as_str(), is.get(name)) {
        (DATA, _) => "it was trained on other rows than the data source gives now".to_owned(),
        (_, Some(is)) => format!("it is of a run with the {name} {was}, and config.toml says {is} now"),
        (_, None) => format!("it is of a run with the {name} {was}"),
    };
    Err(Error::run(path, message))
}
