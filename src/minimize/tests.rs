//! Both ways to make steps, against each other and against the reference in f64; how runs end.

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::kernel::kernel_text;
use super::layout::Layout;
use super::planned::Planned;
use super::single::Single;
use super::{Advance, Descent, MinimizeOptions, Objective, Status, Stop, minimize, scalars};
use crate::plan::tests::gpu;
use crate::{Average, Lookahead, Modifiers, Optimizer, UPDATE_RULES};

const ROSENBROCK: &str = "sum(100*(x[1:]-x[:-1]^2)^2+(1-x[:-1])^2)";

/// Every function and every kind of operation that expressions have.
const ALL: &str =
    "a = exp(x/9) + log(1+x^2) + sqrt(1+abs(x)); b = sin(x)*cos(x) + tan(x/9) + tanh(x) + atan(x);
    c = relu(x) + sigmoid(x) + floor(3*x) + min(x, 1) + max(x, y) + mod(x, 3) - x/(2+y^2);
    d = 2^x + (1+x^2)^y + x^[2,3,-1]; mean(a+b) + dot(c, d)/100 + sum(x[1:]*x[:-1]) + [x[0], y, 1][1]^2";

fn options(optimizer: &str, hyper: &[&str], steps: u64) -> MinimizeOptions {
    let plain = Optimizer::new(optimizer).unwrap();
    let optimizer = hyper.iter().try_fold(plain, |made, text| made.assign(text)).unwrap();
    MinimizeOptions { steps, ..MinimizeOptions::new(optimizer) }
}

/// Advances to the end.
fn run(mut descent: Descent, steps: u64) -> Advance {
    loop {
        let advance = descent.advance().unwrap();
        if advance.done == steps || advance.stop.is_some() {
            return advance;
        }
    }
}

fn single<'a>(objective: &'a Objective, options: &'a MinimizeOptions) -> Descent<'a> {
    let program = scalars::write_out(objective).expect("a small objective");
    Descent::Single(Box::new(Single::new(gpu(), objective, &program, options).unwrap()))
}

fn planned<'a>(objective: &'a Objective, options: &'a MinimizeOptions) -> Descent<'a> {
    Descent::Planned(Box::new(Planned::new(gpu(), objective, options).unwrap()))
}

/// The same steps in f64, from the start as f32 has it.
fn reference(objective: &Objective, options: &MinimizeOptions) -> Vec<f64> {
    let mut theta: Vec<f64> = objective.start().iter().map(|&x| f64::from(x as f32)).collect();
    let mut state = vec![vec![0.0; theta.len()]; options.optimizer.state_slots().len()];
    for number in 1..=options.steps {
        let gradient = objective.gradient(&theta);
        let rate = options.learning_rate(number);
        let shapes: Vec<Vec<usize>> = objective.unknowns().map(|(_, length)| vec![length]).collect();
        options.optimizer.reference_step(number, rate, &shapes, &mut theta, &gradient, &mut state).unwrap();
    }
    options.optimizer.reference_readout(&theta, &state).unwrap()
}

#[test]
fn both_ways_follow_the_reference() {
    let rows: [(&str, &str, &str, &[&str]); 13] = [
        (ROSENBROCK, "x=[-1.2,1]", "adam", &["lr=0.01"]),
        (ROSENBROCK, "x=[-1.2,1,0.3,0,0.5]", "momentum", &["lr=1e-4"]),
        (ROSENBROCK, "x=[-1.2,1]", "nesterov", &["lr=1e-4", "form=lecture"]),
        ("x^2 + 3*y^2", "x=4; y=-2", "rmsprop", &["centered=true", "momentum=0.5"]),
        (ALL, "x=[0.3,-0.7,1.4]; y=0.4", "sgd", &["lr=1e-3"]),
        ("idle = x; (y-1)^2", "x=[1,2]; y=3", "adam", &[]),
        ("3*x - y + 2", "x=1; y=2", "sgd", &["lr=0.25"]),
        ("c = [2,1]^iota(2); sum(c*x^4)/4", "x=[1,-1]", "adam", &["weight_decay=0.1"]),
        // Rules for whole tensors, over unknowns of several lengths.
        (ROSENBROCK, "x=[-1.2,1,0.3,0,0.5]", "lamb", &["lr=1e-3"]),
        (ALL, "x=[0.3,-0.7,1.4]; y=0.4", "lamb", &["lr=1e-3", "weight_decay=0.1"]),
        (ALL, "x=[0.3,-0.7,1.4]; y=0.4", "lars", &["lr=1"]),
        (ALL, "x=[0.3,-0.7,1.4]; y=0.4", "adafactor", &["weight_decay=0.1"]),
        ("sum((x-1)^2) + y^2", "x=[3,1,4,1,5]; y=2", "adafactor", &[]),
    ];
    for (text, start, rule, hyper) in rows {
        let objective = Objective::parse(text, start).unwrap();
        // Several submits of the plan, the last of them short.
        let options = options(rule, hyper, 150);
        let wanted = reference(&objective, &options);
        for descent in [single(&objective, &options), planned(&objective, &options)] {
            let found = run(descent, options.steps);
            assert_eq!((found.done, found.evaluations), (150, 150), "{text}");
            for (a, b) in found.theta.iter().zip(&wanted) {
                // 150 steps of f32, whose roundings (6e-8 of numbers about 1) these functions magnify a little.
                assert!(
                    (a - b).abs() <= 2e-5 * b.abs().max(1.0),
                    "{text} by {rule}: {:?} {wanted:?}",
                    found.theta
                );
            }
        }
    }
}

