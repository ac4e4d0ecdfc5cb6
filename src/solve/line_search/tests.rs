//! Searches along lines that are known, and what cannot be found.

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
        ("no number anywhere else", |a| (if a == 0.0 { 1.0 } else { f64::NAN }, -1.0), NotFound::Exhausted),
    ];
    for (what, line, why) in rows {
        let limits = Limits::default();
        assert_eq!(backtracking(start(line), 1.0, &limits, &mut phi(line)).unwrap(), Err(why), "{what}");
        assert_eq!(strong_wolfe(start(line), 1.0, &limits, &mut phi(line)).unwrap(), Err(why), "{what}");
    }
}

/// Without a floor every step meets Armijo and none is flat; where a kink is, no step is flat either.
#[test]
fn where_none_is_flat_the_best_that_decreases_serves() {
    let rows: [(&str, Line, f64); 2] = [
        ("endless", |a| (-a, -1.0), (1u64 << 29) as f64),
        ("a kink", |a| ((a - 1.0).abs(), if a < 1.0 { -1.0 } else { 1.0 }), 1.0),
    ];
    for (what, line, wanted) in rows {
        let mut last = f64::NAN;
        let mut watched = |step| {
            last = step;
            phi(line)(step)
        };
        let found = strong_wolfe(start(line), 1.0, &Limits::default(), &mut watched).unwrap().expect(what);
        assert!((found.step - wanted).abs() <= 1e-6 * wanted, "{what}: {found:?}");
        assert_eq!(last, found.step, "{what}: whoever evaluates is at the step that is taken");
    }
}

#[test]
fn evaluations_are_counted_and_errors_pass_through() {
    let mut made = 0;
    let limits = Limits { evaluations: 7, ..Limits::default() };
    let mut never = |_| {
        made += 1;
        Ok(LineValue { value: f64::INFINITY, slope: 0.0 })
    };
    assert_eq!(backtracking(start(QUADRATIC), 1.0, &limits, &mut never).unwrap(), Err(NotFound::Exhausted));
    assert_eq!(made, 7);
    let mut fails = |_| Err(crate::Error::setting("phi", "fails"));
    assert!(strong_wolfe(start(QUADRATIC), 1.0, &limits, &mut fails).is_err());
}
