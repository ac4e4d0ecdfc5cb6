//! Requests that cannot be met: the exit code and the one line that says why, no panic, and nothing half-written.

mod data_files;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use data_files::{gzip, idx, pixels, write, write_idx_folder};
use program::{Ended, command, run, succeed};
use serde_json::Value;

/// All files and folders below a folder, with the sizes of the files.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let metadata = entry.metadata().expect("an entry");
        found.push((entry.path(), if metadata.is_dir() { 0 } else { metadata.len() }));
        if metadata.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Runs each row's request in `folder`, as text and as JSON, and checks what holds of all that fail: one line on
/// standard error with the row's fragment, the row's exit code, the same as the last JSON line, and no file
/// written, changed or removed.
fn all_are_refused(folder: &Path, rows: &[(&str, &str, i32, &str)]) {
    let before = listing(folder);
    for (case, line, code, fragment) in rows {
        let arguments: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
        let ended = run(folder, &arguments);
        assert_eq!(ended.code, Some(*code), "{case}: {}", ended.stderr);
        let message = ended.error(case);
        assert!(message.contains(fragment), "{case}: `{fragment}` is not in `{message}`");
        assert_eq!(ended.stdout, "", "{case}");

        let json = run(folder, &[&arguments[..], &["--json"]].concat());
        let last: Value = serde_json::from_str(json.stdout.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{case}: {error} in `{}`", json.stdout));
        assert_eq!((&last["event"], &last["code"]), (&"error".into(), &(*code).into()), "{case}");
        assert_eq!(json.code, Some(*code), "{case}");
        assert_eq!(last["message"], message, "{case}");
        assert_eq!(listing(folder), before, "{case}: something was written");
    }
}

#[test]
fn requests_that_are_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "unknown-key.toml", b"data = 'digits'\nbacth = 3\n");
    write(folder.path(), "not.toml", b"data = 'digits'\nepochs 3\n");
    write(folder.path(), "text.toml", b"data = 'digits'\nepochs = 'many'\n");
    write(folder.path(), "both.toml", b"data = 'digits'\nepochs = 1\nsteps = 2\n");
    write(folder.path(), "rule.toml", b"data = 'digits'\n[optimizer]\nname = 'adamm'\n");
    write(folder.path(), "rate.toml", b"data = 'digits'\n[optimizer]\nlr = 'fast'\n");
    write(folder.path(), "nine.toml", b"data = 'digits'\nmodel = 'linear 12, relu, linear 9'\n");
    write(folder.path(), "file", b"");
    let rows = [
        ("unknown command", "trian", 2, "a similar subcommand exists: 'train'"),
        ("bench of nothing", "bench", 2, "a command is missing"),
        (
            "unknown flag",
            "train --data digits --epoch 3",
            2,
            "'--epoch' found; tip: a similar argument exists: '--epochs'",
        ),
        ("flag without value", "train --data", 2, "a value is required for '--data <SPEC>'"),
        (
            "flag twice",
            "train --data digits --seed 1 --seed 2",
            2,
            "'--seed <N>' cannot be used multiple times",
        ),
        ("no data", "train", 2, "data: which rows"),
        ("unknown data", "train --data digitz", 2, "`digitz` is no file or folder"),
        ("unknown optimizer", "train --data digits --optimizer adamm", 2, "did you mean `adam`?"),
        ("negative rate", "train --data digits --lr -0.1", 2, "lr: must be at least 0"),
        ("rate that is NaN", "train --data digits --lr NaN", 2, "lr: must be at least 0"),
        ("rate that is text", "train --data digits --lr fast", 2, "lr: must be at least 0"),
        ("negative steps", "train --data digits --steps -3", 2, "invalid value '-3' for '--steps <N>'"),
        (
            "mean that begins after the end",
            "train --data digits --steps 9 --swa 10",
            2,
            "swa: begins at step 10, and the run ends after step 9",
        ),
        (
            "slow weights that never move",
            "train --data digits --steps 9 --lookahead 10",
            2,
            "lookahead: first goes back at step 10, and the run ends after step 9",
        ),
        (
            "steps between no bounds",
            "train --data digits --optimizer rprop --hyper step_min=60",
            2,
            "step_min: must be at most step_max, 50.0, not `60.0`",
        ),
        ("picture of no test", "train --data digits --overwrite --svg a.svg", 2, "'--svg <FILE>'"),
        (
            "rates for a line search",
            "train --data digits --optimizer sgd --lr line-search --find-lr",
            2,
            "--find-lr: looks for a number",
        ),
        (
            "momentum of a rule without",
            "train --data digits --momentum 0.9",
            2,
            "optimizer adam: unknown name `momentum`",
        ),
        (
            "momentum of 1",
            "train --data digits --optimizer momentum --momentum 1",
            2,
            "momentum: must be at least 0 and below 1",
        ),
        ("negative decay", "train --data digits --weight-decay -1", 2, "weight_decay: must be at least 0"),
        ("unknown hyper-parameter", "train --data digits --hyper bta1=0.9", 2, "did you mean `beta1`?"),
        (
            "hyper-parameter without value",
            "train --data digits --hyper beta1",
            2,
            "`beta1` is not of the form NAME=VALUE",
        ),
        (
            "hyper-parameter of a wrong kind",
            "train --data digits --optimizer rmsprop --hyper centered=7",
            2,
            "centered: must be true or false",
        ),
        ("unknown model", "train --data digits --model mpl:64", 2, "did you mean `mlp`?"),
        ("model without widths", "train --data digits --model mlp:", 2, "no number of outputs"),
        ("layer of no width", "train --data digits --model mlp:64,0", 2, "`0` is no number of outputs"),
        ("unknown activation", "train --data digits --model mlp:64:rleu", 2, "did you mean `relu`?"),
        ("model that does not fit the data", "train nine.toml", 2, "end it with `linear 10`"),
        (
            "width that is no number",
            "train --data digits --model mlp:4,linear",
            2,
            "`linear` is no number of outputs",
        ),
        (
            "loss of other targets",
            "train --data digits --loss mse",
            2,
            "the targets are classes: use `cross-entropy`",
        ),
        ("unknown loss", "train --data digits --loss cros-entropy", 2, "did you mean `cross-entropy`?"),
        ("no rows a batch", "train --data digits --batch 0", 2, "batch: must be `auto` or a number"),
        (
            "a batch that is no number",
            "train --data digits --batch many",
            2,
            "batch: must be `auto` or a number",
        ),
        ("no epochs", "train --data digits --epochs 0", 2, "epochs: must be at least 1"),
        (
            "epochs without end",
            "train --data digits --epochs 18446744073709551615",
            2,
            "epochs: must be at least 1 and at most",
        ),
        (
            "epochs and steps",
            "train --data digits --epochs 1 --steps 1",
            2,
            "'--epochs <N>' cannot be used with '--steps <N>'",
        ),
        ("seed beyond TOML's numbers", "train --data digits --seed 18446744073709551615", 2, "--seed <N>"),
        ("never evaluated", "train --data digits --eval-every 0", 2, "eval_every: must be at least 1"),
        (
            "neither resident nor not",
            "train --data digits --resident maybe",
            2,
            "resident: unknown name `maybe`",
        ),
        ("target of pictures", "train --data digits --target label", 2, "digits has no columns"),
        ("test of everything", "train --data digits --test 100%", 2, "no percentage between 0 and 100"),
        (
            "test of another width",
            "train --data digits --test random:9x3:2",
            2,
            "has 3 features a row, the model takes 64",
        ),
        (
            "no such adapter",
            "train --data digits --adapter nonesuch",
            2,
            "adapter: no adapter matches `nonesuch`",
        ),
        (
            "adapter beyond the last",
            "train --data digits --adapter 99",
            2,
            "no adapter matches `99`; known are 0: ",
        ),
        ("no name of an adapter", "train --data digits --adapter=", 2, "no adapter matches ``"),
        ("listing no such adapter", "devices --adapter 99", 2, "no adapter matches `99`; known are 0: "),
        ("limit that is no size", "train --data digits --memory-limit lots", 2, "`lots` is no size"),
        ("limit that is too small", "train --data digits --memory-limit 10KiB --out run", 1, "10.00 KiB"),
        (
            "model beyond the limit",
            "train --data digits --model mlp:9999,9999 --memory-limit 1MiB",
            1,
            "1.00 MiB",
        ),
        ("no such file of settings", "train none.toml", 2, "cannot read none.toml"),
        (
            "a key that is none",
            "train unknown-key.toml",
            2,
            "unknown-key.toml: unknown name `bacth`; did you mean `batch`?",
        ),
        ("a file that is no TOML", "train not.toml", 2, "not.toml: line 2: "),
        ("a number that is text", "train text.toml", 2, "text.toml: line 2: invalid type"),
        ("a file of both lengths", "train both.toml", 2, "not both"),
        ("a rule that is none, in a file", "train rule.toml", 2, "did you mean `adam`?"),
        ("a rate that is text, in a file", "train rate.toml", 2, "lr: must be at least 0"),
        ("a file for the run's folder", "train --data digits --out file", 2, "file: is a file, not a folder"),
        ("a folder that cannot be made", "train --data digits --out file/run", 1, "cannot write file/run"),
        ("no run to resume", "train --resume nowhere", 2, "nowhere: is no folder of a run"),
        ("a folder without a run", "train --resume .", 2, ".: holds no run"),
        ("no run to evaluate", "eval nowhere --data digits", 2, "nowhere: is no folder of a run"),
        ("no data to evaluate", "eval nowhere", 2, "--data <SPEC>"),
    ];
    all_are_refused(folder.path(), &rows);
}

