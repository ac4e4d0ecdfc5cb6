//! Whole runs through the trainer, on whatever adapter there is.

use std::sync::atomic::AtomicBool;

mod advance;
mod find_rate;
mod full_batch;
mod half;
mod line_search;
mod memory;
mod micro_batches;
mod parameters;
mod schedules;
mod skipped;
mod submits;

use super::*;
use crate::data::{Contents, Dataset, Order, Position, Split, Stream, StreamOptions, Targets, Task};
use crate::gpu::{Gpu, GpuOptions, LimitOverrides, RowRuns};
use crate::optim::{Average, Group, Lookahead, Modifiers, Optimizer, UPDATE_RULES};
use crate::{Error, Result};

static NEVER: AtomicBool = AtomicBool::new(false);

fn gpu() -> Gpu {
    Gpu::new(&GpuOptions::default()).unwrap()
}

/// Rows on a noisy plane, cut into three classes; `rows` is no multiple of any batch used here.
fn classes(rows: usize) -> Dataset {
    let (features, labels) = points(rows);
    Dataset::from_f32(features, &[7], Task::classes(3), Targets::Labels(labels)).unwrap()
}

fn points(rows: usize) -> (Vec<f32>, Vec<u32>) {
    let features: Vec<f32> = (0..rows * 7).map(|i| ((i * 7919 % 1013) as f32 / 506.5) - 1.0).collect();
    let label = |row: &[f32]| match row[0] + 0.5 * row[3] - row[6] {
        x if x < -0.4 => 0,
        x if x < 0.4 => 1,
        _ => 2,
    };
    let labels = features.chunks(7).map(label).collect();
    (features, labels)
}

fn split(rows: usize) -> Split {
    Split { train: classes(rows), test: Some(classes(37)) }
}

fn options(length: Length) -> TrainOptions {
    let optimizer = Optimizer::new("adam").unwrap().with("lr", 0.02).unwrap();
    let model = "mlp:16,12:tanh".parse().unwrap();
    TrainOptions { batch: BatchSize::Rows(32), length, seed: 3, ..TrainOptions::new(model, optimizer) }
}

/// Rows that take more memory than a step of a narrow network: where less is left, they are what goes.
fn many_rows() -> Split {
    Split { train: classes(32 << 10), test: None }
}

fn narrow(resident: Choice) -> TrainOptions {
    TrainOptions {
        model: "mlp:64,64:tanh".parse().unwrap(),
        batch: BatchSize::Rows(16),
        micro_batch: BatchSize::Rows(16),
        resident,
        ..options(Length::Steps(40))
    }
}

/// All events up to the end.
fn finish(trainer: &mut Trainer) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    // Far more than any run here has to say: one that makes no progress is to fail.
    while events.len() < 10_000 {
        match trainer.next_event(&NEVER)? {
            Event::Finished => return Ok(events),
            event => events.push(event),
        }
    }
    panic!("the run does not end, and says {:?}", events.last());
}

/// Trains until `step` is told of.
fn until_step(trainer: &mut Trainer, step: u64) {
    loop {
        match trainer.next_event(&NEVER).unwrap() {
            Event::Step(record) if record.step == step => return,
            Event::Finished => panic!("the run ended without telling of step {step}"),
            _ => {}
        }
    }
}

fn last_epoch(events: &[Event]) -> EpochRecord {
    let epoch = |event: &Event| match event {
        Event::Epoch(epoch) => Some(*epoch),
        _ => None,
    };
    events.iter().rev().find_map(epoch).unwrap()
}

fn trained(gpu: &Gpu, data: Split, options: TrainOptions) -> (EpochRecord, Vec<NamedTensor>) {
    let mut trainer = Trainer::new(gpu, data, options).unwrap();
    let events = finish(&mut trainer).unwrap();
    (last_epoch(&events), trainer.parameters().unwrap())
}

#[test]
fn a_network_learns() {
    let (epoch, _) = trained(&gpu(), split(333), options(Length::Epochs(40)));
    let test = epoch.test.unwrap();
    assert!(test.accuracy.unwrap() > 0.9, "{epoch:?}");
    assert_eq!(test.rows, 37);
}

#[test]
fn resident_and_streamed_rows_train_the_same_bytes() {
    let run = |resident| trained(&gpu(), split(333), TrainOptions { resident, ..options(Length::Epochs(3)) });
    let ((resident, a), (streamed, b)) = (run(Choice::Yes), run(Choice::No));
    assert_eq!(a, b);
    assert_eq!((resident.train_loss, resident.test), (streamed.train_loss, streamed.test));
}

