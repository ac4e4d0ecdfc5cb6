//! Learning-rate schedules from the command line: what is printed, kept and refused.

mod program;

use std::fs;
use std::path::Path;

use program::{run, succeed};
use serde_json::Value;

/// 1,347 rows to train on are 11 batches of 128 an epoch.
fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--data", "digits", "--model", "linear", "--out", "run", "--log-every", "1"], more].concat()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn rates(metrics: &str) -> Vec<f64> {
    let steps = json_lines(metrics).into_iter().filter(|line| line["event"] == "step");
    steps.map(|step| step["lr"].as_f64().expect("a rate")).collect()
}

fn metrics(folder: &Path) -> String {
    fs::read_to_string(folder.join("run/metrics.jsonl")).expect("metrics")
}

#[test]
fn a_run_keeps_its_schedule_and_goes_on_with_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let schedule = "warmup 4 steps then step 0.5 every epoch";
    let more = ["--lr", "0.01", "--schedule", schedule, "--steps", "6", "--json"];
    let ended = succeed(folder.path(), &arguments(&more));
    let first = [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01];
    assert_eq!(rates(&ended.stdout), first);
    let config = fs::read_to_string(folder.path().join("run/config.toml")).expect("a configuration");
    assert!(config.contains(&format!("schedule = \"{schedule}\"")), "{config}");

    succeed(folder.path(), &["train", "--resume", "run", "--steps", "30", "--quiet"]);
    let found = rates(&metrics(folder.path()));
    assert_eq!(found[..6], first);
    assert_eq!((found.len(), found[14], found[15], found[29]), (30, 0.01, 0.005, 0.0025));
}

#[test]
fn a_schedule_that_follows_from_the_length_takes_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let more = ["--schedule", "warmup 10% then cosine", "--epochs", "1", "--quiet"];
    succeed(folder.path(), &arguments(&more));
    let before = metrics(folder.path());
    let longer = run(folder.path(), &["train", "--resume", "run", "--epochs", "2"]);
    assert_eq!(longer.code, Some(2));
    let message = longer.error("longer");
    assert!(message.starts_with("--epochs: the rates of the schedule `warmup 10% then cosine`"), "{message}");
    assert_eq!(metrics(folder.path()), before);
    succeed(folder.path(), &["train", "--resume", "run", "--epochs", "1", "--quiet"]);

    let other = run(folder.path(), &["train", "--resume", "run", "--schedule", "constant"]);
    assert_eq!(other.code, Some(2));
    assert!(other.error("other").starts_with("--schedule: cannot be changed"), "{}", other.stderr);
}

#[test]
fn schedules_are_listed_and_unknown_ones_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let help = succeed(folder.path(), &["train", "--schedule", "help"]).stdout;
    for form in ["warmup LENGTH [from 0]", "step FACTOR every LENGTH", "cosine [to 0]", "A then B"] {
        assert!(help.contains(form), "`{form}` is not in {help}");
    }
    let lines = json_lines(&succeed(folder.path(), &["train", "--schedule", "help", "--json"]).stdout);
    assert_eq!(lines.last().expect("a line")["event"], "done");
    assert_eq!(lines.len(), 1 + help.lines().count());

    let refused = run(folder.path(), &arguments(&["--schedule", "warmup 5 then cosin"]));
    assert_eq!(refused.code, Some(2));
    assert_eq!(refused.error("cosin"), "schedule: unknown name `cosin`; did you mean `cosine`?");
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_range_test_leaves_a_curve_and_no_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let find = [
        "train",
        "--data",
        "digits",
        "--model",
        "mlp:32",
        "--optimizer",
        "sgd",
        "--find-lr",
        "--svg",
        "c.svg",
    ];
    let ended = succeed(folder.path(), &[&find[..], &["--json"]].concat());
    let lines = json_lines(&ended.stdout);
    let points: Vec<_> = lines.iter().filter(|line| line["event"] == "lr").collect();
    let rate = |place: usize| points[place]["lr"].as_f64().expect("a rate");
    assert!((rate(0) - 1e-7).abs() < 1e-20 && points.iter().all(|point| point["loss"].is_f64()));
    let done = lines.last().expect("a line");
    let suggested = done["suggested_lr"].as_f64().expect("a suggestion");
    assert!((1e-3..10.0).contains(&suggested), "{done}");
    assert_eq!(done["steps"], points.len());

    let text = succeed(folder.path(), &find).stdout;
    assert!(text.contains(&format!("suggested learning rate: {suggested:.1e}")), "{text}");
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("one")).collect();
    assert_eq!(left.iter().map(|entry| entry.file_name()).collect::<Vec<_>>(), ["c.svg"]);
    let picture = fs::read_to_string(folder.path().join("c.svg")).expect("a picture");
    assert!(picture.contains("learning rate") && picture.contains("suggested, ") && !picture.contains("NaN"));
}

#[test]
fn what_has_no_meaning_for_a_range_test_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [
        ("--epochs 3", "--epochs: has no meaning for `train --find-lr`"),
        ("--lr 0.1", "--lr: has no meaning for `train --find-lr`"),
        ("--optimizer rprop", "rprop adapts its steps after the first"),
        ("--schedule cosine", "--schedule: has no meaning for `train --find-lr`"),
        ("--out run", "--out: has no meaning for `train --find-lr`"),
        ("--resume run", "cannot be used with"),
        ("--steps 3", "steps: must be at least 10"),
        ("--svg no/curve.svg", "--svg: there is no folder no"),
    ];
    for (flags, fragment) in rows {
        let flags: Vec<&str> = flags.split(' ').collect();
        let ended = run(folder.path(), &[&["train", "--data", "digits", "--find-lr"], &flags[..]].concat());
        assert_eq!(ended.code, Some(2), "{flags:?}: {}", ended.stderr);
        assert!(ended.error("refused").contains(fragment), "{flags:?}: {}", ended.stderr);
    }
    let alone = run(folder.path(), &["train", "--data", "digits", "--svg", "curve.svg"]);
    assert!(alone.code == Some(2) && alone.error("alone").contains("--find-lr"), "{}", alone.stderr);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
