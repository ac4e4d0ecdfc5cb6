//! Training in frames: the same bits as in a loop of its own, without a wait, and in the hand of the app at any launch.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::trainer::TRAIN;
use super::*;
use crate::wgpu;

/// Less than a step of the networks here takes on any adapter of software, and as much as several.
const SHORT: Duration = Duration::from_micros(200);
const LONG: Duration = Duration::from_millis(4);

/// All that a run leaves and tells.
type Outcome = (Snapshot, Vec<NamedTensor>, Vec<(u64, f64, f64)>);

fn outcome(trainer: &mut Trainer, events: &[Event]) -> Outcome {
    let told = events.iter().filter_map(|event| match event {
        Event::Step(step) => Some((step.step, step.loss, step.lr)),
        Event::Epoch(epoch) => Some((epoch.step, epoch.train_loss, epoch.test.map_or(0.0, |test| test.loss))),
        _ => None,
    });
    (trainer.snapshot().unwrap(), trainer.parameters().unwrap(), told.collect())
}

/// Frames of an app until `is_enough`, or the end; far more than any run here takes are a failure.
fn frames(
    trainer: &mut Trainer,
    granted: Duration,
    mut is_enough: impl FnMut(&mut Trainer, &Advance) -> bool,
) -> Result<Vec<Event>> {
    let (mut events, began) = (Vec::new(), Instant::now());
    while began.elapsed() < Duration::from_secs(120) {
        let advanced = trainer.advance(granted)?;
        while let Some(event) = trainer.poll()? {
            if event == Event::Finished {
                assert_eq!(trainer.advance(granted)?.stopped, Stopped::Finished);
                assert_eq!(trainer.poll()?, None, "the end is told once");
                return Ok(events);
            }
            events.push(event);
        }
        if is_enough(trainer, &advanced) {
            return Ok(events);
        }
        sleep(SHORT / 2);
    }
    panic!("the run does not end, and says {:?}", events.last());
}

fn in_frames(gpu: &Gpu, options: &TrainOptions, granted: Duration) -> Outcome {
    let mut trainer = Trainer::new(gpu, split(333), options.clone()).unwrap();
    let events = frames(&mut trainer, granted, |_, _| false).unwrap();
    outcome(&mut trainer, &events)
}

/// By an executor, which has the trainer made on another thread.
fn as_futures(gpu: &Gpu, options: &TrainOptions) -> Outcome {
    let (gpu, options) = (gpu.clone(), options.clone());
    pollster::block_on(async {
        let opening = crate::in_background(move || Trainer::new(&gpu, split(333), options)).unwrap();
        let (mut trainer, mut events) = (opening.await.unwrap(), Vec::new());
        loop {
            match trainer.next_event_async().await.unwrap() {
                Event::Finished => break,
                event => events.push(event),
            }
        }
        assert_eq!(trainer.next_event_async().await.unwrap(), Event::Finished);
        outcome(&mut trainer, &events)
    })
}

fn in_a_loop(gpu: &Gpu, options: &TrainOptions) -> Outcome {
    let mut trainer = Trainer::new(gpu, split(333), options.clone()).unwrap();
    let events = finish(&mut trainer).unwrap();
    outcome(&mut trainer, &events)
}

/// A device without timestamps, as an app may have it.
fn without_timestamps() -> Gpu {
    let own = gpu();
    let adapter = own.adapter.clone();
    let (features, required_limits) = Gpu::required_features_and_limits(&adapter).unwrap();
    let required_features = features - wgpu::Features::TIMESTAMP_QUERY;
    let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    Gpu::from_wgpu(&adapter, device, queue, &GpuOptions::default()).unwrap()
}

#[test]
fn frames_and_a_loop_leave_the_same_bits_and_tell_the_same() {
    let gpus = [gpu(), without_timestamps()];
    let two_epochs = || TrainOptions { log_every: 4, ..options(Length::Epochs(2)) };
    let guarded = Modifiers {
        clip_norm: Some(0.5),
        skip_not_finite: true,
        average: Some(Average::Exponential { decay: 0.9 }),
        ..Modifiers::default()
    };
    let sgd = || Optimizer::new("sgd").unwrap();
    let dropout = "linear 16, relu, dropout 0.25, linear 3".parse().unwrap();
    let rows = [
        ("rows on the GPU", TrainOptions { resident: Choice::Yes, ..two_epochs() }),
        ("rows uploaded", TrainOptions { resident: Choice::No, ..two_epochs() }),
        (
            "batches in parts",
            TrainOptions { micro_batch: BatchSize::Rows(5), model: dropout, ..two_epochs() },
        ),
        ("clipped and averaged", TrainOptions { modifiers: guarded, ..two_epochs() }),
        (
            "more steps in an epoch than the history holds",
            TrainOptions { batch: BatchSize::Rows(2), ..two_epochs() },
        ),
        (
            "the rate follows the test loss",
            TrainOptions {
                schedule: "plateau 0.5 patience 0 threshold 0.5".parse().unwrap(),
                ..options(Length::Epochs(4))
            },
        ),
        ("evaluated every other epoch", TrainOptions { eval_every: 2, ..options(Length::Epochs(3)) }),
        ("ends within an epoch", options(Length::Steps(15))),
        (
            "trials on the device",
            TrainOptions { search: Some("line-search".parse().unwrap()), optimizer: sgd(), ..two_epochs() },
        ),
    ];
    for (label, options) in rows {
        let expected = in_a_loop(&gpus[0], &options);
        for (gpu, granted) in [(&gpus[0], SHORT), (&gpus[0], LONG), (&gpus[1], LONG)] {
            assert!(in_frames(gpu, &options, granted) == expected, "{label}, {granted:?}");
        }
        assert!(as_futures(&gpus[0], &options) == expected, "{label}, as futures");
    }
}

