//! `downhill minimize` as its users meet it.

#![cfg(feature = "cli")]

mod program;

use std::path::Path;

use program::{Ended, run, succeed};
use serde_json::Value;

const ROSENBROCK: &str = "(1-x)^2+100*(y-x^2)^2";

fn here() -> &'static Path {
    Path::new(".")
}

fn events(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[test]
fn a_minimum_is_found_and_told_in_json() {
    let quadratic = "i=iota(100); v=mod(7*i+3,11)-4.5; s=(mod(13*i+5,17)-8)/8; d=1/(1+999*(i/99)^2); \
                     z=x-s; y=z-2*v*dot(v,z)/dot(v,v); sum(d*y^2)/2";
    let shift = |i: usize| (((13 * i + 5) % 17) as f64 - 8.0) / 8.0;
    // Curvatures down to 1e-3 leave the last unknowns of the quadratic where Adam has not brought them yet.
    let rows = [
        (ROSENBROCK, "x=-1.2; y=1", "0.01", "5000", vec![1.0, 1.0], 1e-3),
        (quadratic, "x=zeros(100)", "0.01", "3000", (0..100).map(shift).collect(), 1e-2),
    ];
    for (text, start, rate, steps, minimum, within) in rows {
        let arguments = [
            "minimize", text, "--start", start, "--method", "adam", "--lr", rate, "--steps", steps, "--json",
        ];
        let lines = events(&succeed(here(), &arguments));
        let [done] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&done["event"], &done["status"]), (&"done".into(), &"max_steps".into()));
        assert_eq!(done["steps"].to_string(), steps);
        assert_eq!(done["evaluations"].to_string(), steps);
        let theta = numbers(&done["theta"]);
        assert_eq!(theta.len(), minimum.len());
        assert!(theta.iter().zip(&minimum).all(|(x, wanted)| (x - wanted).abs() <= within), "{theta:?}");
        assert!(done["loss"].as_f64().expect("a number") < 1e-4, "{done}");
        assert!(done["gradient_norm"].as_f64().expect("a number") < 1e-2, "{done}");
    }
}

#[test]
fn the_trace_begins_before_the_first_step() {
    let arguments = ["minimize", ROSENBROCK, "--start", "x=-1.2; y=1", "--method", "sgd", "--lr", "1e-4"];
    let traced = [&arguments[..], &["--steps", "25", "--trace", "10"]].concat();
    let lines = events(&succeed(here(), &[&traced[..], &["--json"]].concat()));
    let points: Vec<(&Value, &Value)> = lines.iter().map(|line| (&line["event"], &line["step"])).collect();
    let (step, done) = (Value::from("step"), Value::from("done"));
    let (zero, ten, twenty) = (Value::from(0), Value::from(10), Value::from(20));
    assert_eq!(points, [(&step, &zero), (&step, &ten), (&step, &twenty), (&done, &Value::Null)]);
    // The start as f32 has it.
    let start: Vec<f32> = numbers(&lines[0]["theta"]).into_iter().map(|x| x as f32).collect();
    assert_eq!(start, [-1.2, 1.0]);
    assert!((lines[0]["loss"].as_f64().expect("a number") - 24.2).abs() < 1e-4, "{}", lines[0]);
    let text = succeed(here(), &traced).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("step 0: loss 24.2") && lines[0].ends_with("at x = -1.2, y = 1.0"),
        "{text}"
    );
    assert!(lines[3].starts_with("stopped after 25 steps: loss "), "{text}");
    assert!(lines[4].starts_with("x = -") && lines[5].starts_with("y = ") && lines.len() == 6, "{text}");
}

#[test]
fn a_tolerance_ends_it_where_the_gradient_is_within() {
    let arguments =
        ["minimize", "-x^2+x^4", "--start", "x=1", "--method", "sgd", "--lr", "0.1", "--tolerance", "1e-4"];
    let lines = events(&succeed(here(), &[&arguments[..], &["--json"]].concat()));
    let done = &lines[0];
    assert_eq!(done["status"], "converged");
    assert!(done["steps"].as_u64().expect("a count") < 100);
    assert!(done["gradient_norm"].as_f64().expect("a number") <= 1e-4);
    // 1/√2, where the curvature is 4.
    assert!((numbers(&done["theta"])[0] - 0.5f64.sqrt()).abs() <= 1e-4, "{done}");
    assert!(succeed(here(), &arguments).stdout.starts_with("converged after "));
}

