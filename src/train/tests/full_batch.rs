//! Methods of `solve` on all rows: that they find what is known to be the optimum, whatever the parts, that their products
//! are those of the loss, and what does not go with them.

use super::*;
use crate::data;
use crate::graph::StepContext;
use crate::nn::Loss;
use crate::plan::{Destination, Precision, Program};
use crate::solve::{Curvature, METHODS, Method, Tolerances};
use crate::train::program::{FEATURES, Feed, Recipe, TARGETS, direction};
use crate::{Optimizer, Status};

/// The least of 0.005·‖W‖² and the mean cross-entropy over the 1,347 training rows of the digits, the bias without a
/// penalty: by L-BFGS-B of SciPy in f64, and by scikit-learn, which agree to 1e-10.
const OPTIMUM: f64 = 0.712_416_06;

fn penalised(method: &str) -> TrainOptions {
    let sgd = |decay: f64| Optimizer::new("sgd").unwrap().with("weight_decay", decay).unwrap();
    let group = Group { pattern: "*.bias".to_owned(), optimizer: sgd(0.0) };
    TrainOptions {
        optimizer: sgd(0.01),
        modifiers: Modifiers { groups: vec![group], ..Modifiers::default() },
        tolerances: Tolerances { gradient: Some(1e-4), ..Tolerances::default() },
        length: Length::Steps(200),
        ..by_method("linear", method)
    }
}

fn by_method(model: &str, method: &str) -> TrainOptions {
    TrainOptions::by_method(model.parse().unwrap(), Method::new(method).unwrap()).unwrap()
}

#[test]
fn methods_find_the_optimum_of_softmax_regression() {
    // Method, rows at once, and whether they live on the GPU.
    let rows = [
        ("lbfgs", BatchSize::Auto, Choice::Auto),
        ("lbfgs", BatchSize::Rows(100), Choice::No),
        ("newton-cg", BatchSize::Rows(500), Choice::Yes),
        ("gauss-newton-cg", BatchSize::Auto, Choice::No),
    ];
    let digits = data::load(&"digits".parse().unwrap(), None, None, 0).unwrap();
    for (method, micro_batch, resident) in rows {
        let options = TrainOptions { micro_batch, resident, ..penalised(method) };
        let mut trainer = Trainer::new(&gpu(), digits.clone(), options).unwrap();
        let epoch = last_epoch(&finish(&mut trainer).unwrap());
        let report = trainer.method_report().unwrap();
        assert_eq!(report.status, Some(Status::Converged), "{method} {epoch:?}");
        // The gradient that is left, 1e-4, is worth 1e-8/2μ = 5e-7 at the penalty's curvature μ = 0.01; f32 adds 2e-7.
        assert!((epoch.train_loss - OPTIMUM).abs() < 1e-6, "{method} {micro_batch}: {epoch:?}");
        assert!(report.evaluations < 200, "{method}: {report:?}");
        // As of the optimum, and 1 row of 450 beside it.
        let accuracy = epoch.test.unwrap().accuracy.unwrap();
        assert!((accuracy - 0.8889).abs() < 0.003, "{method}: {epoch:?}");
        let planned = trainer.report().bytes.total;
        assert!(trainer.measured_bytes() <= planned, "{method}: {} of {planned}", trainer.measured_bytes());
        assert!(trainer.measured_bytes() >= planned * 99 / 100, "{method}");
    }
}

/// Rows of numbers on a plane with noise.
fn plane(rows: usize) -> Split {
    let (features, _) = points(rows);
    let value = |(number, row): (usize, &[f32])| 2.0 + row[0] - 3.0 * row[4] + (number % 5) as f32 * 0.1;
    let values = features.chunks(7).enumerate().map(value).collect();
    let train =
        Dataset::from_f32(features, &[7], Task::Values { width: 1 }, Targets::Values(values)).unwrap();
    Split { train, test: None }
}

