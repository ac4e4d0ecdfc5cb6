//! A kernel at one shape on a device, ready to be timed.

use std::time::{Duration, Instant};

use super::cases::KernelCase;
use super::ceilings::Ceilings;
use super::timing::timed;
use crate::Result;
use crate::gpu::{Buffer, Gpu, Kernels};
use crate::graph::Element;
use crate::plan::StepUniform;
use crate::plan::memory::Needs;
use crate::plan::replay::{Memory, Replay, record};

/// Seconds that a measurement lasts, about: many replays of what is short.
const SECONDS: f64 = 0.01;
const MOST_REPLAYS: f64 = 1000.0;

/// A [`KernelCase`] on a device.
///
/// ```
/// use downhill::{KernelBench, kernel_cases};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let cases = kernel_cases(gpu.profile())?;
/// let case = cases.iter().find(|case| case.shape == [1, 512, 784]).expect("a layer for one row");
/// let bench = KernelBench::new(&gpu, case)?;
/// println!("{}: {:?} to compile, then {} s", case.kernel, bench.compilation(), bench.measure()?.seconds);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct KernelBench {
    gpu: Gpu,
    replay: Replay,
    /// Launches at its head that are not timed.
    prepared: usize,
    operations: u64,
    bytes: u64,
    replays: u32,
    compilation: Duration,
    on_units: bool,
    result_bytes: u64,
    memory: Memory,
}

/// How long a kernel takes, and what it does in that time.
///
/// ```
/// use downhill::{KernelBench, KernelTiming, kernel_cases};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let cases = kernel_cases(gpu.profile())?;
/// let case = cases.iter().find(|case| case.shape == [128, 10, 512]).expect("a last layer");
/// let timing: KernelTiming = KernelBench::new(&gpu, case)?.measure()?;
/// println!("{:.2e} operations a second", timing.operations as f64 / timing.seconds);
/// # assert!(timing.seconds > 0.0 && timing.bytes > 0);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct KernelTiming {
    /// Seconds of one run.
    pub seconds: f64,
    /// Multiplications and additions, where they may be what takes the time.
    pub operations: u64,
    /// The fewest bytes that can be read and written for it: each input and the result once.
    pub bytes: u64,
    /// Whether it multiplies on matrix units.
    pub on_units: bool,
}

impl KernelTiming {
    /// The least time that `ceilings` allow, for arithmetic or for memory, as a share of the time that it took: the
    /// roofline of Williams, Waterman and Patterson (2009).
    pub fn fraction_of(&self, ceilings: &Ceilings) -> f64 {
        let units = ceilings.matrix_operations_per_second.filter(|_| self.on_units);
        let arithmetic = self.operations as f64 / units.unwrap_or(ceilings.operations_per_second);
        let memory = self.bytes as f64 / ceilings.bytes_per_second;
        arithmetic.max(memory) / self.seconds
    }
}

impl KernelBench {
    /// Plans, allocates, fills and compiles `case`, and runs it once.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`](crate::Error::DoesNotFit) where the adapter binds too little for the shape,
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::Device`](crate::Error::Device) where the device fails.
    pub fn new(gpu: &Gpu, case: &KernelCase) -> Result<Self> {
        let plan = case.plan(gpu.profile())?;
        let memory = Memory::new(gpu, &Needs::of(&[&plan]))?;
        for slot in &plan.inputs {
            let count = slot.ty.shape.elements(plan.batch) as u32;
            let bytes = match slot.ty.element {
                // Any numbers but zeros, which some hardware moves for less.
                Element::F32 => (0..count).flat_map(|i| (scattered(i) * 1e-3).to_le_bytes()).collect(),
                Element::U32 => {
                    let index = |i: u32| ((scattered(i) * 0.5 + 0.5) * case.indices as f32) as u32;
                    (0..count).flat_map(|i| index(i).min(case.indices - 1).to_le_bytes()).collect()
                }
                Element::U8 => vec![100; slot.ty.element.bytes(count as usize) as usize],
            };
            if let Some(buffer) = memory.inputs.get(&slot.name) {
                gpu.write_buffer(buffer.raw(), 0, &bytes)?;
            }
        }
        for shard in &memory.theta {
            let bytes: Vec<u8> = (0..shard.raw().size() as u32 / 4)
                .flat_map(|i| (scattered(i) * 1e-3).to_le_bytes())
                .collect();
            gpu.write_buffer(shard.raw(), 0, &bytes)?;
        }
        let uniform = StepUniform::new(0, 0, plan.batch, 1.0 / plan.batch as f64);
        gpu.write_buffer(memory.uniforms.raw(), 0, &uniform.bytes(plan.precision))?;
        let theta: Vec<&Buffer> = memory.theta.iter().collect();
        let began = Instant::now();
        let replay = Replay::new(gpu, &Kernels::new(gpu), &plan, &memory, &theta)?;
        let mut bench = KernelBench {
            gpu: gpu.clone(),
            replay,
            prepared: case.prepared,
            operations: plan.operations(),
            bytes: case.bytes,
            replays: 1,
            compilation: Duration::ZERO,
            on_units: plan.kernels.iter().any(|kernel| kernel.wgsl.contains("coop_mat")),
            result_bytes: plan.results[0],
            memory,
        };
        timed(gpu, |pass| record(&bench.replay.launches()[..bench.prepared], pass))?;
        // The first run compiles on some drivers; the second tells how many are worth a measurement.
        bench.measure()?;
        bench.compilation = began.elapsed();
        let once = bench.measure()?.seconds;
        bench.replays = (SECONDS / once.max(1e-9)).clamp(1.0, MOST_REPLAYS) as u32;
        Ok(bench)
    }

    /// How long it took to compile its kernels and to run them for the first time.
    pub fn compilation(&self) -> Duration {
        self.compilation
    }

    /// What it computed last: the first and the last of it, where it is long.
    pub(super) fn result(&self) -> Result<Vec<f32>> {
        const MOST: u64 = 1 << 22;
        let results = &self.memory.results;
        let end = self.result_bytes;
        let first = 0..end.min(MOST);
        let last = end.saturating_sub(MOST).max(first.end)..end;
        let mut floats = Vec::new();
        for range in [first, last].into_iter().filter(|range| !range.is_empty()) {
            let bytes = self.gpu.read_buffer(results.raw(), range)?;
            floats.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
        }
        Ok(floats)
    }

    /// How long it takes now.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device fails.
    pub fn measure(&self) -> Result<KernelTiming> {
        let launches = &self.replay.launches()[self.prepared..];
        let seconds = timed(&self.gpu, |pass| (0..self.replays).for_each(|_| record(launches, pass)))?;
        let seconds = seconds / f64::from(self.replays);
        Ok(KernelTiming { seconds, operations: self.operations, bytes: self.bytes, on_units: self.on_units })
    }
}

/// A number on (−1, 1) that says little of its neighbours.
fn scattered(i: u32) -> f32 {
    (i.wrapping_mul(0x9e37_79b9) >> 8) as f32 / (1 << 23) as f32 - 1.0
}
