//! The speed of an update against that of a plain copy of as many bytes.

use super::Stepper;
use crate::Result;
use crate::gpu::Buffer;
use crate::measure::{copies, timed};
use crate::plan::replay::record;

/// How long an update takes, and a copy of the gradient over θ.
///
/// ```
/// use downhill::{Modifiers, Optimizer, Stepper, UpdateTiming};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let adam = Optimizer::new("adam")?;
/// let mut stepper = Stepper::new(&gpu, &adam, &Modifiers::default(), &[("w", &[1024])], &[0.0; 1024])?;
/// let timing: UpdateTiming = stepper.measure(10)?;
/// println!("{:.0} % of the speed of a copy", 100.0 * timing.fraction_of_copy());
/// # assert!(timing.update_bytes > timing.copy_bytes);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct UpdateTiming {
    /// Seconds of one update.
    pub update_seconds: f64,
    /// Bytes that it reads and writes.
    pub update_bytes: u64,
    /// Seconds of one copy.
    pub copy_seconds: f64,
    /// Bytes that it reads and writes.
    pub copy_bytes: u64,
}

impl UpdateTiming {
    /// Bytes a second of the update as a share of those of the copy.
    pub fn fraction_of_copy(&self) -> f64 {
        (self.update_bytes as f64 / self.update_seconds) / (self.copy_bytes as f64 / self.copy_seconds)
    }
}

impl Stepper {
    /// Times `repeats` updates with the gradient that is there, and as many copies of it over θ; on the device's own
    /// clock, where it has one. θ is then of no use.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device fails.
    pub fn measure(&mut self, repeats: u32) -> Result<UpdateTiming> {
        let update_seconds = timed(&self.gpu, |pass| {
            (0..repeats).for_each(|_| self.updater.record(pass, None));
        })? / f64::from(repeats);
        let copies = copies(&self.gpu, &self.memory.gradient, &self.memory.theta)?;
        let copy_seconds = timed(&self.gpu, |pass| {
            (0..repeats).for_each(|_| record(&copies, pass));
        })? / f64::from(repeats);
        let theta: u64 = self.memory.theta.iter().map(Buffer::bytes).sum();
        let update_bytes = self.updater.plan().moved;
        Ok(UpdateTiming { update_seconds, update_bytes, copy_seconds, copy_bytes: 2 * theta })
    }
}