#[test]
fn data_that_cannot_be_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let images = || idx(&[5, 2, 3], &pixels(5));
    let idx_with = |name: &str, file: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        write_idx_folder(&path, "");
        fs::remove_file(path.join(file.trim_end_matches(".gz"))).expect("it was written");
        fs::write(path.join(file), content).expect("a file");
    };
    idx_with("cut", "train-images-idx3-ubyte.gz", &gzip(&images())[..25]);
    idx_with("short", "train-images-idx3-ubyte", &idx(&[5, 2, 3], &pixels(4)));
    idx_with("huge", "train-images-idx3-ubyte", &idx(&[u32::MAX, u32::MAX, u32::MAX], &[]));
    idx_with("magic", "train-images-idx3-ubyte", b"\x89PNG and so on, no IDX");
    idx_with("labels", "t10k-labels-idx1-ubyte", &idx(&[2], &[1, 7]));
    idx_with("fewer", "train-labels-idx1-ubyte", &idx(&[4], &[0, 1, 2, 1]));
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    fs::create_dir(folder.path().join("table.csv")).expect("a folder");
    let tables = [
        ("ragged.csv", "a,b\n1,2\n3\n"),
        ("nan.csv", "a,b\n1,2\nNaN,4\n"),
        ("missing.csv", "a,b\n1,2\n,4\n"),
        ("text.csv", "a,b\n1,2\ntwo,4\n"),
        ("header.csv", "a,b\n"),
        ("empty.csv", ""),
        ("good.csv", "age,species\n1,x\n2,y\n3,x\n4,y\n"),
        ("table.xlsx", "?"),
    ];
    for (name, text) in tables {
        write(folder.path(), name, text.as_bytes());
    }
    fs::write(folder.path().join("cut.csv.gz"), &gzip(b"a,b\n1,2\n")[..12]).expect("a file");
    let rows = [
        ("truncated gzip", "train --data cut", 2, "truncated or corrupt"),
        ("truncated table", "train --data cut.csv.gz", 2, "truncated or corrupt"),
        ("header that lies", "train --data short", 2, "promises 30 bytes, but 24 follow"),
        ("header beyond all memory", "train --data huge", 2, "more than any memory"),
        ("no IDX file", "train --data magic", 2, "begins with"),
        ("label out of range", "train --data labels", 2, "row 1: label 7"),
        ("fewer labels than images", "train --data fewer", 2, "4 labels for 5 images"),
        ("folder without data", "train --data empty", 2, "train-images-idx3-ubyte"),
        ("folder named as a table", "train --data table.csv", 2, "table.csv"),
        ("ragged row", "train --data ragged.csv", 2, "line 3: 1 values"),
        ("NaN", "train --data nan.csv", 2, "line 3, column `a`: `NaN`"),
        ("missing value", "train --data missing.csv", 2, "line 3, column `a`: the value is missing"),
        ("text for a number", "train --data text.csv", 2, "line 3, column `a`: `two` is not a number"),
        ("header only", "train --data header.csv", 2, "no rows"),
        ("empty file", "train --data empty.csv", 2, "the file is empty"),
        ("no such column", "train --data good.csv --target speces", 2, "did you mean `species`?"),
        ("unknown format", "train --data table.xlsx", 2, "is of no known format"),
        ("no such file", "train --data none.csv", 2, "cannot read"),
        ("no such test file", "train --data good.csv --test none.csv", 2, "cannot read"),
        ("more classes than rows", "train --data random:3x3:4", 2, "rows, columns and from 2 classes"),
    ];
    all_are_refused(folder.path(), &rows);
}

