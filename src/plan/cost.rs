//! About how long a plan takes: enough to compare micro-batches, and recomputation with smaller parts, on paper.
//!
//! A launch costs a fixed time, its arithmetic and its memory traffic, one after the other, as if nothing overlapped:
//! that is near the truth on a CPU, and elsewhere it errs on the side of larger micro-batches. One with too few
//! workgroups to fill the adapter goes at a part of the speed. Only ratios matter.

use super::{Dispatch, Home, Plan};
use crate::gpu::AdapterClass;

/// What an adapter does in a second, and what everything costs besides.
struct Speed {
    /// Seconds of a submission, and of a launch in it.
    submission: f64,
    launch: f64,
    /// Floating-point operations of our matmul, and bytes read or written, in a second.
    operations: f64,
    bytes: f64,
    /// Workgroups that fill the adapter.
    workgroups: f64,
}

/// Fitted to Mesa's llvmpipe on two cores: an MLP 784-512-512-10 with Adam took 8.6 ms a step at a batch of 32, 17.3 at
/// 128 and 117 at 1,024; this gives 9, 20 and 118.
const SOFTWARE: Speed =
    Speed { submission: 5e-5, launch: 2e-5, operations: 30e9, bytes: 5e9, workgroups: 2.0 };
/// Not measured: half of what integrated GPUs of the last years claim, memory as fast as two channels of DDR5.
const INTEGRATED: Speed =
    Speed { submission: 2e-5, launch: 5e-6, operations: 1e12, bytes: 5e10, workgroups: 64.0 };
/// Launches are those of an H200, arithmetic and memory between that (2e13, 2.5e12) and what mid-range cards of the last years
/// can be hoped to do (5e12, 3e11).
const DISCRETE: Speed =
    Speed { submission: 2e-5, launch: 5e-6, operations: 1e13, bytes: 8e11, workgroups: 256.0 };

fn speed(class: AdapterClass) -> &'static Speed {
    match class {
        AdapterClass::Software => &SOFTWARE,
        AdapterClass::Integrated | AdapterClass::Other => &INTEGRATED,
        AdapterClass::Discrete => &DISCRETE,
    }
}

/// Workgroups that fill an adapter of `class`. Tiles are chosen by the same number, so that none is chosen that the
/// estimate holds to leave part of the adapter idle.
pub(crate) fn filling_workgroups(class: AdapterClass) -> usize {
    speed(class).workgroups as usize
}

/// What a launch is, and what it does: beside a measured time, what that time is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LaunchWork {
    /// The kernel and what it writes.
    pub name: String,
    /// As [`Dispatch::operations`].
    pub operations: u64,
    /// Bytes that it reads and writes.
    pub bytes: u64,
}

impl LaunchWork {
    /// Seconds that it takes, as far as that follows from what it is.
    pub fn seconds(&self, class: AdapterClass) -> f64 {
        let speed = speed(class);
        speed.launch + self.operations as f64 / speed.operations + self.bytes as f64 / speed.bytes
    }
}

impl Plan {
    /// What each dispatch is, in their order.
    pub fn described(&self) -> Vec<LaunchWork> {
        let work = |dispatch: &Dispatch| LaunchWork {
            name: format!("{} → {}", self.kernels[dispatch.kernel].label, self.written(dispatch).join(", ")),
            operations: dispatch.operations,
            bytes: self.traffic(dispatch),
        };
        self.dispatches.iter().map(work).collect()
    }

    /// The labels of what a dispatch writes.
    fn written(&self, dispatch: &Dispatch) -> Vec<&str> {
        dispatch.writes.iter().map(|write| self.tensors[write.tensor].label.as_str()).collect()
    }

    /// Seconds of one replay.
    pub fn seconds(&self, class: AdapterClass) -> f64 {
        let speed = speed(class);
        speed.submission
            + self.dispatches.iter().map(|dispatch| self.launch_seconds(dispatch, speed)).sum::<f64>()
    }

