//! Steps that share submits: the same bits as alone, and nothing is kept back.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// As many as may, an odd number, one, and what is found to pay.
const SHARES: [Option<u64>; 4] = [Some(16), Some(3), Some(1), None];

/// Everything that `options` give with so many steps in a submit: the snapshot, θ, and what was told of steps and epochs.
fn run(
    gpu: &Gpu,
    options: &TrainOptions,
    share: Option<u64>,
) -> (Snapshot, Vec<NamedTensor>, Vec<(u64, f64, f64)>) {
    let mut trainer = Trainer::new(gpu, split(333), options.clone()).unwrap();
    trainer.share_submits(share).unwrap();
    let events = finish(&mut trainer).unwrap();
    let told = events.iter().filter_map(|event| match event {
        Event::Step(step) => Some((step.step, step.loss, step.lr)),
        Event::Epoch(epoch) => Some((epoch.step, epoch.train_loss, epoch.test.unwrap().loss)),
        _ => None,
    });
    let told = told.collect();
    (trainer.snapshot().unwrap(), trainer.parameters().unwrap(), told)
}

#[test]
fn the_bits_do_not_depend_on_how_many_steps_share_a_submit() {
    let gpu = gpu();
    let three_epochs = || options(Length::Epochs(3));
    let guarded = Modifiers {
        clip_norm: Some(0.5),
        skip_not_finite: true,
        average: Some(Average::Exponential { decay: 0.9 }),
        ..Modifiers::default()
    };
    let dropout = "linear 16, relu, dropout 0.25, linear 3".parse().unwrap();
    let sgd = || Optimizer::new("sgd").unwrap();
    let search = |search: &str| Some(search.parse().unwrap());
    let rows = [
        ("rows on the GPU", TrainOptions { resident: Choice::Yes, ..three_epochs() }),
        ("rows uploaded", TrainOptions { resident: Choice::No, ..three_epochs() }),
        (
            "batches in parts",
            TrainOptions { micro_batch: BatchSize::Rows(5), model: dropout, ..three_epochs() },
        ),
        ("losses told", TrainOptions { log_every: 2, modifiers: guarded, ..three_epochs() }),
        // More steps in an epoch than the history holds.
        ("batches of one row", TrainOptions { batch: BatchSize::Rows(1), ..options(Length::Epochs(1)) }),
        (
            "trials on the device",
            TrainOptions { search: search("line-search"), optimizer: sgd(), ..three_epochs() },
        ),
        (
            "trials by the host",
            TrainOptions { search: search("line-search wolfe"), optimizer: sgd(), ..three_epochs() },
        ),
    ];
    for (label, options) in rows {
        let [first, others @ ..] = SHARES.map(|share| run(&gpu, &options, share));
        for (share, other) in SHARES[1..].iter().zip(others) {
            assert!(other == first, "{label}: {share:?}");
        }
    }
}

#[test]
fn an_interruption_ends_after_whole_steps_that_are_all_done() {
    let gpu = gpu();
    let run = TrainOptions { log_every: 5, ..options(Length::Epochs(2)) };
    let (expected, ..) = self::run(&gpu, &run, Some(1));
    let mut trainer = Trainer::new(&gpu, split(333), run.clone()).unwrap();
    trainer.share_submits(Some(16)).unwrap();
    let interrupted = AtomicBool::new(false);
    assert!(matches!(trainer.next_event(&interrupted).unwrap(), Event::Step(step) if step.step == 5));
    interrupted.store(true, Ordering::Relaxed);
    // What was under way is told first.
    while matches!(trainer.next_event(&interrupted).unwrap(), Event::Step(_)) {}
    let snapshot = trainer.snapshot().unwrap();
    assert!(snapshot.step == trainer.steps() && snapshot.step < expected.step);
    let mut second = Trainer::new(&gpu, split(333), run).unwrap();
    second.share_submits(Some(16)).unwrap();
    second.restore(&snapshot).unwrap();
    finish(&mut second).unwrap();
    assert!(second.snapshot().unwrap() == expected);
}

/// Steps that were recorded and not submitted when the limit dropped are done, and not done again.
#[test]
fn a_smaller_plan_goes_on_behind_steps_that_shared_a_submit() {
    let mut whole = Trainer::new(&gpu(), many_rows(), narrow(Choice::No)).unwrap();
    finish(&mut whole).unwrap();
    let gpu = gpu();
    let mut trainer = Trainer::new(&gpu, many_rows(), narrow(Choice::Yes)).unwrap();
    trainer.share_submits(Some(16)).unwrap();
    trainer.run_steps(5).unwrap();
    for _ in 0..7 {
        trainer.train_on(&NEVER).unwrap();
    }
    gpu.set_memory_limit(gpu.account().values().sum::<u64>() - 1);
    let events = finish(&mut trainer).unwrap();
    let replan = events.iter().find_map(|event| match event {
        Event::Replanned(replan) => Some(replan),
        _ => None,
    });
    assert!(replan.is_some_and(|replan| replan.step == 12 && !replan.report.resident), "{replan:?}");
    assert_eq!(trainer.parameters().unwrap(), whole.parameters().unwrap());
}