#[test]
fn newton_and_gauss_newton_solve_linear_regression_in_one_step() {
    for method in ["newton", "gauss-newton"] {
        let options = TrainOptions { length: Length::Steps(1), ..by_method("linear", method) };
        let mut trainer = Trainer::new(&gpu(), plane(333), options).unwrap();
        finish(&mut trainer).unwrap();
        let report = trainer.method_report().unwrap();
        assert_eq!(report.status, Some(Status::MaxSteps));
        // Roundings of f32 of gradients that were of size 3 at the start.
        assert!(report.gradient_norm < 1e-5, "{method}: {report:?}");
    }
}

#[test]
fn a_method_goes_on_from_a_snapshot_and_in_less_memory() {
    let rows = || Split { train: classes(40_000), test: None };
    let options = TrainOptions { log_every: 1, ..penalised("lbfgs") };
    let (expected, _) = trained(&gpu(), rows(), options.clone());
    let mut first = Trainer::new(&gpu(), rows(), options.clone()).unwrap();
    until_step(&mut first, 5);
    let snapshot = first.snapshot().unwrap();
    let gpu = gpu();
    let mut second = Trainer::new(&gpu, rows(), options).unwrap();
    second.restore(&snapshot).unwrap();
    until_step(&mut second, 6);
    gpu.set_memory_limit(second.report().bytes.total / 3 * 2);
    let events = finish(&mut second).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Replanned(replan) if replan.step == 6)));
    assert!(second.report().accumulate > 1);
    let epoch = last_epoch(&events);
    // Both have a gradient of 1e-4 left at most, as in the table above.
    assert!((epoch.train_loss - expected.train_loss).abs() < 1e-6, "{epoch:?} {expected:?}");
}

#[test]
fn every_method_goes_on_bit_for_bit_and_stays_where_it_ended() {
    let rows = || Split { train: classes(500), test: None };
    for rule in METHODS {
        let method = rule.name;
        let options = TrainOptions {
            // Some of them end before.
            tolerances: Tolerances { value: Some(1e-4), ..Tolerances::default() },
            length: Length::Steps(12),
            log_every: 1,
            ..by_method("mlp:4:tanh", method)
        };
        let mut whole = Trainer::new(&gpu(), rows(), options.clone()).unwrap();
        finish(&mut whole).unwrap();
        let mut first = Trainer::new(&gpu(), rows(), options.clone()).unwrap();
        until_step(&mut first, 3);
        let mut second = Trainer::new(&gpu(), rows(), options.clone()).unwrap();
        second.restore(&first.snapshot().unwrap()).unwrap();
        assert_eq!(second.snapshot().unwrap(), first.snapshot().unwrap(), "{method}");
        finish(&mut second).unwrap();
        assert_eq!(second.method_report(), whole.method_report(), "{method}");
        let ended = whole.snapshot().unwrap();
        assert_eq!(whole.parameters().unwrap(), ended.theta, "{method}");
        assert_eq!(second.snapshot().unwrap(), ended, "{method}");
        let mut third = Trainer::new(&gpu(), rows(), options).unwrap();
        third.restore(&ended).unwrap();
        finish(&mut third).unwrap();
        assert_eq!(third.snapshot().unwrap(), ended, "{method}");
        assert_eq!(
            third.method_report().map(|report| report.status),
            whole.method_report().map(|report| report.status),
            "{method}"
        );
    }
}