    /// Multiplications and additions of one replay, where they are more than what moving the bytes takes.
    pub fn operations(&self) -> u64 {
        self.dispatches.iter().map(|dispatch| dispatch.operations).sum()
    }

    fn launch_seconds(&self, dispatch: &Dispatch, speed: &Speed) -> f64 {
        let workgroups = f64::from(dispatch.groups[0]) * f64::from(dispatch.groups[1]);
        let occupancy = (workgroups / speed.workgroups).min(1.0);
        let arithmetic = dispatch.operations as f64 / speed.operations;
        let traffic = self.traffic(dispatch) as f64 / speed.bytes;
        speed.launch + (arithmetic + traffic) / occupancy.max(f64::MIN_POSITIVE)
    }

    /// Bytes that a launch reads and writes. Of an input it reads no more than it writes: a gather takes some rows of
    /// a data set.
    fn traffic(&self, dispatch: &Dispatch) -> u64 {
        let written = dispatch.writes.iter().map(|write| self.tensors[write.tensor].bytes).sum();
        let read = dispatch.reads.iter().map(|read| {
            let tensor = &self.tensors[read.tensor];
            if matches!(tensor.home, Home::Input(_)) { tensor.bytes.min(written) } else { tensor.bytes }
        });
        written + read.sum::<u64>()
    }
}

/// Seconds that a replay takes longer where it adds to the gradients: it reads them too.
pub(crate) fn accumulation_seconds(theta_bytes: u64, class: AdapterClass) -> f64 {
    theta_bytes as f64 / speed(class).bytes
}

/// Seconds of an optimizer's update that reads and writes `bytes`.
pub(crate) fn update_seconds(bytes: u64, class: AdapterClass) -> f64 {
    let speed = speed(class);
    speed.launch + bytes as f64 / speed.bytes
}

#[cfg(test)]
mod tests {
    use crate::gpu::{AdapterClass, Profile};
    use crate::plan::Plan;
    use crate::plan::tests::fusion::mlp;

    /// Milliseconds of kernels and update; measured with `bench step` on two quiet cores.
    #[test]
    fn the_estimate_follows_what_was_measured_on_llvmpipe() {
        let program = mlp(&[784, 512, 512, 10]).unwrap();
        let profile =
            Profile { class: AdapterClass::Software, max_binding_size: 1 << 27, ..Profile::portable() };
        for (batch, measured) in [(32, 8.6), (128, 17.3), (1024, 117.0)] {
            let plan = Plan::new(&program, &profile, batch).unwrap();
            let theta: u64 = plan.theta.shards.iter().map(|floats| 4 * *floats as u64).sum();
            // Adam reads the gradient, and reads and writes θ and two vectors.
            let estimate = plan.seconds(profile.class) + super::update_seconds(7 * theta, profile.class);
            // Enough to tell what is twice as fast; the machine itself varied by as much from run to run.
            let ratio = 1e3 * estimate / measured;
            assert!(
                (0.7..1.3).contains(&ratio),
                "batch {batch}: {:.1} ms, {measured} measured",
                1e3 * estimate
            );
        }
    }

    /// Rows cost less in larger micro-batches, on every kind of adapter.
    #[test]
    fn larger_micro_batches_are_estimated_to_be_faster_by_the_row() {
        let program = mlp(&[64, 128, 10]).unwrap();
        for class in [AdapterClass::Software, AdapterClass::Integrated, AdapterClass::Discrete] {
            let profile = Profile { class, ..Profile::portable() };
            let a_row =
                |batch: usize| Plan::new(&program, &profile, batch).unwrap().seconds(class) / batch as f64;
            let rows: Vec<f64> = [1, 8, 64, 512].map(a_row).to_vec();
            assert!(rows.windows(2).all(|pair| pair[1] < pair[0]), "{class:?}: {rows:?}");
        }
    }
}
