//! Nonlinear least squares: an equation fitted to one table or to many, a fit being one invocation of a kernel.
//!
//! `model` reads the equation and differentiates it; `kernel` writes residuals and derivatives out into a kernel that does
//! whole steps (the methods are rows in `method`); `device` runs it; `statistics` says how exact the answer is.

mod bounds;
mod data;
mod device;
mod kernel;
mod method;
mod model;
mod statistics;

#[cfg(test)]
mod tests;

use std::time::Instant;

pub use bounds::FitBound;
pub use data::FitData;
pub use method::{FIT_METHODS, FitMethod, RobustLoss};
pub use model::FitModel;
pub use statistics::OpenDirection;

use crate::minimize::Status;
use crate::{Error, Gpu, Precision, Result};
use device::{Ended, Problem};

/// How an equation is fitted.
///
/// ```
/// use downhill::{FitBound, FitOptions};
///
/// let options = FitOptions {
///     bounds: FitBound::parse_all("k=0:")?,
///     robust: Some("huber:0.1".parse()?),
///     ..FitOptions::default()
/// };
/// assert_eq!((options.method.name, options.steps), ("lm", 10_000));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// How steps are held back.
    pub method: &'static FitMethod,
    /// Steps that are tried at most.
    pub steps: u32,
    /// The relative offset at which a fit is done: the root of the part of the sum of squares that a step could take away
    /// (Bates and Watts, 1981). None for 1e-5 in f32 and 1e-9 in f64.
    pub tolerance: Option<f64>,
    /// Where unknowns may lie.
    pub bounds: Vec<FitBound>,
    /// A loss that heeds outliers less than squares do.
    pub robust: Option<RobustLoss>,
    /// What kernels compute in: [`Precision::F32`], or [`Precision::F64`], which not every adapter has.
    pub precision: Precision,
}

impl Default for FitOptions {
    /// Levenberg-Marquardt in f32 of at most 10,000 steps.
    fn default() -> Self {
        FitOptions {
            method: <&FitMethod>::default(),
            steps: 10_000,
            tolerance: None,
            bounds: Vec::new(),
            robust: None,
            precision: Precision::F32,
        }
    }
}

impl FitOptions {
    /// The relative offset that ends a fit.
    fn tolerance(&self) -> f64 {
        self.tolerance.unwrap_or(if self.precision == Precision::F64 { 1e-9 } else { 1e-5 })
    }

    fn check(&self) -> Result<()> {
        match self.tolerance {
            Some(tolerance) if !(tolerance >= 0.0 && tolerance.is_finite()) => {
                Err(Error::setting("tolerance", format!("must be a number from 0 on, not {tolerance}")))
            }
            _ => Ok(()),
        }
    }
}

/// What came of a fit. The estimates are the device's; all else is computed from them in f64.
///
/// ```
/// use downhill::{FitData, FitModel, FitOptions, Fitted, Status, fit};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let data = FitData::new(3).shared("x", vec![0.0, 1.0, 2.0])?.shared("y", vec![1.0, 2.1, 2.9])?;
/// let model = FitModel::parse("y = a + b*x", "a=0; b=0", &data.names(), None)?;
/// let fitted: Fitted = fit(&gpu, &model, &data, &FitOptions::default())?;
/// assert_eq!((fitted.status, fitted.degrees_of_freedom), (Status::Converged, 1));
/// assert!((fitted.estimates[1] - 0.95).abs() < 1e-4);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fitted {
    /// How it ended.
    pub status: Status,
    /// Steps that were tried.
    pub steps: u32,
    /// The unknowns in the order of the start.
    pub estimates: Vec<f64>,
    /// The roots of the covariance's diagonal; NaN for what the data leave open, or a bound holds.
    pub standard_errors: Vec<f64>,
    /// s²·(JᵀJ)⁻¹, `[unknowns, unknowns]`; NaN as there.
    pub covariance: Vec<Vec<f64>>,
    /// Whether a bound holds an unknown; it then counts as known.
    pub held: Vec<bool>,
    /// The sum of w·r².
    pub rss: f64,
    /// What was minimised: rss, or with a robust loss its sum.
    pub objective: f64,
    /// Points of weight above 0 less the unknowns that no bound holds; at least 0.
    pub degrees_of_freedom: usize,
    /// s, the root of the objective over the degrees of freedom; NaN where there are none.
    pub residual_sd: f64,
    /// Directions in which the unknowns can move without a change.
    pub open: Vec<OpenDirection>,
    /// By how much rounding the data to the precision moves the residuals, root mean square, where that is a part of them that
    /// counts: data far from 0, of which f32 keeps few digits of what varies. Estimates are then off by more than their
    /// errors say.
    pub data_rounding: Option<f64>,
    /// Waits for a number of the device.
    pub readbacks: u32,
    /// Wall time.
    pub seconds: f64,
}