#[test]
fn a_restored_run_continues_bit_for_bit_from_any_step() {
    let gpu = gpu();
    for rule in UPDATE_RULES {
        let optimizer = Optimizer::new(rule.name).unwrap();
        assert_continues(&gpu, &TrainOptions { optimizer, ..options(Length::Epochs(2)) });
    }
}

#[test]
fn a_restored_run_continues_bit_for_bit_by_rows_and_learns_what_it_learns_without() {
    let of = |row_runs| Gpu::new(&GpuOptions { row_runs, ..GpuOptions::default() }).unwrap();
    let [by_rows, ordinary] = [RowRuns::Always, RowRuns::Never].map(of);
    let whole = options(Length::Epochs(2));
    let launches = |gpu: &Gpu| {
        let mut trainer = Trainer::new(gpu, split(333), whole.clone()).unwrap();
        finish(&mut trainer).unwrap();
        let report = trainer.report();
        let (planned, measured) = (report.bytes.total, trainer.measured_bytes());
        assert!(measured <= planned && planned as f64 <= 1.01 * measured as f64, "{planned}, {measured}");
        trainer.memory_map().unwrap().steps.len()
    };
    let (joined, apart) = (launches(&by_rows), launches(&ordinary));
    assert!(joined < apart / 2, "{joined} launches and {apart}");
    assert_continues(&by_rows, &whole);
    // The same sums in another order, through 22 steps.
    let [found, expected] = [by_rows, ordinary].map(|gpu| trained(&gpu, split(333), whole.clone()).0);
    assert!((found.train_loss - expected.train_loss).abs() < 1e-4, "{found:?} {expected:?}");
    assert!((found.test.unwrap().loss - expected.test.unwrap().loss).abs() < 1e-4);
}

#[test]
fn a_restored_run_continues_with_all_that_goes_with_its_rule() {
    let gpu = gpu();
    let sgd = Optimizer::new("sgd").unwrap().with("lr", 0.1).unwrap();
    let clipped = Modifiers {
        clip_norm: Some(0.5),
        clip_value: Some(0.1),
        skip_not_finite: true,
        groups: vec![Group { pattern: "*.bias".to_owned(), optimizer: sgd }],
        ..Modifiers::default()
    };
    let exponential = Some(Average::Exponential { decay: 0.9 });
    let stochastic = Some(Average::Stochastic { start: 4, every: 3 });
    let rows = [
        Modifiers { average: exponential, ..clipped.clone() },
        Modifiers { average: stochastic, ..clipped.clone() },
        Modifiers { lookahead: Some(Lookahead { steps: 5, rate: 0.5 }), ..clipped },
    ];
    for modifiers in rows {
        assert_continues(&gpu, &TrainOptions { modifiers, ..options(Length::Epochs(2)) });
    }
}

/// That a run of `whole` ends with the same bytes where it was stopped and restored on its way.
fn assert_continues(gpu: &Gpu, whole: &TrainOptions) {
    let model: crate::nn::ModelSpec = "linear 16, relu, dropout 0.25, linear 3".parse().unwrap();
    let options = |length| TrainOptions { model: model.clone(), length, ..whole.clone() };
    let (epoch, expected) = trained(gpu, split(333), options(whole.length));
    // 333 rows are 11 batches an epoch: 7 is in the middle of the first, 11 its end.
    for steps in [7, 11] {
        let mut first = Trainer::new(gpu, split(333), options(Length::Steps(steps))).unwrap();
        finish(&mut first).unwrap();
        let snapshot = first.snapshot().unwrap();
        let mut second = Trainer::new(gpu, split(333), options(whole.length)).unwrap();
        second.restore(&snapshot).unwrap();
        let restored = last_epoch(&finish(&mut second).unwrap());
        let label = format!("{} {:?} from step {steps}", whole.optimizer, whole.modifiers);
        assert!(second.parameters().unwrap() == expected, "{label}");
        assert_eq!((restored.train_loss, restored.test), (epoch.train_loss, epoch.test), "{label}");
    }
}

