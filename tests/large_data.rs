//! Files larger than all memory that the process may take train by streaming.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A limit of addresses, in KiB, within which the program trains on little data: a software Vulkan takes about a GiB for
/// itself, drivers of real adapters more.
fn sufficient_limit(folder: &Path) -> u64 {
    let mut limits = (20..28).map(|power| 1u64 << power);
    let suffices = |limit: &u64| run(folder, "digits", *limit).status.success();
    limits.find(suffices).expect("some limit lets the program train")
}

/// A file that begins with `header` and goes on with `bytes` of zeros, which take no room on the disk.
fn with_zeros(path: &Path, header: &[u8], bytes: u64) {
    let mut file = File::create(path).expect("a temporary folder");
    file.write_all(header).expect("room for a header");
    file.set_len(header.len() as u64 + bytes).expect("a file may have holes");
}

/// The header of an IDX file of bytes.
fn idx_header(dimensions: &[u64]) -> Vec<u8> {
    let mut header = vec![0, 0, 8, dimensions.len() as u8];
    header.extend(dimensions.iter().flat_map(|dimension| (*dimension as u32).to_be_bytes()));
    header
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).expect("a temporary folder");
}

fn labels(rows: u64) -> Vec<u8> {
    (0..rows).map(|row| (row % 3) as u8).collect()
}

/// Pictures of 256 × 256.
fn write_idx(folder: &Path, rows: u64) {
    with_zeros(&folder.join("train-images-idx3-ubyte"), &idx_header(&[rows, 256, 256]), rows * 256 * 256);
    write(folder, "train-labels-idx1-ubyte", &[idx_header(&[rows]), labels(rows)].concat());
    with_zeros(&folder.join("t10k-images-idx3-ubyte"), &idx_header(&[5, 256, 256]), 5 * 256 * 256);
    write(folder, "t10k-labels-idx1-ubyte", &[idx_header(&[5]), vec![0, 1, 2, 0, 1]].concat());
}

fn npy_header(element: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

fn write_npy(folder: &Path, rows: u64) {
    let shape = format!("({rows}, 256, 256)");
    with_zeros(&folder.join("rows.npy"), &npy_header("|u1", &shape), rows * 256 * 256);
    write(folder, "labels.npy", &[npy_header("|u1", &format!("({rows},)")), labels(rows)].concat());
}

/// Files of a third of the limit could be mapped, and then there would be no room for the driver.
#[test]
fn files_that_are_mapped_leave_the_driver_its_addresses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A little more than is enough, and not so much that a mapped third would not be missed.
    let limit = sufficient_limit(folder.path()) / 4 * 5;
    let rows = limit / 3;
    let header = npy_header("<f4", &format!("({rows}, 256)"));
    with_zeros(&folder.path().join("table.npy"), &header, rows * 1024);
    let lines = train(folder.path(), "table.npy", limit);
    assert_eq!(lines.last().expect("a line")["steps"], 3);
}

/// Trains three steps in a shell that allows no more than `limit` KiB of addresses.
fn run(folder: &Path, data: &str, limit: u64) -> Output {
    let program = env!("CARGO_BIN_EXE_downhill");
    let script = format!(
        "ulimit -v {limit} && exec {program} train --data {data} --model mlp:4 --batch 16 --steps 3 --out run --overwrite \
         --json"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder).stdin(Stdio::null()).env_remove("RUST_LOG");
    command.output().expect("a shell")
}

/// The JSON lines of a run that must succeed.
fn train(folder: &Path, data: &str, limit: u64) -> Vec<Value> {
    let output = run(folder, data, limit);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn files_larger_than_the_process_may_map_are_streamed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Twice what is enough, for some runs take a little more.
    let limit = 2 * sufficient_limit(folder.path());
    let rows = limit * 1024 / (256 * 256) + 1000;
    write_idx(folder.path(), rows);
    write_npy(folder.path(), rows);
    for data in [".", "rows.npy+labels.npy"] {
        let lines = train(folder.path(), data, limit);
        assert_eq!(lines[0]["resident"], false, "{data}");
        let done = lines.last().expect("a line");
        assert_eq!((&done["event"], &done["steps"]), (&"done".into(), &3.into()), "{data}");
        // All pictures are black, so only the bias learns: the loss stays about ln 3.
        let loss = done["train_loss"].as_f64().expect("a number");
        assert!((loss - 3f64.ln()).abs() < 0.05, "{data}: {done}");
    }
}
