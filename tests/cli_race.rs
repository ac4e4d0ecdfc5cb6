//! Races from the program: tables, JSON lines and pictures, of expressions and of a training task.

mod program;

use std::fs;
use std::path::Path;

use program::{run, succeed};
use serde_json::Value;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// The picture at `path`: checked to be XML as far as that is open tags that are closed and texts without brackets.
fn picture(path: &Path) -> String {
    let svg = fs::read_to_string(path).expect("a picture");
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{part}");
        let name = tag.split(' ').next().expect("a name");
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{part}"),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    svg
}

#[test]
fn without_arguments_the_classical_rules_run_in_two_valleys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = succeed(folder.path(), &["race", "--gif", "race.gif", "--target-loss", "0.1"]);
    let svg = picture(&folder.path().join("race.svg"));
    for rule in ["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam"] {
        assert!(svg.contains(&format!(">{rule} ")), "{rule} is in the legend");
        assert!(ended.stdout.lines().any(|line| line.starts_with(&format!("{rule} "))), "{}", ended.stdout);
    }
    let gif = fs::read(folder.path().join("race.gif")).expect("a picture in motion");
    assert!(gif.starts_with(b"GIF89a") && gif.ends_with(b";"), "{} bytes", gif.len());
    assert!(gif.len() < 400_000, "{} bytes", gif.len());
}

#[test]
fn racers_on_an_expression_are_told_as_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The racers' x after t steps: 0.8^t and 0.98^t; the third one multiplies it by -19 and leaves f32 soon.
    let arguments = [
        "race",
        "x^2+10*y^2",
        "--start",
        "x=1; y=0",
        "--method",
        "sgd lr=0.1",
        "--methods",
        "sgd lr=0.01, sgd lr=10",
        "--steps",
        "100",
        "--target-loss",
        "0.1",
        "--json",
    ];
    let told = lines(&succeed(folder.path(), &arguments).stdout);
    let column = |key: &str| told.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("event"), ["racer", "racer", "racer", "done"]);
    assert_eq!(column("method")[..3], ["sgd lr=0.1", "sgd lr=0.01", "sgd lr=10"]);
    assert_eq!(column("status")[..3], ["max_steps", "max_steps", "diverged"]);
    // 0.64^t and 0.9604^t are at most 0.1 for the first time at these.
    assert_eq!(column("steps_to_target")[..3], [Value::from(6), Value::from(57), Value::Null]);
    for racer in &told[..3] {
        for key in [
            "loss",
            "theta",
            "gradient_norm",
            "evaluations",
            "seconds",
            "state_bytes_per_parameter",
            "optimizer",
        ] {
            assert!(racer.get(key).is_some(), "{key} is not in {racer}");
        }
    }
    let done = &told[3];
    assert_eq!(
        (&done["racers"], &done["best"], &done["svg"]),
        (&3.into(), &"sgd lr=0.1".into(), &"race.svg".into())
    );
    let svg = picture(&folder.path().join("race.svg"));
    assert!(svg.contains("sgd lr=0.01") && svg.contains("x^2+10*y^2"));
}

#[test]
fn losses_of_more_unknowns_are_drawn_as_curves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = [
        "race",
        "sum(iota(5)*x^2)",
        "--start",
        "x=ones(5)",
        "--method",
        "adam",
        "--method",
        "yogi",
        "--lr",
        "0.1",
        "--steps",
        "50",
        "--svg",
        "curves.svg",
    ];
    let ended = succeed(folder.path(), &arguments);
    assert!(ended.stdout.starts_with("method "), "{}", ended.stdout);
    let svg = picture(&folder.path().join("curves.svg"));
    for text in [">adam<", ">yogi<", ">step<", ">loss<"] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn racers_train_alike_but_for_their_rule() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = [
        "race",
        "--data",
        "digits",
        "--model",
        "mlp:16",
        "--epochs",
        "3",
        "--seed",
        "1",
        "--target-accuracy",
        "0.5",
        "--method",
        "adam lr=0.01, sgd lr=0.5, adam lr=0.010, sgd lr=1e30",
        "--json",
    ];
    let told = lines(&succeed(folder.path(), &arguments).stdout);
    assert_eq!(told.len(), 5);
    let [adam, sgd, twin, lost] = &told[..4] else { panic!("{told:?}") };
    // The same rule again, by another name: the same numbers, whoever ran before.
    for key in ["train_loss", "test_loss", "test_accuracy", "steps", "steps_to_target", "optimizer"] {
        assert_eq!(adam[key], twin[key], "{key}");
    }
    assert_ne!(adam["train_loss"], sgd["train_loss"]);
    assert_eq!((&adam["status"], &lost["status"]), (&"finished".into(), &"diverged".into()));
    assert!(lost["message"].as_str().is_some_and(|message| message.contains("not finite")), "{lost}");
    // 1347 rows in batches of 128 are 11 steps.
    assert_eq!(adam["laps"].as_array().map(Vec::len), Some(3));
    assert_eq!((&adam["steps"], &adam["laps"][0]["step"]), (&33.into(), &11.into()));
    let state = |racer: &Value| racer["state_bytes_per_parameter"].as_f64().expect("a number");
    // Two vectors of f32, each of the four parameters padded to whole 256 bytes: 2 · 4 · 1344 / 1210.
    assert_eq!(state(adam), 2.0 * 4.0 * 1344.0 / 1210.0);
    assert_eq!(state(sgd), 0.0);
    let seconds =
        adam["laps"].as_array().expect("laps").iter().map(|lap| lap["seconds"].as_f64().expect("a number"));
    assert!(seconds.is_sorted());
    let svg = picture(&folder.path().join("race.svg"));
    for text in
        ["adam lr=0.01", "sgd lr=1e30", ">train loss<", ">test accuracy<", ">seconds<", ">step<", "digits"]
    {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn a_race_trains_as_train_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let common = ["--data", "digits", "--model", "mlp:16", "--epochs", "2", "--seed", "3", "--json"];
    let rule = ["--optimizer", "momentum", "--lr", "0.05", "--out", "run"];
    let trained = lines(&succeed(folder.path(), &[&["train"], &common[..], &rule[..]].concat()).stdout);
    let raced = lines(
        &succeed(folder.path(), &[&["race", "--method", "momentum lr=0.05"], &common[..]].concat()).stdout,
    );
    let done = trained.last().expect("a line");
    for key in ["train_loss", "test_loss", "test_accuracy", "steps", "epochs"] {
        assert_eq!(raced[0][key], done[key], "{key}");
    }
}

