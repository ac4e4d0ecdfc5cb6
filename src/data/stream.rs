//! Minibatches in the bytes that the GPU takes, prepared by a thread of their own ahead of their use.
//!
//! The order of an epoch depends on the seed and the epoch alone, so a stream can begin at any [`Position`] and
//! continues exactly as one that came there by itself.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, ops::Range, path::Path, thread};

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::random::permutation;
use crate::{Error, Result};

/// Micro-batches in memory at once, at least: one in use, one ready and one being filled.
const FEWEST_SLOTS: usize = 3;

/// Small ones are prepared further ahead, within so many bytes, for whoever takes several in one go.
const MOST_SLOTS: usize = 64;
const AHEAD: usize = 256 << 10;

fn slots(bytes: usize) -> usize {
    (AHEAD / bytes.max(1)).clamp(FEWEST_SLOTS, MOST_SLOTS)
}

/// What a thread that has just been started, or woken, needs to have rows ready.
const MOMENT: Duration = Duration::from_micros(300);

/// Where each part of a slot begins: what a copy from a buffer to a buffer asks for.
const ALIGNMENT: usize = 4;

/// The place of a batch: both count from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub epoch: u64,
    pub batch: u64,
}

/// The order of the rows in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A new permutation every epoch.
    Shuffled {
        seed: u64,
    },
    AsStored,
}

/// What the slots hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The rows themselves: features and targets.
    Rows,
    /// Only the rows' indices, for a data set that lies on the GPU.
    Indices,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamOptions {
    /// Rows that one update averages over; cut into micro-batches, of which the last may be short.
    pub batch: usize,
    /// Rows that a slot has room for.
    pub micro_batch: usize,
    pub order: Order,
    pub contents: Contents,
    /// The first batch; one past the last of an epoch is the first of the next.
    pub start: Position,
    /// The epoch before which the stream ends.
    pub end_epoch: u64,
}

/// One micro-batch. Rows beyond [`rows`](Batch::rows) are copies of row 0, so that all that is computed from
/// them stays finite; they must be masked.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    layout: Layout,
    pub position: Position,
    /// Rows that count, from 1 to the micro-batch size.
    pub rows: usize,
    /// Rows of the whole batch that this is a part of: what the update averages over.
    pub batch_rows: usize,
    /// Rows of that batch before these.
    pub first_row: usize,
    /// Whether the batch is complete with this micro-batch.
    pub ends_batch: bool,
    /// Whether the epoch is complete with this micro-batch.
    pub ends_epoch: bool,
}

impl Batch {
    /// Packed features, [micro-batch, feature bytes], filled up with zeros to a multiple of four bytes; empty
    /// where the stream holds indices.
    pub fn features(&self) -> &[u8] {
        &self.bytes[..self.layout.targets]
    }

    /// Labels or values, [micro-batch, target bytes]; empty where the stream holds indices.
    pub fn targets(&self) -> &[u8] {
        &self.bytes[self.layout.targets..self.layout.indices]
    }

    /// Row indices of the data set, [micro-batch] u32; empty where the stream holds rows.
    pub fn indices(&self) -> &[u8] {
        &self.bytes[self.layout.indices..]
    }
}

/// How a slot is divided: features from 0, then targets, then indices.
#[derive(Clone, Copy)]
struct Layout {
    /// Bytes of the features without what fills them up.
    features: usize,
    targets: usize,
    indices: usize,
    bytes: usize,
}

impl Layout {
    fn of(dataset: &Dataset, options: &StreamOptions) -> Self {
        let rows = options.micro_batch;
        let (features, target_bytes, index_bytes) = match options.contents {
            Contents::Rows => {
                (rows * dataset.features_bytes_per_row(), rows * dataset.targets_bytes_per_row(), 0)
            }
            Contents::Indices => (0, 0, rows * size_of::<u32>()),
        };
        let targets = features.next_multiple_of(ALIGNMENT);
        let indices = targets + target_bytes;
        Layout { features, targets, indices, bytes: indices + index_bytes }
    }
}

/// Batches of an epoch, of which the last may be short. `batch` must not be zero.
pub(crate) fn batches_per_epoch(rows: usize, batch: usize) -> usize {
    rows.div_ceil(batch)
}

