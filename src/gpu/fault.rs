//! Errors of a device as values: wgpu reports them through callbacks and scopes, and panics where
//! nobody listens.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{Error, Result};

/// What goes on when no scope of this crate was open.
const UNSCOPED: &str = "running submitted work";

/// The errors that a device met outside of any scope. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Met>);

#[derive(Debug, Default)]
struct Met {
    /// The first error that the device does not recover from.
    lasting: OnceLock<String>,
    /// Whether memory ran out since that was last taken note of; the device itself is sound.
    out_of_memory: Mutex<bool>,
}

impl Faults {
    /// Listens to the device's uncaptured errors and to its loss.
    pub(crate) fn watch(device: &wgpu::Device) -> Self {
        let faults = Self::default();
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| uncaptured.record(&error)));
        let lost = faults.clone();
        device.set_device_lost_callback(move |_, message| {
            lost.record_lasting(format!("the device was lost ({})", one_line(&message)));
        });
        faults
    }

    fn record(&self, error: &wgpu::Error) {
        match error {
            wgpu::Error::OutOfMemory { .. } => *self.out_of_memory() = true,
            error => self.record_lasting(one_line(&error.to_string())),
        }
    }

    fn record_lasting(&self, message: String) {
        // Only the first matters: what follows is its consequence.
        let _ = self.0.lasting.set(message);
    }

    fn out_of_memory(&self) -> MutexGuard<'_, bool> {
        // One plain value, set whole: a panic elsewhere cannot spoil it.
        self.0.out_of_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first lasting error, if there was one, else memory that ran out and was not taken note of.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.lasting.get() {
            Some(message) => Err(device_error(UNSCOPED, message.clone())),
            None if *self.out_of_memory() => Err(out_of_memory(UNSCOPED)),
            None => Ok(()),
        }
    }

    /// Takes note of memory that ran out, so that the device may go on with less.
    pub(crate) fn take_out_of_memory(&self) -> Option<Error> {
        std::mem::take(&mut *self.out_of_memory()).then(|| out_of_memory(UNSCOPED))
    }
}

pub(crate) fn device_error(doing: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Device { doing: doing.into(), message: message.into() }
}

fn out_of_memory(doing: &str) -> Error {
    Error::OutOfMemory(format!("the device ran out of memory while {doing}"))
}

/// Runs `work` and returns what it made, or the first error that wgpu reported on this thread meanwhile.
///
/// Errors: [`Error::OutOfMemory`], else [`Error::Device`]; both name what it was `doing`.
pub(crate) fn scoped<T>(device: &wgpu::Device, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
    use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};

    let scopes = [Internal, Validation, OutOfMemory].map(|filter| device.push_error_scope(filter));
    let made = work();
    // Scopes are popped in reverse; on native backends their futures are ready at once.
    let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
    // All are collected before the first is looked at, so that every scope is popped.
    match errors.collect::<Vec<_>>().into_iter().flatten().next() {
        None => Ok(made),
        Some(wgpu::Error::OutOfMemory { .. }) => Err(out_of_memory(doing)),
        Some(error) => Err(device_error(doing, one_line(&error.to_string()))),
    }
}

/// wgpu's messages are trees over several lines; ours are one line.
pub(crate) fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Caused by:");
    lines.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_ran_out_can_be_taken_note_of_and_a_lost_device_cannot() {
        let faults = Faults::default();
        let out_of_memory = wgpu::Error::OutOfMemory { source: "no page left".into() };
        assert!(faults.check().is_ok() && faults.take_out_of_memory().is_none());

        faults.record(&out_of_memory);
        assert!(matches!(faults.check(), Err(Error::OutOfMemory(_))), "{faults:?}");
        assert!(matches!(faults.take_out_of_memory(), Some(Error::OutOfMemory(_))));
        assert!(faults.check().is_ok() && faults.take_out_of_memory().is_none(), "the device goes on");

        faults.record(&out_of_memory);
        faults.record_lasting("the device was lost".to_owned());
        for _ in 0..2 {
            assert!(matches!(faults.check(), Err(Error::Device { .. })), "a lost device stays lost");
            faults.take_out_of_memory();
        }
    }
}
