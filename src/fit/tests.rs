//! Fits against references in f64, what holds them back, and kernels on all backends.

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::device::STATUSES;
use super::kernel::{Place, Share, kernel_text};
use super::{
    FIT_METHODS, FitBound, FitData, FitMethod, FitModel, FitOptions, Fitted, RobustLoss, fit, fit_many,
};
use crate::plan::tests::gpu;
use crate::{Precision, Status};

/// Pseudo-random numbers on [-1, 1), by Knuth's multiplier.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

const DECAY: &str = "y = a*exp(-k*x) + c";

fn xs(points: usize) -> Vec<f64> {
    (0..points).map(|i| 4.0 * i as f64 / points as f64).collect()
}

/// A decay with noise of so much.
fn decay(points: usize, noise: f64, seed: u64) -> FitData {
    let mut random = Random(seed);
    let y = xs(points).iter().map(|x| 2.0 * (-1.3 * x).exp() + 0.5 + noise * random.next()).collect();
    FitData::new(points).shared("x", xs(points)).unwrap().shared("y", y).unwrap()
}

fn fitted(equation: &str, start: &str, data: &FitData, options: &FitOptions) -> Fitted {
    let model = FitModel::parse(equation, start, &data.names(), None).unwrap();
    fit(gpu(), &model, data, options).unwrap()
}

/// Levenberg and Marquardt's method in f64 on the host, by normal equations.
fn reference(model: &FitModel, data: &FitData, number: usize, start: &[f64]) -> (Vec<f64>, f64) {
    let sum = |theta: &[f64]| model.linearised(theta, data, number).0.iter().map(|r| r * r).sum::<f64>();
    let (mut theta, mut damping) = (start.to_vec(), 1e-3);
    for _ in 0..200 {
        let (residuals, jacobian) = model.linearised(&theta, data, number);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut matrix: Vec<Vec<f64>> = jacobian
            .iter()
            .map(|a| jacobian.iter().map(|b| dot(a, b)).chain([-dot(a, &residuals)]).collect())
            .collect();
        (0..theta.len()).for_each(|j| matrix[j][j] *= 1.0 + damping);
        let step = solved(matrix);
        let trial: Vec<f64> = theta.iter().zip(&step).map(|(x, s)| x + s).collect();
        if sum(&trial) <= sum(&theta) {
            (theta, damping) = (trial, damping / 10.0);
        } else {
            damping *= 10.0;
        }
    }
    let rss = sum(&theta);
    (theta, rss)
}

/// Gauss and Jordan's elimination of [A | b], of a positive definite A.
fn solved(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    for i in 0..rows.len() {
        let pivot = rows[i].iter().map(|x| x / rows[i][i]).collect::<Vec<f64>>();
        for (k, row) in rows.iter_mut().enumerate() {
            let factor = row[i];
            if k != i {
                row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
            }
        }
        rows[i] = pivot;
    }
    rows.iter().map(|row| row[row.len() - 1]).collect()
}

#[test]
fn derivatives_are_those_of_central_differences() {
    // Equation, start.
    let rows = [
        ("y = b1*(1-exp(-b2*x))", "b1=2; b2=0.7"),
        ("y = b1*(b2+x)^(-1/b3)", "b1=-2; b2=5; b3=0.8"),
        ("y = b1/(1+exp(b2-b3*x))", "b1=3; b2=1; b3=0.4"),
        ("log(y) = b1 - b2*x*exp(-b3*x)", "b1=2; b2=0.1; b3=-0.1"),
        ("k = 2*pi/12; y = b[0] + b[1]*cos(k*x) + b[2]*sin(k*x/b[0])", "b=[2,3,0.5]"),
        ("y*s = sqrt(abs(x))*s^2 + atan(t/(x-9))", "s=0.4; t=2"),
    ];
    let data = decay(9, 0.1, 1).shared("w", (0..9).map(f64::from).collect()).unwrap();
    for (equation, start) in rows {
        for weights in [None, Some("w")] {
            let model = FitModel::parse(equation, start, &data.names(), weights).unwrap();
            let theta = model.start().to_vec();
            let (_, jacobian) = model.linearised(&theta, &data, 0);
            assert_eq!(jacobian.len(), theta.len());
            for (j, column) in jacobian.iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = theta.clone();
                    moved[j] += step;
                    model.linearised(&moved, &data, 0).0
                };
                let (up, down) = (at(1e-5), at(-1e-5));
                for (row, slope) in column.iter().enumerate() {
                    let difference = (up[row] - down[row]) / 2e-5;
                    // The differences' own error: h²·f‴/6 and 1e-16/h.
                    assert!((slope - difference).abs() <= 1e-7 * (1.0 + slope.abs()), "{equation} {j} {row}");
                }
            }
        }
    }
}

