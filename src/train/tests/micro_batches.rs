//! Batches that are done in parts.

use super::*;

/// The largest difference of two models' parameters, relative to the largest parameter.
fn difference(a: &[NamedTensor], b: &[NamedTensor]) -> f32 {
    let values = |tensors: &[NamedTensor]| tensors.iter().flat_map(|tensor| tensor.values.clone()).collect();
    let (a, b): (Vec<f32>, Vec<f32>) = (values(a), values(b));
    let largest = a.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    a.iter().zip(&b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// 333 rows in batches of 64: five whole ones and one of 13 rows, whose parts are short too.
#[test]
fn a_batch_in_parts_trains_like_the_whole_up_to_rounding() {
    let gpu = gpu();
    let sgd = || Optimizer::new("sgd").unwrap().with("lr", 0.2).unwrap();
    let adam = || Optimizer::new("adam").unwrap().with("lr", 0.01).unwrap();
    let rows: [(&str, Optimizer, Choice); 3] = [
        ("mlp:16,12:tanh", sgd(), Choice::Yes),
        // The masks of the parts are those of the whole batch, or the two would be different networks.
        ("linear 16, relu, dropout 0.5, linear 3", sgd(), Choice::No),
        ("mlp:24", adam(), Choice::No),
    ];
    for (model, optimizer, resident) in rows {
        let run = |micro_batch| {
            let model = model.parse().unwrap();
            let micro_batch = BatchSize::Rows(micro_batch);
            let batch = BatchSize::Rows(64);
            let options = TrainOptions {
                model,
                optimizer: optimizer.clone(),
                batch,
                resident,
                ..options(Length::Epochs(3))
            };
            let mut trainer =
                Trainer::new(&gpu, split(333), TrainOptions { micro_batch, log_every: 1, ..options })
                    .unwrap();
            let events = finish(&mut trainer).unwrap();
            let report = trainer.report().clone();
            (events, trainer.parameters().unwrap(), report)
        };
        let (whole, expected, _) = run(64);
        for micro_batch in [1, 7, 16, 33, 63] {
            let (parts, found, report) = run(micro_batch);
            assert_eq!((report.batch, report.micro_batch), (64, micro_batch));
            assert_eq!(report.accumulate, 64usize.div_ceil(micro_batch));
            // A few hundred sums of f32 in another order: some 1e-7 each, and 18 steps add theirs up.
            assert!(
                difference(&expected, &found) < 2e-5,
                "{model}, parts of {micro_batch}: {}",
                difference(&expected, &found)
            );
            assert_eq!(whole.len(), parts.len(), "as many steps and epochs");
            for (whole, part) in whole.iter().zip(&parts) {
                if let (Event::Step(whole), Event::Step(part)) = (whole, part) {
                    assert!((whole.loss - part.loss).abs() < 1e-5 * whole.loss, "{whole:?} {part:?}");
                }
            }
        }
    }
}

#[test]
fn a_run_in_parts_is_resumed_bit_for_bit() {
    let gpu = gpu();
    let options = |length| TrainOptions { micro_batch: BatchSize::Rows(9), ..options(length) };
    let (_, expected) = trained(&gpu, split(333), options(Length::Epochs(3)));
    let mut first = Trainer::new(&gpu, split(333), options(Length::Steps(17))).unwrap();
    finish(&mut first).unwrap();
    let snapshot = first.snapshot().unwrap();
    let mut second = Trainer::new(&gpu, split(333), options(Length::Epochs(3))).unwrap();
    second.restore(&snapshot).unwrap();
    finish(&mut second).unwrap();
    assert_eq!(second.parameters().unwrap(), expected);
}

/// The batch that is asked for takes four times the limit; the run does it in parts, and no other one.
#[test]
fn a_quarter_of_the_memory_is_enough_for_the_same_training() {
    let gpu = gpu();
    let data = || Split { train: classes(4096), test: Some(classes(37)) };
    let options = || TrainOptions {
        model: "mlp:128,128:tanh".parse().unwrap(),
        batch: BatchSize::Rows(4096),
        ..options(Length::Epochs(8))
    };
    // By itself a run with room goes in parts too, where that is estimated to cost no time.
    let at_once = BatchSize::Rows(4096);
    let undivided = TrainOptions { resident: Choice::No, micro_batch: at_once, ..options() };
    let mut whole = Trainer::new(&gpu, data(), undivided).unwrap();
    assert_eq!(whole.report().accumulate, 1);
    let expected = last_epoch(&finish(&mut whole).unwrap());
    let limit = whole.report().bytes.total / 4;
    drop(whole);
    let limited = Gpu::new(&GpuOptions {
        memory_limit: Some(crate::gpu::MemoryLimit::Bytes(limit)),
        ..GpuOptions::default()
    })
    .unwrap();
    let mut parts = Trainer::new(&limited, data(), options()).unwrap();
    let report = parts.report().clone();
    assert!(report.bytes.total <= limit && report.batch == 4096 && report.accumulate > 1, "{report:?}");
    assert!(parts.measured_bytes() <= limit);
    let found = last_epoch(&finish(&mut parts).unwrap());
    // Sums over 4,096 rows in another order.
    assert!((found.train_loss - expected.train_loss).abs() < 1e-5, "{found:?} {expected:?}");
    assert!((found.test.unwrap().loss - expected.test.unwrap().loss).abs() < 1e-4);
}
