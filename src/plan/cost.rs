//! About how long a plan takes: enough to compare micro-batches, and recomputation with smaller parts, on paper.
//!
//! A launch costs a fixed time and then as long as its arithmetic or its memory traffic, whichever is more; one with
//! too few workgroups to fill the adapter goes at a part of the speed (the roofline of Williams et al., 2009, with
//! occupancy). Only ratios matter.

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

/// Measured: Mesa's llvmpipe on two cores (benches/results), 15.9 and 13.4 GFLOP/s at batches of 128 and 1,024.
const SOFTWARE: Speed =
    Speed { submission: 5e-5, launch: 2e-5, operations: 15e9, bytes: 8e9, workgroups: 2.0 };
/// Not measured: half of what integrated GPUs of the last years claim, memory as fast as two channels of DDR5.
const INTEGRATED: Speed =
    Speed { submission: 2e-5, launch: 5e-6, operations: 1e12, bytes: 5e10, workgroups: 128.0 };
/// Not measured: a third of what mid-range cards of the last years claim, and two thirds of their bandwidth.
const DISCRETE: Speed =
    Speed { submission: 2e-5, launch: 5e-6, operations: 5e12, bytes: 3e11, workgroups: 512.0 };

fn speed(class: AdapterClass) -> &'static Speed {
    match class {
        AdapterClass::Software => &SOFTWARE,
        AdapterClass::Integrated | AdapterClass::Other => &INTEGRATED,
        AdapterClass::Discrete => &DISCRETE,
    }
}

impl Plan {
    /// Seconds of one replay.
    pub fn seconds(&self, class: AdapterClass) -> f64 {
        let speed = speed(class);
        speed.submission
            + self.dispatches.iter().map(|dispatch| self.launch_seconds(dispatch, speed)).sum::<f64>()
    }

    fn launch_seconds(&self, dispatch: &Dispatch, speed: &Speed) -> f64 {
        let workgroups = f64::from(dispatch.groups[0]) * f64::from(dispatch.groups[1]);
        let occupancy = (workgroups / speed.workgroups).min(1.0);
        let arithmetic = dispatch.operations as f64 / speed.operations;
        let traffic = self.traffic(dispatch) as f64 / speed.bytes;
        speed.launch + arithmetic.max(traffic) / occupancy.max(f64::MIN_POSITIVE)
    }

    /// Bytes that a launch reads and writes. Of an input it reads no more than it writes: a gather takes some rows of
    /// a data set.
    fn traffic(&self, dispatch: &Dispatch) -> u64 {
        let written = self.tensors[dispatch.write.tensor].bytes;
        let read = dispatch.reads.iter().map(|read| {
            let tensor = &self.tensors[read.tensor];
            if matches!(tensor.home, Home::Input(_)) { tensor.bytes.min(written) } else { tensor.bytes }
        });
        written + read.sum::<u64>()
    }
}

/// Seconds of an optimizer's update of `theta_bytes` with `state_vectors` vectors of state: θ and each of them is read
/// and written, the gradient read.
pub(crate) fn update_seconds(theta_bytes: u64, state_vectors: usize, class: AdapterClass) -> f64 {
    let speed = speed(class);
    speed.launch + theta_bytes as f64 * (3 + 2 * state_vectors) as f64 / speed.bytes
}
