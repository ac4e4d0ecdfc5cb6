//! Runs in 16 bits: the loss scale, resuming, and what is learned.

use super::*;
use crate::plan::Precision;

fn in_f16(loss_scale: Option<f64>, length: Length) -> TrainOptions {
    TrainOptions {
        modifiers: Modifiers { loss_scale, ..Modifiers::default() },
        precision: Precision::F16,
        ..options(length)
    }
}

/// A device on which networks as small as these leave activations in memory too.
fn by_kernels() -> Gpu {
    Gpu::new(&GpuOptions { row_runs: RowRuns::Never, ..GpuOptions::default() }).unwrap()
}

#[test]
fn a_run_is_not_trained_in_f64() {
    let options = TrainOptions { precision: Precision::F64, ..options(Length::Epochs(1)) };
    let error = MemoryModel::new(&split(10), &options, gpu().profile()).err().unwrap();
    assert_eq!(error.to_string(), "precision: a run is trained in f32 or f16, not in f64");
}

/// A scale that is a power of two only moves exponents, and is taken out again: in f32 nothing else may change.
#[test]
fn a_loss_scale_in_f32_changes_no_bit() {
    let gpu = gpu();
    for (clip_norm, micro_batch) in [(None, 32), (Some(0.25), 32), (None, 9)] {
        let run = |loss_scale| {
            // Without a norm to look at, the update's text would be another, and rounded otherwise.
            let modifiers =
                Modifiers { clip_norm, skip_not_finite: true, loss_scale, ..Modifiers::default() };
            let micro_batch = BatchSize::Rows(micro_batch);
            trained(&gpu, split(333), TrainOptions { modifiers, micro_batch, ..options(Length::Epochs(2)) }).1
        };
        assert!(run(None) == run(Some(1024.0)), "{clip_norm:?} {micro_batch}");
    }
}

#[test]
fn a_loss_scale_that_overflows_is_halved_until_it_does_not() {
    let first = f64::from(1u32 << 30);
    let options = TrainOptions { log_every: 1, ..in_f16(Some(first), Length::Epochs(4)) };
    // By rows no gradient would be in 16 bits.
    let gpu = by_kernels();
    let mut trainer = Trainer::new(&gpu, split(333), options).unwrap();
    let events = finish(&mut trainer).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    let scale = snapshot.loss_scale.unwrap();
    assert!(snapshot.skipped >= 8, "16 bits hold no gradient times 2^30: {}", snapshot.skipped);
    assert_eq!(f64::from(scale.scale), first * 0.5f64.powi(snapshot.skipped as i32));
    assert!(u64::from(scale.steady) < snapshot.step, "{scale:?}");
    let scales = events.iter().filter_map(|event| match event {
        Event::Step(record) => record.loss_scale,
        _ => None,
    });
    let scales: Vec<f32> = scales.collect();
    assert!(scales.len() > 30 && scales.windows(2).all(|pair| pair[1] <= pair[0]), "{scales:?}");
    assert!(last_epoch(&events).test.unwrap().accuracy.unwrap() > 0.8);
}

#[test]
fn a_loss_scale_doubles_after_2000_steps_that_were_finite() {
    let options = in_f16(Some(64.0), Length::Steps(4));
    let mut first = Trainer::new(&gpu(), split(333), options.clone()).unwrap();
    finish(&mut first).unwrap();
    let mut snapshot = first.snapshot().unwrap();
    assert_eq!(snapshot.loss_scale, Some(LossScale { scale: 64.0, steady: 4 }));
    snapshot.loss_scale = Some(LossScale { scale: 64.0, steady: 1998 });
    let options = TrainOptions { length: Length::Steps(7), ..options };
    let mut second = Trainer::new(&gpu(), split(333), options).unwrap();
    second.restore(&snapshot).unwrap();
    finish(&mut second).unwrap();
    assert_eq!(second.snapshot().unwrap().loss_scale, Some(LossScale { scale: 128.0, steady: 1 }));
}