#[test]
fn a_thousand_fits_are_those_of_f64() {
    let (fits, points) = (1000, 33);
    let mut random = Random(7);
    let mut y = Vec::new();
    for _ in 0..fits {
        let [a, k, c] = [2.0 + random.next(), 1.0 + 0.6 * random.next(), random.next()];
        y.extend(xs(points).iter().map(|x| a * (-k * x).exp() + c + 0.02 * random.next()));
    }
    let data = FitData::new(points).shared("x", xs(points)).unwrap().own("y", y).unwrap();
    let model = FitModel::parse(DECAY, "a=1; k=1; c=0", &data.names(), None).unwrap();
    for method in FIT_METHODS {
        let options = FitOptions { method, ..FitOptions::default() };
        let found = fit_many(gpu(), &model, &data, model.start(), &options).unwrap();
        let others: Vec<usize> = (0..fits).filter(|fit| found.statuses[*fit] != Status::Converged).collect();
        // Dogleg ends one of them short of the tolerance.
        assert!(others.len() <= usize::from(method.name == "dogleg"), "{}: {others:?}", method.name);
        let every = if method.name == "lm" { 1 } else { 37 };
        for number in (0..fits).step_by(every).filter(|fit| !others.contains(fit)) {
            // From there, for some have several answers.
            let (theta, rss) = reference(&model, &data, number, &found.estimates[3 * number..][..3]);
            for (j, wanted) in theta.iter().enumerate() {
                let (estimate, error) =
                    (found.estimates[3 * number + j], found.standard_errors[3 * number + j]);
                // Residuals of 0.01 are rounded by 1e-7, 1e-5 of them, which their number and the relative offset of 1e-5
                // turn into parts of the error.
                assert!(
                    (estimate - wanted).abs() <= 1e-3 * error,
                    "{} {number}: {estimate} {wanted}",
                    method.name
                );
            }
            assert!(
                (found.objectives[number] - rss).abs() <= 1e-4 * rss,
                "{} {rss}",
                found.objectives[number]
            );
        }
    }
}

#[test]
fn many_fits_have_the_errors_of_each() {
    let alone = decay(40, 0.05, 3);
    let y = alone.values("y", 0).unwrap().to_vec();
    let both = FitData::new(40).shared("x", xs(40)).unwrap().own("y", [y.clone(), y].concat()).unwrap();
    let model = FitModel::parse(DECAY, "a=1; k=1; c=0", &both.names(), None).unwrap();
    let options = FitOptions::default();
    // A start for each, of which the second is better.
    let starts = [1.0, 1.0, 0.0, 1.9, 1.2, 0.4];
    let many = fit_many(gpu(), &model, &both, &starts, &options).unwrap();
    let one = fitted(DECAY, "a=1; k=1; c=0", &alone, &options);
    assert!(many.steps[0] > many.steps[1], "{:?}", many.steps);
    for (j, wanted) in one.standard_errors.iter().enumerate() {
        for number in 0..2 {
            let error = many.standard_errors[3 * number + j];
            // The triangle was summed in f32.
            assert!((error - wanted).abs() <= 1e-4 * wanted, "{error} {wanted}");
        }
    }
}

