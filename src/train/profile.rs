//! Where a step's time goes: every launch in a compute pass of its own, with timestamps at its ends.

use crate::gpu::{Gpu, GpuTimer};
use crate::plan::cost::LaunchWork;
use crate::plan::replay::{Launch, record};
use crate::{Error, Result};

/// Passes that a set of queries has room for: WebGPU allows 4,096 queries.
const MOST_LAUNCHES: usize = 2048;

/// A launch of a step and its time on the device.
///
/// ```
/// use downhill::LaunchTime;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// // None on devices without timestamps.
/// let launches: Vec<LaunchTime> = trainer.profile_step()?.unwrap_or_default();
/// for launch in &launches {
///     println!("{}: {:.1} µs", launch.name, 1e6 * launch.seconds);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct LaunchTime {
    /// The kernel and what it writes.
    pub name: String,
    /// Seconds from the start of the step's first launch to the start of this one.
    pub start: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Its multiplications and additions, where they are more than what moving the bytes takes.
    pub operations: u64,
    /// Bytes that it reads and writes.
    pub bytes: u64,
}

/// Times the launches of a replay one by one.
pub(super) struct Profiler {
    timer: GpuTimer,
    launches: Vec<LaunchWork>,
}

impl Profiler {
    /// A profiler of these launches, or none where the device has no timestamps.
    ///
    /// Errors: [`Error::DoesNotFit`] for more than can be timed.
    pub fn new(gpu: &Gpu, launches: Vec<LaunchWork>) -> Result<Option<Self>> {
        if launches.len() > MOST_LAUNCHES {
            let message = format!(
                "a step has {} launches, and {MOST_LAUNCHES} can be timed one by one",
                launches.len()
            );
            return Err(Error::DoesNotFit(message));
        }
        let timer = GpuTimer::new(gpu, launches.len() as u32)?;
        Ok(timer.map(|timer| Profiler { timer, launches }))
    }

    /// Records `launches`, of which a micro-batch without an update has fewer.
    pub fn record<'a>(&self, launches: impl Iterator<Item = &'a Launch>, encoder: &mut wgpu::CommandEncoder) {
        for (number, launch) in launches.enumerate() {
            let timestamp_writes = Some(self.timer.writes(number as u32));
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            record([launch], &mut encoder.begin_compute_pass(&descriptor));
        }
        self.timer.resolve(encoder);
    }

    /// What the launches took. Waits for the device.
    pub fn times(self) -> Result<Vec<LaunchTime>> {
        let passes = self.timer.nanoseconds()?;
        let first = passes.first().map_or(0.0, |[began, _]| *began);
        let times = self.launches.into_iter().zip(passes).map(|(work, [began, ended])| LaunchTime {
            name: work.name,
            start: (began - first).max(0.0) * 1e-9,
            // Counters of some drivers stand still over a short pass.
            seconds: (ended - began).max(0.0) * 1e-9,
            operations: work.operations,
            bytes: work.bytes,
        });
        Ok(times.collect())
    }
}
