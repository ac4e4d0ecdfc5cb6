//! Runs from the command line: what they leave behind, that they are the same every time, and that they go on
//! after whatever ended them.

mod program;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use program::{Ended, command, run, succeed};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

const SMALL: [&str; 7] = ["train", "--data", "digits", "--model", "mlp:16", "--seed", "7"];

/// The arguments of a small run on digits, and `more`.
fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SMALL[..], more].concat()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("`{line}`"))).collect()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

const MODEL: &str = "model.safetensors";
const METRICS: &str = "metrics.jsonl";

/// The losses that a run recorded: what is left of its records without the clock.
fn losses(folder: &Path) -> Vec<String> {
    let text = String::from_utf8(bytes(folder, METRICS)).expect("UTF-8");
    let loss =
        |record: &Value| ["step", "loss", "train_loss", "test_loss"].map(|key| record[key].to_string());
    json_lines(&text).iter().map(|record| loss(record).join(" ")).collect()
}

/// What stands in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_run_learns_digits_and_leaves_everything_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["train", "--data", "digits", "--model", "mlp:64", "--lr", "1e-2", "--epochs", "8"];
    let arguments = [&arguments[..], &["--log-every", "20", "--json", "--out", "a/run"]].concat();
    let ended = succeed(folder.path(), &arguments);
    assert_eq!(ended.stderr, "");
    let lines = json_lines(&ended.stdout);
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().expect("an event")).collect();
    assert_eq!(events.iter().filter(|event| **event == "epoch").count(), 8);
    // 8 epochs of 11 batches, every twentieth step.
    assert_eq!(events.iter().filter(|event| **event == "step").count(), 4);
    assert_eq!((events[0], events[events.len() - 1]), ("plan", "done"));

    let expected: [(&str, &[&str]); 4] = [
        (
            "plan",
            &[
                "micro_batch",
                "batch",
                "accumulate",
                "bytes",
                "bytes_per_sample",
                "budget",
                "parameters",
                "resident",
                "adapter",
            ],
        ),
        ("step", &["step", "epoch", "loss", "lr"]),
        ("epoch", &["epoch", "train_loss", "test_loss", "test_accuracy", "samples_per_second"]),
        (
            "done",
            &[
                "steps",
                "epochs",
                "seconds",
                "samples_per_second",
                "train_loss",
                "test_loss",
                "test_accuracy",
                "planned_bytes",
                "measured_bytes",
                "out",
            ],
        ),
    ];
    for (event, wanted) in expected {
        let line = lines.iter().find(|line| line["event"] == event).expect("the event");
        let found = keys(line);
        assert!(wanted.iter().all(|key| found.contains(key)), "{event}: {found:?}");
    }
    let roles = ["theta", "gradient", "state", "activations", "data", "staging", "other", "total"];
    assert!(roles.iter().all(|role| lines[0]["bytes"][role].is_u64()), "{}", lines[0]);
    let done = &lines[lines.len() - 1];
    assert_eq!((&done["steps"], &done["epochs"], &done["out"]), (&88.into(), &8.into(), &"a/run".into()));
    // Eight epochs reach 0.93 or so; a broken gradient does not pass 0.5.
    assert!(done["test_accuracy"].as_f64().is_some_and(|accuracy| accuracy > 0.85), "{done}");

    let out = folder.path().join("a/run");
    assert_eq!(names(&out), ["checkpoint", "config.toml", "curves.svg", "memory.svg", METRICS, MODEL]);
    assert_eq!(names(&out.join("checkpoint")), ["latest.safetensors", "lock"]);
    let recorded = String::from_utf8(bytes(&out, METRICS)).expect("UTF-8");
    assert_eq!(json_lines(&recorded), lines[1..lines.len() - 1], "metrics are what was printed");
    assert!(String::from_utf8(bytes(&out, "curves.svg")).expect("UTF-8").starts_with("<svg"));
    let model = bytes(&out, MODEL);
    let model = SafeTensors::deserialize(&model).expect("a safetensors file");
    let mut tensors: Vec<_> =
        model.iter().map(|(name, view)| (name, view.shape().to_vec(), view.dtype())).collect();
    tensors.sort();
    let shapes =
        [("0.bias", vec![64]), ("0.weight", vec![64, 64]), ("2.bias", vec![10]), ("2.weight", vec![10, 64])];
    assert_eq!(tensors, shapes.map(|(name, shape)| (name, shape, Dtype::F32)));

    let evaluated = succeed(folder.path(), &["eval", "a/run", "--data", "digits", "--json"]);
    let evaluated = &json_lines(&evaluated.stdout)[0];
    for key in ["test_loss", "test_accuracy"] {
        assert_eq!(evaluated[key], done[key], "the saved model is the trained one");
    }
}

