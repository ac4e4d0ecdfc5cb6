//! `downhill export`: files for other programs, and what is refused.

mod program;

use std::fs;

use program::{run, succeed};
use serde_json::Value;

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn a_trained_model_is_written_once_and_again_when_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    succeed(
        path,
        &["train", "--data", "digits", "--model", "mlp:8", "--epochs", "1", "--out", "run", "--quiet"],
    );
    let onnx = ["export", "run", "onnx", "--json"];
    let done = json_lines(&succeed(path, &onnx).stdout);
    let done = done.last().expect("a line");
    let written = fs::read(path.join("model.onnx")).expect("a file");
    assert_eq!((&done["file"], &done["opset"]), (&"model.onnx".into(), &18.into()));
    assert_eq!(
        (&done["bytes"], &done["parameters"]),
        (&written.len().into(), &(64 * 8 + 8 + 8 * 10 + 10).into())
    );
    for name in ["features", "output", "batch", "downhill"] {
        assert!(written.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
    }
    let again = run(path, &onnx);
    assert_eq!(again.code, Some(2));
    assert!(again.stdout.contains("--out: model.onnx is there already; add --overwrite"), "{}", again.stdout);
    succeed(path, &[&onnx[..], &["--overwrite"]].concat());
    assert_eq!(
        fs::read(path.join("model.onnx")).expect("a file"),
        written,
        "the same model makes the same bytes"
    );

    succeed(path, &["export", "run", "safetensors", "--out", "copy.safetensors"]);
    let [copy, own] =
        ["copy.safetensors", "run/model.safetensors"].map(|name| fs::read(path.join(name)).expect("a file"));
    assert_eq!(copy, own);
}

#[test]
fn what_cannot_be_exported_is_one_line_and_code_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    succeed(
        path,
        &["train", "--data", "digits", "--model", "mlp:8", "--epochs", "1", "--out", "run", "--quiet"],
    );
    fs::create_dir(path.join("other")).expect("a folder");
    let config = fs::read_to_string(path.join("run/config.toml")).expect("a file");
    fs::write(path.join("other/config.toml"), config.replace("mlp:8", "mlp:9")).expect("a file");
    fs::copy(path.join("run/model.safetensors"), path.join("other/model.safetensors")).expect("a copy");
    let rows: [(&[&str], &str); 5] = [
        (&["none", "onnx"], "none"),
        (&["run", "pickle"], "pickle"),
        (&["run", "onnx", "--out", "."], "--out: . is a folder, not a file"),
        (&["run", "onnx", "--out", "none/model.onnx"], "--out: there is no folder none"),
        (&["other", "safetensors"], "other/model.safetensors: it is of another model"),
    ];
    for (arguments, fragment) in rows {
        let ended = run(path, &[&["export"], arguments].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        let error = ended.error(arguments[1]);
        assert!(error.contains(fragment), "{arguments:?}: {error}");
    }
    assert!(!path.join("model.onnx").exists() && !path.join("model.safetensors").exists());
}