/// The first step may be skipped; the state then begins with the first that is not, also in a run that was restored
/// in between.
#[test]
fn a_rule_begins_with_the_first_step_that_is_not_skipped() {
    let gpu = gpu();
    let (mut features, labels) = points(64);
    features[..7].fill(3e38);
    let train = Dataset::from_f32(features, &[7], Task::classes(3), Targets::Labels(labels)).unwrap();
    let data = || Split { train: train.clone(), test: None };
    let optimizer = Optimizer::new("rprop").unwrap();
    let modifiers = Modifiers { skip_not_finite: true, ..Modifiers::default() };
    let with = |seed, steps| TrainOptions {
        optimizer: optimizer.clone(),
        modifiers: modifiers.clone(),
        model: "mlp:16".parse().unwrap(),
        seed,
        ..options(Length::Steps(steps))
    };
    let run = |seed, steps| {
        let mut trainer = Trainer::new(&gpu, data(), with(seed, steps)).unwrap();
        finish(&mut trainer).unwrap();
        trainer.snapshot().unwrap()
    };
    // The row is in the first of two batches for about every second seed.
    let seed = (0..16).find(|seed| run(*seed, 1).skipped == 1).unwrap();
    let sizes = |snapshot: &Snapshot| -> Vec<f32> {
        let slot = snapshot.state.iter().find(|(slot, _)| slot == "step_size").unwrap();
        slot.1.iter().flat_map(|tensor| tensor.values.clone()).collect()
    };
    let begun = run(seed, 2);
    assert_eq!((begun.skipped, begun.skipped_first), (1, 1));
    assert!(sizes(&begun).iter().all(|size| *size == 0.01), "{:?}", sizes(&begun));
    for stop in [1, 2] {
        let mut second = Trainer::new(&gpu, data(), with(seed, 6)).unwrap();
        second.restore(&run(seed, stop)).unwrap();
        finish(&mut second).unwrap();
        assert!(second.snapshot().unwrap() == run(seed, 6), "from step {stop}");
    }
}

#[test]
fn a_snapshot_of_another_model_or_optimizer_is_refused() {
    let gpu = gpu();
    let snapshot = Trainer::new(&gpu, split(50), options(Length::Steps(1))).unwrap().snapshot().unwrap();
    let wider = TrainOptions { model: "mlp:17,12:tanh".parse().unwrap(), ..options(Length::Steps(1)) };
    let plain = TrainOptions { optimizer: Optimizer::new("sgd").unwrap(), ..options(Length::Steps(1)) };
    for (options, fragment) in [(wider, "`0.weight`"), (plain, "first_moment")] {
        let error = Trainer::new(&gpu, split(50), options).unwrap().restore(&snapshot).unwrap_err();
        assert!(error.to_string().contains(fragment), "{error}");
    }
}

#[test]
fn shards_and_folded_dispatches_train_the_same_bytes() {
    let model: crate::nn::ModelSpec = "mlp:70,300".parse().unwrap();
    let options =
        || TrainOptions { model: model.clone(), resident: Choice::No, ..options(Length::Epochs(2)) };
    let (_, expected) = trained(&gpu(), split(333), options());
    let rows = [
        LimitOverrides { max_workgroups_per_dimension: Some(12), ..LimitOverrides::default() },
        // 300×70 floats are 84,000 bytes: the second weight is cut into two pieces, θ into several shards.
        LimitOverrides { max_binding_size: Some(57_344), ..LimitOverrides::default() },
        LimitOverrides { max_buffer_size: Some(57_344), ..LimitOverrides::default() },
    ];
    for overrides in rows {
        let lowered =
            Gpu::new(&GpuOptions { overrides: overrides.clone(), ..GpuOptions::default() }).unwrap();
        let (_, found) = trained(&lowered, split(333), options());
        assert_eq!(found, expected, "{overrides:?}");
    }
}

#[test]
fn the_lecture_form_of_nesterov_reports_theta_and_not_the_point_ahead() {
    let gpu = gpu();
    let optimizer = Optimizer::new("nesterov").unwrap().with("form", "lecture").unwrap();
    let mut trainer =
        Trainer::new(&gpu, split(333), TrainOptions { optimizer, ..options(Length::Epochs(2)) }).unwrap();
    finish(&mut trainer).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    let velocity = &snapshot.state[0].1;
    for ((theta, ahead), velocity) in trainer.parameters().unwrap().iter().zip(&snapshot.theta).zip(velocity)
    {
        for ((theta, ahead), velocity) in theta.values.iter().zip(&ahead.values).zip(&velocity.values) {
            // One rounding of each of two operations.
            assert!((theta - (ahead - 0.9 * velocity)).abs() <= 2e-7 * (1.0 + theta.abs()));
        }
        assert_ne!(theta.values, ahead.values);
    }
}

