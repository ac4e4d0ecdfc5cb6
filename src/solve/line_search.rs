//! Line searches: a step size α along a descent direction, by the values φ(α) of the objective there and its slopes φ′(α).
//!
//! They are sequential by nature, for what is tried next depends on the value before. Values that are not finite count as
//! higher than any other, so that a trial beyond the domain of the objective only shortens the step.

use crate::Result;

/// The objective at a step size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LineValue {
    /// φ(α).
    pub value: f64,
    /// φ′(α), along the direction.
    pub slope: f64,
}

/// What a step must do, and how long it may be looked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// c₁ of the Armijo condition φ(α) ≤ φ(0) + c₁·α·φ′(0), above 0.
    pub decrease: f64,
    /// c₂ of the strong curvature condition |φ′(α)| ≤ c₂·|φ′(0)|, above `decrease` and below 1.
    pub curvature: f64,
    /// Evaluations of φ at most.
    pub evaluations: usize,
    /// What values of φ are known to. A step that raises φ by no more than that may still be judged by its slope: the
    /// approximate Wolfe conditions of Hager and Zhang, 2005, equation 4.1, without which no step is found where
    /// differences drown in rounding.
    pub noise: f64,
}

impl Default for Limits {
    /// Nocedal and Wright's for Newton and quasi-Newton directions, and 30 evaluations.
    fn default() -> Self {
        Limits { decrease: 1e-4, curvature: 0.9, evaluations: 30, noise: 0.0 }
    }
}

/// A step that fulfils the conditions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Found {
    /// Its size.
    pub step: f64,
    /// The objective there.
    pub at: LineValue,
    /// Evaluations of φ that it took.
    pub evaluations: usize,
}

/// Why there is no such step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotFound {
    /// φ′(0) is not below 0, or φ(0) not finite: there is nothing to search along.
    NotDescending,
    /// The evaluations came to their limit, or steps became too small to tell apart.
    Exhausted,
}

/// How a search ended.
pub type Outcome = std::result::Result<Found, NotFound>;

/// φ, counted.
struct Counted<F> {
    evaluate: F,
    left: usize,
    made: usize,
}

impl<F: FnMut(f64) -> Result<LineValue>> Counted<F> {
    fn new(evaluate: F, limits: &Limits) -> Self {
        Counted { evaluate, left: limits.evaluations, made: 0 }
    }

    /// φ(α); none where the limit is reached. What is not finite is higher than all else.
    fn at(&mut self, step: f64) -> Result<Option<LineValue>> {
        if self.made == self.left {
            return Ok(None);
        }
        self.made += 1;
        let LineValue { value, slope } = (self.evaluate)(step)?;
        let usable = value.is_finite() && slope.is_finite();
        Ok(Some(if usable {
            LineValue { value, slope }
        } else {
            LineValue { value: f64::INFINITY, slope: f64::NAN }
        }))
    }

    fn found(&self, step: f64, at: LineValue) -> Outcome {
        Ok(Found { step, at, evaluations: self.made })
    }
}

fn descends(start: LineValue) -> bool {
    start.value.is_finite() && start.slope.is_finite() && start.slope < 0.0
}

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

/// A step that fulfils the strong Wolfe conditions, looked for from `first` on: Nocedal and Wright's algorithms 3.5, with
/// steps that double, and 3.6, with cubic interpolation.
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
    Ok(Err(NotFound::Exhausted))
}

#[derive(Clone, Copy)]
struct Point {
    step: f64,
    at: LineValue,
}

struct Wolfe<'a> {
    start: LineValue,
    limits: &'a Limits,
}

/// The Armijo condition, or its approximation by slopes within the noise.
fn decreases(start: LineValue, limits: &Limits, Point { step, at }: Point) -> bool {
    let by_slope = || at.slope <= (2.0 * limits.decrease - 1.0) * start.slope;
    at.value <= start.value + limits.decrease * step * start.slope
        || (limits.noise > 0.0 && at.value <= start.value + limits.noise && by_slope())
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
            let step = between(low, high);
            let Some(at) = phi.at(step)? else { break };
            let here = Point { step, at };
            if !self.decreases(here) || at.value >= low.at.value + self.limits.noise {
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
        Ok(Err(NotFound::Exhausted))
    }
}