#[test]
fn divergence_is_told_and_is_a_failure() {
    let arguments = ["minimize", "x^2", "--start", "x=1", "--method", "sgd", "--lr", "1e30"];
    let text = run(here(), &arguments);
    assert_eq!((text.code, text.stdout.as_str()), (Some(1), ""));
    assert!(text.error("diverged").starts_with("diverged after step 1"), "{}", text.stderr);
    let json = run(here(), &[&arguments[..], &["--json"]].concat());
    let lines = events(&json);
    assert_eq!((json.code, lines.len()), (Some(1), 1));
    assert_eq!((&lines[0]["event"], &lines[0]["status"]), (&"done".into(), &"diverged".into()));
}

#[test]
fn what_falls_without_a_bound_is_named() {
    for (expression, method) in [("-x", "cg"), ("-(x^2)", "lbfgs"), ("x*y", "newton"), ("-exp(x)", "lbfgs")] {
        let start = if expression.contains('y') { "x=1; y=-1" } else { "x=1" };
        let ended = run(here(), &["minimize", expression, "--start", start, "--method", method]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{expression} {method}");
        assert!(ended.stderr.contains("falls without a bound: it is -"), "{expression}: {}", ended.stderr);
    }
}

#[test]
fn a_start_without_a_loss_is_not_blamed_on_the_learning_rate() {
    let rows = [
        ("log(x-2)", "x=1", "the loss is NaN at the start; start elsewhere"),
        ("mod(x,0)", "x=4", "the loss is NaN at the start; start elsewhere"),
        ("sqrt(x)", "x=0", "the gradient is not finite at the start; start elsewhere"),
        (
            "x^2",
            "x=1e20",
            "the loss is 1.0000000400817551e40 at the start, more than f32 holds; start elsewhere",
        ),
    ];
    for (text, start, expected) in rows {
        for steps in ["0", "5"] {
            let ended = run(here(), &["minimize", text, "--start", start, "--steps", steps]);
            assert_eq!(ended.code, Some(1), "{text}");
            assert_eq!(ended.error(steps), expected);
        }
    }
}

#[test]
fn a_wrong_text_is_shown_with_a_caret_under_the_place() {
    let long = format!("x{} + yy", " + x".repeat(60));
    let rows: [(&str, &str, &[&str]); 4] = [
        ("1 + sni(x)", "x=1", &["error: expression, column 5: ", "  1 + sni(x)", "      ^"]),
        ("x +\n(y", "x=1", &["error: expression, column 7: ", "  x + (y", "        ^"]),
        ("x*y", "x=1; y=[1,", &["error: start, column 11: ", "  x=1; y=[1,", "            ^"]),
        (&long, "x=1", &["error: expression, column 245: unknown name `yy`", "  + x", "^"]),
    ];
    for (text, start, wanted) in rows {
        let ended = run(here(), &["minimize", text, "--start", start]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{text}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 3, "{text}: {}", ended.stderr);
        assert!(lines[0].starts_with(wanted[0]), "{text}: {}", lines[0]);
        if text.len() < 50 {
            assert_eq!(lines[1..], wanted[1..], "{text}");
        } else {
            let at = lines[2].find('^').expect("a caret");
            assert!(lines[1].len() < 110 && lines[1][at..].starts_with("yy"), "{text}: {}", ended.stderr);
        }
        let json = run(here(), &["minimize", text, "--start", start, "--json"]);
        let last = &events(&json)[0];
        assert_eq!((&last["event"], &last["code"]), (&"error".into(), &2.into()));
        assert_eq!(last["message"], lines[0].strip_prefix("error: ").expect("an error"), "{text}");
    }
}

#[test]
fn wrong_settings_are_refused() {
    let rows: [(&[&str], &str); 13] = [
        (&["--lr", "line-search"], "lr: only a single training has a line search"),
        (&["--steps", "-3"], "invalid value '-3' for '--steps <N>'"),
        (&["--trace", "-3"], "invalid value '-3' for '--trace <N>'"),
        (&["--lookahead", "-5"], "lookahead: `-5` is not of the form"),
        (&["--method", "adamm"], "did you mean `adam`?"),
        (&["--lr", "-1"], "lr: must be at least 0"),
        (&["--hyper", "beta1=2"], "beta1: must be at least 0 and below 1"),
        (&["--hyper", "beta9=2"], "unknown name `beta9`; did you mean `beta1`?"),
        (&["--hyper", "name=sgd"], "choose the rule with --optimizer (`minimize`: --method)"),
        (&["--hyper", "beta1"], "not of the form NAME=VALUE"),
        (&["--tolerance", "-1"], "tolerance: must be a number from 0 on"),
        (&["--steps", "many"], "invalid value 'many' for '--steps <N>'"),
        (&["--optimizer", "adam"], "unexpected argument '--optimizer'"),
    ];
    for (settings, fragment) in rows {
        let ended = run(here(), &[&["minimize", "x^2", "--start", "x=1"], settings].concat());
        assert_eq!(ended.code, Some(2), "{settings:?}");
        assert!(ended.error("setting").contains(fragment), "{settings:?}: {}", ended.stderr);
    }
    let ended = run(here(), &["minimize", "x^2"]);
    assert!(ended.code == Some(2) && ended.error("no start").contains("--start"), "{}", ended.stderr);
}

#[test]
fn help_tells_the_language_and_every_default() {
    let help = succeed(here(), &["minimize", "--help"]).stdout;
    // Lines end where the terminal does.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for fragment in [
        "--method <NAME>",
        "[default: adam]",
        "[default: the rule's]",
        "[default: 1000]",
        "[default: 0]",
        "[default: all steps are made]",
        "iota(n)",
        "Examples:",
    ] {
        assert!(help.contains(fragment), "no `{fragment}` in {help}");
    }
}

