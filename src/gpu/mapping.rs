//! One buffer that the host and the device take in turns: what both rings are made of.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wgpu::{MapMode, SubmissionIndex};

use super::buffer::Buffer;
use super::device::Gpu;
use super::fault::device_error;
use crate::Result;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Mapped and free to be taken.
    Host,
    /// Mapped and in someone's hands.
    Held,
    /// Unmapped: copies are recorded but not submitted.
    Recorded,
    /// Submitted; comes back to [`Turn::Host`] when the device is done.
    Device,
    /// The driver refused to map it.
    Failed,
}

/// How long a callback may take to run that another thread's poll has in its hands.
const CALLBACK: Duration = Duration::from_secs(10);

/// Whose turn it is, shared with the mapping's callback and with who holds the buffer.
#[derive(Clone, Debug)]
pub(super) struct SharedTurn(Arc<(Mutex<Turn>, Condvar)>);

impl SharedTurn {
    fn lock(&self) -> MutexGuard<'_, Turn> {
        // One plain value, set whole: a panic elsewhere cannot spoil it.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Turn {
        *self.lock()
    }

    pub(super) fn set(&self, turn: Turn) {
        *self.lock() = turn;
        self.0.1.notify_all();
    }

    /// Waits while it is the device's turn, though not for ever.
    fn wait_for_callback(&self) {
        // Whoever is woken looks at the turn itself.
        let _ = self.0.1.wait_timeout_while(self.lock(), CALLBACK, |turn| *turn == Turn::Device);
    }

    /// Gives a held buffer back unused; anything else stays as it is.
    pub(super) fn release(&self) {
        let mut turn = self.lock();
        if *turn == Turn::Held {
            *turn = Turn::Host;
        }
    }
}

/// A mappable buffer and whose turn it is.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) buffer: Buffer,
    pub(super) turn: SharedTurn,
    mode: MapMode,
    submission: Option<SubmissionIndex>,
}

impl Mapping {
    pub(super) fn new(buffer: Buffer, mode: MapMode, turn: Turn) -> Self {
        Self {
            buffer,
            turn: SharedTurn(Arc::new((Mutex::new(turn), Condvar::new()))),
            mode,
            submission: None,
        }
    }

    /// Recorded copies went to the device with `submission`: the buffer is to come back after them, which
    /// wgpu tells within a poll.
    pub(super) fn submitted(&mut self, submission: &SubmissionIndex) {
        self.submission = Some(submission.clone());
        self.turn.set(Turn::Device);
        let turn = self.turn.clone();
        self.buffer.raw().map_async(self.mode, .., move |result| {
            turn.set(if result.is_ok() { Turn::Host } else { Turn::Failed });
        });
    }

    /// Whether it is the host's turn; with `patient`, waits until it is. `waits` counts real waits.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) when the device failed, or when its turn would never
    /// come: it is held, or what was recorded with it was never submitted.
    pub(super) fn is_host(&self, gpu: &Gpu, patient: bool, waits: &mut u64) -> Result<bool> {
        if self.turn.get() == Turn::Device {
            gpu.poll()?;
        }
        if let (Turn::Device, true, Some(submission)) = (self.turn.get(), patient, &self.submission) {
            *waits += 1;
            gpu.wait_until(submission, || self.turn.get() != Turn::Device)?;
            // Where several threads use the device, another one's poll may have taken the callback and not run it yet.
            self.turn.wait_for_callback();
        }
        let why = match self.turn.get() {
            Turn::Host => return Ok(true),
            Turn::Device | Turn::Recorded if !patient => return Ok(false),
            Turn::Device => "it did not come back with its submission",
            Turn::Held => "it is still held",
            Turn::Recorded => "what was recorded with it was not submitted",
            Turn::Failed => "the driver refused to map it",
        };
        Err(device_error("waiting for a mapped buffer", why))
    }
}
