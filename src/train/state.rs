//! θ and the optimizer's state of a trainer, to the host and back.

use std::collections::BTreeMap;

use super::evaluate::Sums;
use super::event::Event;
use super::options::TrainOptions;
use super::renaming::overlay;
use super::replays::Progress;
use super::tensors::{
    NamedTensor, Snapshot, check, check_state, read_loss_scale, read_state, read_step_factor, read_vector,
    write_loss_scale, write_state, write_step_factor, write_vector,
};
use super::trainer::{TRAIN, Trainer};
use crate::data::{Split, batches_per_epoch};
use crate::nn::Loss;
use crate::{Error, Result};

/// The name of the rows in [`Trainer::origin`].
pub(crate) const DATA: &str = "data";

/// What decides a run's numbers, by name.
pub(super) fn origin(
    options: &TrainOptions,
    loss: Loss,
    batch: usize,
    Split { train, test }: &Split,
) -> Result<BTreeMap<String, String>> {
    let optimizer = serde_json::to_string(&options.optimizer)
        .map_err(|error| Error::setting("optimizer", error.to_string()))?;
    let modifiers = serde_json::to_string(&options.modifiers)
        .map_err(|error| Error::setting("modifiers", error.to_string()))?;
    let mut schedule = options.schedule.to_string();
    if options.schedule.depends_on_length() {
        let steps = options.length.steps(batches_per_epoch(train.rows(), batch) as u64);
        schedule += &format!(" over {steps} steps");
    }
    if options.schedule.watches() {
        let rows = test.as_ref().map(|test| Ok(format!("{:08x}", test.digest()?))).transpose()?;
        let rows = rows.as_deref().unwrap_or("training");
        schedule += &format!(" watching {rows} rows every {} epochs", options.eval_every);
    }
    let search = options.search.map_or("none".to_owned(), |search| search.to_string());
    let origin = [
        ("model", options.model.to_string()),
        ("loss", loss.to_string()),
        ("optimizer", optimizer),
        ("modifiers", modifiers),
        ("schedule", schedule),
        ("line search", search),
        ("precision", options.precision.to_string()),
        ("batch", batch.to_string()),
        ("seed", options.seed.to_string()),
        (DATA, format!("{:08x}", train.digest()?)),
    ];
    // Runs without a method, older ones among them, say nothing of it.
    let method = options.method.as_ref().map(|method| ("method", method.to_string()));
    let origin = origin.into_iter().chain(method);
    Ok(origin.map(|(name, value)| (name.to_owned(), value)).collect())
}

impl Trainer {
    /// What decides the numbers of this run besides its steps, by name: model, loss, optimizer and what goes with
    /// it, schedule (with the steps or the losses on which it depends), batch, seed, and a digest of the rows. A snapshot of
    /// another origin is of another run, though it may fit.
    pub fn origin(&self) -> &BTreeMap<String, String> {
        &self.origin
    }

