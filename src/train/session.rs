//! A run's memory from plan to device, and what happens where it runs out: the run is planned again, smaller, and
//! goes on from its last step.

use std::collections::VecDeque;

use super::engine::Engine;
use super::evaluate::Sums;
use super::event::{Event, Replan};
use super::layout::Layout;
use super::memory_model::MemoryModel;
use super::options::{BatchSize, Choice};
use super::program::{Feed, resident_names};
use super::trainer::{Session, Trainer};
use crate::data::{Dataset, Split};
use crate::gpu::{Buffer, Gpu, format_bytes};
use crate::{Error, Result};

/// Bytes of a resident data set that are read at a time.
const FILL_BYTES: usize = 4 << 20;

impl Session {
    /// Lays the run out within `budget` and allocates it; where the device has less, within three quarters of that,
    /// and so on, which is told.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] where nothing fits the budget or, on an adapter that computes there, the host's memory;
    /// [`Error::OutOfMemory`] where nothing fits the device.
    pub fn open(
        gpu: &Gpu,
        model: &mut MemoryModel,
        data: &Split,
        mut budget: u64,
        events: &mut VecDeque<Event>,
    ) -> Result<Self> {
        let mut refused = None;
        loop {
            let layout = match (model.lay_out(budget, &gpu.adapter_info().name), &refused) {
                (Err(Error::DoesNotFit(message)), Some(refused)) => {
                    return Err(Error::OutOfMemory(format!("{refused}; {message}")));
                }
                (layout, _) => layout?,
            };
            let total = layout.report.bytes.total;
            if let Some(free) = gpu.host_shortage(total) {
                return Err(Error::DoesNotFit(format!(
                    "the run takes {} and this adapter computes in the host's memory, of which {} are free; lower the \
                     memory limit or use a smaller batch or model",
                    format_bytes(total),
                    format_bytes(free)
                )));
            }
            // The same batch in whatever parts, from now on.
            model.options.batch = BatchSize::Rows(layout.report.batch);
            match Self::allocate(gpu, model, data, layout) {
                Err(Error::OutOfMemory(message)) => {
                    log::warn!("{message}; trying to do with less");
                    budget = budget.min(total) / 4 * 3;
                    model.take_what_fits();
                    refused = Some(message);
                }
                session => {
                    let session = session?;
                    if let Some(reason) = refused {
                        let report = session.report.clone();
                        events.push_back(Event::Replanned(Replan { step: 0, reason, report }));
                    }
                    return Ok(session);
                }
            }
        }
    }

    fn allocate(gpu: &Gpu, model: &MemoryModel, data: &Split, layout: Layout) -> Result<Self> {
        let Layout { plans, trial, needs, upload_bytes, train_feed, test_feed, report } = layout;
        let mut lent = Vec::new();
        let mut filled = Vec::new();
        for (feed, dataset) in [(&train_feed, Some(&data.train)), (&test_feed, data.test.as_ref())] {
            let (Feed::Resident { part, .. }, Some(dataset)) = (feed, dataset) else { continue };
            match dataset.lent() {
                Some(rows) => {
                    let buffers = [&rows.features, &rows.targets].map(|buffer| Buffer::lent(buffer.clone()));
                    lent.extend(resident_names(part).into_iter().zip(buffers));
                }
                None => filled.push((part, dataset)),
            }
        }
        let update = Some(model.update.clone());
        let engine = Engine::new(gpu, plans, trial, &needs, update, upload_bytes, lent)?;
        for (part, dataset) in filled {
            fill_resident(&engine, part, dataset)?;
        }
        Ok(Session::new(engine, train_feed, test_feed, report))
    }
}

impl MemoryModel {
    /// Forgets what was asked for of the layout that memory does not allow any more.
    fn take_what_fits(&mut self) {
        self.options.micro_batch = BatchSize::Auto;
        self.options.whole_batches();
        if self.options.resident == Choice::Yes {
            self.options.resident = Choice::Auto;
        }
    }
}

impl Trainer {
    /// Plans again because an app or another program took memory: `live` bytes are above the limit.
    pub(super) fn replan_below_limit(&mut self, live: u64) -> Result<()> {
        let budget = self.gpu.budget().bytes;
        let reason = format!(
            "{} are allocated and the memory limit is {} now",
            format_bytes(live),
            format_bytes(budget)
        );
        self.replan_within(budget, reason)
    }

    /// Plans again for three quarters of the memory, because the device had not as much as was planned.
    pub(super) fn replan(&mut self, reason: String) -> Result<()> {
        self.gpu.take_out_of_memory();
        let budget = self.gpu.budget().bytes.min(self.report().bytes.total / 4 * 3);
        self.replan_within(budget, reason)
    }

    /// Takes θ and the optimizer's state to the host, gives all memory back, and goes on from the last whole step
    /// with a plan within `budget`. What was done of the batch under way is done again.
    fn replan_within(&mut self, budget: u64, reason: String) -> Result<()> {
        let snapshot = self.snapshot()?;
        self.model.take_what_fits();
        // Where nothing fits, what there is stays as it is, to be saved.
        let adapter = self.gpu.adapter_info().name.clone();
        let fits = self.model.lay_out(budget, &adapter);
        fits.map_err(|error| Error::OutOfMemory(format!("{reason}; {error}")))?;
        self.sent.clear();
        (self.closing, self.sums) = (None, Sums::default());
        self.progress.batch_loss = 0.0;
        self.stream = None;
        self.session.free();
        let snapshot = self.rescued.insert(snapshot).clone();
        let mut refused = VecDeque::new();
        let opened = Session::open(&self.gpu, &mut self.model, &self.data, budget, &mut refused);
        self.session = opened.map_err(|error| match error {
            // Not a plan that is too large, but memory that went away.
            Error::DoesNotFit(message) => Error::OutOfMemory(format!("{reason}; {message}")),
            other => other,
        })?;
        self.put_state(&snapshot)?;
        self.rescued = None;
        let report = self.session.report.clone();
        self.events.push_back(Event::Replanned(Replan { step: self.progress.step, reason, report }));
        Ok(())
    }
}

/// Puts all rows of a data set where the plans gather them from.
fn fill_resident(engine: &Engine, part: &str, dataset: &Dataset) -> Result<()> {
    let names = resident_names(part);
    let widths = [dataset.features_bytes_per_row(), dataset.targets_bytes_per_row()];
    // A multiple of four, so that bytes stay aligned.
    let rows = (FILL_BYTES / widths[0].max(1) / 4 * 4).max(4);
    for first in (0..dataset.rows()).step_by(rows) {
        let indices: Vec<u32> = (first..(first + rows).min(dataset.rows())).map(|row| row as u32).collect();
        let [mut features, mut targets] = widths.map(|width| vec![0; indices.len() * width]);
        dataset.copy_rows(&indices, &mut features, &mut targets)?;
        for ((name, width), bytes) in names.iter().zip(widths).zip([&features, &targets]) {
            engine.fill_input(name, (first * width) as u64, bytes)?;
        }
    }
    Ok(())
}