#[test]
fn runs_that_are_damaged_or_of_another_kind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let small = ["train", "--data", "digits", "--model", "mlp:8", "--epochs", "1", "--quiet", "--out"];
    write(path, "table.csv", b"a,b\n1,2\n3,4\n");
    write(path, "other.csv", b"c,d\n1,2\n");
    write(path, "numbers.csv", &[b"a,b\n".to_vec(), b"1,2.5\n2,3.5\n".repeat(9)].concat());
    let checkpoint = |run: &str| path.join(run).join("checkpoint/latest.safetensors");
    for run in ["good", "model", "rule", "cut", "config", "schema", "text", "bare", "flipped", "seed", "rate"]
    {
        succeed(path, &[&small[..], &[run]].concat());
    }
    succeed(path, &["train", "--data", "numbers.csv", "--model", "linear", "--quiet", "--out", "numbers"]);
    let edit = |run: &str, from: &str, to: &str| {
        let file = path.join(run).join("config.toml");
        let text = fs::read_to_string(&file).expect("a file");
        assert!(text.contains(from), "{run}: {text}");
        fs::write(file, text.replacen(from, to, 1)).expect("a file");
    };
    edit("model", "mlp:8", "mlp:9");
    edit("seed", "seed = 0", "seed = 1");
    edit("rate", "lr = 0.001", "lr = 0.01");
    write(path, "numbers.csv", &[b"a,b\n".to_vec(), b"1,2.5\n2,3.75\n".repeat(9)].concat());
    edit("rule", "name = \"adam\"", "name = \"sgd\"\n[ignored]");
    edit("config", "batch", "bacth");
    edit("schema", "feature_shape = [8, 8]", "feature_shape = [4, 4]");
    let whole = fs::read(checkpoint("cut")).expect("a file");
    fs::write(checkpoint("cut"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(path.join("cut/model.safetensors"), &whole[..99]).expect("a file");
    let mut flipped = fs::read(checkpoint("flipped")).expect("a file");
    *flipped.last_mut().expect("bytes") ^= 4;
    fs::write(checkpoint("flipped"), flipped).expect("a file");
    fs::write(checkpoint("text"), "no tensors").expect("a file");
    fs::remove_file(path.join("bare/model.safetensors")).expect("it was written");
    fs::copy(path.join("good/model.safetensors"), path.join("model/model.safetensors")).expect("a file");
    let rows = [
        ("resume into another model", "train --resume model --epochs 2", 2, "the model mlp:8"),
        (
            "resume with another seed",
            "train --resume seed --epochs 2",
            2,
            "the seed 0, and config.toml says 1",
        ),
        ("resume with another rate", "train --resume rate --epochs 2", 2, "the optimizer {"),
        (
            "resume on changed rows",
            "train --resume numbers --epochs 20",
            2,
            "on other rows than the data source",
        ),
        ("half a checkpoint", "train --resume cut --epochs 2", 2, "no whole safetensors file"),
        ("checkpoint that is text", "train --resume text --epochs 2", 2, "no whole safetensors file"),
        ("damaged configuration", "train --resume config --epochs 2", 2, "did you mean `batch`?"),
        ("a key too many", "train --resume rule --epochs 2", 2, "unknown name `ignored`"),
        ("rows of another kind", "train --resume schema --epochs 2", 2, "of another kind"),
        (
            "a flipped bit in a checkpoint",
            "train --resume flipped --epochs 2",
            2,
            "do not match their checksum",
        ),
        (
            "hyper-parameter that is the rule",
            "train --data digits --optimizer sgd --hyper name=adam",
            2,
            "--optimizer",
        ),
        ("a run in the way", "train --data digits --out good", 2, "good: holds a run already"),
        ("eval of half a model", "eval cut --data digits", 2, "no whole safetensors file"),
        ("eval of another model", "eval model --data digits", 2, "it is of another model"),
        ("eval without a model", "eval bare --data digits", 2, "holds no model.safetensors"),
        ("eval on other rows", "eval good --data table.csv", 2, "without column names"),
        ("eval on other features", "eval good --data random:9x3:2", 2, "has 3 features a row"),
        ("predict for other columns", "predict numbers --data other.csv", 2, "without a column `c`"),
        ("predict for pictures", "predict numbers --data digits", 2, "features"),
    ];
    all_are_refused(path, &rows);
}

/// Runs the program under a limit of so many blocks of 512 bytes for each file that it writes, as on a full disk.
#[cfg(unix)]
fn run_on_a_full_disk(folder: &Path, blocks: u32, arguments: &[&str]) -> Ended {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_downhill")]).args(arguments).current_dir(folder);
    // A software adapter's shader cache would meet the limit as well, and complain.
    shell.env("MESA_SHADER_CACHE_DISABLE", "true");
    Ended::of(shell.output().expect("a shell"))
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let small = ["train", "--data", "digits", "--model", "mlp:64", "--seed", "3", "--quiet"];
    succeed(path, &[&small[..], &["--epochs", "1", "--out", "run"]].concat());
    succeed(path, &[&small[..], &["--epochs", "2", "--out", "whole"]].concat());
    let files = ["run/checkpoint/latest.safetensors", "run/model.safetensors"];
    let before = files.map(|file| fs::read(path.join(file)).expect("a file"));
    // The checkpoint takes 58 KB: the configuration and the records fit, it does not.
    let ended = run_on_a_full_disk(path, 40, &["train", "--resume", "run", "--epochs", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let message = ended.error("full disk");
    assert!(message.contains("cannot write") && message.contains("latest.safetensors"), "{message}");
    assert_eq!(files.map(|file| fs::read(path.join(file)).expect("a file")), before);
    let left: Vec<PathBuf> = listing(path).into_iter().map(|(path, _)| path).collect();
    assert!(!left.iter().any(|path| path.to_string_lossy().contains("partial")), "{left:?}");

    succeed(path, &["train", "--resume", "run", "--epochs", "2", "--quiet"]);
    let models =
        ["run", "whole"].map(|run| fs::read(path.join(run).join("model.safetensors")).expect("a file"));
    assert_eq!(models[0], models[1], "with room again, it goes on to the same bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = command(folder.path(), &["devices"]).stdout(full).output().expect("the program starts");
    let ended = Ended::of(output);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.error("full").contains("cannot write standard output"), "{}", ended.stderr);
}