/// A method's steps are epochs, its run goes on, and the model is as any other.
#[test]
fn a_method_trains_on_all_rows_and_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of_method =
        ["train", "--data", "digits", "--model", "linear", "--optimizer", "lbfgs", "--out", "run"];
    let of_method =
        [&of_method[..], &["--weight-decay", "0.01", "--group", "*.bias: weight_decay=0"]].concat();
    succeed(folder.path(), &[&of_method[..], &["--steps", "10", "--quiet"]].concat());
    let resumed = ["train", "--resume", "run", "--steps", "200", "--json"];
    let refused = run(folder.path(), &[&resumed[..], &["--optimizer", "cg"]].concat());
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    let lines = json_lines(&succeed(folder.path(), &resumed).stdout);
    let steps: Vec<u64> = lines
        .iter()
        .filter(|line| line["event"] == "epoch")
        .map(|line| {
            assert_eq!(line["epoch"], line["step"]);
            line["step"].as_u64().expect("a step")
        })
        .collect();
    assert_eq!(steps.first(), Some(&11));
    let done = lines.last().expect("a line");
    // In f32 a gradient of 0 is not reached: the search finds no more steps, or all are made.
    assert!(["stalled", "max_steps"].contains(&done["method"]["status"].as_str().expect("a word")), "{done}");
    // The optimum of `data/digits/reference.json`, 0.71241606, and roundings of f32.
    let loss = done["train_loss"].as_f64().expect("a number");
    assert!((loss - 0.712_416_06).abs() < 1e-6, "{done}");
    let measured = succeed(folder.path(), &["eval", "run", "--data", "digits", "--json"]).stdout;
    let measured = json_lines(&measured);
    assert_eq!(measured.last().expect("a line")["test_accuracy"], done["test_accuracy"], "{measured:?}");
}

#[test]
fn the_same_configuration_makes_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    succeed(path, &small(&["--epochs", "2", "--out", "first", "--hyper", "beta1=0.8", "--quiet"]));
    succeed(path, &small(&["--epochs", "2", "--out", "second", "--hyper", "beta1=0.8", "--quiet"]));
    let from_folder = ["train", "first/config.toml", "--out", "third", "--quiet"];
    succeed(path, &from_folder);
    let printed = succeed(path, &small(&["--epochs", "9", "--hyper", "beta1=0.8", "--print-config"]));
    fs::write(path.join("printed.toml"), &printed.stdout).expect("a file");
    // A flag outranks the file.
    succeed(path, &["train", "printed.toml", "--epochs", "2", "--out", "fourth", "--quiet"]);
    succeed(path, &small(&["--epochs", "2", "--out", "other", "--quiet"]));
    for same in ["second", "third", "fourth"] {
        assert_eq!(bytes(&path.join(same), MODEL), bytes(&path.join("first"), MODEL), "{same}");
        assert_eq!(losses(&path.join(same)), losses(&path.join("first")), "{same}");
    }
    assert_ne!(bytes(&path.join("other"), MODEL), bytes(&path.join("first"), MODEL));
    assert!(!path.join("runs").exists(), "--print-config writes nothing");
}

