//! The learning-rate range test (Smith 2017, §3.3): a short trial run whose rate grows from step to step by equal
//! ratios, and from its losses the rate at which learning is fastest.

use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::event::Event;
use super::options::{Length, TrainOptions};
use super::trainer::Trainer;
use crate::data::Split;
use crate::gpu::Gpu;
use crate::{Error, Result};

/// Steps to both sides that a point of the curve is averaged over, as a part of the sweep: one decade of the usual eight.
const REACH: f64 = 0.1;

/// Weight of the past in the running mean that ends the sweep: about that of ten steps.
const MEMORY: f64 = 0.9;

/// The sweep ends where the running mean of the loss is this many times its least so far.
const TOO_HIGH: f64 = 4.0;

/// Fewer steps show no slope.
const FEWEST_STEPS: u64 = 10;

/// The learning rates of a range test.
///
/// ```
/// use downhill::RateRange;
///
/// let range = RateRange { from: 1e-5, ..RateRange::default() };
/// assert_eq!((range.to, range.steps), (10.0, 100));
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RateRange {
    /// Of the first step.
    pub from: f64,
    /// Of the last step.
    pub to: f64,
    /// Steps, at least 10. Where an epoch has fewer, the sweep goes on in the next: a rate should meet new rows, but
    /// a curve of a dozen points says nothing.
    pub steps: u64,
}

impl Default for RateRange {
    fn default() -> Self {
        RateRange { from: 1e-7, to: 10.0, steps: 100 }
    }
}

/// A step of a range test.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::{RangeTest, RatePoint, RateRange};
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// let mut test = RangeTest::new(&gpu, rows, options, RateRange { from: 0.5, to: 2.0, steps: 10 })?;
/// if let Some(RatePoint { lr, loss, .. }) = test.next_point(&AtomicBool::new(false))? {
///     println!("{loss} at {lr}");
/// #     assert!((lr - 0.5).abs() < 1e-9);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct RatePoint {
    /// The learning rate that it used.
    pub lr: f64,
    /// The loss of its minibatch, before the update.
    pub loss: f64,
}

/// What a range test found.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::{RangeTest, RateCurve, RateRange};
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// let mut test = RangeTest::new(&gpu, rows, options, RateRange { from: 1e-3, to: 1.0, steps: 20 })?;
/// while test.next_point(&AtomicBool::new(false))?.is_some() {}
/// let curve: RateCurve = test.curve();
/// assert_eq!(curve.points.len(), curve.smoothed.len());
/// println!("{:?}", curve.suggested);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct RateCurve {
    /// The steps up to where the loss became too high.
    pub points: Vec<RatePoint>,
    /// Their losses, each averaged with its neighbours to both sides.
    pub smoothed: Vec<f64>,
    /// The rate at which the smoothed loss falls fastest on the way to its least; none where it does not fall.
    pub suggested: Option<f64>,
}

/// A range test under way.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use downhill::{Gpu, GpuOptions, Optimizer, RangeTest, RateRange, TrainOptions, data};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let digits = data::load(&"digits".parse()?, None, None, 0)?;
/// let options = TrainOptions::new("mlp:64".parse()?, Optimizer::new("sgd")?);
/// let mut test = RangeTest::new(&gpu, digits, options, RateRange::default())?;
/// let never = AtomicBool::new(false);
/// while let Some(point) = test.next_point(&never)? {
///     println!("{:e}: {}", point.lr, point.loss);
/// }
/// println!("{:?}", test.curve().suggested);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct RangeTest {
    trainer: Trainer,
    points: Vec<RatePoint>,
    running: RunningMean,
    least: f64,
    ended: bool,
}

impl RangeTest {
    /// Lays out the trial run: as `options` say, but for its learning rate, schedule and length. The test rows of
    /// `data` are not looked at.
    ///
    /// # Errors
    /// [`Error::Setting`] for a range of rates that is none, and as [`Trainer::new`].
    pub fn new(gpu: &Gpu, data: Split, options: TrainOptions, range: RateRange) -> Result<Self> {
        let RateRange { from, to, steps } = range;
        if !(from > 0.0 && from < to && to.is_finite()) {
            let message = format!("must go up from a number above 0, not from {from} to {to}");
            return Err(Error::setting("range of rates", message));
        }
        if steps < FEWEST_STEPS {
            return Err(Error::setting("steps", format!("must be at least {FEWEST_STEPS}, not {steps}")));
        }
        // The optimizer keeps its own rate: those of groups are in proportion to it.
        let base = options.optimizer.learning_rate();
        if base <= 0.0 {
            return Err(Error::setting("lr", "must be above 0 where a learning rate is looked for, not 0"));
        }
        let options = TrainOptions {
            schedule: format!("geometric from {} to {}", from / base, to / base).parse()?,
            length: Length::Steps(steps),
            log_every: 1,
            ..options
        };
        let trainer = Trainer::new(gpu, Split { test: None, ..data }, options)?;
        let running = RunningMean::default();
        Ok(RangeTest { trainer, points: Vec::new(), running, least: f64::INFINITY, ended: false })
    }

