//! Gradient descent whose step sizes are searched for.

use super::*;
use crate::data;
use crate::optim::{Group, Modifiers};

/// The L2 penalty of the digits' reference: 0.005 ΣW², that is λ/2 ΣW².
const DECAY: f64 = 0.01;

/// The minimum that SciPy's L-BFGS-B finds, with a gradient of 3e-9.
const LEAST: f64 = 0.712_416_060_6;

/// Softmax regression with a penalty on the weights alone, all rows at once.
fn regression(name: &str, rate: f64, steps: u64) -> TrainOptions {
    let optimizer = Optimizer::new(name).unwrap().with("lr", rate).unwrap();
    let plain = optimizer.clone().with("weight_decay", 0.0).unwrap();
    let modifiers = Modifiers {
        groups: vec![Group { pattern: "*.bias".to_owned(), optimizer: plain }],
        ..Modifiers::default()
    };
    TrainOptions {
        modifiers,
        batch: BatchSize::Rows(usize::MAX >> 32),
        length: Length::Steps(steps),
        log_every: 1,
        ..TrainOptions::new("linear".parse().unwrap(), optimizer.with("weight_decay", DECAY).unwrap())
    }
}

fn digits() -> Split {
    data::load(&"digits".parse().unwrap(), None, None, 0).unwrap()
}

fn logits(weight: &NamedTensor, bias: &NamedTensor, x: &[f32]) -> Vec<f64> {
    let classes = weight.values.chunks_exact(x.len()).zip(&bias.values);
    let product = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
    classes.map(|(row, bias)| product(row) + f64::from(*bias)).collect()
}

/// Mean cross-entropy and penalty in f64.
fn objective(rows: &Dataset, parameters: &[NamedTensor]) -> f64 {
    let (weight, bias) = (&parameters[0], &parameters[1]);
    let penalty: f64 = weight.values.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() * DECAY / 2.0;
    let losses = (0..rows.rows()).map(|row| {
        let x = rows.features(row).unwrap();
        let logits = logits(weight, bias, &x);
        logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[rows.label(row).unwrap() as usize]
    });
    losses.sum::<f64>() / rows.rows() as f64 + penalty
}

/// The rule, its rate, steps, and the search.
#[test]
fn softmax_regression_reaches_the_convex_minimum() {
    let gpu = gpu();
    let rows = [
        ("sgd", 1.0, 400, Some(LineSearch::Batched { trials: 8 })),
        ("sgd", 1.0, 700, Some(LineSearch::Backtracking)),
        ("sgd", 1.0, 900, Some(LineSearch::StrongWolfe)),
        ("momentum", 0.3, 600, None),
        ("adam", 0.05, 600, None),
    ];
    for (name, rate, steps, search) in rows {
        let data = digits();
        let train = data.train.clone();
        let options = TrainOptions { search, ..regression(name, rate, steps) };
        let mut trainer = Trainer::new(&gpu, data, options).unwrap();
        finish(&mut trainer).unwrap();
        let found = objective(&train, &trainer.parameters().unwrap());
        // Below the minimum only as far as the reference is rounded.
        assert!((-1e-9..1e-4).contains(&(found - LEAST)), "{name} {search:?}: {found}");
    }
}

/// The gradient of [`objective`], of weight and bias.
fn gradient(rows: &Dataset, parameters: &[NamedTensor]) -> [Vec<f64>; 2] {
    let (weight, bias) = (&parameters[0], &parameters[1]);
    let (classes, features) = (weight.shape[0], weight.shape[1]);
    let mut of_weight: Vec<f64> = weight.values.iter().map(|w| DECAY * f64::from(*w)).collect();
    let mut of_bias = vec![0.0; classes];
    for row in 0..rows.rows() {
        let x = rows.features(row).unwrap();
        let logits = logits(weight, bias, &x);
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        for (class, logit) in logits.iter().enumerate() {
            let is_it = f64::from(u8::from(rows.label(row) == Some(class as u32)));
            let force = (logit.exp() / sum - is_it) / rows.rows() as f64;
            of_bias[class] += force;
            let weights = &mut of_weight[class * features..][..features];
            weights.iter_mut().zip(&x).for_each(|(slope, x)| *slope += force * f64::from(*x));
        }
    }
    [of_weight, of_bias]
}