/// The minimum of the cubic through both values and slopes (Nocedal and Wright, equation 3.59), or the middle where that
/// is none or lies within a tenth of the way from an end.
fn between(low: Point, high: Point) -> f64 {
    let (a, b) = (low.at, high.at);
    let width = high.step - low.step;
    let first = a.slope + b.slope - 3.0 * (b.value - a.value) / width;
    let second = (first * first - a.slope * b.slope).sqrt().copysign(width);
    let least = high.step - width * (b.slope + second - first) / (b.slope - a.slope + 2.0 * second);
    let along = (least - low.step) / width;
    // A NaN is within no range.
    if (0.1..=0.9).contains(&along) { least } else { low.step + 0.5 * width }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Line = fn(f64) -> (f64, f64);

    fn phi(line: Line) -> impl FnMut(f64) -> Result<LineValue> {
        move |step| {
            let (value, slope) = line(step);
            Ok(LineValue { value, slope })
        }
    }

    fn start(line: Line) -> LineValue {
        let (value, slope) = line(0.0);
        LineValue { value, slope }
    }

    const QUADRATIC: Line = |a| ((a - 1.0).powi(2), 2.0 * (a - 1.0));
    const LOGARITHM: Line = |a| (a - (0.1 + a).ln(), 1.0 - 1.0 / (0.1 + a));
    /// Not defined beyond 0.3.
    const WALL: Line = |a| (-(0.3 - a).ln() - 10.0 * a, 1.0 / (0.3 - a) - 10.0);
    /// Moré and Thuente's first, 1994, with β = 2, whose slope at 0 is −1/2.
    const MORE_THUENTE: Line = |a| (-a / (a * a + 2.0), (a * a - 2.0) / (a * a + 2.0).powi(2));
    const QUARTIC: Line = |a| ((a - 3.0).powi(4), 4.0 * (a - 3.0).powi(3));

    #[test]
    fn backtracking_finds_steps_that_decrease_enough() {
        // The function, the first step, the step that is found where it is known, evaluations at most.
        let rows: [(&str, Line, f64, Option<f64>, usize); 6] = [
            ("the first step serves", QUADRATIC, 0.5, Some(0.5), 1),
            // The parabola is the function itself, but a trial is no more than half the last one.
            ("the minimum of a parabola", QUADRATIC, 4.0, Some(1.0), 2),
            ("far too long", QUADRATIC, 1e6, None, 8),
            ("a logarithm", LOGARITHM, 100.0, None, 6),
            ("beyond the domain", WALL, 8.0, None, 8),
            ("a quartic", QUARTIC, 50.0, None, 5),
        ];
        for (what, line, first, step, most) in rows {
            let limits = Limits::default();
            let found = backtracking(start(line), first, &limits, &mut phi(line)).unwrap().expect(what);
            let from = start(line);
            assert!(
                found.at.value <= from.value + limits.decrease * found.step * from.slope,
                "{what}: {found:?}"
            );
            assert!(step.is_none_or(|step| (found.step - step).abs() < 1e-12), "{what}: {found:?}");
            assert!(found.evaluations <= most, "{what}: {found:?}");
        }
    }

    #[test]
    fn strong_wolfe_finds_flat_steps_from_any_first_one() {
        let lines: [(&str, Line); 5] = [
            ("quadratic", QUADRATIC),
            ("logarithm", LOGARITHM),
            ("wall", WALL),
            ("moré-thuente", MORE_THUENTE),
            ("quartic", QUARTIC),
        ];
        for (what, line) in lines {
            for first in [1e-3, 0.1, 1.0, 10.0, 1e3] {
                for curvature in [0.9, 0.1, 0.001] {
                    let limits = Limits { curvature, ..Limits::default() };
                    let from = start(line);
                    let found = strong_wolfe(from, first, &limits, &mut phi(line)).unwrap();
                    let found = found.unwrap_or_else(|why| panic!("{what} {first} {curvature}: {why:?}"));
                    assert_eq!(line(found.step), (found.at.value, found.at.slope), "{what} {first}");
                    assert!(found.at.value <= from.value + limits.decrease * found.step * from.slope);
                    assert!(found.at.slope.abs() <= curvature * from.slope.abs(), "{what} {first} {found:?}");
                }
            }
        }
    }

    /// The Armijo condition alone is content with a step that hardly moves; the curvature condition is not.
    #[test]
    fn a_step_that_is_too_short_is_lengthened_by_strong_wolfe_alone() {
        let limits = Limits { curvature: 0.5, ..Limits::default() };
        let short = backtracking(start(QUADRATIC), 1e-4, &limits, &mut phi(QUADRATIC)).unwrap().unwrap();
        let long = strong_wolfe(start(QUADRATIC), 1e-4, &limits, &mut phi(QUADRATIC)).unwrap().unwrap();
        assert_eq!(short.step, 1e-4);
        assert!((0.5..=1.5).contains(&long.step), "{long:?}");
    }

    #[test]
    fn what_cannot_be_found_is_a_value() {
        let rows: [(&str, Line, NotFound); 5] = [
            ("uphill", |a| (a, 1.0), NotFound::NotDescending),
            ("flat", |_| (1.0, 0.0), NotFound::NotDescending),
            ("no number at 0", |_| (f64::NAN, -1.0), NotFound::NotDescending),
            // A slope that promises what no step keeps.
            ("a wrong slope", |a| (a, -1.0), NotFound::Exhausted),
            (
                "no number anywhere else",
                |a| (if a == 0.0 { 1.0 } else { f64::NAN }, -1.0),
                NotFound::Exhausted,
            ),
        ];
        for (what, line, why) in rows {
            let limits = Limits::default();
            assert_eq!(backtracking(start(line), 1.0, &limits, &mut phi(line)).unwrap(), Err(why), "{what}");
            assert_eq!(strong_wolfe(start(line), 1.0, &limits, &mut phi(line)).unwrap(), Err(why), "{what}");
        }
        // Without a floor, every step meets Armijo and none is flat.
        let endless: Line = |a| (-a, -1.0);
        let found = strong_wolfe(start(endless), 1.0, &Limits::default(), &mut phi(endless)).unwrap();
        assert_eq!(found, Err(NotFound::Exhausted));
    }

    #[test]
    fn evaluations_are_counted_and_errors_pass_through() {
        let mut made = 0;
        let limits = Limits { evaluations: 7, ..Limits::default() };
        let mut never = |_| {
            made += 1;
            Ok(LineValue { value: f64::INFINITY, slope: 0.0 })
        };
        assert_eq!(
            backtracking(start(QUADRATIC), 1.0, &limits, &mut never).unwrap(),
            Err(NotFound::Exhausted)
        );
        assert_eq!(made, 7);
        let mut fails = |_| Err(crate::Error::setting("phi", "fails"));
        assert!(strong_wolfe(start(QUADRATIC), 1.0, &limits, &mut fails).is_err());
    }
}