#[test]
fn a_restored_run_in_f16_continues_bit_for_bit() {
    let gpu = by_kernels();
    // The first begins with steps that are skipped.
    for (loss_scale, micro_batch) in [(Some(f64::from(1u32 << 30)), 32), (None, 32), (None, 9)] {
        let micro_batch = BatchSize::Rows(micro_batch);
        assert_continues(&gpu, &TrainOptions { micro_batch, ..in_f16(loss_scale, Length::Epochs(2)) });
    }
}

#[test]
fn f16_learns_as_much_as_f32_in_less_memory() {
    let gpu = by_kernels();
    let run = |precision| {
        let options = TrainOptions {
            model: "mlp:64,64".parse().unwrap(),
            batch: BatchSize::Rows(256),
            micro_batch: BatchSize::Rows(256),
            // In f32 too, so that both updates look at the gradient's norm.
            modifiers: Modifiers { loss_scale: Some(65536.0), ..Modifiers::default() },
            precision,
            ..options(Length::Epochs(12))
        };
        let mut trainer = Trainer::new(&gpu, split(2000), options).unwrap();
        let accuracy = last_epoch(&finish(&mut trainer).unwrap()).test.unwrap().accuracy.unwrap();
        (accuracy, trainer.report().clone())
    };
    let ((exact, in_f32), (half, in_f16)) = (run(Precision::F32), run(Precision::F16));
    // One of 37 rows near a border.
    assert!(exact > 0.9 && (exact - half).abs() < 1.5 / 37.0, "{exact} {half}");
    assert_eq!(in_f32.f16_saves, None);
    assert_eq!(in_f16.f16_saves, Some(in_f32.bytes.total - in_f16.bytes.total), "{in_f16:?}");
    assert!(in_f16.bytes.activations < in_f32.bytes.activations);
}

/// A row that no scale brings within 16 bits is skipped epoch after epoch: what the others teach must not be scaled away.
#[test]
fn a_row_beyond_16_bits_does_not_take_the_scale_below_one() {
    let (mut features, labels) = points(128);
    features[..7].fill(1e30);
    let train = Dataset::from_f32(features, &[7], Task::classes(3), Targets::Labels(labels)).unwrap();
    let options =
        TrainOptions { log_every: 1, model: "mlp:16".parse().unwrap(), ..in_f16(None, Length::Epochs(40)) };
    let mut trainer = Trainer::new(&by_kernels(), Split { train, test: Some(classes(37)) }, options).unwrap();
    let events = finish(&mut trainer).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    assert_eq!((snapshot.skipped, snapshot.loss_scale.unwrap().scale), (40, 1.0));
    let last = last_epoch(&events);
    assert!(last.test.unwrap().accuracy.unwrap() > 0.8, "{last:?}");
}

/// Errors of a regression may be larger than 16 bits hold, and the loss sums their squares.
#[test]
fn targets_beyond_16_bits_are_learned() {
    let (features, labels) = points(128);
    let targets: Vec<f32> = labels.iter().map(|label| 90_000.0 + 10_000.0 * *label as f32).collect();
    let train =
        Dataset::from_f32(features, &[7], Task::Values { width: 1 }, Targets::Values(targets)).unwrap();
    let optimizer = Optimizer::new("adam").unwrap().with("lr", 3000.0).unwrap();
    let model = "linear".parse().unwrap();
    let options = TrainOptions { optimizer, model, ..in_f16(None, Length::Epochs(60)) };
    let mut trainer = Trainer::new(&by_kernels(), Split { train, test: None }, options).unwrap();
    let loss = last_epoch(&finish(&mut trainer).unwrap()).train_loss;
    assert!(loss.sqrt() < 20_000.0, "{loss}");
}

#[test]
fn what_cannot_be_in_f16_is_said() {
    let searched = TrainOptions {
        optimizer: Optimizer::new("sgd").unwrap(),
        search: Some("line-search".parse().unwrap()),
        ..in_f16(None, Length::Steps(1))
    };
    let rows =
        [(searched, "scaled loss"), (in_f16(Some(0.5), Length::Steps(1)), "loss-scale: must be at least 1")];
    for (options, fragment) in rows {
        let error = Trainer::new(&gpu(), split(50), options).err().unwrap().to_string();
        assert!(error.contains(fragment), "{error}");
    }
}
