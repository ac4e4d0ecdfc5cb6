//! The learning-rate range test on a problem whose limits are known.

use super::*;
use crate::optim::{Group, Modifiers};

/// Mean squared error of a linear model with uniform features from −1 to 1: the Hessian's eigenvalues are about 2/3 for
/// weights and 2 for the bias, so that full-batch descent is stable up to a rate of about 1.
#[test]
fn a_range_test_suggests_a_rate_that_learns_and_ends_beyond_the_stable_ones() {
    let gpu = gpu();
    let (features, _) = points(333);
    let values = features.chunks(7).map(|x| 2.0 * x[0] - x[5] + 0.25).collect();
    let train =
        Dataset::from_f32(features, &[7], Task::Values { width: 1 }, Targets::Values(values)).unwrap();
    let data = || Split { train: train.clone(), test: None };
    let sgd = Optimizer::new("sgd").unwrap();
    let options = TrainOptions {
        optimizer: sgd.clone(),
        model: "linear".parse().unwrap(),
        batch: BatchSize::Rows(333),
        ..options(Length::Epochs(50))
    };
    let range = RateRange::default();
    let mut test = RangeTest::new(&gpu, data(), options.clone(), range).unwrap();
    while test.next_point(&NEVER).unwrap().is_some() {}
    let curve = test.curve();

    let ratio = (range.to / range.from).powf(1.0 / 99.0);
    for (place, point) in curve.points.iter().enumerate() {
        let expected = range.from * ratio.powf(place as f64);
        assert!((point.lr / expected - 1.0).abs() < 1e-12, "step {place}: {}", point.lr);
    }
    let last = curve.points.last().unwrap();
    assert!(last.lr > 1.0 && last.loss > 4.0 * curve.points[0].loss, "{last:?}");
    let suggested = curve.suggested.unwrap();
    assert!((0.01..1.0).contains(&suggested), "{suggested}");

    let optimizer = sgd.with("lr", suggested).unwrap();
    let (epoch, _) = trained(&gpu, data(), TrainOptions { optimizer, ..options });
    assert!(epoch.train_loss < 0.5 * curve.points[0].loss, "{epoch:?}");
}

/// Labels of a value that f32 does not hold squared: the loss is not finite from the first step on, which a run that skips
/// such steps goes past.
#[test]
fn a_loss_that_was_never_finite_is_an_error() {
    let gpu = gpu();
    let values = Targets::Values(vec![1e30; 333]);
    let train = Dataset::from_f32(points(333).0, &[7], Task::Values { width: 1 }, values).unwrap();
    for skip_not_finite in [false, true] {
        let options = TrainOptions {
            model: "linear".parse().unwrap(),
            modifiers: Modifiers { skip_not_finite, ..Modifiers::default() },
            ..options(Length::Epochs(1))
        };
        let data = Split { train: train.clone(), test: None };
        let mut test = RangeTest::new(&gpu, data, options, RateRange::default()).unwrap();
        let error = test.next_point(&NEVER).unwrap_err();
        assert!(matches!(error, Error::Diverged(_)), "{error}");
    }
}

/// Where all parameters are of a group with twice the rate, a sweep is one through twice the rates.
#[test]
fn rates_of_groups_keep_their_ratio() {
    let gpu = gpu();
    let sgd = |rate: f64| Optimizer::new("sgd").unwrap().with("lr", rate).unwrap();
    let losses = |groups, from| {
        let modifiers = Modifiers { groups, ..Modifiers::default() };
        let options = TrainOptions { optimizer: sgd(0.1), modifiers, ..options(Length::Epochs(1)) };
        let range = RateRange { from, to: 1e3 * from, steps: 20 };
        let mut test = RangeTest::new(&gpu, split(333), options, range).unwrap();
        std::iter::from_fn(|| test.next_point(&NEVER).unwrap()).map(|point| point.loss).collect::<Vec<_>>()
    };
    let group = Group { pattern: "*".to_owned(), optimizer: sgd(0.2) };
    let (plain, grouped) = (losses(Vec::new(), 2e-3), losses(vec![group], 1e-3));
    assert_eq!(plain.len(), 20);
    for (plain, grouped) in plain.iter().zip(&grouped) {
        // Rates may differ by a rounding of f32, and 20 steps carry it on.
        assert!((plain / grouped - 1.0).abs() < 1e-4, "{plain}, not {grouped}");
    }
}

#[test]
fn a_range_that_is_none_is_refused() {
    let rows = [
        (RateRange { steps: 9, ..RateRange::default() }, "steps: must be at least 10, not 9"),
        (RateRange { from: 0.0, ..RateRange::default() }, "not from 0 to 10"),
        (RateRange { from: 20.0, ..RateRange::default() }, "not from 20 to 10"),
        (RateRange { to: f64::INFINITY, ..RateRange::default() }, "range of rates: must go up"),
    ];
    let gpu = gpu();
    for (range, fragment) in rows {
        let error = RangeTest::new(&gpu, split(50), options(Length::Epochs(1)), range).err().unwrap();
        assert!(error.to_string().contains(fragment), "{error}");
    }
}
