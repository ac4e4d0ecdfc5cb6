//! `downhill bench kernels` and `bench step --profile`: what they tell, and that it adds up.

mod program;

use std::collections::BTreeSet;
use std::fs;

use program::{run, succeed};
use serde_json::Value;

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn kernels_are_held_against_ceilings_of_the_same_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--kernel", "gather", "--kernel", "update sgd", "--parameters", "1048576", "--rounds", "1"];
    let text = succeed(folder.path(), &[&["bench", "kernels", "--json"], &flags[..]].concat()).stdout;
    let lines = events(&text);
    let (done, kernels) = lines.split_last().expect("lines");
    let names: Vec<&Value> = kernels.iter().map(|line| &line["kernel"]).collect();
    assert_eq!(names, ["gather", "update sgd"]);
    for line in kernels {
        let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key} of {line}"));
        assert!(number("seconds") > 0.0 && number("gbytes_per_second") > 0.0, "{line}");
        assert!(number("fraction_of_ceiling") > 0.0 && line["shape"].is_array(), "{line}");
        assert!(line["gflops"].is_null(), "these move bytes and multiply nothing to speak of: {line}");
    }
    assert_eq!(done["event"], "done");
    assert!(
        done["operations_per_second"].as_f64() > Some(0.0) && done["bytes_per_second"].as_f64() > Some(0.0)
    );
}

#[test]
fn a_profile_has_every_launch_of_a_step_and_a_trace_that_viewers_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--data", "random:200x20:3", "--model", "mlp:160", "--batch", "50", "--optimizer", "lamb"];
    let more = ["--steps", "5", "--warm-up", "1", "--json", "--profile", "t.json"];
    let text = succeed(folder.path(), &[&["bench", "step"], &flags[..], &more].concat()).stdout;
    let lines = events(&text);
    let launches: Vec<&Value> = lines.iter().filter(|line| line["event"] == "launch").collect();
    let shares: f64 = launches.iter().filter_map(|launch| launch["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    let names: BTreeSet<&str> = launches.iter().filter_map(|launch| launch["launch"].as_str()).collect();
    for name in ["matmul → relu [batch, 160]", "lamb: moments", "lamb: ratios", "lamb: steps"] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    let trace = fs::read_to_string(folder.path().join("t.json")).expect("a trace");
    let trace: Value = serde_json::from_str(&trace).expect("JSON");
    let complete = trace["traceEvents"].as_array().expect("events").iter().filter(|event| event["ph"] == "X");
    let complete: Vec<&Value> = complete.collect();
    assert_eq!(complete.len(), launches.len());
    for pair in complete.windows(2) {
        let number = |event: &Value, key: &str| event[key].as_f64().expect("a number");
        // Launches of one queue run one after another; a microsecond for clocks that count in steps.
        assert!(number(pair[1], "ts") + 1.0 >= number(pair[0], "ts") + number(pair[0], "dur"), "{pair:?}");
    }
    let done = lines.last().expect("a line");
    assert!(done["trace"] == "t.json" && done["gpu_seconds_per_step"].is_number(), "{done}");
}

#[test]
fn what_cannot_be_measured_is_said_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows: [(&[&str], &str); 3] = [
        (&["kernels", "--kernel", "matmull"], "--kernel: unknown name `matmull`"),
        (&["kernels", "--parameters", "5"], "5 is not in 1048576..=4294967296"),
        (&["step", "--data", "digits", "--profile", "no/t.json"], "--profile: there is no folder no"),
    ];
    for (arguments, fragment) in rows {
        let ended = run(folder.path(), &[&["bench"], arguments].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.error("refused").contains(fragment), "{arguments:?}: {}", ended.stderr);
    }
}