/// A read-out needs μ, which only a training step uploads: it must be there after one step, and after none.
#[test]
fn a_read_out_is_right_after_few_steps_and_after_restoring() {
    let gpu = gpu();
    let lecture = || TrainOptions {
        optimizer: Optimizer::new("nesterov")
            .unwrap()
            .with("form", "lecture")
            .unwrap()
            .with("lr", 0.5)
            .unwrap(),
        batch: BatchSize::Rows(333),
        ..options(Length::Epochs(1))
    };
    let data = split(333);
    let (test, schema) = (data.test.clone().unwrap(), data.train.schema().clone());
    let mut trainer = Trainer::new(&gpu, data, lecture()).unwrap();
    let epoch = last_epoch(&finish(&mut trainer).unwrap());
    let (snapshot, parameters) = (trainer.snapshot().unwrap(), trainer.parameters().unwrap());
    let model = lecture().model;
    let mut predictor =
        Predictor::new(&gpu, &model, &schema, crate::nn::Loss::CrossEntropy, parameters.clone()).unwrap();
    assert_eq!(Some(predictor.evaluate(&test).unwrap()), epoch.test);
    let mut restored = Trainer::new(&gpu, split(333), lecture()).unwrap();
    restored.restore(&snapshot).unwrap();
    assert_eq!(restored.parameters().unwrap(), parameters);
}

#[test]
fn rows_that_are_not_the_models_are_refused() {
    let gpu = gpu();
    let narrow = |targets| Dataset::from_f32(vec![0.5; 12], &[4], Task::classes(3), targets).unwrap();
    let rows = [
        (Split { train: classes(9), test: Some(narrow(Targets::Labels(vec![0, 1, 2]))) }, "4 features"),
        (Split { train: narrow(Targets::Absent), test: None }, "no targets"),
    ];
    for (data, fragment) in rows {
        let error = Trainer::new(&gpu, data, options(Length::Steps(1))).err().unwrap();
        assert!(matches!(error, Error::Shape { .. }) && error.to_string().contains(fragment), "{error}");
    }
}