/// A step of a whole matrix is hundreds of passes over the rows; it is broken off, and the last whole step stands.
#[test]
fn a_step_that_is_broken_off_leaves_the_last_whole_one() {
    let gpu = gpu();
    let options = TrainOptions { length: Length::Steps(50), ..by_method("mlp:8:tanh", "lm") };
    let mut trainer = Trainer::new(&gpu, Split { train: classes(5_000), test: None }, options).unwrap();
    while !matches!(trainer.next_event(&NEVER).unwrap(), Event::Epoch(_)) {}
    let mut before = trainer.snapshot().unwrap();
    let interrupted = AtomicBool::new(false);
    let event = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        loop {
            match trainer.next_event(&interrupted).unwrap() {
                // Where a step was done before.
                Event::Epoch(_) => before = trainer.snapshot().unwrap(),
                event => return event,
            }
        }
    });
    assert_eq!(event, Event::Interrupted);
    let mut after = trainer.snapshot().unwrap();
    // What is remembered besides is of the step that was begun.
    assert!(before.method.take().is_some() && after.method.take().is_some());
    assert!(after == before, "after step {} and not {}", after.step, before.step);
    let EpochRecord { step, .. } = loop {
        if let Event::Epoch(epoch) = trainer.next_event(&NEVER).unwrap() {
            break epoch;
        }
    };
    assert_eq!(step, after.step + 1);
    // What was done of the step before counts for nothing.
    let options = TrainOptions { length: Length::Steps(50), ..by_method("mlp:8:tanh", "lm") };
    let mut undisturbed = Trainer::new(&gpu, Split { train: classes(5_000), test: None }, options).unwrap();
    undisturbed.run_steps(step).unwrap();
    assert_eq!(trainer.parameters().unwrap(), undisturbed.parameters().unwrap());
}

#[test]
fn what_another_run_has_learnt_is_refused() {
    let rows = || Split { train: classes(50), test: None };
    let learnt = |method: &str| {
        let mut trainer = Trainer::new(&gpu(), rows(), by_method("linear", method)).unwrap();
        trainer.run_steps(2).unwrap();
        trainer.snapshot().unwrap()
    };
    let of_rule = TrainOptions { batch: BatchSize::Rows(50), ..options(Length::Steps(9)) };
    let of_rule = TrainOptions { model: "linear".parse().unwrap(), ..of_rule };
    for (options, fragment) in [(by_method("linear", "lm"), "by lm"), (of_rule, "by an update rule")] {
        let mut trainer = Trainer::new(&gpu(), rows(), options).unwrap();
        let before = trainer.snapshot().unwrap();
        let error = trainer.restore(&learnt("lbfgs")).unwrap_err().to_string();
        assert!(error.contains("of a run by lbfgs") && error.contains(fragment), "{error}");
        assert_eq!(trainer.snapshot().unwrap(), before);
    }
}

#[test]
fn what_does_not_go_with_a_method_is_refused() {
    type Change = fn(&mut TrainOptions);
    let rows: [(Change, &str); 8] = [
        (|options| options.batch = BatchSize::Rows(32), "batch: lbfgs makes every step on all 333 rows"),
        (
            |options| options.schedule = "cosine".parse().unwrap(),
            "schedule: does not go with the method lbfgs",
        ),
        (|options| options.search = Some(LineSearch::Backtracking), "line-search: does not go with"),
        (|options| options.modifiers.clip_norm = Some(1.0), "clip-norm: does not go with"),
        (|options| options.optimizer = Optimizer::new("adam").unwrap(), "optimizer: does not go with"),
        (|options| options.precision = Precision::F16, "precision: does not go with"),
        (|options| options.model = "linear 5, dropout 0.5, linear 3".parse().unwrap(), "leave dropout away"),
        (
            |options| *options = TrainOptions { batch: BatchSize::Auto, ..by_method("mlp:256", "newton") },
            "takes 2048 unknowns at most",
        ),
    ];
    for (change, fragment) in rows {
        let mut options = by_method("linear", "lbfgs");
        change(&mut options);
        let error = Trainer::new(&gpu(), split(333), options).err().expect("refused").to_string();
        assert!(error.contains(fragment), "{fragment}: {error}");
    }
    let tolerances = Tolerances { gradient: Some(1.0), ..Tolerances::default() };
    let of_rule = TrainOptions { tolerances, ..options(Length::Epochs(1)) };
    let error = Trainer::new(&gpu(), split(333), of_rule).err().expect("refused").to_string();
    assert!(error.contains("tolerance: is a method's"), "{error}");
}