/// What came of many fits, as the device has it: computed in f64 from its triangles.
///
/// ```
/// use downhill::{FitData, FitModel, FitOptions, ManyFitted, fit_many};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let lines = vec![1.0, 2.0, 3.0, 5.0, 3.0, 1.0];
/// let data = FitData::new(3).shared("x", vec![0.0, 1.0, 2.0])?.own("y", lines)?;
/// let model = FitModel::parse("y = a + b*x", "a=0; b=0", &data.names(), None)?;
/// let many: ManyFitted = fit_many(&gpu, &model, &data, model.start(), &FitOptions::default())?;
/// // The second fit's two unknowns and how it ended.
/// println!("{:?} {:?}", &many.estimates[2..4], many.statuses[1]);
/// # assert_eq!((many.estimates.len(), many.statuses.len()), (4, 2));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ManyFitted {
    /// The unknowns, `[fits, unknowns]`.
    pub estimates: Vec<f64>,
    /// Their standard errors, `[fits, unknowns]`; NaN for what the data leave open, or a bound holds.
    pub standard_errors: Vec<f64>,
    /// What was minimised, for each fit.
    pub objectives: Vec<f64>,
    /// How each ended.
    pub statuses: Vec<Status>,
    /// Steps that each tried.
    pub steps: Vec<u32>,
    /// Waits for a number of the device.
    pub readbacks: u32,
    /// Wall time.
    pub seconds: f64,
}

/// Fits `model` to a table.
///
/// ```
/// use downhill::{FitData, FitModel, FitOptions, Gpu, GpuOptions, fit};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let data = FitData::new(3).shared("x", vec![0.0, 1.0, 2.0])?.shared("y", vec![4.1, 2.0, 0.9])?;
/// let model = FitModel::parse("y = a*exp(-k*x)", "a=1; k=1", &data.names(), None)?;
/// let fitted = fit(&gpu, &model, &data, &FitOptions::default())?;
/// println!("{:?} ± {:?}", fitted.estimates, fitted.standard_errors);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for fewer points than unknowns, a column that is missing, negative weights, bounds of no unknown, a
/// start outside its bounds, more columns of data than one fit has, and f64 where the adapter has none;
/// [`Error::DoesNotFit`], [`Error::OutOfMemory`] and [`Error::Device`] as the device has it. Divergence is a [`Status`].
pub fn fit(gpu: &Gpu, model: &FitModel, data: &FitData, options: &FitOptions) -> Result<Fitted> {
    let began = Instant::now();
    if data.fits() != 1 {
        return Err(Error::setting("data", format!("holds {} fits; fit_many takes them", data.fits())));
    }
    let ended = run(gpu, model, data, model.start(), options)?;
    let (residuals, mut jacobian) = model.linearised(&ended.estimates, data, 0);
    let mut objective = 0.0;
    for (row, &residual) in residuals.iter().enumerate() {
        let (value, scale) =
            options.robust.map_or((residual * residual, 1.0), |loss| loss.rescaled(residual));
        objective += value;
        jacobian.iter_mut().for_each(|column| column[row] *= scale);
    }
    let free = &ended.free;
    let degrees_of_freedom =
        counted(model, data, 0).saturating_sub(free.iter().filter(|free| **free).count());
    let variance = if degrees_of_freedom > 0 { objective / degrees_of_freedom as f64 } else { f64::NAN };
    let errors = statistics::errors(&jacobian, free, variance);
    Ok(Fitted {
        status: ended.statuses[0],
        steps: ended.steps[0],
        standard_errors: (0..free.len()).map(|j| errors.covariance[j][j].sqrt()).collect(),
        covariance: errors.covariance,
        held: free.iter().map(|free| !free).collect(),
        rss: residuals.iter().map(|residual| residual * residual).sum(),
        objective,
        degrees_of_freedom,
        residual_sd: variance.sqrt(),
        open: errors.open,
        data_rounding: data_rounding(
            model,
            data,
            (&ended.estimates, &residuals, variance.sqrt()),
            options.precision,
        ),
        readbacks: ended.readbacks,
        seconds: began.elapsed().as_secs_f64(),
        estimates: ended.estimates,
    })
}

/// Shares of the residuals' deviation, and of what varies in the equation's sides, above which roundings of the data count.
const OF_DEVIATION: f64 = 0.1;
const OF_SPREAD: f64 = 1e-4;

/// As [`Fitted::data_rounding`].
fn data_rounding(
    model: &FitModel,
    data: &FitData,
    fitted: (&[f64], &[f64], f64),
    precision: Precision,
) -> Option<f64> {
    if precision == Precision::F64 {
        return None;
    }
    let (estimates, residuals, deviation) = fitted;
    let moved = model.linearised(estimates, &data.rounded(), 0).0;
    let squares = moved.iter().zip(residuals).map(|(moved, residual)| (moved - residual).powi(2));
    let rounding = (squares.sum::<f64>() / residuals.len() as f64).sqrt();
    let spread = |side: &Vec<f64>| {
        let (least, most) = (
            side.iter().copied().fold(f64::INFINITY, f64::min),
            side.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        );
        most - least
    };
    let spread = model.sides(estimates, data, 0).iter().map(spread).fold(0.0, f64::max);
    (rounding > OF_DEVIATION * deviation && rounding > OF_SPREAD * spread).then_some(rounding)
}