#[test]
fn points_in_blocks_fit_like_all_at_once() {
    // More than one invocation goes over; the last block is short.
    let data = decay(20_001, 0.05, 5);
    let model = FitModel::parse(DECAY, "a=1; k=1; c=0", &data.names(), None).unwrap();
    for method in FIT_METHODS {
        let found = fit(gpu(), &model, &data, &FitOptions { method, ..FitOptions::default() }).unwrap();
        assert_eq!(found.status, Status::Converged, "{}", method.name);
        let (theta, rss) = reference(&model, &data, 0, model.start());
        for (j, wanted) in theta.iter().enumerate() {
            // As above; sums of 20,000 terms in blocks of 256.
            assert!(
                (found.estimates[j] - wanted).abs() <= 1e-2 * found.standard_errors[j],
                "{}",
                method.name
            );
        }
        assert!((found.rss - rss).abs() <= 1e-6 * rss);
    }
}

#[test]
fn a_bound_holds_an_unknown_and_the_others_fit_around_it() {
    let data = decay(40, 0.05, 3);
    for method in FIT_METHODS {
        let bounds = FitBound::parse_all("k=:0.9; c=-5:5").unwrap();
        let options = FitOptions { method, bounds, ..FitOptions::default() };
        let held = fitted(DECAY, "a=1; k=0.5; c=0", &data, &options);
        assert_eq!(
            (held.status, &held.held[..]),
            (Status::Converged, &[false, true, false][..]),
            "{}",
            method.name
        );
        let fixed = fitted("k = 0.9; y = a*exp(-k*x) + c", "a=1; c=0", &data, &FitOptions::default());
        assert_eq!(held.degrees_of_freedom, fixed.degrees_of_freedom);
        assert!(held.standard_errors[1].is_nan());
        for (j, wanted) in [(0, 0), (2, 1)] {
            let error = fixed.standard_errors[wanted];
            assert!((held.estimates[j] - fixed.estimates[wanted]).abs() <= 1e-3 * error, "{}", method.name);
            assert!((held.standard_errors[j] - error).abs() <= 1e-4 * error, "{}", method.name);
        }
    }
    // Where the answer is within, bounds change nothing.
    let bounds = FitBound::parse_all("a=0:; k=0:9").unwrap();
    let within = fitted(DECAY, "a=1; k=9; c=0", &data, &FitOptions { bounds, ..FitOptions::default() });
    let free = fitted(DECAY, "a=1; k=1; c=0", &data, &FitOptions::default());
    assert_eq!(within.held, [false; 3]);
    for j in 0..3 {
        assert!((within.estimates[j] - free.estimates[j]).abs() <= 1e-3 * free.standard_errors[j]);
    }
}

#[test]
fn a_weight_counts_a_row_so_often() {
    let data = decay(30, 0.05, 3);
    let (x, y) = (data.values("x", 0).unwrap(), data.values("y", 0).unwrap());
    let weights: Vec<f64> = (0..30).map(|i| f64::from(i % 3)).collect();
    let repeated = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(&weights).flat_map(|(x, w)| std::iter::repeat_n(*x, *w as usize)).collect()
    };
    let often = FitData::new(30).shared("x", repeated(x)).unwrap().shared("y", repeated(y)).unwrap();
    let weighted = data.clone().shared("w", weights).unwrap();
    let model = FitModel::parse(DECAY, "a=1; k=1; c=0", &weighted.names(), Some("w")).unwrap();
    let found = fit(gpu(), &model, &weighted, &FitOptions::default()).unwrap();
    let wanted = fitted(DECAY, "a=1; k=1; c=0", &often, &FitOptions::default());
    assert!((found.rss - wanted.rss).abs() <= 1e-5 * wanted.rss);
    for j in 0..3 {
        assert!((found.estimates[j] - wanted.estimates[j]).abs() <= 1e-3 * wanted.standard_errors[j]);
    }
    // Rows of weight 0 do not count.
    assert_eq!((found.degrees_of_freedom, wanted.degrees_of_freedom), (17, 27));
}