/// The first step of a search from a rate far off, against all steps of the grid in f64.
#[test]
fn a_batched_search_chooses_the_best_step_of_its_grid() {
    let gpu = gpu();
    for (rate, trials) in [(1.0, 8), (0.2, 16), (30.0, 32)] {
        let data = digits();
        let rows = data.train.clone();
        let search = Some(LineSearch::Batched { trials });
        let options = TrainOptions { search, ..regression("sgd", rate, 1) };
        let mut trainer = Trainer::new(&gpu, data, options).unwrap();
        let before = trainer.parameters().unwrap();
        let direction = gradient(&rows, &before);
        let after = |step: f64| -> Vec<NamedTensor> {
            let moved = |(tensor, slopes): (&NamedTensor, &Vec<f64>)| {
                let pairs = tensor.values.iter().zip(slopes);
                let values = pairs.map(|(theta, slope)| (f64::from(*theta) - step * slope) as f32).collect();
                NamedTensor { values, ..tensor.clone() }
            };
            before.iter().zip(&direction).map(moved).collect()
        };
        let sizes = (0..trials).map(|trial| rate * 256f64.powf(trial as f64 / (trials - 1) as f64 - 0.5));
        let tried = sizes.map(|size| (objective(&rows, &after(size)), size));
        let (_, best) = tried.min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
        let found = steps(&finish(&mut trainer).unwrap())[0].lr;
        // The step size is a product of three roundings.
        assert!((found / best - 1.0).abs() < 1e-6, "{rate} {trials}: {found}, not {best}");
        for (found, expected) in trainer.parameters().unwrap().iter().zip(after(best)) {
            for (found, expected) in found.values.iter().zip(&expected.values) {
                // Sums over 1,347 rows, in f32.
                assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{found}, not {expected}");
            }
        }
    }
}

const SEARCHES: [LineSearch; 3] =
    [LineSearch::Batched { trials: 9 }, LineSearch::Backtracking, LineSearch::StrongWolfe];

fn searched(search: LineSearch, length: Length) -> TrainOptions {
    let optimizer =
        Optimizer::new("sgd").unwrap().with("lr", 0.1).unwrap().with("weight_decay", 1e-3).unwrap();
    TrainOptions {
        model: "linear 16, tanh, dropout 0.25, linear 3".parse().unwrap(),
        optimizer,
        search: Some(search),
        log_every: 1,
        ..options(length)
    }
}

fn steps(events: &[Event]) -> Vec<StepRecord> {
    let step = |event: &Event| match event {
        Event::Step(step) => Some(*step),
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

#[test]
fn a_searched_run_continues_bit_for_bit() {
    let gpu = gpu();
    for search in SEARCHES {
        let mut whole = Trainer::new(&gpu, split(333), searched(search, Length::Steps(25))).unwrap();
        let expected = steps(&finish(&mut whole).unwrap());
        assert!(expected.windows(2).any(|pair| pair[0].lr != pair[1].lr), "{search}: {expected:?}");
        let mut first = Trainer::new(&gpu, split(333), searched(search, Length::Steps(14))).unwrap();
        let mut found = steps(&finish(&mut first).unwrap());
        let mut second = Trainer::new(&gpu, split(333), searched(search, Length::Steps(25))).unwrap();
        second.restore(&first.snapshot().unwrap()).unwrap();
        found.extend(steps(&finish(&mut second).unwrap()));
        assert_eq!(found, expected, "{search}");
        assert_eq!(second.snapshot().unwrap(), whole.snapshot().unwrap(), "{search}");
    }
}

/// All rows at every step and no dropout, so that one step's objective is the next one's start.
#[test]
fn the_objective_never_goes_up() {
    let gpu = gpu();
    for search in SEARCHES {
        let options = TrainOptions {
            model: "mlp:16:tanh".parse().unwrap(),
            batch: BatchSize::Rows(333),
            // Far too long for a fixed step.
            optimizer: Optimizer::new("sgd").unwrap().with("lr", 1e4).unwrap(),
            ..searched(search, Length::Steps(40))
        };
        let mut trainer = Trainer::new(&gpu, split(333), options).unwrap();
        let found = steps(&finish(&mut trainer).unwrap());
        // As far as two programs round the same loss alike.
        assert!(
            found.windows(2).all(|pair| pair[1].loss <= pair[0].loss * (1.0 + 1e-6)),
            "{search}: {found:?}"
        );
        assert!(found[39].loss < 0.5 * found[0].loss, "{search}: {found:?}");
    }
}

#[test]
fn a_search_is_planned_as_it_is_allocated() {
    for search in SEARCHES {
        let gpu = gpu();
        let trainer = Trainer::new(&gpu, split(333), searched(search, Length::Steps(1))).unwrap();
        let planned = trainer.report().bytes.total - crate::plan::memory::WGPU_BYTES;
        assert_eq!(planned, gpu.account().values().sum::<u64>(), "{search}");
    }
}

#[test]
fn what_does_not_go_with_a_search_is_said() {
    let gpu = gpu();
    let plain = || searched(SEARCHES[0], Length::Steps(1));
    let rows = [
        (TrainOptions { optimizer: Optimizer::new("adam").unwrap(), ..plain() }, "--optimizer sgd"),
        (TrainOptions { schedule: "cosine".parse().unwrap(), ..plain() }, "leave the schedule away"),
        (TrainOptions { micro_batch: BatchSize::Rows(8), ..plain() }, "whole batch at once"),
        (TrainOptions { search: Some(LineSearch::Batched { trials: 7 }), ..plain() }, "8 to 32"),
        (
            TrainOptions { modifiers: Modifiers { clip_norm: Some(1.0), ..Modifiers::default() }, ..plain() },
            "clip-norm",
        ),
    ];
    for (options, fragment) in rows {
        let error = Trainer::new(&gpu, split(50), options).err().unwrap();
        assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains(fragment), "{error}");
    }
}