#[test]
fn a_call_waits_for_nothing_and_a_step_is_divided() {
    thread_local! {
        static READINGS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    /// Each reading is a second later: whoever waits is seen, however short.
    fn clock() -> f64 {
        READINGS.set(READINGS.get() + 1);
        f64::from(READINGS.get())
    }
    let apart = GpuOptions { row_runs: RowRuns::Never, ..GpuOptions::default() };
    for gpu in [Gpu::new(&apart).unwrap(), without_timestamps()] {
        let mut trainer = Trainer::new(&gpu, split(333), options(Length::Epochs(3))).unwrap();
        let a_step = trainer.session.engine().unwrap().described(TRAIN, true).len();
        gpu.time_host(clock);
        let mut calls = Vec::new();
        frames(&mut trainer, SHORT, |trainer, advanced| {
            calls.push((advanced.launches, trainer.steps()));
            false
        })
        .unwrap();
        assert_eq!(gpu.host_times().waiting, 0.0);
        // With timestamps nothing is known at first: a launch by itself, and never the step in one go.
        if gpu.profile().timestamps {
            let first: u64 =
                calls.iter().filter(|(_, steps)| *steps == 0).map(|(launches, _)| launches).sum();
            assert!(calls[0].0 == 1 && calls[0].1 == 0 && a_step > 10, "{calls:?}");
            assert!((first as usize) < a_step && calls[1].1 == 0, "{calls:?}");
        }
    }
}

#[test]
fn what_is_asked_of_a_trainer_in_the_middle_of_a_step_sees_whole_steps() {
    let gpu = gpu();
    let averaged = Modifiers { average: Some(Average::Exponential { decay: 0.9 }), ..Modifiers::default() };
    for modifiers in [Modifiers::default(), averaged] {
        let options =
            TrainOptions { micro_batch: BatchSize::Rows(8), modifiers, ..options(Length::Epochs(2)) };
        let expected = in_a_loop(&gpu, &options);
        let mut trainer = Trainer::new(&gpu, split(333), options.clone()).unwrap();
        let mut calls = 0;
        let mut events = frames(&mut trainer, SHORT, |trainer, _| {
            calls += 1;
            // Each of these at another launch of a step; none of them may be seen in what comes out.
            match calls % 7 {
                1 => drop(trainer.parameters().unwrap()),
                3 => {
                    let snapshot = trainer.snapshot().unwrap();
                    assert_eq!(snapshot.step, trainer.steps());
                    if calls % 2 == 1 {
                        trainer.restore(&snapshot).unwrap();
                    }
                }
                5 => trainer.make_whole().unwrap(),
                _ => {}
            }
            calls > 60
        })
        .unwrap();
        events.extend(finish(&mut trainer).unwrap());
        assert!(outcome(&mut trainer, &events).0 == expected.0);
        assert_eq!(trainer.parameters().unwrap(), expected.1);
    }
}

#[test]
fn pausing_cancelling_and_dropping_leave_whole_steps() {
    let gpu = gpu();
    let options = || options(Length::Epochs(1000));
    let mut trainer = Trainer::new(&gpu, split(333), options()).unwrap();
    let after = |steps: u64| move |trainer: &mut Trainer, _: &Advance| trainer.steps() >= steps;
    frames(&mut trainer, SHORT, after(3)).unwrap();
    trainer.pause();
    let paused = trainer.steps();
    for _ in 0..5 {
        let advanced = trainer.advance(LONG).unwrap();
        assert_eq!((advanced.stopped, advanced.launches), (Stopped::Paused, 0));
        trainer.poll().unwrap();
    }
    assert!(trainer.is_paused() && trainer.steps() == paused);
    trainer.resume();
    frames(&mut trainer, SHORT, after(paused + 3)).unwrap();
    trainer.cancel().unwrap();
    let steps = trainer.steps();
    let events = frames(&mut trainer, SHORT, |_, _| false).unwrap();
    assert!(events.is_empty(), "{events:?}");
    // While it is paused, and by whoever only listens.
    let mut quiet = Trainer::new(&gpu, split(333), options()).unwrap();
    frames(&mut quiet, SHORT, after(2)).unwrap();
    quiet.pause();
    quiet.cancel().unwrap();
    let began = Instant::now();
    while quiet.poll().unwrap() != Some(Event::Finished) {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody tells the end");
        sleep(SHORT);
    }
    assert_eq!(quiet.advance(LONG).unwrap().stopped, Stopped::Finished);
    drop(quiet);
    let mut other = Trainer::new(&gpu, split(333), options()).unwrap();
    other.run_steps(steps).unwrap();
    assert_eq!(trainer.parameters().unwrap(), other.parameters().unwrap());
    drop((trainer, other));
    let before: u64 = gpu.account().values().sum();
    let mut dropped = Trainer::new(&gpu, split(333), options()).unwrap();
    let mut calls = 0;
    frames(&mut dropped, SHORT, |_, _| {
        calls += 1;
        calls > 20
    })
    .unwrap();
    drop(dropped);
    assert_eq!(gpu.account().values().sum::<u64>(), before);
}

#[test]
fn nothing_is_set_in_the_middle_of_the_first_step_and_any_time_may_be_granted() {
    let gpu = Gpu::new(&GpuOptions { row_runs: RowRuns::Never, ..GpuOptions::default() }).unwrap();
    let mut trainer = Trainer::new(&gpu, split(333), options(Length::Steps(200))).unwrap();
    let start = trainer.parameters().unwrap();
    trainer.set_parameters(&start).unwrap();
    assert_eq!(trainer.advance(Duration::MAX).unwrap().launches, 1);
    let error = trainer.set_parameters(&start).unwrap_err().to_string();
    assert!(error.contains("a step was begun already"), "{error}");
    assert_eq!(trainer.steps(), 0, "and none is ended for it");
    assert_eq!(trainer.advance(Duration::ZERO).unwrap().launches, 0);
    frames(&mut trainer, Duration::MAX, |_, _| false).unwrap();
    assert_eq!(trainer.steps(), 200);
}

#[test]
fn a_limit_that_is_lowered_between_frames_is_kept_from_the_next_on() {
    let mut whole = Trainer::new(&gpu(), many_rows(), narrow(Choice::No)).unwrap();
    finish(&mut whole).unwrap();
    let gpu = gpu();
    let mut trainer = Trainer::new(&gpu, many_rows(), narrow(Choice::Yes)).unwrap();
    frames(&mut trainer, SHORT, |trainer, _| trainer.steps() >= 7).unwrap();
    let limit = gpu.account().values().sum::<u64>() - 1;
    gpu.set_memory_limit(limit);
    assert_eq!(trainer.advance(SHORT).unwrap().stopped, Stopped::Replanned);
    assert!(gpu.account().values().sum::<u64>() <= limit);
    let events = frames(&mut trainer, LONG, |_, _| false).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Replanned(_))), "{events:?}");
    assert_eq!(trainer.parameters().unwrap(), whole.parameters().unwrap());
}