/// Starts a long run and waits until it has recorded some epochs.
fn start_long_run(folder: &Path, out: &str) -> Child {
    let arguments = small(&["--epochs", LONG, "--log-every", "3", "--out", out]);
    let child = command(folder, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program starts");
    let metrics = folder.join(out).join(METRICS);
    let began = Instant::now();
    while !fs::read_to_string(&metrics).is_ok_and(|text| text.contains("\"epoch\":3")) {
        assert!(began.elapsed() < Duration::from_secs(60), "three epochs take no minute");
        assert!(child.try_wait().expect("a child").is_none(), "it ended early");
        sleep(Duration::from_millis(2));
    }
    child
}

/// Epochs of a run that is ended on its way: far more than it does before it is.
const LONG: &str = "60";

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let mut child = start_long_run(path, "killed");
    // SIGKILL on Unix: it has no chance to do anything.
    child.kill().expect("it runs");
    assert_eq!(child.wait().expect("a child").code(), None, "it was still at work");
    let recorded = losses(&path.join("killed")).len();
    succeed(path, &["train", "--resume", "killed", "--quiet"]);
    succeed(path, &small(&["--epochs", LONG, "--log-every", "3", "--out", "whole", "--quiet"]));
    assert_eq!(bytes(&path.join("killed"), MODEL), bytes(&path.join("whole"), MODEL));
    assert_eq!(losses(&path.join("killed")), losses(&path.join("whole")));
    assert!(losses(&path.join("whole")).len() > recorded, "it was killed on its way");
    assert_eq!(names(&path.join("killed")), names(&path.join("whole")));
}

#[cfg(unix)]
#[test]
fn a_signal_saves_the_run_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    succeed(path, &small(&["--epochs", LONG, "--log-every", "3", "--out", "whole", "--quiet"]));
    for (signal, out) in [("INT", "interrupted"), ("TERM", "told to end")] {
        let child = start_long_run(path, out);
        let sent =
            std::process::Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        let ended = Ended::of(child.wait_with_output().expect("a child"));
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap_or_default();
        let word = if out.contains(' ') { format!("'{out}'") } else { out.to_owned() };
        assert!(last.ends_with(&format!("go on with: downhill train --resume {word}")), "{last}");
        assert!(path.join(out).join(MODEL).exists());
        succeed(path, &["train", "--resume", out, "--quiet"]);
        assert_eq!(bytes(&path.join(out), MODEL), bytes(&path.join("whole"), MODEL), "{signal}");
        assert_eq!(losses(&path.join(out)), losses(&path.join("whole")), "{signal}");
    }
}

#[test]
fn a_finished_run_can_be_made_longer_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    // How long the run is first, then, and what it is equal to: 11 batches are an epoch.
    let rows = [
        (["--epochs", "2"], ["--epochs", "4"], ["--epochs", "4"]),
        (["--steps", "15"], ["--steps", "33"], ["--epochs", "3"]),
        (["--steps", "15"], ["--epochs", "2"], ["--steps", "22"]),
    ];
    for (index, (first, then, whole)) in rows.into_iter().enumerate() {
        let [part, all] = ["part", "all"].map(|name| format!("{name}{index}"));
        succeed(path, &small(&[&first[..], &["--out", &part, "--quiet"]].concat()));
        succeed(path, &[&["train", "--resume", &part, "--quiet"], &then[..]].concat());
        succeed(path, &small(&[&whole[..], &["--out", &all, "--quiet"]].concat()));
        let [part, all] = [part, all].map(|name| path.join(name));
        assert_eq!(bytes(&part, MODEL), bytes(&all, MODEL), "{first:?}, then {then:?}");
        assert_eq!(losses(&part), losses(&all), "{first:?}, then {then:?}");
    }
    let again = succeed(path, &["train", "--resume", "part0", "--json"]);
    let done = &json_lines(&again.stdout)[1];
    assert_eq!((&done["event"], &done["epochs"]), (&"done".into(), &4.into()), "a finished run is done");

    let before = bytes(&path.join("part0"), "config.toml");
    let refused: [(&[&str], &str); 8] = [
        (&["--epochs", "3"], "--epochs: the run has done 4 already"),
        (&["--steps", "43"], "--steps: the run has done 44 already"),
        (&["--lr", "0.1"], "--lr: cannot be changed"),
        (&["--hyper", "beta1=0.5"], "--hyper: cannot be changed"),
        (&["--model", "mlp:16"], "--model: cannot be changed"),
        (&["--eval-every", "2"], "--eval-every: cannot be changed"),
        (&["--out", "elsewhere"], "'--out <DIR>'"),
        (&["part0/config.toml"], "'[FILE]'"),
    ];
    for (more, fragment) in refused {
        let ended = run(path, &[&["train", "--resume", "part0"], more].concat());
        assert_eq!(ended.code, Some(2), "{more:?}");
        assert!(ended.error("resume").contains(fragment), "{more:?}: {}", ended.stderr);
        assert_eq!(bytes(&path.join("part0"), "config.toml"), before);
    }
}