/// Values of all results that go to gradients, in f64.
fn gradients(program: &Program, rows: usize, step: &StepContext) -> Vec<f64> {
    let vars: Vec<_> = program
        .outputs
        .iter()
        .filter(|(_, place)| matches!(place, Destination::Gradient(_)))
        .map(|(var, _)| *var)
        .collect();
    program.graph.evaluate(&vars, rows, step).into_iter().flat_map(|array| array.data).collect()
}

/// In f64, for two kinds of losses and a network that bends: H·v against differences of gradients, and JᵀHJ·v, which is the
/// same where the outputs are linear in θ.
#[test]
fn products_are_those_of_the_loss() {
    let cases = [
        ("linear", Task::classes(3), true),
        ("mlp:5:tanh", Task::classes(3), false),
        ("linear", Task::Values { width: 2 }, true),
        ("mlp:4:sigmoid", Task::Values { width: 2 }, false),
    ];
    for (model, task, is_linear) in cases {
        let (features, labels) = points(11);
        let values: Vec<f32> = features.chunks(7).flat_map(|row| [row[1] * row[2], row[3]]).collect();
        let (targets, given) = match task {
            Task::Classes { .. } => {
                (Targets::Labels(labels.clone()), labels.iter().map(|l| f64::from(*l)).collect())
            }
            Task::Values { .. } => {
                (Targets::Values(values.clone()), values.iter().map(|v| f64::from(*v)).collect())
            }
        };
        let rows = Dataset::from_f32(features.clone(), &[7], task.clone(), targets).unwrap();
        let options = TrainOptions { model: model.parse().unwrap(), ..penalised("newton-cg") };
        let recipe = Recipe {
            model: &options.model,
            schema: rows.schema(),
            loss: Loss::for_task(None, rows.schema()).unwrap(),
            update: Some((&options.optimizer, &options.modifiers)),
            penalised: true,
            precision: Precision::F32,
        };
        let training = recipe.training(&Feed::Streamed).unwrap();
        let mut step = StepContext { valid_rows: 11, row_weight: 1.0 / 11.0, ..StepContext::default() };
        step.inputs.insert(FEATURES.to_owned(), features.iter().map(|x| f64::from(*x)).collect());
        step.inputs.insert(TARGETS.to_owned(), given);
        let mut along = Vec::new();
        for (number, info) in training.graph.parameters().iter().enumerate() {
            let numbers =
                |seed: f64| (0..info.elements()).map(|i| (seed + 1.7 * i as f64).sin()).collect::<Vec<_>>();
            step.theta.push(numbers(number as f64));
            along.push(numbers(9.0 + number as f64));
            step.inputs.insert(direction(number), along[number].clone());
        }
        // The error of central differences is h²/6 of a third derivative of size 1, and rounding 1e-16/h of it.
        const H: f64 = 1e-5;
        let moved = |by: f64| {
            let mut there = step.clone();
            let theta = there.theta.iter_mut().flatten().zip(along.iter().flatten());
            theta.for_each(|(theta, along)| *theta += by * along);
            gradients(&training, 11, &there)
        };
        let differences: Vec<f64> =
            moved(H).iter().zip(moved(-H)).map(|(up, down)| (up - down) / (2.0 * H)).collect();
        let curvatures = [Curvature::Hessian, Curvature::GaussNewton];
        let [hessian, gauss_newton] = curvatures
            .map(|curvature| gradients(&recipe.product(&Feed::Streamed, curvature).unwrap(), 11, &step));
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8);
        assert!(close(&hessian, &differences), "{model} {task:?}: {hessian:?} for {differences:?}");
        assert_eq!(close(&gauss_newton, &hessian), is_linear, "{model} {task:?}");
    }
}