    /// The trial run.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The next step; `None` after the last, after one whose loss was too high or not finite, and where `interrupted`
    /// is set.
    ///
    /// # Errors
    /// As [`Trainer::next_event`]; but a loss that is not finite is no error after the first step: it ends the test.
    pub fn next_point(&mut self, interrupted: &AtomicBool) -> Result<Option<RatePoint>> {
        while !self.ended {
            match self.trainer.next_event(interrupted) {
                Ok(Event::Step(step)) if step.loss.is_finite() => {
                    let point = RatePoint { lr: step.lr, loss: step.loss };
                    self.take(point);
                    return Ok(Some(point));
                }
                // Told where a step whose gradient is not finite is skipped.
                Ok(Event::Step(_)) if self.points.is_empty() => {
                    return Err(self.trainer.diverged("the loss is not finite at step 1"));
                }
                Ok(Event::Step(_) | Event::Finished | Event::Interrupted) => self.ended = true,
                Ok(Event::Epoch(_) | Event::Replanned(_)) => {}
                Err(Error::Diverged(_)) if !self.points.is_empty() => self.ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn take(&mut self, point: RatePoint) {
        self.points.push(point);
        let mean = self.running.after(point.loss);
        self.least = self.least.min(mean);
        self.ended = mean > TOO_HIGH * self.least;
    }

    /// What was found so far.
    pub fn curve(&self) -> RateCurve {
        let losses: Vec<f64> = self.points.iter().map(|point| point.loss).collect();
        let smoothed = smoothed(&losses, (self.trainer.total_steps() as f64 * REACH).ceil() as usize);
        let suggested = steepest_descent(&smoothed).map(|place| self.points[place].lr);
        RateCurve { points: self.points.clone(), smoothed, suggested }
    }
}

/// A mean that forgets, corrected for having begun at zero, as Adam's moments are.
#[derive(Default)]
struct RunningMean {
    sum: f64,
    weight: f64,
}

impl RunningMean {
    /// The mean after one value more.
    fn after(&mut self, value: f64) -> f64 {
        self.sum = MEMORY * self.sum + (1.0 - MEMORY) * value;
        self.weight = MEMORY * self.weight + (1.0 - MEMORY);
        self.sum / self.weight
    }
}

/// Each loss averaged with those of the `reach` steps before and after it, by weights that fall in a straight line. Being
/// symmetric it does not lag behind the rates, as a running mean does; being short it keeps a loss that blows up at the end
/// out of what came before.
fn smoothed(losses: &[f64], reach: usize) -> Vec<f64> {
    let mean = |place: usize| {
        let near = place.saturating_sub(reach)..losses.len().min(place + reach + 1);
        let weight = |other: usize| (reach + 1 - place.abs_diff(other)) as f64;
        let sum: f64 = near.clone().map(|other| weight(other) * losses[other]).sum();
        sum / near.map(weight).sum::<f64>()
    };
    (0..losses.len()).map(mean).collect()
}

/// Where the central difference of `values` is least on the way to the least of them: a fall from a peak that a rate too
/// high has made may be steeper. None where there is no fall.
fn steepest_descent(values: &[f64]) -> Option<usize> {
    let (least, _) = values.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let slopes = values[..=least].windows(3).map(|three| three[2] - three[0]).enumerate();
    let (place, slope) = slopes.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (slope < 0.0).then_some(place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_constants_does_not_lag_and_reaches_no_further_than_said() {
        assert!(smoothed(&[2.5; 40], 10).iter().all(|mean| (mean - 2.5).abs() < 1e-12));
        // A straight line stays where it is: a mean that lags would move it.
        let line: Vec<f64> = (0..40).map(f64::from).collect();
        let means = smoothed(&line, 5);
        assert!((5..35).all(|place| (means[place] - line[place]).abs() < 1e-12), "{means:?}");
        let blown_up: Vec<f64> = (0..40).map(|i| if i < 39 { 1.0 } else { 1e30 }).collect();
        let means = smoothed(&blown_up, 5);
        assert!(means[..34].iter().all(|mean| *mean == 1.0) && means[34] > 1.0, "{means:?}");
    }

    #[test]
    fn what_does_not_fall_has_no_steepest_descent() {
        let rows: [(&[f64], Option<usize>); 6] = [
            (&[], None),
            (&[1.0, 0.5], None),
            (&[1.0, 1.0, 1.0], None),
            (&[1.0, 2.0, 3.0, 4.0], None),
            (&[3.0, 2.9, 2.0, 1.0, 0.9, 5.0], Some(2)),
            (&[3.0, 2.0, 1.0, 20.0, 10.0, 5.0], Some(1)),
        ];
        for (values, place) in rows {
            assert_eq!(steepest_descent(values), place, "{values:?}");
        }
    }
}
