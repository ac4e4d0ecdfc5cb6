//! Small data files for the tests, good ones and bad ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The bytes of an IDX file with these dimensions in its header.
pub fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dimensions.len() as u8];
    file.extend(dimensions.iter().flat_map(|dimension| dimension.to_be_bytes()));
    file.extend_from_slice(elements);
    file
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// Writes a file into a folder, gzipped if its name ends so.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    let bytes = if name.ends_with(".gz") { gzip(bytes) } else { bytes.to_vec() };
    fs::write(&path, bytes).expect("the temporary folder takes a file");
    path
}

/// Pixels of `images` pictures of 2 × 3: 0, 1, 2 …
pub fn pixels(images: u8) -> Vec<u8> {
    (0..images * 6).collect()
}

/// Writes a folder of five training and two test images with labels 0 to 2, `ending` behind each name.
pub fn write_idx_folder(folder: &Path, ending: &str) {
    let files = [
        ("train-images-idx3-ubyte", idx(&[5, 2, 3], &pixels(5))),
        ("train-labels-idx1-ubyte", idx(&[5], &[0, 2, 1, 0, 1])),
        ("t10k-images-idx3-ubyte", idx(&[2, 2, 3], &pixels(2))),
        ("t10k-labels-idx1-ubyte", idx(&[2], &[1, 0])),
    ];
    for (name, bytes) in files {
        write(folder, &format!("{name}{ending}"), &bytes);
    }
}
