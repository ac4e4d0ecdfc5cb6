//! Files larger than all memory that the process may take train by streaming.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the process may take of addresses, in KiB. A software Vulkan takes most of it for itself.
const LIMIT: u64 = 3 << 20;

/// Bytes of each file: more than the limit in all. They are holes in the file, all but the header.
const LARGE: u64 = 4 << 30;

/// Pictures of 256 × 256 in the files.
const ROWS: u64 = LARGE / (256 * 256);

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

fn labels() -> Vec<u8> {
    (0..ROWS).map(|row| (row % 3) as u8).collect()
}

fn write_idx(folder: &Path) {
    with_zeros(&folder.join("train-images-idx3-ubyte"), &idx_header(&[ROWS, 256, 256]), LARGE);
    write(folder, "train-labels-idx1-ubyte", &[idx_header(&[ROWS]), labels()].concat());
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

fn write_npy(folder: &Path) {
    let shape = format!("({ROWS}, 256, 256)");
    with_zeros(&folder.join("rows.npy"), &npy_header("|u1", &shape), LARGE);
    write(folder, "labels.npy", &[npy_header("|u1", &format!("({ROWS},)")), labels()].concat());
}

/// Files of a third of the limit could be mapped, and then there would be no room for the driver.
#[test]
fn files_that_are_mapped_leave_the_driver_its_addresses() {
    const SCARCE: u64 = 1_000_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = SCARCE / 3 * 1024 / 1024;
    let header = npy_header("<f4", &format!("({rows}, 256)"));
    with_zeros(&folder.path().join("table.npy"), &header, rows * 1024);
    let lines = train(folder.path(), "table.npy", SCARCE);
    assert_eq!(lines.last().expect("a line")["steps"], 3);
}

/// Trains three steps in a shell that allows no more than [`LIMIT`]; gives the JSON lines.
fn train(folder: &Path, data: &str, limit: u64) -> Vec<Value> {
    let program = env!("CARGO_BIN_EXE_downhill");
    let script = format!(
        "ulimit -v {limit} && exec {program} train --data {data} --model mlp:4 --batch 16 --steps 3 --out run --overwrite \
         --json"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder).stdin(Stdio::null()).env_remove("RUST_LOG");
    let output = command.output().expect("a shell");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn files_larger_than_the_process_may_map_are_streamed() {
    const { assert!(LARGE > 1024 * LIMIT) };
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_idx(folder.path());
    write_npy(folder.path());
    for data in [".", "rows.npy+labels.npy"] {
        let lines = train(folder.path(), data, LIMIT);
        assert_eq!(lines[0]["resident"], false, "{data}");
        let done = lines.last().expect("a line");
        assert_eq!((&done["event"], &done["steps"]), (&"done".into(), &3.into()), "{data}");
        // All pictures are black, so only the bias learns: the loss stays about ln 3.
        let loss = done["train_loss"].as_f64().expect("a number");
        assert!((loss - 3f64.ln()).abs() < 0.05, "{data}: {done}");
    }
}
