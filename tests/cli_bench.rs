//! `downhill bench kernels` and `bench step`: what they tell, that it adds up, and where what they compile is kept.

mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use program::{Ended, command, run, succeed};
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
fn the_host_time_of_a_step_is_told_in_parts_and_a_submit_takes_as_many_steps_as_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--data", "random:200x20:3", "--model", "mlp:16", "--batch", "50", "--steps", "40"];
    for (asked, taken) in [("1", 1), ("5", 5), ("1000", 16)] {
        let more = ["--warm-up", "1", "--json", "--steps-per-submit", asked];
        let text = succeed(folder.path(), &[&["bench", "step"], &flags[..], &more].concat()).stdout;
        let lines = events(&text);
        let done = lines.last().expect("a line");
        assert_eq!(done["steps_per_submit"], taken, "{done}");
        let seconds = |part: &str| done[format!("{part}_seconds_per_step")].as_f64();
        let parts = ["recording", "submitting", "waiting"].map(seconds);
        let Some(total) = seconds("host") else {
            assert!(!cfg!(unix) && parts == [None; 3], "{done}");
            continue;
        };
        let parts = parts.map(|part| part.expect("seconds"));
        assert!(parts[0] > 0.0 && parts[1] > 0.0 && parts[2] >= 0.0, "{done}");
        // Sums of a few numbers.
        assert!((parts.iter().sum::<f64>() - total).abs() <= 1e-9 * total, "{done}");
    }
}

#[test]
fn what_cannot_be_measured_is_said_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows: [(&[&str], &str); 4] = [
        (&["step", "--data", "digits", "--steps-per-submit", "0"], "0 is not in 1.."),
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

#[test]
fn few_steps_are_measured_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for steps in ["1", "2", "4", "7"] {
        let flags = ["--data", "random:100x4:2", "--model", "linear", "--resident", "yes", "--json"];
        let text =
            succeed(folder.path(), &[&["bench", "step", "--steps", steps], &flags[..]].concat()).stdout;
        let rate = events(&text).pop().and_then(|done| done["steps_per_second"].as_f64()).expect("a rate");
        // Ten launches take more than 10 µs on whatever adapter; nothing measured takes none.
        assert!(rate > 0.0 && rate < 1e5, "{steps} steps: {rate} a second");
    }
}

const STEP: [&str; 9] =
    ["bench", "step", "--data", "random:100x4:2", "--model", "linear", "--steps", "1", "--json"];

/// Files in `folder`, or none where there is no folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Takes a step with `more` arguments and `variables` of the environment.
fn step(folder: &Path, more: &[&str], variables: &[(&str, &Path)]) -> Ended {
    let mut command = command(folder, &[&STEP[..], more].concat());
    command.env_remove("DOWNHILL_CACHE").envs(variables.iter().copied());
    let ended = Ended::of(command.output().expect("the program starts"));
    assert_eq!(ended.code, Some(0), "{more:?} {variables:?}: {}", ended.stderr);
    ended
}

/// Whether the adapter that is taken keeps pipelines: on Vulkan.
fn has_caches() -> bool {
    let gpu = downhill::Gpu::new(&downhill::GpuOptions::default()).expect("an adapter");
    gpu.adapter_info().backend == downhill::wgpu::Backend::Vulkan
}

#[test]
fn compiled_kernels_are_kept_where_asked_for_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path().join("home");
    let [flag, variable, user] = ["flag", "variable", "home/caches"].map(|name| folder.path().join(name));
    let kept = usize::from(has_caches());
    // Where caches lie without either, on the systems where a variable says it.
    let user_variables: &[(&str, &Path)] = &[("XDG_CACHE_HOME", &user), ("HOME", &home)];

    let off = [("DOWNHILL_CACHE", Path::new("off")), user_variables[0], user_variables[1]];
    step(folder.path(), &[], &off);
    assert!(files(&user.join("downhill")).is_empty(), "it is off");

    let variables = [("DOWNHILL_CACHE", variable.as_path())];
    step(folder.path(), &[], &variables);
    assert_eq!(files(&variable).len(), kept);
    step(folder.path(), &["--cache", "flag"], &variables);
    assert_eq!(
        (files(&flag).len(), files(&flag)),
        (kept, files(&variable)),
        "the flag outranks the variable"
    );

    if cfg!(target_os = "linux") {
        step(folder.path(), &[], user_variables);
        assert_eq!(files(&user.join("downhill")), files(&flag));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_a_warning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("file"), "no folder").expect("a file");
    let ended = step(folder.path(), &["--cache", "file"], &[]);
    assert_eq!(ended.stderr.contains("compiled pipelines are not kept"), has_caches(), "{}", ended.stderr);
}