/// The micro-batches of a data set, epoch after epoch.
///
/// Dropping it stops the thread and waits for it, at most as long as one micro-batch takes to copy.
pub(crate) struct Stream {
    name: String,
    current: Option<Batch>,
    /// What was received and not taken yet.
    ready: Option<Result<Batch>>,
    /// The ends of both channels; dropping them is what stops the worker.
    channels: Option<(SyncSender<Batch>, Receiver<Result<Batch>>)>,
    worker: Option<JoinHandle<()>>,
}

impl Stream {
    /// Starts a stream; all memory it will ever use is allocated here.
    ///
    /// # Errors
    /// A batch or micro-batch of no rows, a start beyond the epoch's batches, or no thread to be had.
    pub fn new(dataset: Dataset, options: StreamOptions) -> Result<Self> {
        let start = check(&dataset, &options)?;
        let name = dataset.name().to_owned();
        let layout = Layout::of(&dataset, &options);
        let slots = slots(layout.bytes);
        let (give_back, empty) = sync_channel(slots);
        let (full, receive) = sync_channel(slots);
        for _ in 0..slots {
            // The channel has room for all slots, and its other end stands above: this cannot fail.
            let _ = give_back.send(Batch {
                bytes: vec![0; layout.bytes],
                layout,
                position: start,
                rows: 0,
                batch_rows: 0,
                first_row: 0,
                ends_batch: false,
                ends_epoch: false,
            });
        }
        let worker = Worker {
            order: (0..dataset.rows() as u32).collect(),
            indices: Vec::with_capacity(options.micro_batch),
            dataset,
            options: StreamOptions { start, ..options },
            empty,
            full,
        };
        let worker = thread::Builder::new()
            .name("downhill data".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| Error::read(Path::new(&name), error))?;
        Ok(Stream {
            name,
            current: None,
            ready: None,
            channels: Some((give_back, receive)),
            worker: Some(worker),
        })
    }

    /// The next micro-batch, waiting for it if need be; none after the last. The one before it is given back.
    ///
    /// # Errors
    /// What went wrong in the thread; there is nothing after it.
    pub fn next_batch(&mut self) -> Result<Option<&Batch>> {
        self.give_back();
        let Some((_, receive)) = &self.channels else { return Ok(None) };
        match self.ready.take().map_or_else(|| receive.recv(), Ok) {
            Ok(batch) => Ok(Some(self.current.insert(batch?))),
            Err(_) => self.stop().map(|()| None),
        }
    }

    /// Whether [`next_batch`](Stream::next_batch) would return at once, or a moment later. The micro-batch before it is given back.
    pub fn is_ready(&mut self) -> bool {
        self.give_back();
        let Some((_, receive)) = &self.channels else { return true };
        if self.ready.is_none() {
            match receive.recv_timeout(MOMENT) {
                Ok(batch) => self.ready = Some(batch),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {}
            }
        }
        true
    }

    fn give_back(&mut self) {
        if let (Some((give_back, _)), Some(used)) = (&self.channels, self.current.take()) {
            // Fails when the worker has ended, and then nobody needs the slot.
            let _ = give_back.send(used);
        }
    }

    fn stop(&mut self) -> Result<()> {
        self.channels = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Err(_)) => {
                let message = io::Error::other("the thread that prepares minibatches panicked");
                Err(Error::read(Path::new(&self.name), message))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // There is nobody left to be told of a panic.
        let _ = self.stop();
    }
}

/// The start as a batch that there is.
fn check(dataset: &Dataset, options: &StreamOptions) -> Result<Position> {
    for (name, rows) in [("batch", options.batch), ("micro-batch", options.micro_batch)] {
        if rows == 0 {
            return Err(Error::setting(name, "must be at least 1 row"));
        }
    }
    let batches = batches_per_epoch(dataset.rows(), options.batch) as u64;
    let Position { epoch, batch } = options.start;
    match batch.cmp(&batches) {
        std::cmp::Ordering::Less => Ok(options.start),
        std::cmp::Ordering::Equal => Ok(Position { epoch: epoch + 1, batch: 0 }),
        std::cmp::Ordering::Greater => {
            let message = format!("batch {batch} is beyond the {batches} of an epoch of {}", dataset.name());
            Err(Error::setting("start", message))
        }
    }
}

