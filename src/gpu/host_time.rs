//! What the host's processor does for the device, told apart: the driver's part is not ours to make faster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::Gpu;

/// Seconds of a thread's processor time inside calls of the driver, since [`Gpu::time_host`].
///
/// ```
/// use std::time::SystemTime;
/// use downhill::HostTimes;
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// // A clock of processor time tells more; this one needs no other crate.
/// fn seconds() -> f64 {
///     SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
/// }
/// gpu.time_host(seconds);
/// // … training on the device …
/// let HostTimes { submitting, waiting, .. } = gpu.host_times();
/// assert_eq!((submitting, waiting), (0.0, 0.0));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HostTimes {
    /// Inside submits: wgpu's bookkeeping of what is in flight and the driver's own work. A software adapter runs the
    /// kernels there.
    pub submitting: f64,
    /// Inside waits for submitted work.
    pub waiting: f64,
}

/// What is counted; nothing where nobody asked.
#[derive(Clone, Debug, Default)]
pub(super) struct HostClock(Arc<Mutex<Option<Counted>>>);

#[derive(Debug)]
struct Counted {
    clock: fn() -> f64,
    times: HostTimes,
}

impl HostClock {
    /// Runs `work` and adds its time to what `of` picks.
    pub(super) fn count<T>(&self, of: fn(&mut HostTimes) -> &mut f64, work: impl FnOnce() -> T) -> T {
        let clock = self.counted().as_ref().map(|counted| counted.clock);
        let Some(clock) = clock else { return work() };
        let began = clock();
        let done = work();
        let seconds = clock() - began;
        if let Some(counted) = &mut *self.counted() {
            *of(&mut counted.times) += seconds;
        }
        done
    }

    fn counted(&self) -> MutexGuard<'_, Option<Counted>> {
        // Numbers, each set whole: a panic elsewhere cannot spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gpu {
    /// Begins to count the time inside calls of the driver by `clock`, which tells the seconds of processor time of the
    /// thread that asks it. Every submit and every wait then reads it twice.
    pub fn time_host(&self, clock: fn() -> f64) {
        *self.host.counted() = Some(Counted { clock, times: HostTimes::default() });
    }

    /// What was counted since [`Gpu::time_host`].
    pub fn host_times(&self) -> HostTimes {
        self.host.counted().as_ref().map_or(HostTimes::default(), |counted| counted.times)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::GpuOptions;
    use crate::gpu::BufferUse;

    thread_local! {
        static READINGS: Cell<u32> = const { Cell::new(0) };
    }

    /// A clock that moves on by a second each time it is read.
    fn clock() -> f64 {
        READINGS.set(READINGS.get() + 1);
        f64::from(READINGS.get())
    }

    #[test]
    fn submits_and_waits_are_counted_once_somebody_asks() {
        let gpu = Gpu::new(&GpuOptions::default()).unwrap();
        let buffer = gpu.buffer("bytes", 4, BufferUse::Storage).unwrap();
        gpu.write_buffer(buffer.raw(), 0, &[1; 4]).unwrap();
        assert_eq!((gpu.host_times(), READINGS.get()), (HostTimes::default(), 0));
        gpu.time_host(clock);
        for _ in 0..3 {
            gpu.write_buffer(buffer.raw(), 0, &[1; 4]).unwrap();
        }
        let HostTimes { submitting, waiting } = gpu.clone().host_times();
        // A wait may find that there is nothing to wait for.
        assert!(submitting == 3.0 && (0.0..=3.0).contains(&waiting), "{submitting} {waiting}");
        assert_eq!(f64::from(READINGS.get()), 2.0 * (submitting + waiting));
        gpu.time_host(clock);
        assert_eq!(gpu.host_times(), HostTimes::default());
    }
}