/// What goes with a rule is the same in one kernel as in the update's own kernels, which have tests of their own.
#[test]
fn both_ways_agree_on_what_goes_with_a_rule() {
    let plain = Modifiers::default;
    let rows = [
        Modifiers { clip_norm: Some(0.5), ..plain() },
        Modifiers { clip_value: Some(0.3), ..plain() },
        Modifiers { lookahead: Some(Lookahead { steps: 3, rate: 0.5 }), ..plain() },
        Modifiers { average: Some(Average::Exponential { decay: 0.9 }), ..plain() },
        Modifiers {
            clip_norm: Some(2.0),
            clip_value: Some(1.0),
            lookahead: Some(Lookahead { steps: 4, rate: 1.0 }),
            average: Some(Average::Stochastic { start: 20, every: 7 }),
            ..plain()
        },
    ];
    let objective = Objective::parse(ALL, "x=[0.3,-0.7,1.4]; y=0.4").unwrap();
    for modifiers in rows {
        for (rule, lr) in [("sgd", "lr=0.01"), ("lamb", "lr=1e-3"), ("adafactor", "lr=0.01")] {
            let options = MinimizeOptions { modifiers: modifiers.clone(), ..options(rule, &[lr], 70) };
            assert!(options.in_one_kernel());
            let [found, wanted] = [single(&objective, &options), planned(&objective, &options)]
                .map(|descent| run(descent, options.steps).theta);
            let moved = wanted.iter().zip(objective.start()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(moved > 1e-3, "{rule} {modifiers:?}: {wanted:?}");
            for (a, b) in found.iter().zip(&wanted) {
                // As above: two orders of the same f32 operations.
                assert!(
                    (a - b).abs() <= 2e-5 * b.abs().max(1.0),
                    "{rule} {modifiers:?}: {found:?} {wanted:?}"
                );
            }
        }
    }
}

#[test]
fn the_trace_holds_what_shorter_runs_reach() {
    let objective = Objective::parse(ROSENBROCK, "x=[-1.2,1,2]").unwrap();
    for (rule, hyper) in [("adam", &[][..]), ("nesterov", &["form=lecture", "lr=1e-4"])] {
        let options = MinimizeOptions { trace: 30, ..options(rule, hyper, 100) };
        let minimum = minimize(gpu(), &objective, &options).unwrap();
        let steps: Vec<u64> = minimum.trace.iter().map(|point| point.step).collect();
        assert_eq!(steps, [0, 30, 60, 90]);
        for point in &minimum.trace {
            let shorter = MinimizeOptions { steps: point.step, trace: 0, ..options.clone() };
            let shorter = minimize(gpu(), &objective, &shorter).unwrap();
            assert_eq!((shorter.theta, shorter.loss), (point.theta.clone(), point.loss), "{rule}");
        }
        let mut plan = planned(&objective, &options);
        let mut trace = Vec::new();
        while trace.len() < 3 {
            trace.append(&mut plan.advance().unwrap().trace);
        }
        assert_eq!(trace.iter().map(|(step, _)| *step).collect::<Vec<_>>(), steps[1..]);
    }
}

#[test]
fn a_trace_goes_on_over_submits() {
    let objective = Objective::parse("x^2", "x=1").unwrap();
    let options = MinimizeOptions { trace: 1000, ..options("sgd", &["lr=1e-5"], 9500) };
    let minimum = minimize(gpu(), &objective, &options).unwrap();
    for (number, point) in minimum.trace.iter().enumerate() {
        let wanted = (1.0 - 2e-5f64).powi(1000 * number as i32);
        // Every step rounds a number near 1 by 3e-8 on average, mostly to the same side.
        assert!((point.theta[0] - wanted).abs() <= 1e-4, "{point:?} {wanted}");
        assert_eq!(point.step, 1000 * number as u64);
    }
    assert_eq!(minimum.trace.len(), 10);
}

#[test]
fn runs_end_as_they_do() {
    // Expression, start, optimizer, its settings, tolerance; status and steps.
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], Option<f64>, Status, Option<u64>);
    let rows: [Row; 11] = [
        ("x^2", "x=1", "sgd", &["lr=0.25"], Some(0.3), Status::Converged, Some(3)),
        ("x^2", "x=1", "sgd", &["lr=0.25"], Some(5.0), Status::Converged, Some(0)),
        ("x^2", "x=1", "sgd", &["lr=0.25"], None, Status::MaxSteps, Some(80)),
        // The rule looks ahead, where the gradient is smaller than at θ.
        ("x^2", "x=1", "nesterov", &["lr=0.01", "form=lecture"], Some(0.01), Status::Converged, None),
        ("(x-1/3)^2*1e4", "x=1", "sgd", &["lr=2e-5"], Some(1e-9), Status::Stalled, None),
        ("(x-1)^2", "x=3", "sgd", &["lr=0.5"], None, Status::Converged, Some(80)),
        ("x^2", "x=1", "sgd", &["lr=100"], None, Status::Diverged, None),
        ("x^4", "x=1e10", "sgd", &["lr=1e-35"], None, Status::Diverged, Some(0)),
        ("sqrt(x)", "x=0.01", "sgd", &["lr=0.1"], None, Status::Diverged, Some(1)),
        // 1e9 is so large that f32 has no number 1e-3 beside it.
        ("x", "x=1e9", "sgd", &["lr=1e-3"], Some(1e-3), Status::Stalled, None),
        ("1e-25*x", "x=1", "sgd", &["lr=0"], Some(1e-30), Status::Stalled, None),
    ];
    for (text, start, rule, hyper, tolerance, status, steps) in rows {
        let objective = Objective::parse(text, start).unwrap();
        let options = MinimizeOptions {
            tolerance,
            ..options(rule, hyper, if status == Status::Stalled { 500 } else { 80 })
        };
        let minimum = minimize(gpu(), &objective, &options).unwrap();
        assert_eq!(minimum.status, status, "{text}: {minimum:?}");
        assert!(steps.is_none_or(|steps| minimum.steps == steps), "{text}: {minimum:?}");
        if status == Status::Converged {
            assert!(minimum.gradient_norm <= tolerance.unwrap_or(0.0), "{text}: {minimum:?}");
        }
        let last = run(planned(&objective, &options), options.steps);
        let stopped = last.stop.is_some() || tolerance.is_none() || status == Status::Converged;
        assert!(stopped, "{text}: the plan goes on");
    }
}

