//! Learning rates over whole runs: what a step is told to have used, and that a resumed run uses the same.

use super::*;
use crate::optim::Schedule;

/// 333 rows are 11 batches of 32 an epoch.
const PER_EPOCH: u64 = 11;

fn scheduled(schedule: &str, length: Length) -> TrainOptions {
    TrainOptions { schedule: schedule.parse().unwrap(), log_every: 1, ..options(length) }
}

fn rates(events: &[Event]) -> Vec<f64> {
    let rate = |event: &Event| match event {
        Event::Step(step) => Some(step.lr),
        _ => None,
    };
    events.iter().filter_map(rate).collect()
}

#[test]
fn steps_use_the_rates_of_the_schedule_and_say_so() {
    let text = "warmup 1 epoch then one-cycle";
    let mut trainer = Trainer::new(&gpu(), split(333), scheduled(text, Length::Epochs(3))).unwrap();
    let found = rates(&finish(&mut trainer).unwrap());
    let schedule: Schedule = text.parse().unwrap();
    let total = 3 * PER_EPOCH;
    assert_eq!(
        found,
        (1..=total).map(|step| schedule.rate(0.02, step, total, PER_EPOCH)).collect::<Vec<_>>()
    );
}

/// A rate of 0 leaves θ as it is, so what the device uses is what is told.
#[test]
fn a_step_with_rate_zero_changes_nothing() {
    let gpu = gpu();
    let run = |schedule: &str, steps| {
        let mut trainer = Trainer::new(&gpu, split(333), scheduled(schedule, Length::Steps(steps))).unwrap();
        finish(&mut trainer).unwrap();
        trainer.parameters().unwrap()
    };
    assert_eq!(run("constant for 4 then constant 0", 9), run("constant", 4));
    assert_ne!(run("constant", 9), run("constant", 4));
}

/// To a plateau that wants the loss halved by every epoch, one comes soon; the run is cut in two before and after.
#[test]
fn a_run_with_a_plateau_continues_bit_for_bit() {
    let gpu = gpu();
    let text = "warmup 5 then plateau 0.5 patience 0 threshold 0.5";
    let length = Length::Epochs(6);
    let mut whole = Trainer::new(&gpu, split(333), scheduled(text, length)).unwrap();
    let expected = rates(&finish(&mut whole).unwrap());
    assert!(expected.last().unwrap() < &0.02, "a plateau was met: {expected:?}");
    for steps in [17, 3 * PER_EPOCH, 5 * PER_EPOCH + 3] {
        let mut first = Trainer::new(&gpu, split(333), scheduled(text, Length::Steps(steps))).unwrap();
        let mut found = rates(&finish(&mut first).unwrap());
        let snapshot = first.snapshot().unwrap();
        let mut second = Trainer::new(&gpu, split(333), scheduled(text, length)).unwrap();
        second.restore(&snapshot).unwrap();
        found.extend(rates(&finish(&mut second).unwrap()));
        assert_eq!(found, expected, "from step {steps}");
        assert_eq!(second.parameters().unwrap(), whole.parameters().unwrap(), "from step {steps}");
        assert_eq!(
            second.snapshot().unwrap(),
            Snapshot { origin: second.origin().clone(), ..whole.snapshot().unwrap() }
        );
    }
}

/// An epoch that is evaluated only because the run ends there is none that the plateau of a longer run sees.
#[test]
fn a_plateau_sees_the_evaluations_that_a_longer_run_makes_too() {
    let gpu = gpu();
    let options = |epochs| TrainOptions {
        eval_every: 2,
        ..scheduled("plateau 0.5 patience 0 threshold 0.9", Length::Epochs(epochs))
    };
    let state = |epochs| {
        let mut trainer = Trainer::new(&gpu, split(333), options(epochs)).unwrap();
        finish(&mut trainer).unwrap();
        trainer.snapshot().unwrap().plateau
    };
    assert_eq!(state(2), state(3));
    assert_eq!((state(2).factor, state(4).factor), (1.0, 0.5));
}

#[test]
fn an_origin_has_the_length_where_the_rates_follow_from_it() {
    let gpu = gpu();
    let origin = |schedule: &str, epochs| {
        let options = scheduled(schedule, Length::Epochs(epochs));
        Trainer::new(&gpu, split(333), options).unwrap().origin()["schedule"].clone()
    };
    assert_eq!(origin("cosine", 2), "cosine over 22 steps");
    assert_ne!(origin("cosine", 2), origin("cosine", 3));
    assert_eq!(origin("cosine for 2 epochs", 2), origin("cosine for 2 epochs", 3));
}