    /// All that resuming needs, bit for bit: also after an [`Error::OutOfMemory`]. Waits for the steps under way.
    ///
    /// # Errors
    /// [`Error::Diverged`] where θ or the optimizer's state is not finite: such a state is not worth keeping.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        if let Some(rescued) = &self.rescued {
            return Ok(rescued.clone());
        }
        // What ran out, ran out for something else: θ is there.
        self.gpu.take_out_of_memory();
        self.settle()?;
        self.sound()?;
        let engine = self.session.engine()?;
        let read =
            |shards| read_vector(&self.gpu, &engine.plan(TRAIN).theta, self.model.parameters(), shards);
        let theta = read(&engine.theta())?;
        let state = match engine.update() {
            Some(update) => read_state(&self.gpu, update, self.model.parameters())?,
            None => Vec::new(),
        };
        let vectors = state.iter().map(|(slot, tensors)| (slot.as_str(), tensors));
        for (what, tensors) in [("parameter", &theta)].into_iter().chain(vectors) {
            if tensors.iter().any(|tensor| tensor.values.iter().any(|value| !value.is_finite())) {
                let step = self.progress.step;
                return Err(self.diverged(&format!("a {what} is not finite after step {step}")));
            }
        }
        let method = self.session.method_memory()?;
        let update = self.session.engine()?.update();
        let step_factor = update.map_or(Ok(None), |update| read_step_factor(&self.gpu, update))?;
        let loss_scale = update.map_or(Ok(None), |update| read_loss_scale(&self.gpu, update))?;
        let Progress { step, epoch, batch, loss_sum, loss_rows, skipped, skipped_first, plateau, .. } =
            self.progress;
        let origin = self.origin.clone();
        Ok(Snapshot {
            step,
            epoch,
            batch,
            loss_sum,
            loss_rows,
            skipped,
            skipped_first,
            plateau,
            step_factor,
            loss_scale,
            theta,
            state,
            method,
            origin,
        })
    }

    /// Goes on from a snapshot of a run with the same options. Waits for the steps under way, and until it is on
    /// the device.
    ///
    /// # Errors
    /// [`Error::Shape`] where it is of another model, optimizer, batch or number of rows; the trainer is then as it
    /// was.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Snapshot { step, epoch, batch, .. } = *snapshot;
        let batches = self.batches_per_epoch();
        if epoch.checked_mul(batches).and_then(|steps| steps.checked_add(batch)) != Some(step) {
            let message =
                format!("{step} steps are not {epoch} epochs of {batches} batches and {batch} more");
            return Err(Error::shape("loading a snapshot", message));
        }
        check(self.model.parameters(), &snapshot.theta)?;
        self.check_method(snapshot)?;
        if let Some(update) = self.session.engine()?.update() {
            check_state(update, self.model.parameters(), &snapshot.state)?;
        }
        self.settle()?;
        self.put_state(snapshot)?;
        let Snapshot { step, epoch, batch, loss_sum, loss_rows, skipped, skipped_first, plateau, .. } =
            *snapshot;
        self.progress = Progress {
            step,
            epoch,
            batch,
            loss_sum,
            loss_rows,
            skipped,
            skipped_first,
            begun: step > skipped_first,
            plateau,
            ..Progress::default()
        };
        self.stream = None;
        (self.closing, self.sums) = (None, Sums::default());
        (self.is_closed, self.is_cancelled, self.has_told_the_end) = (false, false, false);
        // What was said of the memory still holds.
        self.events.retain(|event| matches!(event, Event::Replanned(_)));
        self.finished = false;
        Ok(())
    }

    /// Whether what a method has learnt is of this run's.
    fn check_method(&self, snapshot: &Snapshot) -> Result<()> {
        let Some(memory) = &snapshot.method else {
            if self.options().method.is_some() && snapshot.step > 0 {
                log::warn!(
                    "the snapshot knows nothing of what its method has learnt; it goes on from the parameters alone"
                );
            }
            return Ok(());
        };
        match &self.options().method {
            Some(method) if method.to_string() == memory.method => Ok(()),
            other => {
                let own = other.as_ref().map_or("an update rule".to_owned(), ToString::to_string);
                let message = format!("it is of a run by {}, and this one is by {own}", memory.method);
                Err(Error::shape("loading a snapshot", message))
            }
        }
    }

    /// Writes θ and the optimizer's state, which must be this run's.
    pub(super) fn put_state(&mut self, snapshot: &Snapshot) -> Result<()> {
        // What a method learnt on its way here is of another way.
        self.session.full_batch = None;
        self.session.method_memory = snapshot.method.clone();
        let engine = self.session.engine()?;
        let (layout, parameters) = (&engine.plan(TRAIN).theta, self.model.parameters());
        let write = |shards, tensors| write_vector(&self.gpu, layout, parameters, shards, tensors);
        write(&engine.theta(), &snapshot.theta)?;
        let Some(update) = engine.update() else { return Ok(()) };
        write_step_factor(&self.gpu, update, snapshot.step_factor)?;
        write_loss_scale(&self.gpu, update, snapshot.loss_scale)?;
        write_state(&self.gpu, update, &snapshot.state)
    }

    /// θ at the start, drawn from the seed.
    pub(super) fn set_initial_parameters(&mut self) -> Result<()> {
        let seed = self.options().seed;
        let parameters = self.model.parameters();
        let drawn = parameters.iter().enumerate().map(|(number, info)| NamedTensor {
            name: info.name.clone(),
            shape: info.shape.clone(),
            values: info.initial_values(seed, number),
        });
        let mut initial: Vec<NamedTensor> = drawn.collect();
        overlay(&mut initial, &self.options().initial)?;
        self.write_parameters(&initial)
    }

    /// Writes θ as its start.
    fn write_parameters(&mut self, tensors: &[NamedTensor]) -> Result<()> {
        let engine = self.session.laid_out()?;
        let (layout, parameters) = (&engine.plan(TRAIN).theta, self.model.parameters());
        write_vector(&self.gpu, layout, parameters, &engine.theta(), tensors)?;
        engine.start_shadows()
    }

    /// Puts tensors in the place of the parameters of their names, before the first step: a model that was trained before, to be
    /// trained on; read by [`read_model`](crate::read_model), and under whatever names the caller gives them. All others
    /// begin as they would. Waits until they are on the device.
    ///
    /// # Errors
    /// [`Error::Shape`] for a name that the model does not have, another shape, or after a step; all is then as it was.
    pub fn set_parameters(&mut self, tensors: &[NamedTensor]) -> Result<()> {
        if self.progress.step > 0 || self.session.laid_out()?.has_begun() {
            let message = match self.progress.step {
                0 => "a step was begun already; set them before".to_owned(),
                steps => format!("{steps} steps were made already; set them before the first"),
            };
            return Err(Error::shape("setting parameters", message));
        }
        let mut parameters = self.parameters()?;
        overlay(&mut parameters, tensors)?;
        self.write_parameters(&parameters)
    }

    /// θ as the user reads it, by name. Waits for the steps under way.
    pub fn parameters(&mut self) -> Result<Vec<NamedTensor>> {
        self.settle()?;
        let engine = self.session.engine()?;
        engine.refresh_readout()?;
        read_vector(&self.gpu, &engine.plan(TRAIN).theta, self.model.parameters(), &engine.readout())
    }
}