#[test]
fn directions_that_the_data_leave_open_are_named() {
    let data = decay(20, 0.05, 3);
    // Equation, start, the direction, the unknowns that have errors.
    let rows: [(&str, &str, &str, &[bool]); 4] = [
        ("y = (a+b)*exp(-k*x)", "a=1; b=1; k=1", "a - b", &[false, false, true]),
        ("y = a*b*exp(-k*x)", "a=2; b=1; k=1", "", &[false, false, true]),
        ("y = a*exp(-k*x) + 0*c", "a=1; k=1; c=3", "c", &[true, true, false]),
        (DECAY, "a=1; k=1; c=0", "-", &[true, true, true]),
    ];
    for (equation, start, direction, known) in rows {
        let found = fitted(equation, start, &data, &FitOptions::default());
        let model = FitModel::parse(equation, start, &data.names(), None).unwrap();
        assert_eq!(found.status, Status::Converged, "{equation}");
        assert_eq!(
            found.standard_errors.iter().map(|error| !error.is_nan()).collect::<Vec<_>>(),
            known,
            "{equation}"
        );
        let texts: Vec<String> = found.open.iter().map(|open| open.describe(model.unknowns())).collect();
        match direction {
            "-" => assert!(texts.is_empty(), "{texts:?}"),
            "" => {
                assert!(texts[0].contains('a') && texts[0].contains(" - ") && texts.len() == 1, "{texts:?}")
            }
            direction => assert_eq!(texts, [direction]),
        }
    }
}

#[test]
fn robust_losses_are_scipys() {
    // y = 2·exp(-1.3·x) + 0.5 at x = 0, 0.2, … 3.8 with sin(7·i)/50, and 3 added to two points. The answers are those of
    // scipy.optimize.least_squares(f, [1, 1, 0], loss=…, f_scale=0.05, xtol=1e-15, ftol=1e-15, gtol=1e-15) of SciPy 1.17.
    let x: Vec<f64> = (0..20).map(|i| 0.2 * f64::from(i)).collect();
    let outlier = |i: usize| if i == 4 || i == 13 { 3.0 } else { 0.0 };
    let y = x.iter().enumerate();
    let y: Vec<f64> =
        y.map(|(i, x)| 2.0 * (-1.3 * x).exp() + 0.5 + (7.0 * i as f64).sin() / 50.0 + outlier(i)).collect();
    let data = FitData::new(20).shared("x", x).unwrap().shared("y", y).unwrap();
    for (loss, wanted, objective) in ROBUST {
        let options =
            FitOptions { robust: Some(loss.parse::<RobustLoss>().unwrap()), ..FitOptions::default() };
        let found = fitted(DECAY, "a=1; k=1; c=0", &data, &options);
        assert_eq!(found.status, Status::Converged, "{loss}");
        for (x, wanted) in found.estimates.iter().zip(wanted) {
            // Steps end at a relative offset of 1e-5.
            assert!((x - wanted).abs() <= 2e-4 * wanted.abs(), "{loss}: {:?}", found.estimates);
        }
        assert!((found.objective - objective).abs() <= 1e-5 * objective, "{loss}: {}", found.objective);
    }
}

/// A loss that is all but the sum of sizes is hard going, and its start is no answer. (Of Cauchy's, which is flat so far out, it
/// is one.)
#[test]
fn a_tiny_scale_is_not_taken_for_rounding() {
    let data = decay(20, 0.05, 3);
    for loss in ["huber:1e-12", "soft-l1:1e-12"] {
        let robust = Some(loss.parse::<RobustLoss>().unwrap());
        let options = FitOptions { robust, steps: 200, ..FitOptions::default() };
        let found = fitted(DECAY, "a=1; k=1; c=0", &data, &options);
        assert!(found.status != Status::Converged && found.steps > 0, "{loss}: {found:?}");
    }
}

/// Loss, estimates and the sum of δ²·ρ, twice SciPy's `cost`.
const ROBUST: [(&str, [f64; 3], f64); 3] = [
    ("huber:0.05", [2.00893968, 1.28438651, 0.500071603], 0.598536415),
    ("soft-l1:0.05", [2.00810845, 1.28101485, 0.500060418], 0.59342081),
    ("cauchy:0.05", [2.01264287, 1.30076947, 0.498286955], 0.0443480131),
];

