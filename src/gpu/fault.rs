//! Errors of a device as values: wgpu reports them through callbacks and scopes, and panics where
//! nobody listens.

use std::sync::{Arc, OnceLock};

use crate::{Error, Result};

/// The first error that a device met outside of any scope. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<OnceLock<String>>);

impl Faults {
    /// Listens to the device's uncaptured errors and to its loss.
    pub(crate) fn watch(device: &wgpu::Device) -> Self {
        let faults = Self::default();
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| uncaptured.record(one_line(&error.to_string()))));
        let lost = faults.clone();
        device.set_device_lost_callback(move |_, message| {
            lost.record(format!("the device was lost ({})", one_line(&message)));
        });
        faults
    }

    fn record(&self, message: String) {
        // Only the first matters: what follows is its consequence.
        let _ = self.0.set(message);
    }

    /// The first error, if there was one.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(message) => Err(device_error("running submitted work", message.clone())),
        }
    }
}

pub(crate) fn device_error(doing: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Device { doing: doing.into(), message: message.into() }
}

/// Runs `work` and returns what it made, or the first error that wgpu reported on this thread meanwhile.
///
/// Errors: [`Error::DoesNotFit`] out of memory, else [`Error::Device`]; both name what it was `doing`.
pub(crate) fn scoped<T>(device: &wgpu::Device, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
    use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};

    let scopes = [Internal, Validation, OutOfMemory].map(|filter| device.push_error_scope(filter));
    let made = work();
    // Scopes are popped in reverse; on native backends their futures are ready at once.
    let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
    // All are collected before the first is looked at, so that every scope is popped.
    match errors.collect::<Vec<_>>().into_iter().flatten().next() {
        None => Ok(made),
        Some(wgpu::Error::OutOfMemory { .. }) => {
            Err(Error::DoesNotFit(format!("the device ran out of memory while {doing}")))
        }
        Some(error) => Err(device_error(doing, one_line(&error.to_string()))),
    }
}

/// wgpu's messages are trees over several lines; ours are one line.
pub(crate) fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Caused by:");
    lines.collect::<Vec<_>>().join(": ")
}
