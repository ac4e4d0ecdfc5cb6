//! The tilings of a run's products, measured on the adapter: each product by every tile that the adapter runs, beside the one
//! that it gets by the built-in table.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::bench::KernelBench;
use super::cases::product;
use super::timing::median;
use crate::gpu::{AdapterClass, Gpu, Profile, TunedProduct, Tuning};
use crate::plan::{ProductShape, Tile, Tiling, tiles, tiling_for};
use crate::train::MemoryModel;
use crate::{Error, Result};

/// How often a candidate is measured beside the built-in choice.
const ROUNDS: usize = 3;

/// By how much a candidate must be faster to be kept: less is within the spread of a busy machine.
const WORTH: f64 = 1.05;

/// Parts that long sums are tried in.
const PARTS: [usize; 5] = [2, 4, 8, 16, 32];

/// Positions of the summed axis that a part has at least.
const SHORTEST_PART: usize = 128;

/// How far a result may be from that of the built-in choice, relative to its norm: sums in parts are rounded otherwise, and
/// matrix units round within a fragment as they like, by a few times 2⁻²⁴ of the partial sums.
const SPLIT_ERROR: f64 = 1e-5;
const UNITS_ERROR: f64 = 1e-4;

/// What was found for one product.
///
/// ```
/// use downhill::TuneStep;
///
/// /// A line for each product that was measured.
/// fn line(step: &TuneStep) -> String {
///     let product = &step.product;
///     format!("{} × {} × {}: {:.2} times as fast", product.m, product.n, product.k, step.faster)
/// }
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct TuneStep {
    /// The product and what is fastest for it, be it the built-in choice.
    pub product: TunedProduct,
    /// Seconds of the built-in choice, and by how much the fastest is faster.
    pub seconds: f64,
    /// 1 where it is the built-in choice itself.
    pub faster: f64,
    /// Candidates that were measured.
    pub measured: usize,
    /// Candidates whose result was wrong, and which were left out for that.
    pub wrong: Vec<String>,
}

/// A tuning, and how many products of the run time did not suffice for.
///
/// ```no_run
/// # use std::ops::ControlFlow;
/// # use std::time::Duration;
/// use downhill::{MemoryModel, Tuned, Tuning, data, tune};
/// # use downhill::{Optimizer, TrainOptions};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let digits = data::load(&"digits".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("mlp:256,256".parse()?, Optimizer::new("adam")?);
/// # let run = MemoryModel::new(&digits, &options, gpu.profile())?;
/// # let (known, time) = (Tuning::default(), Duration::from_secs(60));
/// let Tuned { tuning, left, .. } = tune(&gpu, &run, known, time, |_| ControlFlow::Continue(()))?;
/// println!("{} products are faster now, and for {left} there was no time", tuning.products.len());
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Tuned {
    /// What was known before, and what was found.
    pub tuning: Tuning,
    /// Products that were not measured, or not by every tile.
    pub left: usize,
}