#[test]
fn a_method_searches_its_own_steps_and_tells_what_they_cost() {
    let residuals = "[1-x, 10*(y-x^2)]";
    // The method, what it is given, evaluations at most.
    let rows = [
        ("lbfgs", ROSENBROCK, 60),
        ("bfgs", ROSENBROCK, 60),
        ("newton", ROSENBROCK, 60),
        ("cg", ROSENBROCK, 300),
        ("lm", residuals, 40),
        ("dogleg", residuals, 40),
        ("gauss-newton", residuals, 40),
    ];
    for (method, text, most) in rows {
        let arguments =
            ["minimize", text, "--start", "x=-1.2; y=1", "--method", method, "--tolerance", "1e-3", "--json"];
        let lines = events(&succeed(here(), &arguments));
        let done = &lines[0];
        assert_eq!((&done["status"], &done["by"]), (&"converged".into(), &"gradient".into()), "{done}");
        let [evaluations, readbacks] = ["evaluations", "readbacks"].map(|key| done[key].as_u64().unwrap());
        assert!(evaluations <= most && readbacks >= 2, "{done}");
        // Curvature 0.4 along the valley.
        let theta = numbers(&done["theta"]);
        assert!(theta.iter().all(|x| (x - 1.0).abs() <= 1e-2), "{done}");
    }
}

#[test]
fn what_a_method_cannot_do_is_told_in_a_line() {
    let ended = run(here(), &["minimize", "x^2", "--start", "x=1", "--method", "lm"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let what = "error: expression, column 1: the value is a scalar, and this method sums the squares of residuals itself";
    assert!(ended.stderr.starts_with(what), "{}", ended.stderr);
    let rows: [(&[&str], &str); 7] = [
        (&["--method", "lbfgsx"], "did you mean `lbfgs`?"),
        (
            &["--method", "lbfgs", "--hyper", "history=0"],
            "history: must be a whole number from 1 to 80, not `0.0`",
        ),
        (&["--method", "lbfgs", "--hyper", "c1=0.95"], "c2: must be above c1"),
        (&["--method", "lbfgs", "--schedule", "cosine"], "--schedule: has no meaning for lbfgs"),
        (&["--method", "newton", "--ema", "0.9"], "--ema: has no meaning for newton"),
        (&["--method", "lbfgs", "--value-tolerance", "-1"], "value-tolerance: must be a number from 0 on"),
        (&["--method", "adam", "--step-tolerance", "1e-3"], "--step-tolerance: is for methods that search"),
    ];
    for (settings, fragment) in rows {
        let ended = run(here(), &[&["minimize", "x^2", "--start", "x=1"], settings].concat());
        assert_eq!(ended.code, Some(2), "{settings:?}: {}", ended.stderr);
        assert!(ended.error("setting").contains(fragment), "{settings:?}: {}", ended.stderr);
    }
    let many = ["minimize", "sum(x^2)", "--start", "x=ones(3000)", "--method", "bfgs"];
    let ended = run(here(), &many);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.error("size").contains("takes 2048 unknowns at most"), "{}", ended.stderr);
}