/// What the user reads may stand still while steps go on, and ways that go to and fro end submits at one place.
#[test]
fn a_plan_that_moves_is_not_said_to_stall() {
    let slow = Modifiers { lookahead: Some(Lookahead { steps: 200, rate: 0.5 }), ..Modifiers::default() };
    // Expression, settings of sgd, what goes with it, status.
    let rows: [(&str, &[&str], Modifiers, Status); 3] = [
        ("sum((x-1)^2)", &["lr=0.1"], slow, Status::Converged),
        ("sum(x^2)", &["lr=1"], Modifiers::default(), Status::MaxSteps),
        ("sum(x)", &["lr=0"], Modifiers::default(), Status::Stalled),
    ];
    for (text, hyper, modifiers, status) in rows {
        let objective = Objective::parse(text, "x=zeros(3)+2").unwrap();
        let options = MinimizeOptions { tolerance: Some(1e-3), modifiers, ..options("sgd", hyper, 4000) };
        let last = run(planned(&objective, &options), options.steps);
        let found = match last.stop {
            None => Status::MaxSteps,
            Some(Stop::Converged) => Status::Converged,
            Some(Stop::Stalled) => Status::Stalled,
            Some(Stop::Diverged) => Status::Diverged,
        };
        assert_eq!(found, status, "{text} after {}", last.done);
    }
}

