//! What the host's processor does for the device, told apart: the driver's part is not ours to make faster.

use std::sync::{Arc, Mutex, PoisonError};

use super::device::Gpu;

/// Seconds of a thread's processor time inside calls of the driver, since [`Gpu::time_host`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostTimes {
    /// Inside submits: wgpu's bookkeeping of what is in flight and the driver's own work. A software adapter runs the
    /// kernels there.
    pub submitting: f64,
    /// Inside waits for submitted work.
    pub waiting: f64,
}

/// The thread's clock and what it has counted; none where nobody asked.
#[derive(Clone, Debug, Default)]
pub(super) struct HostClock(Arc<Mutex<Option<(fn() -> f64, HostTimes)>>>);

impl HostClock {
    /// Runs `work` and counts its time to what `of` picks.
    pub(super) fn count<T>(&self, of: fn(&mut HostTimes) -> &mut f64, work: impl FnOnce() -> T) -> T {
        let clock = self.with(|counted| counted.as_ref().map(|(clock, _)| *clock));
        let Some(clock) = clock else { return work() };
        let began = clock();
        let done = work();
        let seconds = clock() - began;
        self.with(|counted| {
            if let Some((_, times)) = counted {
                *of(times) += seconds;
            }
        });
        done
    }

    fn with<T>(&self, look: impl FnOnce(&mut Option<(fn() -> f64, HostTimes)>) -> T) -> T {
        // Two numbers, each set whole: a panic elsewhere cannot spoil them.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gpu {
    /// Begins to count the time inside calls of the driver by `clock`, which tells the seconds of processor time of the
    /// thread that asks it. Every submit then reads it twice.
    pub fn time_host(&self, clock: fn() -> f64) {
        self.host.with(|counted| *counted = Some((clock, HostTimes::default())));
    }

    /// What was counted since [`Gpu::time_host`].
    pub fn host_times(&self) -> HostTimes {
        self.host.with(|counted| counted.as_ref().map_or(HostTimes::default(), |(_, times)| *times))
    }
}