/// Measures the products of a run, the largest first, for at most `time` and within the budget of the device, and tells
/// `found` of each, which says whether to go on. What is faster than the built-in choice takes the place of what `tuning` says
/// of the product; where nothing is, that is forgotten.
///
/// A candidate counts only if its result is that of the built-in choice: to the bit where it sums in the same order, else to
/// 1e-5 of the norm in parts and 1e-4 on matrix units. On a software adapter kernels through workgroup memory, which take
/// seconds to compile and lose, are not tried.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use std::time::Duration;
/// use downhill::{MemoryModel, Optimizer, TrainOptions, Tuning, data, tune};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let digits = data::load(&"digits".parse()?, None, None, 0)?;
/// let options = TrainOptions::new("mlp:256,256".parse()?, Optimizer::new("adam")?);
/// let run = MemoryModel::new(&digits, &options, gpu.profile())?;
/// let tuned = tune(&gpu, &run, Tuning::default(), Duration::from_secs(60), |step| {
///     println!("{:?}: {:.2}", step.product, step.faster);
///     ControlFlow::Continue(())
/// })?;
/// // Devices that are opened with this folder as their cache use it.
/// tuned.tuning.save("cache".as_ref(), gpu.adapter_info())?;
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::DoesNotFit`] where the run does not fit, [`Error::Device`] where the device fails.
pub fn tune(
    gpu: &Gpu,
    run: &MemoryModel,
    mut tuning: Tuning,
    time: Duration,
    mut found: impl FnMut(&TuneStep) -> ControlFlow<()>,
) -> Result<Tuned> {
    let began = Instant::now();
    let in_time = || began.elapsed() < time;
    let mut products = run.products(gpu.budget().bytes, &gpu.adapter_info().name)?;
    products.sort_by_key(|shape| std::cmp::Reverse(shape.m * shape.n * shape.k));
    let mut left = products.len();
    for shape in products {
        let step = tune_product(gpu, shape, in_time)?;
        // The last one may have been cut short.
        left -= usize::from(in_time());
        let Some(step) = step.filter(|step| step.measured > 0) else { continue };
        let told = found(&step);
        tuning.forget(&step.product);
        if step.faster > 1.0 {
            tuning.products.push(step.product);
        }
        if told.is_break() || !in_time() {
            break;
        }
    }
    Ok(Tuned { tuning, left })
}

/// None where the product does not fit by itself, or time was over before.
fn tune_product(gpu: &Gpu, shape: ProductShape, go_on: impl Fn() -> bool) -> Result<Option<TuneStep>> {
    if !go_on() {
        return Ok(None);
    }
    let own = tiling_for(gpu.profile(), shape.m, shape.n, shape.k);
    let Some(reference) = bench(gpu, shape, own)? else { return Ok(None) };
    let wanted = reference.result()?;
    let mut seconds = Vec::new();
    let (mut best, mut faster) = (own, 1.0_f64);
    let (mut measured, mut wrong) = (0, Vec::new());
    for tiling in candidates(gpu.profile(), shape, own) {
        if !go_on() {
            break;
        }
        let Some(candidate) = bench(gpu, shape, tiling)? else { continue };
        if !is_right(own, tiling, &candidate.result()?, &wanted) {
            wrong.push(named(tiling));
            continue;
        }
        let mut ratios = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let (ours, theirs) = (reference.measure()?.seconds, candidate.measure()?.seconds);
            seconds.push(ours);
            ratios.push(ours / theirs);
        }
        measured += 1;
        let ratio = median(ratios).unwrap_or(f64::NAN);
        if ratio > faster.max(WORTH) {
            (best, faster) = (tiling, ratio);
        }
    }
    let ProductShape { m, n, k, transposed, half } = shape;
    let product = TunedProduct { m, n, k, transposed, half, tile: best.tile.to_string(), parts: best.parts };
    Ok(Some(TuneStep { product, seconds: median(seconds).unwrap_or(f64::NAN), faster, measured, wrong }))
}

/// A product by a tiling, ready to be timed; none where it does not fit.
fn bench(gpu: &Gpu, shape: ProductShape, tiling: Tiling) -> Result<Option<KernelBench>> {
    let case = product(named(tiling), shape, Some(tiling))?;
    match KernelBench::new(gpu, &case) {
        Err(Error::DoesNotFit(_) | Error::OutOfMemory(_)) => Ok(None),
        bench => bench.map(Some),
    }
}

fn named(Tiling { tile, parts }: Tiling) -> String {
    format!("{tile} in {parts}")
}

/// What is measured beside `own`: every tile, and every tile that leaves processors idle with its sums in parts.
fn candidates(profile: &Profile, shape: ProductShape, own: Tiling) -> Vec<Tiling> {
    let software = profile.class == AdapterClass::Software;
    let suits = |tile: &Tile| {
        let on_units = tile.on_units() && shape.half == [true; 2];
        if tile.on_units() { on_units } else { !(software && tile.is_staged()) }
    };
    let splits = |tile: Tile| {
        let few = tile.workgroups(shape.m, shape.n) < 1024 && !software;
        let parts = PARTS.into_iter().filter(move |parts| few && shape.k / parts >= SHORTEST_PART);
        std::iter::once(1).chain(parts).map(move |parts| Tiling { tile, parts })
    };
    let all = tiles(profile).filter(suits).flat_map(splits);
    all.filter(|tiling| *tiling != own).collect()
}

/// Whether a result is that of the built-in choice.
fn is_right(own: Tiling, tiling: Tiling, found: &[f32], wanted: &[f32]) -> bool {
    if own.parts == tiling.parts && !tiling.tile.on_units() {
        let bits = |floats: &[f32]| floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
        return bits(found) == bits(wanted);
    }
    let bound = if tiling.tile.on_units() { UNITS_ERROR } else { SPLIT_ERROR };
    let square = |x: f64| x * x;
    let norm: f64 = wanted.iter().map(|x| square(f64::from(*x))).sum();
    let error: f64 =
        found.iter().zip(wanted).map(|(found, wanted)| square(f64::from(*found) - f64::from(*wanted))).sum();
    // NaN is no small error.
    error <= square(bound) * norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{GpuOptions, RowRuns};
    use crate::optim::Optimizer;
    use crate::train::{BatchSize, TrainOptions};

    const SHAPE: ProductShape =
        ProductShape { m: 64, n: 10, k: 4096, transposed: [true, false], half: [false; 2] };

    #[test]
    fn candidates_are_what_an_adapter_runs_and_has_time_for() {
        let desktop = Profile::desktop();
        let units = Profile { matrix_units: true, ..Profile::desktop() };
        let half = ProductShape { half: [true; 2], ..SHAPE };
        let rows = [
            // Four tiles without and four with workgroup memory, each whole and in five ways split, but the own.
            ("desktop", &desktop, SHAPE, 8 * 6 - 1),
            ("units, but f32", &units, SHAPE, 8 * 6 - 1),
            ("units", &units, half, 11 * 6 - 1),
            ("short sums", &desktop, ProductShape { k: 255, ..SHAPE }, 8 - 1),
        ];
        for (label, profile, shape, count) in rows {
            let own = tiling_for(profile, shape.m, shape.n, shape.k);
            assert_eq!(candidates(profile, shape, own).len(), count, "{label}");
        }
        let software = Profile { class: AdapterClass::Software, ..Profile::portable() };
        let own = tiling_for(&software, 64, 10, 4096);
        let found = candidates(&software, SHAPE, own);
        assert!(found.iter().all(|tiling| !tiling.tile.is_staged() && tiling.parts == 1), "{found:?}");
    }

    #[test]
    fn a_wrong_result_is_told_from_one_that_is_rounded_otherwise() {
        let own = tiling_for(&Profile::desktop(), 64, 64, 64);
        let split = Tiling { parts: own.parts + 1, ..own };
        let units = Profile { matrix_units: true, ..Profile::desktop() };
        let on_units = Tiling { tile: tiles(&units).find(Tile::on_units).unwrap(), parts: own.parts };
        let next = f32::from_bits(1f32.to_bits() + 1);
        let rows = [
            (own, [1.0, 2.0], true),
            (own, [next, 2.0], false),
            (split, [next, 2.0], true),
            (split, [1.001, 2.0], false),
            (on_units, [1.00001, 2.0], true),
            (on_units, [1.001, 2.0], false),
            (split, [f32::NAN, 2.0], false),
        ];
        for (tiling, found, expected) in rows {
            assert_eq!(is_right(own, tiling, &found, &[1.0, 2.0]), expected, "{} {found:?}", named(tiling));
        }
    }

    /// From measurement over the file to the plan that it changes.
    #[test]
    fn what_is_tuned_is_kept_and_used() {
        // By rows a network as small as this has no products.
        let device = GpuOptions { row_runs: RowRuns::Never, ..GpuOptions::default() };
        let gpu = Gpu::new(&device).unwrap();
        let data = crate::data::load(&"random:300x64:10".parse().unwrap(), None, None, 0).unwrap();
        let options = TrainOptions {
            batch: BatchSize::Rows(32),
            ..TrainOptions::new("mlp:48".parse().unwrap(), Optimizer::new("sgd").unwrap())
        };
        let run = MemoryModel::new(&data, &options, gpu.profile()).unwrap();
        let mut steps = Vec::new();
        let keep = |step: &TuneStep| {
            steps.push(step.clone());
            ControlFlow::Continue(())
        };
        // What was known of another product stays, of one that is measured goes.
        let stale = |m| TunedProduct {
            m,
            n: 48,
            k: 64,
            transposed: [false, true],
            half: [false; 2],
            tile: "none".to_owned(),
            parts: 1,
        };
        let known = Tuning { products: vec![stale(32), stale(7)] };
        let Tuned { mut tuning, left } = tune(&gpu, &run, known, Duration::from_secs(600), keep).unwrap();
        assert_eq!((left, tuning.products.remove(0)), (0, stale(7)));
        assert!(!tuning.products.contains(&stale(32)));
        let nothing = |_: &TuneStep| ControlFlow::Continue(());
        let hurried = tune(&gpu, &run, Tuning::default(), Duration::ZERO, nothing).unwrap();
        assert_eq!(hurried, Tuned { tuning: Tuning::default(), left: 5 });
        // Forward and both derivatives of two layers, but the derivative by the rows.
        assert_eq!(steps.len(), 5, "{steps:?}");
        assert!(steps.iter().all(|step| step.measured > 0 && step.seconds > 0.0 && step.wrong.is_empty()));
        assert_eq!(tuning.products.len(), steps.iter().filter(|step| step.faster > 1.0).count());

        // Whatever was found, another tile than the built-in one is what is used then.
        let own = tiling_for(gpu.profile(), 32, 48, 64);
        let other = tiles(gpu.profile()).find(|tile| *tile != own.tile && !tile.is_staged()).unwrap();
        let product = TunedProduct { tile: other.to_string(), ..steps[0].product.clone() };
        let folder = tempfile::tempdir().unwrap();
        Tuning { products: vec![product.clone()] }.save(folder.path(), gpu.adapter_info()).unwrap();
        let cache = Some(folder.path().to_owned());
        let tuned = Gpu::new(&GpuOptions { cache, ..device }).unwrap();
        assert_eq!(tuned.profile().tuning.products, [product]);
        let texts = |gpu: &Gpu| {
            let run = MemoryModel::new(&data, &options, gpu.profile()).unwrap();
            run.planned(gpu.budget().bytes, "").unwrap().remove(0).kernels
        };
        assert_ne!(texts(&tuned), texts(&gpu));
    }
}
