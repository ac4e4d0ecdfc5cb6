//! What a run waits for, and which of data, upload and compute bounds it.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::engine::StepTimes;

/// Steps are timed on the device no more often than this: it costs a wait.
const BETWEEN_TIMES: Duration = Duration::from_secs(1);

/// What bounds the speed of a run.
///
/// ```
/// use downhill::Bound;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// trainer.run_steps(5)?;
/// match trainer.bound() {
///     Bound::Data => println!("keep the rows in memory, or in an array file"),
///     bound => println!("bound by {bound}"),
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The rows: the device waits while they are read and decoded.
    Data,
    /// The copies from the host to the device.
    Upload,
    /// The kernels.
    Compute,
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Bound::Data => "data",
            Bound::Upload => "upload",
            Bound::Compute => "compute",
        })
    }
}

/// What a trainer's steps waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Time in which there was nothing to upload: the thread that prepares minibatches was not ready.
    data: Duration,
    /// Time in which as many steps as may be were in flight: the device was not ready.
    device: Duration,
    /// How often a step waited for the device.
    device_waits: u64,
    /// The last step that was timed, and when.
    times: Option<(StepTimes, Instant)>,
}

impl Clock {
    pub fn waited_for_data(&mut self, time: Duration) {
        self.data += time;
    }

    pub fn waited_for_device(&mut self, time: Duration) {
        self.device += time;
        self.device_waits += u64::from(!time.is_zero());
    }

    pub fn device_waits(&self) -> u64 {
        self.device_waits
    }

    /// Whether it is time to time a step.
    pub fn wants_times(&self) -> bool {
        self.times.is_none_or(|(_, then)| then.elapsed() > BETWEEN_TIMES)
    }

    pub fn timed(&mut self, times: StepTimes) {
        self.times = Some((times, Instant::now()));
    }

    pub fn last_times(&self) -> Option<StepTimes> {
        self.times.map(|(times, _)| times)
    }

    /// What bounded the time since `earlier`. Without timestamps all that the device does counts as compute.
    pub fn bound_since(&self, earlier: &Clock) -> Bound {
        if self.data - earlier.data > self.device - earlier.device {
            return Bound::Data;
        }
        match self.times {
            Some((StepTimes { upload, compute }, _)) if upload > compute => Bound::Upload,
            _ => Bound::Compute,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_for_most_is_the_bound() {
        let milliseconds = Duration::from_millis;
        // Waiting for data and device in milliseconds, seconds of upload and compute.
        let rows = [
            ((9, 1), Some((5.0, 1.0)), Bound::Data),
            ((1, 9), Some((5.0, 1.0)), Bound::Upload),
            ((1, 9), Some((1.0, 5.0)), Bound::Compute),
            ((1, 9), None, Bound::Compute),
            ((0, 0), None, Bound::Compute),
        ];
        for ((data, device), times, bound) in rows {
            let mut clock = Clock::default();
            clock.waited_for_data(milliseconds(50));
            let earlier = clock;
            clock.waited_for_data(milliseconds(data));
            clock.waited_for_device(milliseconds(device));
            if let Some((upload, compute)) = times {
                clock.timed(StepTimes { upload, compute });
            }
            assert_eq!(clock.bound_since(&earlier), bound, "{data} {device} {times:?}");
        }
    }
}