#[test]
fn fits_end_as_they_do() {
    let data = decay(20, 0.05, 3);
    let few = FitOptions { steps: 2, ..FitOptions::default() };
    // Equation, start, options, status.
    let rows = [
        (DECAY, "a=1; k=1; c=0", FitOptions::default(), Status::Converged),
        (DECAY, "a=1; k=1; c=0", few, Status::MaxSteps),
        ("y = a*exp(k*x)", "a=1; k=1e30", FitOptions::default(), Status::Diverged),
        ("y = a*log(-1-x^2)+k", "a=1; k=1", FitOptions::default(), Status::Diverged),
        // A model that is exact.
        ("y = y*a + b", "a=3; b=2", FitOptions::default(), Status::Converged),
    ];
    for (equation, start, options, status) in rows {
        let found = fitted(equation, start, &data, &options);
        assert_eq!(found.status, status, "{equation}: {found:?}");
        if status == Status::Diverged {
            assert_eq!(
                found.estimates,
                FitModel::parse(equation, start, &data.names(), None).unwrap().start()
            );
        }
    }
    assert_eq!(STATUSES.len(), 4);
}

#[test]
fn impossible_fits_are_refused() {
    let data = decay(20, 0.05, 3).shared("w", vec![-1.0; 20]).unwrap();
    let short = decay(2, 0.05, 3);
    let bounded =
        |text: &str| FitOptions { bounds: FitBound::parse_all(text).unwrap(), ..FitOptions::default() };
    let tolerance = FitOptions { tolerance: Some(-1.0), ..FitOptions::default() };
    // Data, weights, options, the error's beginning.
    let rows = [
        (&short, None, FitOptions::default(), "data: 2 points do not determine 3 unknowns"),
        (
            &data,
            Some("w"),
            FitOptions::default(),
            "weights: `w`, row 0: a weight is not negative, this is -1",
        ),
        (&data, None, bounded("b=0:"), "bounds: unknown name `b`; known are a, k, c"),
        (&data, None, bounded("k=2:3"), "start: `k` starts at 1, outside its bounds 2 to 3"),
        (&data, None, tolerance, "tolerance: must be a number from 0 on, not -1"),
    ];
    for (data, weights, options, message) in rows {
        let model = FitModel::parse(DECAY, "a=1; k=1; c=0", &data.names(), weights).unwrap();
        let error = fit(gpu(), &model, data, &options).unwrap_err();
        assert!(error.to_string().starts_with(message) && error.exit_code() == 2, "{error}");
    }
    let model = FitModel::parse(DECAY, "a=1; k=1; c=0", &data.names(), None).unwrap();
    let error = fit_many(gpu(), &model, &data, &[1.0; 4], &FitOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("start: 4 numbers are no start of 3 unknowns"), "{error}");
}

#[test]
fn the_kernels_of_every_method_are_valid_for_all_backends() {
    let model =
        FitModel::parse("y = a*exp(-k*x) + atan(c*x)", "a=1; k=1; c=0", &["x", "y", "w"], Some("w")).unwrap();
    let places = [(0, false), (0, true), (1, false)].map(|(number, own)| Place { number, own });
    let losses: Vec<Option<RobustLoss>> =
        RobustLoss::names().map(|name| Some(name.parse().unwrap())).chain([None]).collect();
    for method in FIT_METHODS {
        for (number, robust) in losses.iter().enumerate() {
            for share in [Share::Whole, Share::Block, Share::Join] {
                // Every method once with each loss, and every loss once with each way to share.
                if number > 0 && share != Share::Whole {
                    continue;
                }
                let options = FitOptions { method, robust: *robust, ..FitOptions::default() };
                let program = model.program(Precision::F32).unwrap();
                check_on_all_backends(
                    &kernel_text(&program, &places, &options, Precision::F32, share),
                    method,
                );
            }
        }
    }
}

fn check_on_all_backends(text: &str, method: &FitMethod) {
    let module = naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|error| panic!("{}: {}", method.name, error.emit_to_string(text)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).unwrap();
    naga::back::spv::write_vec(&module, &info, &Default::default(), None).unwrap();
    naga::back::msl::write_string(&module, &info, &Default::default(), &Default::default()).unwrap();
    let (options, pipeline) = (Default::default(), Default::default());
    let mut hlsl = String::new();
    naga::back::hlsl::Writer::new(&mut hlsl, &options, &pipeline).write(&module, &info, None).unwrap();
}