/// Fits `model` to each of the tables that `data` holds, from one start for all, `[unknowns]`, or one each, `[fits, unknowns]`.
///
/// ```
/// use downhill::{FitData, FitModel, FitOptions, fit_many};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// // Two lines through three points each: 1 + x and 5 − 2x.
/// let lines = vec![1.0, 2.0, 3.0, 5.0, 3.0, 1.0];
/// let data = FitData::new(3).shared("x", vec![0.0, 1.0, 2.0])?.own("y", lines)?;
/// let model = FitModel::parse("y = a + b*x", "a=0; b=0", &data.names(), None)?;
/// let many = fit_many(&gpu, &model, &data, model.start(), &FitOptions::default())?;
/// let errors = many.estimates.iter().zip([1.0, 1.0, 5.0, -2.0]).map(|(found, right)| found - right);
/// assert!(errors.into_iter().all(|error| error.abs() < 1e-4));
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`fit`]; [`Error::Setting`] for another number of starts; and for fits of more than 100,000 points, each of which one
/// invocation goes over.
pub fn fit_many(
    gpu: &Gpu,
    model: &FitModel,
    data: &FitData,
    starts: &[f64],
    options: &FitOptions,
) -> Result<ManyFitted> {
    let began = Instant::now();
    let unknowns = model.unknowns().len();
    if data.points() > MOST_POINTS_OF_MANY {
        let message =
            format!("{} points a fit, where many fits have at most {MOST_POINTS_OF_MANY}", data.points());
        return Err(Error::setting("data", message));
    }
    let ended = run(gpu, model, data, starts, options)?;
    let mut standard_errors = Vec::with_capacity(ended.estimates.len());
    for fit in 0..data.fits() {
        let triangle = &ended.triangles[fit * unknowns * unknowns..][..unknowns * unknowns];
        let free = &ended.free[fit * unknowns..][..unknowns];
        let freedom = counted(model, data, fit).saturating_sub(free.iter().filter(|free| **free).count());
        let variance = if freedom > 0 { ended.objectives[fit] / freedom as f64 } else { f64::NAN };
        let columns: Vec<Vec<f64>> =
            (0..unknowns).map(|j| (0..unknowns).map(|i| triangle[i * unknowns + j]).collect()).collect();
        let errors = statistics::errors(&columns, free, variance);
        standard_errors.extend((0..unknowns).map(|j| errors.covariance[j][j].sqrt()));
    }
    Ok(ManyFitted {
        estimates: ended.estimates,
        standard_errors,
        objectives: ended.objectives,
        statuses: ended.statuses,
        steps: ended.steps,
        readbacks: ended.readbacks,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Points that an invocation goes over in well below the half second at which watchdogs become a danger.
const MOST_POINTS_OF_MANY: usize = 100_000;

/// Points that count: those of a weight above 0.
fn counted(model: &FitModel, data: &FitData, fit: usize) -> usize {
    let weights = model.weights().and_then(|name| data.values(name, fit));
    weights.map_or(data.points(), |weights| weights.iter().filter(|weight| **weight > 0.0).count())
}

/// Checks all, and has the device do it.
fn run(gpu: &Gpu, model: &FitModel, data: &FitData, starts: &[f64], options: &FitOptions) -> Result<Ended> {
    options.check()?;
    let unknowns = model.unknowns().len();
    if starts.len() != unknowns && starts.len() != unknowns * data.fits() {
        let message = format!(
            "{} numbers are no start of {unknowns} unknowns, nor one for each of {} fits",
            starts.len(),
            data.fits()
        );
        return Err(Error::setting("start", message));
    }
    check_data(model, data)?;
    let limits = bounds::limits(model, &options.bounds, starts)?;
    options.precision.check(gpu.profile())?;
    if options.precision == Precision::F16 {
        return Err(Error::setting("precision", "a fit is computed in f32 or f64, not in f16"));
    }
    Problem { model, data, starts, limits: &limits, options }.run(gpu)
}

/// Refuses data that lack a column, have a negative weight or fewer points than unknowns.
fn check_data(model: &FitModel, data: &FitData) -> Result<()> {
    let unknowns = model.unknowns().len();
    for name in model.columns() {
        if data.values(name, 0).is_none() {
            return Err(Error::setting("data", format!("has no column `{name}`")));
        }
    }
    if let Some(name) = model.weights() {
        let rows = (0..data.fits()).flat_map(|fit| data.values(name, fit).unwrap_or_default());
        if let Some((at, weight)) = rows.enumerate().find(|(_, weight)| **weight < 0.0) {
            let message =
                format!("`{name}`, row {}: a weight is not negative, this is {weight}", at % data.points());
            return Err(Error::setting("weights", message));
        }
    }
    if data.points() < unknowns {
        let message = format!("{} points do not determine {unknowns} unknowns", data.points());
        return Err(Error::setting("data", message));
    }
    Ok(())
}