#[test]
fn one_process_writes_a_run_at_a_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let long = small(&["--epochs", "1000000", "--out", "run"]);
    let mut first =
        command(folder.path(), &long).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("a process");
    let checkpoint = folder.path().join("run/checkpoint/latest.safetensors");
    let began = Instant::now();
    while !checkpoint.exists() && began.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(20));
    }
    let others = [small(&["--out", "run", "--overwrite"]), vec!["train", "--resume", "run"]];
    let ended = others.map(|other| run(folder.path(), &other));
    first.kill().expect("it runs");
    first.wait().expect("it ran");
    for ended in ended {
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("written by another process"), "{}", ended.stderr);
    }
    assert!(checkpoint.exists(), "the refused process removed nothing");
}

#[test]
fn only_a_run_that_may_go_is_overwritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let train =
        |more: &[&str]| run(path, &small(&[&["--steps", "3", "--out", "run", "--quiet"], more].concat()));
    assert_eq!(train(&[]).code, Some(0));
    let first = bytes(&path.join("run"), MODEL);
    fs::write(path.join("run/notes.txt"), "mine").expect("a file");
    let refused = train(&["--lr", "0.1"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.error("again").contains("run: holds a run already"), "{}", refused.stderr);
    assert_eq!(bytes(&path.join("run"), MODEL), first);
    // A request that cannot be met leaves the old run alone.
    let impossible = train(&["--overwrite", "--memory-limit", "1KiB"]);
    assert_eq!(impossible.code, Some(1), "{}", impossible.stderr);
    assert_eq!(bytes(&path.join("run"), MODEL), first);
    assert_eq!(train(&["--overwrite", "--lr", "0.1"]).code, Some(0));
    assert_ne!(bytes(&path.join("run"), MODEL), first);
    assert_eq!(bytes(&path.join("run"), "notes.txt"), b"mine");
    assert_eq!(losses(&path.join("run")).len(), 1);
}

#[test]
fn a_diverging_run_stops_at_its_last_good_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let arguments = small(&["--optimizer", "sgd", "--lr", "1e30", "--epochs", "3", "--out", "run", "--json"]);
    let ended = run(path, &arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let message = ended.error("diverged");
    assert!(message.contains("not finite") && message.contains("no checkpoint yet"), "{message}");
    let last = json_lines(&ended.stdout).pop().expect("a line");
    assert_eq!(
        (&last["event"], &last["code"], &last["message"]),
        (&"error".into(), &1.into(), &message.into())
    );
    assert!(!path.join("run").join(MODEL).exists());

    let table: String = (0..40).map(|i| format!("{},{}\n", i % 7, 3 * (i % 7) + 1)).collect();
    fs::write(path.join("line.csv"), format!("x,y\n{table}")).expect("a file");
    // Each step multiplies the error by about 7, so that f32 lasts for some epochs.
    let arguments = ["train", "--data", "line.csv", "--model", "linear", "--optimizer", "sgd", "--lr", "0.2"];
    let ended = run(path, &[&arguments[..], &["--batch", "40", "--epochs", "500", "--out", "line"]].concat());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let message = ended.stderr.lines().last().unwrap_or_default();
    assert!(message.contains("latest.safetensors holds step"), "{message}");
    let checkpoint = bytes(&path.join("line"), "checkpoint/latest.safetensors");
    assert!(SafeTensors::deserialize(&checkpoint).is_ok());
}