#[test]
fn runs_whose_steps_wait_are_refused_and_a_loss_that_is_not_finite_is_told() {
    let gpu = gpu();
    let sgd = |rate: f64| Optimizer::new("sgd").unwrap().with("lr", rate).unwrap();
    let method = crate::Method::new("lbfgs").unwrap();
    let by_method = TrainOptions::by_method("mlp:16".parse().unwrap(), method).unwrap();
    let search = Some("line-search wolfe".parse().unwrap());
    let by_search = TrainOptions { search, optimizer: sgd(0.1), ..options(Length::Epochs(1)) };
    for (options, name) in [(by_method, "method"), (by_search, "line-search")] {
        let mut trainer = Trainer::new(&gpu, split(333), options).unwrap();
        let refused = trainer.advance(LONG).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("next_event"), "{refused}");
        finish(&mut trainer).unwrap();
    }
    let model = "linear 16, linear 3".parse().unwrap();
    let diverging = TrainOptions { optimizer: sgd(1e30), model, ..options(Length::Epochs(50)) };
    let mut trainer = Trainer::new(&gpu, split(333), diverging).unwrap();
    let error = frames(&mut trainer, LONG, |_, _| false).unwrap_err();
    assert!(matches!(error, Error::Diverged(_)), "{error}");
    assert!(matches!(trainer.advance(LONG), Err(Error::Diverged(_))), "it stays so");
}
