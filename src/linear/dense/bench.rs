//! How fast factorisations are, against the engine's own product of matrices in the same rounds.

use crate::gpu::Gpu;
use crate::linear::device::Device;
use crate::linear::matrix::SparseMatrix;
use crate::linear::number::Number;
use crate::linear::options::{METHODS, Way};
use crate::measure::{KernelBench, kernel_cases, median, timed};
use crate::{Error, Result};

/// How long a factorisation takes.
///
/// ```no_run
/// use downhill::linear::{FactorTiming, measure_factorisation};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let timing: FactorTiming = measure_factorisation(&gpu, "cholesky", 64, 32, 3)?;
/// println!("{:.1e} operations a second", timing.operations as f64 / timing.seconds);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct FactorTiming {
    /// Seconds of one run, the middle of all rounds.
    pub seconds: f64,
    /// Multiplications and additions, of all matrices.
    pub operations: u64,
    /// Operations a second as a share of those of a product of two square matrices, the middle of all rounds.
    pub fraction_of_product: f64,
}

/// Factorises `count` matrices of n × n together in f32 by `lu`, `qr` or `cholesky`, `rounds` times.
///
/// ```no_run
/// use downhill::linear::measure_factorisation;
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let timing = measure_factorisation(&gpu, "lu", 1, 512, 5)?;
/// println!("{:.0} % of a product's speed", 100.0 * timing.fraction_of_product);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for a method that does not factorise and for no rounds, [`Error::DoesNotFit`] where the adapter binds too
/// little, [`Error::Device`] where the device fails.
pub fn measure_factorisation(
    gpu: &Gpu,
    method: &str,
    count: usize,
    n: usize,
    rounds: u64,
) -> Result<FactorTiming> {
    let found = METHODS.iter().find(|known| known.name == method).map(|known| known.way);
    let Some(Way::Factors(kind)) = found else {
        return Err(Error::setting("method", format!("`{method}` makes no factors")));
    };
    let device = Device::new(gpu, Number::Single)?;
    let matrices = vec![sample(n)?; count];
    let factors = (kind.factorise)(&device, &matrices)?;
    let cases = kernel_cases(gpu.profile())?;
    let square = cases.iter().find(|case| case.kernel == "matmul nn");
    let product =
        KernelBench::new(gpu, square.ok_or_else(|| Error::setting("kernel", "there is no product"))?)?;
    let operations = count as u64 * (kind.operations)(n as u64);
    let (mut seconds, mut fractions) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        factors.batch.fill(&device, &matrices)?;
        let own = timed(gpu, |pass| factors.factorisation.record(pass))?;
        let beside = product.measure()?;
        seconds.push(own);
        fractions.push(operations as f64 / own * beside.seconds / beside.operations as f64);
    }
    let middle = |values| median(values).ok_or_else(|| Error::setting("rounds", "must be at least 1"));
    Ok(FactorTiming { seconds: middle(seconds)?, operations, fraction_of_product: middle(fractions)? })
}

/// A symmetric positive definite matrix, which every method takes: any numbers beside a diagonal that outweighs them.
fn sample(n: usize) -> Result<SparseMatrix> {
    let scattered = |i: usize, j: usize| ((i * 31 + j * 17 + i * j) % 101) as f64 / 101.0 - 0.5;
    let value = |place: usize| {
        let (i, j) = (place / n, place % n);
        if i == j { n as f64 } else { scattered(i.min(j), i.max(j)) }
    };
    SparseMatrix::from_dense(n, n, &(0..n * n).map(value).collect::<Vec<_>>())
}