#[test]
fn racers_on_an_expression_take_schedules_and_modifiers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let request = ["race", "x^2", "--start", "x=1", "--method", "sgd lr=0.1", "--steps", "3", "--json"];
    // Settings and x after three steps: rates of 0.1, 0.05 and 0.1/3; a gradient of 1 for 2x; the step back to 0.5.
    let rows: [(&[&str], f64); 3] = [
        (&["--schedule", "1/n"], 0.8 * 0.9 * (1.0 - 0.2 / 3.0)),
        (&["--clip-value", "1"], 0.7),
        (&["--lookahead", "3"], 0.5 * (1.0 + 0.8f64.powi(3))),
    ];
    for (settings, x) in rows {
        let racer = &lines(&succeed(folder.path(), &[&request, settings].concat()).stdout)[0];
        // Three roundings of an f32.
        assert!((racer["theta"][0].as_f64().expect("a number") - x).abs() < 3e-7, "{settings:?}: {racer}");
    }
}

#[test]
fn what_may_be_said_is_listed() {
    for (settings, beginning) in [
        (["--method", "help"], "sgd: "),
        (["--schedule", "help"], "constant "),
        (["--model", "help"], "mlp:"),
    ] {
        let text = succeed(Path::new("."), &[&["race"], &settings[..]].concat()).stdout;
        assert!(text.lines().any(|line| line.starts_with(beginning)), "{text}");
    }
}

#[test]
fn races_that_are_none_are_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bowl = ["race", "x^2", "--start", "x=1"];
    let digits = ["race", "--data", "digits", "--method", "sgd"];
    // The request, what is added, what the message says.
    let rows: [(&[&str], &[&str], &str); 22] = [
        (&bowl, &["--method", "adamm"], "did you mean `adam`?"),
        (&bowl, &["--method", "adam bta1=0.9"], "did you mean `beta1`?"),
        (&bowl, &["--method", "adam lr"], "`lr` is not of the form NAME=VALUE"),
        (&bowl, &["--method", "adam lr=-1"], "lr: must be at least 0"),
        (&bowl, &["--method", ""], "a rule is missing"),
        (&bowl, &["--method", "sgd, adam, sgd"], "`sgd` takes part twice"),
        (&bowl, &["--method", "sgd", "--momentum", "0.5"], "optimizer sgd: unknown name `momentum`"),
        (&bowl, &["--optimizer", "sgd"], "say each with --method"),
        (&bowl, &["--svg", "missing/race.svg"], "--svg: there is no folder missing"),
        (&bowl, &["--gif", "."], "--gif: . is a folder"),
        (&bowl, &["--gif", "race.gif"], "shows two unknowns, and there are 1"),
        (&bowl, &["--epochs", "3"], "--epochs: has no meaning for a race on an expression"),
        (&bowl, &["--swa", "3"], "--swa: has no meaning for a race on an expression"),
        (&bowl, &["--method", "sgd lr=line-search"], "lr: only a single training has a line search"),
        (&bowl, &["--schedule", "plateau"], "schedule: plateau watches the losses of epochs"),
        (&bowl, &["--target-loss", "nan"], "--target-loss: must be a number"),
        (&digits, &["--target-accuracy", "90"], "--target-accuracy: must be from 0 to 1, not 90"),
        (&["race", "x^2"], &[], "--start: where do the racers start?"),
        (&bowl, &["--data", "digits"], "not on both"),
        (&digits, &["--start", "x=1"], "--start: has no meaning for a race on a training task"),
        (&digits, &["--gif", "race.gif"], "--gif: only a race on an expression of two unknowns moves"),
        (&digits, &["--model", "mpl:3"], "did you mean `mlp`?"),
    ];
    for (request, more, fragment) in rows {
        let arguments = [request, more].concat();
        let ended = run(folder.path(), &arguments);
        let case = format!("{arguments:?}");
        assert_eq!(ended.code, Some(2), "{case}: {}", ended.stderr);
        let message = ended.error(&case);
        assert!(message.contains(fragment), "{case}: `{fragment}` is not in `{message}`");
        assert_eq!(
            fs::read_dir(folder.path()).expect("a folder").count(),
            0,
            "{case}: something was written"
        );
    }
    let ended = run(folder.path(), &["race", "x^2+z", "--start", "x=1"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("unknown name `z`"), "{}", ended.stderr);
}