#[test]
fn answers_are_named_as_in_the_table_that_was_learned_from() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let rows: String = (0..60)
        .map(|i| {
            let side = if i % 2 == 0 { 1.0 } else { -1.0 };
            let (x, kind) = (side * (1.0 + f64::from(i) / 60.0), if i % 2 == 0 { "right" } else { "left" });
            format!("{x},{},{kind},{}\n", i % 5, 2.0 * x)
        })
        .collect();
    fs::write(path.join("all.csv"), format!("x,noise,kind,twice\n{rows}")).expect("a file");
    let columns = |keep: &[usize]| -> String {
        let header = "x,noise,kind,twice\n";
        let line = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            keep.iter().map(|&i| cells[i]).collect::<Vec<_>>().join(",") + "\n"
        };
        [header, &rows].concat().lines().map(line).collect()
    };
    fs::write(path.join("kind.csv"), columns(&[0, 1, 2])).expect("a file");
    fs::write(path.join("twice.csv"), columns(&[0, 1, 3])).expect("a file");
    fs::write(path.join("new.csv"), "x,noise\n1.5,2\n-1.5,2\n").expect("a file");
    let fit =
        ["--test", "25%", "--model", "linear", "--lr", "0.1", "--batch", "15", "--epochs", "60", "--json"];

    let kind = [&["train", "--data", "kind.csv", "--target", "kind", "--out", "kind"], &fit[..]].concat();
    let done = json_lines(&succeed(path, &kind).stdout).pop().expect("a line");
    assert_eq!(done["test_accuracy"], 1.0, "the sign of x tells the kind: {done}");
    assert_eq!(succeed(path, &["predict", "kind", "--data", "new.csv"]).stdout, "right\nleft\n");
    let predicted = json_lines(&succeed(path, &["predict", "kind", "--data", "new.csv", "--json"]).stdout);
    assert_eq!((&predicted[0]["label"], &predicted[1]["row"]), (&"right".into(), &1.into()));
    assert!(
        predicted[0]["probability"].as_f64().is_some_and(|p| (0.5..=1.0).contains(&p)),
        "{}",
        predicted[0]
    );
    assert_eq!(predicted[2]["event"], "done");

    let twice = [&["train", "--data", "twice.csv", "--out", "twice"], &fit[..]].concat();
    let done = json_lines(&succeed(path, &twice).stdout).pop().expect("a line");
    assert!(done["test_rmse"].as_f64().is_some_and(|rmse| rmse < 0.3), "y = 2x is linear: {done}");
    assert!(done.get("test_accuracy").is_none(), "{done}");
    let predicted = succeed(path, &["predict", "twice", "--data", "new.csv"]).stdout;
    let values: Vec<f64> = predicted.lines().map(|line| line.parse().expect("a number")).collect();
    assert!((values[0] - 3.0).abs() < 0.6 && (values[1] + 3.0).abs() < 0.6, "{values:?}");
}

