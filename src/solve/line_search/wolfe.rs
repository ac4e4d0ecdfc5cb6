//! Steps that decrease enough and after which the slope is small: the strong Wolfe conditions.

use super::{Counted, Limits, LineValue, NotFound, Outcome, Point, decreases, descends};
use crate::Result;

/// A step that fulfils the strong Wolfe conditions, looked for from `first` on: Nocedal and Wright's algorithms 3.5, with
/// steps that double, and 3.6, with cubic interpolation. Where none is found in time, as along a line that falls for ever,
/// the best that meets the Armijo condition serves, if there was one.
///
/// # Errors
/// What `phi` fails with; that no step was found is a value.
pub fn strong_wolfe(
    start: LineValue,
    first: f64,
    limits: &Limits,
    phi: &mut dyn FnMut(f64) -> Result<LineValue>,
) -> Result<Outcome> {
    if !descends(start) {
        return Ok(Err(NotFound::NotDescending));
    }
    let mut phi = Counted::new(phi, limits);
    let wolfe = Wolfe { start, limits };
    let (mut before, mut step) = (Point { step: 0.0, at: start }, first);
    while let Some(at) = phi.at(step)? {
        let here = Point { step, at };
        if !wolfe.decreases(here) || (before.step > 0.0 && at.value >= before.at.value + limits.noise) {
            return wolfe.zoom(before, here, &mut phi);
        }
        if wolfe.is_flat(at) {
            return Ok(phi.found(step, at));
        }
        if at.slope >= 0.0 {
            return wolfe.zoom(here, before, &mut phi);
        }
        before = here;
        step *= 2.0;
    }
    // The last trial: what does not decrease has left the loop.
    Ok(if before.step > 0.0 { phi.found(before.step, before.at) } else { Err(NotFound::Exhausted) })
}

struct Wolfe<'a> {
    start: LineValue,
    limits: &'a Limits,
}

impl Wolfe<'_> {
    fn decreases(&self, point: Point) -> bool {
        decreases(self.start, self.limits, point)
    }

    fn is_flat(&self, at: LineValue) -> bool {
        at.slope.abs() <= -self.limits.curvature * self.start.slope
    }

    /// Algorithm 3.6. Between `low` and `high` there are steps that fulfil both conditions, and `low` is the best so far
    /// of those that decrease enough.
    fn zoom<F: FnMut(f64) -> Result<LineValue>>(
        &self,
        mut low: Point,
        mut high: Point,
        phi: &mut Counted<F>,
    ) -> Result<Outcome> {
        // Where the ends are neighbours among the numbers, nothing lies between them.
        while (high.step - low.step).abs() > f64::EPSILON * high.step.abs().max(low.step.abs()) {
            let noise = self.limits.noise;
            let step = between(low, high, noise);
            let Some(at) = phi.at(step)? else { break };
            let here = Point { step, at };
            if (at.value - low.at.value).abs() < noise {
                // Values say nothing here, so slopes alone tell on which side the minimum is.
                if self.is_flat(at) && self.decreases(here) {
                    return Ok(phi.found(step, at));
                }
                let beyond = at.slope * (high.step - low.step) >= 0.0;
                *(if beyond { &mut high } else { &mut low }) = here;
                continue;
            }
            if !self.decreases(here) || at.value >= low.at.value {
                high = here;
                continue;
            }
            if self.is_flat(at) {
                return Ok(phi.found(step, at));
            }
            if at.slope * (high.step - low.step) >= 0.0 {
                high = low;
            }
            low = here;
        }
        let gains = low.at.value < self.start.value - self.limits.noise;
        if low.step == 0.0 || !(gains || low.at.slope.abs() <= self.start.slope.abs()) {
            return Ok(Err(NotFound::Exhausted));
        }
        let at = phi.again(low.step)?;
        Ok(phi.found(low.step, at))
    }
}

/// The minimum of the cubic through both values and slopes (Nocedal and Wright, equation 3.59), or where values differ by no more
/// than their noise the zero of the line through the slopes; the middle where that is none or lies within a tenth of the way
/// from an end.
fn between(low: Point, high: Point, noise: f64) -> f64 {
    let (a, b) = (low.at, high.at);
    let width = high.step - low.step;
    let inner = |along: f64| (0.1..=0.9).contains(&along);
    if (a.value - b.value).abs() < noise {
        let along = a.slope / (a.slope - b.slope);
        return low.step + width * if inner(along) { along } else { 0.5 };
    }
    let first = a.slope + b.slope - 3.0 * (b.value - a.value) / width;
    let second = (first * first - a.slope * b.slope).sqrt().copysign(width);
    let least = high.step - width * (b.slope + second - first) / (b.slope - a.slope + 2.0 * second);
    let along = (least - low.step) / width;
    // A NaN is within no range.
    if inner(along) { least } else { low.step + 0.5 * width }
}