/// What the thread owns.
struct Worker {
    dataset: Dataset,
    options: StreamOptions,
    /// The rows in this epoch's order.
    order: Vec<u32>,
    /// The rows of one micro-batch.
    indices: Vec<u32>,
    empty: Receiver<Batch>,
    full: SyncSender<Result<Batch>>,
}

impl Worker {
    /// Fills slots until the last is filled, one fails, or the stream is dropped.
    fn run(mut self) {
        let StreamOptions { start, end_epoch, batch: size, micro_batch, .. } = self.options;
        let rows = self.dataset.rows();
        for epoch in start.epoch..end_epoch {
            if let Order::Shuffled { seed } = self.options.order {
                permutation(&mut self.order, rows as u32, seed, epoch);
            }
            let first = if epoch == start.epoch { start.batch as usize } else { 0 };
            for batch in first..batches_per_epoch(rows, size) {
                let whole = batch * size..rows.min((batch + 1) * size);
                let position = Position { epoch, batch: batch as u64 };
                for begin in whole.clone().step_by(micro_batch) {
                    let part = begin..whole.end.min(begin + micro_batch);
                    let Ok(mut slot) = self.empty.recv() else { return };
                    slot.position = position;
                    slot.rows = part.len();
                    slot.batch_rows = whole.len();
                    slot.first_row = part.start - whole.start;
                    slot.ends_batch = part.end == whole.end;
                    slot.ends_epoch = part.end == rows;
                    let filled = self.fill(&mut slot, part);
                    let failed = filled.is_err();
                    if self.full.send(filled.map(|()| slot)).is_err() || failed {
                        return;
                    }
                }
            }
        }
    }

    fn fill(&mut self, slot: &mut Batch, part: Range<usize>) -> Result<()> {
        self.indices.clear();
        self.indices.extend_from_slice(&self.order[part]);
        self.indices.resize(self.options.micro_batch, 0);
        let Layout { features, targets, indices, .. } = slot.layout;
        match self.options.contents {
            Contents::Rows => {
                let (features_and_padding, targets_out) = slot.bytes.split_at_mut(targets);
                let threads = if self.dataset.decodes() { cores() } else { 1 };
                read_rows(
                    &self.dataset,
                    &self.indices,
                    (&mut features_and_padding[..features], targets_out),
                    threads,
                )
            }
            Contents::Indices => {
                let words = slot.bytes[indices..].chunks_exact_mut(size_of::<u32>());
                words.zip(&self.indices).for_each(|(out, row)| out.copy_from_slice(&row.to_le_bytes()));
                Ok(())
            }
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Copies rows as [`Dataset::copy_rows`] does, shared out among `threads`: those that are parsed take longer than it
/// takes to start a thread.
fn read_rows(
    dataset: &Dataset,
    indices: &[u32],
    (features, targets): (&mut [u8], &mut [u8]),
    threads: usize,
) -> Result<()> {
    if threads < 2 {
        return dataset.copy_rows(indices, features, targets);
    }
    let share = indices.len().div_ceil(threads).max(1);
    let widths = [dataset.features_bytes_per_row(), dataset.targets_bytes_per_row()];
    let features = features.chunks_mut(share * widths[0]);
    // Without targets there is an empty piece for each share.
    let mut targets = targets.chunks_mut((share * widths[1]).max(1));
    let failed = |why| Error::read(Path::new(dataset.name()), why);
    thread::scope(|scope| {
        let mut readers = Vec::with_capacity(threads);
        for (indices, features) in indices.chunks(share).zip(features) {
            let targets = targets.next().unwrap_or_default();
            let read = move || dataset.copy_rows(indices, features, targets);
            readers.push(thread::Builder::new().spawn_scoped(scope, read).map_err(failed)?);
        }
        let panicked = || failed(io::Error::other("a thread that reads rows panicked"));
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or_else(|_| Err(panicked())))
    })
}

#[cfg(test)]
mod tests;