#[test]
fn who_stops_reading_is_no_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    succeed(path, &small(&["--steps", "2", "--out", "run", "--quiet"]));
    let requests: [&[&str]; 4] = [
        &["predict", "run", "--data", "digits"],
        &["devices"],
        &["train", "--help"],
        &["train", "--data", "digits", "--epochs", "2", "--json", "--out", "other"],
    ];
    for arguments in requests {
        let child = command(path, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
        assert_eq!((child.wait().expect("a child").code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn what_is_said_is_as_much_as_was_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let quiet = succeed(path, &small(&["--epochs", "1", "--quiet"]));
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let runs = names(&path.join("runs"));
    assert!(runs.len() == 1 && runs[0].ends_with("-digits-mlp-16"), "{runs:?}");
    let plain = succeed(path, &small(&["--epochs", "1", "--out", "plain"]));
    assert!(
        plain.stdout.contains("accuracy") && plain.stdout.contains("plain/curves.svg"),
        "{}",
        plain.stdout
    );
    assert!(plain.stderr.starts_with("epoch 1  train loss"), "{}", plain.stderr);
    assert_eq!(plain.stderr.lines().count(), 1, "{}", plain.stderr);
    let wordy = succeed(path, &small(&["--epochs", "1", "--out", "wordy", "-v"]));
    assert!(wordy.stderr.contains("activations") && wordy.stderr.contains("adapter  "), "{}", wordy.stderr);

    let devices = json_lines(&succeed(path, &["devices", "--json"]).stdout);
    let (done, devices) = devices.split_last().expect("lines");
    assert_eq!((&done["event"], &done["devices"]), (&"done".into(), &devices.len().into()));
    assert!(devices.iter().all(|device| device["event"] == "device" && device["name"].is_string()));
    for request in [
        &["--help"][..],
        &["train", "--help"],
        &["predict", "--help"],
        &["train", "--model", "help"],
        &["train", "--optimizer", "help"],
    ] {
        let help = succeed(path, request);
        assert!(help.stdout.len() > 100 && help.stderr.is_empty(), "{request:?}");
    }
}

#[test]
fn the_list_of_optimizers_tells_all_that_may_be_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = succeed(folder.path(), &["train", "--optimizer", "help"]).stdout;
    let lines = json_lines(&succeed(folder.path(), &["train", "--optimizer", "help", "--json"]).stdout);
    let (done, listed) = lines.split_last().expect("lines");
    assert_eq!(done["event"], "done");
    let rules = downhill::UPDATE_RULES.iter().map(|rule| ("optimizer", rule.name, rule.doc, rule.hyper));
    let methods = downhill::METHODS.iter().map(|rule| ("method", rule.name, rule.doc, rule.hyper));
    assert_eq!(listed.len(), rules.len() + methods.len());
    for ((event, name, doc, known), line) in rules.chain(methods).zip(listed) {
        assert_eq!((&line["event"], &line["name"]), (&event.into(), &name.into()));
        let hyper = line["hyper"].as_array().expect("hyper-parameters");
        let names: Vec<&str> = hyper.iter().filter_map(|hyper| hyper["name"].as_str()).collect();
        assert_eq!(names, known.iter().map(|hyper| hyper.name).collect::<Vec<_>>());
        assert!(text.contains(doc) && known.iter().all(|hyper| text.contains(hyper.doc)));
    }
    let adam = listed.iter().find(|line| line["name"] == "adam").expect("Adam");
    assert_eq!((&adam["state_bytes"], &adam["hyper"][0]["default"]), (&8.into(), &0.001.into()));
    assert!(text.contains("  lr=0.001 "), "{text}");
    assert!(text.contains("  form=pytorch|lecture "), "{text}");
}

#[test]
fn a_trained_model_is_trained_on_with_its_first_layer_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    succeed(folder.path(), &small(&["--epochs", "3", "--out", first.to_str().unwrap()]));
    let model = first.join(MODEL);
    let again = |out: &str, more: &[&str]| {
        let given = ["--init", model.to_str().unwrap(), "--freeze", "0.*", "--epochs", "2", "--out", out];
        run(folder.path(), &small(&[&given, more].concat()))
    };
    let tensors = |out: &str| {
        let read = fs::read(folder.path().join(out).join(MODEL)).unwrap();
        let file = SafeTensors::deserialize(&read).unwrap();
        ["0.weight", "0.bias", "2.weight"].map(|name| file.tensor(name).unwrap().data().to_vec())
    };
    let ended = again("second", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (before, after) = (tensors("first"), tensors("second"));
    assert!(before[..2] == after[..2] && before[2] != after[2]);
    // A new head: the old one is left out, and begins as drawn.
    let ended = again("third", &["--init-rename", "2.*="]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(tensors("third")[..2] == before[..2] && tensors("third")[2] != after[2]);
    // What the run began with is not needed to go on.
    fs::remove_file(&model).unwrap();
    succeed(folder.path(), &["train", "--resume", "second", "--epochs", "4"]);
    assert!(tensors("second")[..2] == before[..2]);
    let rows: [(&[&str], &str); 4] = [
        (&[], "cannot read"),
        (&["--init-rename", "fc.*=0.*"], "cannot read"),
        (&["--init-rename", "nonsense"], "OLD=NEW"),
        (&["--freeze", "9.*", "--init", "third/model.safetensors"], "cannot be used multiple times"),
    ];
    for (more, part) in rows {
        let ended = again("fourth", more);
        assert!(ended.code == Some(2) && ended.stderr.contains(part), "{more:?}: {}", ended.stderr);
        assert!(!folder.path().join("fourth").exists(), "{more:?}");
    }
}
