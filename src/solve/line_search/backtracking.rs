//! Ever smaller steps until one decreases enough: Armijo (1966), with parabolas.

use super::{Counted, Limits, LineValue, NotFound, Outcome, Point, decreases, descends};
use crate::Result;

/// The first of `first`, and then ever smaller steps, that fulfils the Armijo condition: Nocedal and Wright's algorithm
/// 3.1. The next trial is the minimum of the parabola through φ(0), φ′(0) and φ(α), kept between a tenth and a half of α;
/// half of α where φ(α) is not finite. Slopes but that of `start` are looked at only where there is
/// [`Limits::noise`], and may else be anything finite.
///
/// # Errors
/// What `phi` fails with; that no step was found is a value.
pub fn backtracking(
    start: LineValue,
    first: f64,
    limits: &Limits,
    phi: &mut dyn FnMut(f64) -> Result<LineValue>,
) -> Result<Outcome> {
    if !descends(start) {
        return Ok(Err(NotFound::NotDescending));
    }
    let mut phi = Counted::new(phi, limits);
    let mut step = first;
    while let Some(at) = phi.at(step)? {
        if decreases(start, limits, Point { step, at }) {
            return Ok(phi.found(step, at));
        }
        let least = -start.slope * step * step / (2.0 * (at.value - start.value - start.slope * step));
        step = if at.value.is_finite() { least.clamp(0.1 * step, 0.5 * step) } else { 0.5 * step };
    }
    Ok(Err(NotFound::Exhausted))
}
