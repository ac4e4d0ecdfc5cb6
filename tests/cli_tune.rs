//! `downhill tune`: measured on whatever adapter there is, kept in a folder, and used from there.

mod program;

use std::fs;

use downhill::{Gpu, GpuOptions};
use program::{run, succeed};
use serde_json::Value;

/// Large enough not to run by rows, where there are no products.
const MODEL: &str = "--data random:200x64:4 --model mlp:96 --optimizer sgd --batch 64";

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
    // Products by a tile that there is not and in more parts than there is memory for, and files that are no tuning.
    let path = folder.path().join(done["file"].as_str().expect("a path"));
    let with = |tile: &str, parts: u64| {
        let mut changed: Value = serde_json::from_str(&file).expect("JSON");
        changed["tuning"]["products"] = serde_json::json!([{
            "m": 64, "n": 96, "k": 64, "transposed": [false, true], "half": [false, false], "tile": tile, "parts": parts,
        }]);
        changed.to_string()
    };
    let rows = [
        (with("staged 1x1/1x1", 1), "does not run here"),
        (with("direct 32x32/4x4", 1 << 62), "does not run here"),
        ("{}".to_owned(), "the tuning is not used"),
        (String::new(), "the tuning is not used"),
    ];
    for (text, warning) in rows {
        fs::write(&path, &text).expect("a file");
        let train = format!("train {MODEL} --steps 3 --cache kept --out run --overwrite");
        let ended = run(folder.path(), &words(&train));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stderr.matches(warning).count(), 1, "{text}: {}", ended.stderr);
    }
    // It is made anew all the same.
    succeed(folder.path(), &words(&format!("tune {MODEL} --seconds 300 --cache kept")));
    let ended = succeed(
        folder.path(),
        &words(&format!("train {MODEL} --steps 3 --cache kept --out run --overwrite")),
    );
    assert!(!ended.stderr.contains("tuning"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_tuned_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("file"), "no folder").expect("a file");
    let rows = [
        ("tune --model mlp:24 --cache kept", "data: which rows"),
        (&format!("tune {MODEL} --cache off"), "--cache: is off"),
        (&format!("tune {MODEL} --cache file"), "--cache: file is no folder"),
        (&format!("tune {MODEL} --seconds 0"), "--seconds"),
        ("bench kernels --matrix-units --kernel gather", "--matrix-units: this adapter has none"),
        (&format!("tune {MODEL} --matrix-units --cache kept"), "--matrix-units: this adapter has none"),
        (&format!("tune {MODEL} --epochs 3"), "tune"),
    ];
    let units = GpuOptions { matrix_units: true, ..GpuOptions::default() };
    let has_units = Gpu::new(&units).expect("an adapter").profile().matrix_units;
    // Where there are matrix units they may be asked for.
    for (arguments, fragment) in rows.into_iter().filter(|row| !(has_units && row.1.contains("--matrix"))) {
        let ended = run(folder.path(), &words(arguments));
        assert_eq!(ended.code, Some(2), "{arguments}");
        assert!(ended.error(arguments).contains(fragment), "{arguments}: {}", ended.stderr);
    }
}
