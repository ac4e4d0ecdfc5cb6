//! Steps whose gradient is not finite.

use super::*;

/// Rows of which one is too large: its gradient overflows, in one batch an epoch.
fn with_an_outlier() -> Split {
    let (mut features, labels) = points(70);
    features[7 * 13..7 * 14].fill(3e38);
    let rows = Dataset::from_f32(features, &[7], Task::classes(3), Targets::Labels(labels)).unwrap();
    Split { train: rows, test: Some(classes(37)) }
}

fn skipping(skip_not_finite: bool) -> TrainOptions {
    let optimizer = Optimizer::new("momentum").unwrap().with("lr", 0.05).unwrap();
    TrainOptions {
        optimizer,
        model: "mlp:16".parse().unwrap(),
        modifiers: Modifiers { skip_not_finite, ..Modifiers::default() },
        log_every: 1,
        ..options(Length::Epochs(4))
    }
}

#[test]
fn they_change_nothing_are_counted_and_have_no_part_in_the_mean_loss() {
    let gpu = gpu();
    // Whole batches, and batches in parts of which one overflows.
    for micro_batch in [32, 10] {
        let options = TrainOptions { micro_batch: BatchSize::Rows(micro_batch), ..skipping(true) };
        let mut trainer = Trainer::new(&gpu, with_an_outlier(), options).unwrap();
        let events = finish(&mut trainer).unwrap();
        let last = last_epoch(&events);
        assert_eq!((last.skipped, trainer.skipped_steps(), last.step), (4, 4, 12), "{micro_batch}");
        assert!(last.train_loss.is_finite() && last.test.unwrap().loss.is_finite(), "{micro_batch}");
        let logged = events.iter().filter_map(crate::run::Record::of);
        let steps = logged.filter(|record| matches!(record, crate::run::Record::Step(_))).count();
        assert!((8..=12).contains(&steps), "{steps}");
        let again = trainer.snapshot().unwrap();
        assert_eq!(again.skipped, 4);
    }
    let error = trained_error(&gpu, skipping(false));
    assert!(matches!(error, Error::Diverged(_)), "{error}");
}

#[test]
fn a_run_whose_gradient_is_never_finite_ends() {
    let (mut features, labels) = points(70);
    features.fill(3e38);
    let rows = Dataset::from_f32(features, &[7], Task::classes(3), Targets::Labels(labels)).unwrap();
    let options = TrainOptions { length: Length::Epochs(50), ..skipping(true) };
    let mut trainer = Trainer::new(&gpu(), Split { train: rows, test: None }, options).unwrap();
    let error = finish(&mut trainer).unwrap_err().to_string();
    assert!(error.contains("100 steps in a row"), "{error}");
}

fn trained_error(gpu: &Gpu, options: TrainOptions) -> Error {
    let mut trainer = Trainer::new(gpu, with_an_outlier(), options).unwrap();
    finish(&mut trainer).unwrap_err()
}
