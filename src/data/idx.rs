//! A folder of IDX files in MNIST's naming: images and labels as bytes, for training and for testing.
//!
//! The format (LeCun, *The MNIST database*): two zero bytes, a byte for the element type, a byte for the number
//! of dimensions, each dimension as a big-endian u32, then the elements. A plain file is read where it
//! lies; a gzipped one is decoded once into the memory where it stays.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::array::{ArrayFeatures, RowArray};
use super::dataset::{Dataset, Features, Targets, first_label_beyond};
use super::element::Element;
use super::files;
use super::schema::{Part, Purpose, Schema, Task};
use super::store::Store;
use crate::host::HostMemory;
use crate::{Error, Result};

const BYTE_ELEMENTS: u8 = 0x08;

/// No deflate stream unpacks to more than this many times its size (zlib's technical details).
const GREATEST_DEFLATE_RATIO: u64 = 1032;

/// Reads one part of a folder; classes are counted where the purpose does not know them.
pub(super) fn load(folder: &Path, part: Part, purpose: Purpose, memory: HostMemory) -> Result<Dataset> {
    let images = read(&find(folder, part, "images-idx3-ubyte")?, 3, memory)?;
    let (task, targets) = match purpose {
        Purpose::Predict(schema) => (schema.task.clone(), Targets::Absent),
        Purpose::Train { .. } => labels_of(folder, part, &images, None, memory)?,
        Purpose::Evaluate(schema) => labels_of(folder, part, &images, Some(&schema.task), memory)?,
    };
    let encoding = images.encoding();
    let schema = Schema {
        feature_shape: images.shape[1..].to_vec(),
        encoding,
        feature_names: Vec::new(),
        target_name: None,
        task,
    };
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    images.store.expect_random_reads();
    let features = ArrayFeatures { array: images, but: None, encoding };
    Dataset::new(&name, schema, Features::Array(features), targets)
}

fn labels_of(
    folder: &Path,
    part: Part,
    images: &RowArray,
    known: Option<&Task>,
    memory: HostMemory,
) -> Result<(Task, Targets)> {
    let path = find(folder, part, "labels-idx1-ubyte")?;
    let array = read(&path, 1, memory)?;
    if array.shape[0] != images.shape[0] {
        let message = format!("{} labels for {} images", array.shape[0], images.shape[0]);
        return Err(Error::data(&path, "", message));
    }
    let mut labels = vec![0; array.rows()];
    array.store.read(array.start, &mut labels)?;
    let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
    let count = match known {
        Some(Task::Classes { count, .. }) => *count,
        _ => labels.iter().max().map_or(0, |label| *label as usize + 1),
    };
    if let Some((row, label)) = first_label_beyond(&labels, count) {
        let message = format!("label {label} is beyond the {count} classes of the training data");
        return Err(Error::data(&path, format!("row {row}"), message));
    }
    Ok((Task::classes(count), Targets::Labels(labels)))
}

/// The plain file if there is one, else the gzipped one.
fn find(folder: &Path, part: Part, kind: &str) -> Result<PathBuf> {
    let plain = match part {
        Part::Train => format!("train-{kind}"),
        Part::Test => format!("t10k-{kind}"),
    };
    for name in [plain.clone(), format!("{plain}.gz")] {
        let path = folder.join(name);
        match path.metadata() {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::read(&path, error)),
        }
    }
    let advice = match part {
        Part::Train => "",
        Part::Test => "; to test on a part of the training rows, use --test 20%",
    };
    Err(Error::data(folder, "", format!("the folder has neither `{plain}` nor `{plain}.gz`{advice}")))
}

fn read(path: &Path, dimensions: u8, memory: HostMemory) -> Result<RowArray> {
    let file = File::open(path).map_err(|error| Error::read(path, error))?;
    let stored = file.metadata().map_err(|error| Error::read(path, error))?.len();
    let (shape, store, start) = if files::is_gzip(path) {
        let mut decoder = MultiGzDecoder::new(file);
        let (shape, promised) = read_header(path, dimensions, &mut decoder)?;
        (shape, Store::owned(path, decode(path, decoder, promised, stored)?), 0)
    } else {
        let (shape, promised) = read_header(path, dimensions, &file)?;
        let start = header_bytes(dimensions) as u64;
        let found = stored.saturating_sub(start);
        if found != promised {
            return Err(lie(path, promised, &format!("{found} follow it")));
        }
        (shape, Store::of_file(path, file, memory)?, start)
    };
    let shape = shape.into_iter().map(|dimension| dimension as usize).collect();
    Ok(RowArray { store, start, element: Element::U8, shape, first_fastest: false })
}

fn header_bytes(dimensions: u8) -> usize {
    4 * (1 + dimensions as usize)
}

/// The dimensions, none of them zero, and the bytes that they promise.
fn read_header(path: &Path, dimensions: u8, mut reader: impl Read) -> Result<(Vec<u32>, u64)> {
    let wrong = |message: String| Err(Error::data(path, "header", message));
    let mut header = vec![0; header_bytes(dimensions)];
    match reader.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && !files::is_gzip(path) => {
            return wrong(format!("the file is shorter than the {} bytes of an IDX header", header.len()));
        }
        read => read.map_err(|error| files::reading_failed(path, error))?,
    }
    let (magic, rest) = header.split_at(4);
    let expected = [0, 0, BYTE_ELEMENTS, dimensions];
    if magic != expected {
        return wrong(format!(
            "begins with {magic:02x?}, not with {expected:02x?} as an IDX file of bytes in {dimensions} dimensions"
        ));
    }
    let shape: Vec<u32> = rest.as_chunks().0.iter().map(|dimension| u32::from_be_bytes(*dimension)).collect();
    if shape.contains(&0) {
        return wrong(format!("promises {shape:?} elements, that is none"));
    }
    let promised = shape.iter().try_fold(1u64, |product, dimension| product.checked_mul((*dimension).into()));
    match promised.filter(|bytes| isize::try_from(*bytes).is_ok()) {
        Some(bytes) => Ok((shape, bytes)),
        None => wrong(format!("promises {shape:?} elements, more than any memory holds")),
    }
}

/// The bytes after the header. `promised` is only believed as far as `stored` bytes can unpack to it.
fn decode(path: &Path, decoder: impl Read, promised: u64, stored: u64) -> Result<Vec<u8>> {
    if promised > stored.saturating_mul(GREATEST_DEFLATE_RATIO) {
        return Err(lie(path, promised, &format!("{stored} gzipped bytes cannot hold them")));
    }
    let failed = |error: io::Error| files::reading_failed(path, error);
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(promised as usize)
        .map_err(|_| Error::data(path, "", format!("{promised} bytes do not fit into the memory")))?;
    let mut data = decoder.take(promised);
    data.read_to_end(&mut bytes).map_err(failed)?;
    if (bytes.len() as u64) < promised {
        return Err(lie(path, promised, &format!("{} follow it", bytes.len())));
    }
    // Reading on also makes the decoder compare the checksum, which stands at the very end.
    let mut decoder = data.into_inner();
    if decoder.read(&mut [0]).map_err(failed)? > 0 {
        return Err(lie(path, promised, "more follow it"));
    }
    Ok(bytes)
}

fn lie(path: &Path, promised: u64, truth: &str) -> Error {
    Error::data(path, "header", format!("promises {promised} bytes, but {truth}; the file is damaged"))
}