#[test]
fn numbers_are_learned_with_the_mean_squared_error() {
    let rows = 257;
    let (features, _) = points(rows);
    let values: Vec<f32> = features.chunks(7).flat_map(|x| [2.0 * x[0] - x[5] + 0.25, x[1] + x[2]]).collect();
    let make = || {
        Dataset::from_f32(features.clone(), &[7], Task::Values { width: 2 }, Targets::Values(values.clone()))
            .unwrap()
    };
    let data = Split { train: make(), test: Some(make()) };
    let optimizer = Optimizer::new("momentum").unwrap().with("lr", 0.1).unwrap();
    let options = TrainOptions { model: "linear".parse().unwrap(), optimizer, ..options(Length::Epochs(60)) };
    let (epoch, parameters) = trained(&gpu(), data, options);
    let test = epoch.test.unwrap();
    assert!(test.rmse.unwrap() < 1e-3 && test.accuracy.is_none(), "{epoch:?}");
    let expected = [2.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    for (found, expected) in parameters[0].values.iter().zip(expected) {
        assert!((found - expected).abs() < 5e-3, "{:?}", parameters[0]);
    }
}

/// 7 rows in batches of 4 and 3 give what a run on the first four and then one on the last three give.
#[test]
fn the_last_short_batch_is_exact() {
    let gpu = gpu();
    let plain = |batch| TrainOptions {
        batch: BatchSize::Rows(batch),
        optimizer: Optimizer::new("sgd").unwrap().with("lr", 1.0).unwrap(),
        ..options(Length::Epochs(1))
    };
    let rows = classes(7);
    let (_, expected) = trained(&gpu, Split { train: rows.clone(), test: None }, plain(4));

    let mut theta: Option<Snapshot> = None;
    for batch in order_of_first_epoch(&rows, 4) {
        let part = Split { train: picked(&rows, &batch), test: None };
        let mut trainer = Trainer::new(&gpu, part, plain(batch.len())).unwrap();
        if let Some(before) = theta {
            trainer.restore(&Snapshot { step: 0, epoch: 0, ..before }).unwrap();
        }
        finish(&mut trainer).unwrap();
        theta = Some(trainer.snapshot().unwrap());
    }
    for (expected, found) in expected.iter().zip(theta.unwrap().theta) {
        for (expected, found) in expected.values.iter().zip(found.values) {
            // The rows of a batch are added up in another order.
            assert!((expected - found).abs() < 1e-6, "{found}, not {expected}");
        }
    }
}

/// The rows of each batch of the first epoch.
fn order_of_first_epoch(rows: &Dataset, batch: usize) -> Vec<Vec<u32>> {
    let options = StreamOptions {
        batch,
        micro_batch: batch,
        order: Order::Shuffled { seed: options(Length::Epochs(1)).seed },
        contents: Contents::Indices,
        start: Position::default(),
        end_epoch: 1,
    };
    let mut stream = Stream::new(rows.clone(), options).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = stream.next_batch().unwrap() {
        batches.push(bytemuck::pod_collect_to_vec::<u8, u32>(&batch.indices()[..4 * batch.rows]));
    }
    batches
}

fn picked(rows: &Dataset, indices: &[u32]) -> Dataset {
    let of = |index: &u32| *index as usize;
    let features = indices.iter().flat_map(|index| rows.features(of(index)).unwrap()).collect();
    let labels = indices.iter().map(|index| rows.label(of(index)).unwrap()).collect();
    Dataset::from_f32(features, &[7], Task::classes(3), Targets::Labels(labels)).unwrap()
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_no_snapshot_is_made() {
    let optimizer = Optimizer::new("sgd").unwrap().with("lr", 1e30).unwrap();
    let options = TrainOptions { optimizer, model: "linear".parse().unwrap(), ..options(Length::Epochs(50)) };
    let rows = 333;
    let values = vec![1.0; rows];
    let train =
        Dataset::from_f32(points(rows).0, &[7], Task::Values { width: 1 }, Targets::Values(values)).unwrap();
    let options = TrainOptions { log_every: 1, ..options };
    let mut trainer = Trainer::new(&gpu(), Split { train, test: None }, options).unwrap();
    // The first step's loss is a number, and is told before the error.
    let Event::Step(first) = trainer.next_event(&NEVER).unwrap() else { panic!("a step is told first") };
    assert!(first.step == 1 && first.loss.is_finite());
    let error = finish(&mut trainer).unwrap_err();
    assert!(matches!(error, Error::Diverged(_)) && error.to_string().contains("learning rate"), "{error}");
    assert!(matches!(trainer.snapshot(), Err(Error::Diverged(_))));
}

#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    let gpu = gpu();
    let (_, expected) = trained(&gpu, split(333), options(Length::Epochs(2)));
    let mut trainer =
        Trainer::new(&gpu, split(333), TrainOptions { log_every: 5, ..options(Length::Epochs(2)) }).unwrap();
    assert!(matches!(trainer.next_event(&NEVER).unwrap(), Event::Step(_)));
    let now = AtomicBool::new(true);
    while trainer.next_event(&now).unwrap() != Event::Interrupted {}
    assert!(trainer.steps() < 20);
    finish(&mut trainer).unwrap();
    assert_eq!(trainer.parameters().unwrap(), expected);
}

#[test]
fn a_trained_model_evaluates_and_predicts_as_it_did_in_training() {
    let gpu = gpu();
    let data = split(333);
    let test = data.test.clone().unwrap();
    let schema = data.train.schema().clone();
    let options = options(Length::Epochs(10));
    let model = options.model.clone();
    let (epoch, parameters) = trained(&gpu, data, options);
    let mut predictor =
        Predictor::new(&gpu, &model, &schema, crate::nn::Loss::CrossEntropy, parameters).unwrap();
    let evaluation = predictor.evaluate(&test).unwrap();
    assert_eq!(Some(evaluation), epoch.test);
    let Predictions::Classes { labels, probabilities } = predictor.predict(&test).unwrap() else {
        panic!("classes are predicted");
    };
    let right = (0..37).filter(|&row| test.label(row) == Some(labels[row])).count();
    assert_eq!(Some(right as f64 / 37.0), evaluation.accuracy);
    assert!(probabilities.iter().all(|p| (1.0 / 3.0 - 1e-6..=1.0 + 1e-6).contains(p)));
}