#[test]
fn a_stop_leaves_theta_as_it_is() {
    let objective = Objective::parse("x^2", "x=1").unwrap();
    // The dispatches after the stop still write θ as the user reads it.
    let whole =
        MinimizeOptions { tolerance: Some(0.01), ..options("nesterov", &["lr=0.01", "form=lecture"], 4000) };
    let stopped = minimize(gpu(), &objective, &whole).unwrap();
    let exact = MinimizeOptions { steps: stopped.steps, tolerance: None, ..whole };
    let exact = minimize(gpu(), &objective, &exact).unwrap();
    assert_eq!((stopped.theta, stopped.loss), (exact.theta, exact.loss));
    assert!(stopped.steps < 200 && exact.status == Status::MaxSteps);
}

#[test]
fn a_large_objective_takes_a_plan_and_reaches_its_minimum() {
    let text = "i = iota(3000); d = 1 + mod(7*i, 11); s = mod(13*i, 17)/8; sum(d*(x-s)^2)/2";
    let objective = Objective::parse(text, "x=zeros(3000)").unwrap();
    assert!(scalars::write_out(&objective).is_none());
    let options = MinimizeOptions { tolerance: Some(1e-3), ..options("momentum", &["lr=0.05"], 5000) };
    let minimum = minimize(gpu(), &objective, &options).unwrap();
    assert_eq!(minimum.status, Status::Converged);
    assert!(minimum.steps < 1000 && minimum.gradient_norm <= 1e-3, "{minimum:?}");
    for (i, x) in minimum.theta.iter().enumerate() {
        // Within the tolerance over the least curvature.
        assert!((x - ((13 * i) % 17) as f64 / 8.0).abs() <= 1e-3);
    }
}

#[test]
fn a_long_chain_of_operations_is_cut_for_the_plan() {
    let text = format!("sum(x{})", "*0.5+x".repeat(2000));
    let objective = Objective::parse(&text, "x=ones(70)").unwrap();
    let options = options("sgd", &["lr=0.1"], 3);
    let wanted = reference(&objective, &options);
    let minimum = minimize(gpu(), &objective, &options).unwrap();
    for (a, b) in minimum.theta.iter().zip(&wanted) {
        // Sums of thousands of terms, whose roundings (6e-8 of the sum) go both ways.
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}");
    }
}

#[test]
fn the_kernel_of_every_rule_is_valid_for_all_backends() {
    let objective = Objective::parse(ALL, "x=[0.3,-0.7,1.4]; y=0.4").unwrap();
    let program = scalars::write_out(&objective).unwrap();
    let modifiers = Modifiers {
        clip_norm: Some(1.0),
        clip_value: Some(1.0),
        average: Some(Average::Exponential { decay: 0.9 }),
        lookahead: Some(Lookahead { steps: 2, rate: 0.5 }),
        ..Modifiers::default()
    };
    for rule in UPDATE_RULES {
        let options = MinimizeOptions { modifiers: modifiers.clone(), ..options(rule.name, &[], 1) };
        if !options.in_one_kernel() {
            assert_eq!(rule.name, "muon");
            continue;
        }
        let text = kernel_text(&options, &program, &Layout::new(&objective, &options));
        let module =
            naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).unwrap();
        naga::back::spv::write_vec(&module, &info, &Default::default(), None).unwrap();
        naga::back::msl::write_string(&module, &info, &Default::default(), &Default::default()).unwrap();
        let (options, pipeline) = (Default::default(), Default::default());
        let mut hlsl = String::new();
        naga::back::hlsl::Writer::new(&mut hlsl, &options, &pipeline).write(&module, &info, None).unwrap();
    }
}

#[test]
fn impossible_options_are_refused() {
    let objective = Objective::parse("x^2", "x=1").unwrap();
    let plain = options("sgd", &[], 1);
    let rows = [
        (
            MinimizeOptions { tolerance: Some(-1.0), ..plain.clone() },
            "tolerance: must be a number from 0 on, not -1",
        ),
        (MinimizeOptions { tolerance: Some(f64::NAN), ..plain.clone() }, "tolerance: must be a number"),
        (MinimizeOptions { steps: 1 << 32, ..plain.clone() }, "steps: must be at most 4294967295"),
        (MinimizeOptions { trace: 1 << 32, ..plain }, "trace: must be at most 4294967295"),
    ];
    for (options, message) in rows {
        let error = minimize(gpu(), &objective, &options).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
    }
}
