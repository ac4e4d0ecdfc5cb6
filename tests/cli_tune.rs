//! `downhill tune`: measured on whatever adapter there is, kept in a folder, and used from there.

mod program;

use std::fs;

use program::{run, succeed};
use serde_json::Value;

const MODEL: &str = "--data random:200x32:4 --model mlp:24 --optimizer sgd --batch 16";

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn what_is_measured_is_told_and_kept_for_the_runs_to_come() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tuned = succeed(folder.path(), &words(&format!("tune {MODEL} --seconds 300 --cache kept --json")));
    let lines: Vec<Value> =
        tuned.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let (done, steps) = lines.split_last().expect("a last line");
    // Forward and both derivatives of two layers, but the derivative by the rows.
    assert_eq!(steps.len(), 5, "{}", tuned.stdout);
    for step in steps {
        assert_eq!(step["event"], "tuned", "{step}");
        assert!(
            step["seconds_before"].as_f64() > Some(0.0) && step["faster"].as_f64() >= Some(1.0),
            "{step}"
        );
    }
    assert_eq!((&done["event"], &done["products"]), (&"done".into(), &5.into()));
    let file =
        fs::read_to_string(folder.path().join(done["file"].as_str().expect("a path"))).expect("a file");
    assert!(file.contains("\"products\""), "{file}");

    succeed(folder.path(), &words(&format!("train {MODEL} --steps 3 --cache kept --out run")));
    // A tuning for a tile that there is not, and one that is no tuning.
    let path = folder.path().join(done["file"].as_str().expect("a path"));
    for text in ["{}", ""] {
        fs::write(&path, text).expect("a file");
        let ended = run(
            folder.path(),
            &words(&format!("train {MODEL} --steps 3 --cache kept --out run --overwrite")),
        );
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("the tuning is not used"), "{}", ended.stderr);
    }
}

#[test]
fn what_cannot_be_tuned_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [
        ("tune --model mlp:24 --cache kept", "data: which rows"),
        (&format!("tune {MODEL} --cache off"), "--cache: is off"),
        (&format!("tune {MODEL} --seconds 0"), "--seconds"),
        (&format!("tune {MODEL} --epochs 3"), "tune"),
    ];
    for (arguments, fragment) in rows {
        let ended = run(folder.path(), &words(arguments));
        assert_eq!(ended.code, Some(2), "{arguments}");
        assert!(ended.error(arguments).contains(fragment), "{arguments}: {}", ended.stderr);
    }
}
