//! What a run would take, and what each batch size costs, from the program.

mod program;

use std::fs;

use program::{run, succeed};
use serde_json::Value;

const BIG: [&str; 8] = [
    "--data",
    "random:2000x784:10",
    "--model",
    "mlp:4096,4096,4096",
    "--optimizer",
    "adam",
    "--batch",
    "auto",
];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn event<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["event"] == name).unwrap_or_else(|| panic!("no event {name}: {lines:?}"))
}

#[test]
fn a_plan_keeps_to_every_budget_without_an_adapter() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut before = 0;
    for (limit, bytes) in [("1GiB", 1u64 << 30), ("2GiB", 2 << 30), ("4GiB", 4 << 30), ("24GiB", 24 << 30)] {
        let arguments =
            [&["plan", "--adapter", "none", "--memory-limit", limit, "--json"], &BIG[..]].concat();
        let told = lines(&succeed(folder.path(), &arguments).stdout);
        let plan = event(&told, "plan");
        let roles = ["theta", "gradient", "state", "activations", "data", "staging", "other"];
        let sum: u64 = roles.iter().map(|role| plan["bytes"][role].as_u64().expect("bytes")).sum();
        let total = plan["bytes"]["total"].as_u64().expect("bytes");
        assert_eq!(sum, total);
        assert_eq!(plan["budget"].as_u64(), Some(bytes));
        assert_eq!(
            plan["parameters"].as_u64(),
            Some(784 * 4096 + 2 * 4096 * 4096 + 4096 * 10 + 3 * 4096 + 10)
        );
        assert!(total <= bytes, "{limit}: {total}");
        let largest = plan["largest_micro_batch"].as_u64().expect("rows");
        assert!(largest >= before && largest >= plan["micro_batch"].as_u64().expect("rows"), "{plan}");
        before = largest;
        assert_eq!(told.last().expect("a line")["event"], "done");
    }
    let picture = fs::read_to_string(folder.path().join("memory.svg")).expect("a picture");
    assert!(picture.contains("<svg") && picture.contains("4096"), "tensors by name");
}

#[test]
fn a_run_takes_what_was_planned() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let common =
        ["--data", "digits", "--model", "mlp:64,64", "--batch", "1000", "--memory-limit", "2MiB", "--json"];
    let planned = lines(&succeed(folder.path(), &[&["plan"], &common[..]].concat()).stdout);
    let trained = lines(
        &succeed(folder.path(), &[&["train", "--epochs", "2", "--out", "run"], &common[..]].concat()).stdout,
    );
    assert_eq!(event(&planned, "plan"), event(&trained, "plan"));
    let done = event(&trained, "done");
    let [planned, measured] =
        ["planned_bytes", "measured_bytes"].map(|key| done[key].as_u64().expect("bytes"));
    assert!(measured <= planned && planned <= 2 << 20, "{measured} {planned}");
    assert!(planned - measured <= planned / 100, "{measured} {planned}");
    assert!(
        event(&trained, "plan")["accumulate"].as_u64().expect("parts") > 1,
        "the batch does not fit at once"
    );
    assert!(folder.path().join("run/memory.svg").is_file());
}

#[test]
fn batch_sizes_are_measured_as_planned() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments =
        ["bench", "batch", "--data", "random:600x20:3", "--model", "mlp:16", "--sizes", "1,33,256"];
    let more = ["--rounds", "2", "--seconds", "0.05", "--csv", "sizes.csv", "--svg", "sizes.svg", "--json"];
    let told = lines(&succeed(folder.path(), &[&arguments[..], &more[..]].concat()).stdout);
    let sizes: Vec<&Value> = told.iter().filter(|line| line["event"] == "batch").collect();
    assert_eq!(
        sizes.iter().map(|size| size["batch"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(33), Some(256)]
    );
    for size in &sizes {
        let number = |key: &str| size[key].as_f64().unwrap_or_else(|| panic!("{key} in {size}"));
        let (planned, measured) = (number("planned_bytes"), number("measured_bytes"));
        assert!(measured <= planned && planned <= 1.01 * measured, "{size}");
        let (least, median, most) = (
            number("samples_per_second_min"),
            number("samples_per_second"),
            number("samples_per_second_max"),
        );
        assert!(0.0 < least && least <= median && median <= most, "{size}");
        assert!(number("milliseconds_per_step") > 0.0 && number("seconds_until_next") > 0.0, "{size}");
    }
    assert_eq!(sizes.iter().filter(|size| size["knee"] == true).count(), 1);
    assert_eq!(fs::read_to_string(folder.path().join("sizes.csv")).expect("a table").lines().count(), 4);
    assert!(fs::read_to_string(folder.path().join("sizes.svg")).expect("a picture").contains("budget"));
}

#[test]
fn what_cannot_be_planned_or_measured_is_told_on_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [
        ("plan --data digits --adapter none", 2, "--memory-limit: without an adapter"),
        ("plan --data digits --adapter none --memory-limit 50%", 2, "--memory-limit: without an adapter"),
        ("plan --data digits --svg missing/memory.svg", 1, "cannot write missing/memory.svg"),
        ("plan --data digits --batch 64 --micro-batch 65", 2, "micro-batch: 65 rows are more than the 64"),
        ("plan --data digits --batch many", 2, "batch: must be `auto` or a number"),
        ("plan --data digits --micro-batch 0", 2, "micro-batch: must be `auto` or a number"),
        ("plan --data digits --recompute maybe", 2, "recompute: unknown name `maybe`"),
        ("plan --data digits --memory-limit 100KiB", 1, "raise the memory limit"),
        (
            "train --data digits --memory-limit 1MB --micro-batch 128 --model mlp:400 --out out",
            1,
            "a smaller --micro-batch",
        ),
        ("bench batch --data digits --sizes 0", 2, "--sizes: 0 rows are not from 1 to 1347"),
        ("bench batch --data digits --sizes 2000", 2, "--sizes: 2000 rows are not from 1 to 1347"),
        ("bench batch --data digits --svg missing/out.svg", 2, "--svg: there is no folder missing"),
        ("bench batch --data digits --seconds 0", 2, "--seconds: must be a number above 0"),
        ("bench batch --data digits --seconds nan", 2, "--seconds: must be a number above 0"),
        ("bench batch --data digits --batch 5", 2, "--batch: has no meaning for `bench batch`"),
    ];
    for (line, code, fragment) in rows {
        let arguments: Vec<&str> = line.split(' ').collect();
        let ended = run(folder.path(), &arguments);
        assert_eq!(ended.code, Some(code), "{line}: {}", ended.stderr);
        let message = ended.error(line);
        assert!(message.contains(fragment), "{line}: `{fragment}` is not in `{message}`");
        assert!(
            fs::read_dir(folder.path()).expect("a folder").next().is_none(),
            "{line}: something was written"
        );
    }
}
