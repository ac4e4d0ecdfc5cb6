//! NumPy's arrays: a header that is a line of Python, then the elements.
//!
//! The format (NumPy Enhancement Proposal 1 and its later versions): `\x93NUMPY`, two bytes of version, the
//! header's length as u16 (version 1) or u32 (2 and 3), and the header, `{'descr': '<f4', 'fortran_order':
//! False, 'shape': (60000, 28, 28), }`. It is read here rather than by a crate, for those that there are bring
//! a parser of all Python literals and big integers along for these three keys.

use std::path::Path;

use super::array::RowArray;
use super::dataset::Dataset;
use super::element::Element;
use super::files::{quoted, stem};
use super::labelled;
use super::schema::Purpose;
use super::store::Store;
use crate::host::HostMemory;
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy itself takes no header longer than this from a file that it does not trust.
const LONGEST_HEADER: usize = 10_000;

/// Reads a table, or features of which `targets` or the purpose's target names the file of the targets.
pub(super) fn load(
    path: &Path,
    targets: Option<&Path>,
    purpose: Purpose,
    memory: HostMemory,
) -> Result<Dataset> {
    let array = open(path, memory)?;
    let named = match purpose {
        Purpose::Train { target, .. } => target,
        Purpose::Evaluate(schema) | Purpose::Predict(schema) => schema.target_name.as_deref(),
    };
    let trained_apart = named.filter(|name| is_npy(Path::new(name)));
    let file = match purpose {
        Purpose::Train { target: Some(column), .. } if targets.is_some() => {
            let message =
                format!("{} cannot be it, for the targets are in a file of their own", quoted(column));
            return Err(Error::setting("target", message));
        }
        Purpose::Train { .. } => targets.or(trained_apart.map(Path::new)),
        Purpose::Evaluate(_) => targets,
        Purpose::Predict(_) => None,
    };
    let name = stem(path);
    if let Some(file) = file {
        let answers = open(file, memory)?;
        return labelled::pair(&name, array, Some(answers), Some(file.display().to_string()), purpose);
    }
    // A model of a table knows its target by the number of its column; others were trained on features alone.
    let of_column = named.is_some_and(|name| name.parse::<usize>().is_ok());
    match purpose {
        Purpose::Predict(_) if !of_column => {
            labelled::pair(&name, array, None, named.map(str::to_owned), purpose)
        }
        _ if array.shape.len() == 2 && trained_apart.is_none() => labelled::table(&name, array, purpose),
        _ => {
            let (dimensions, shown) = (array.shape.len(), path.display());
            let message = format!(
                "an array of {dimensions} dimensions needs a file of targets; write {shown}+labels.npy"
            );
            Err(Error::data(path, "", message))
        }
    }
}

/// The shape and the elements of an array, in C's order.
///
/// ```
/// use downhill::data::read_array;
/// use downhill::linear::write_vector;
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let path = folder.join("x.npy");
/// write_vector(&path, &[1.0, 2.5])?;
/// assert_eq!(read_array(&path)?, (vec![2], vec![1.0, 2.5]));
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Read`], and [`Error::Data`] for what is no array of numbers.
pub fn read_array(path: &Path) -> Result<(Vec<usize>, Vec<f64>)> {
    let array = open(path, HostMemory::now())?;
    let width = array.width();
    let mut bytes = vec![0; width * array.element.bytes()];
    let mut values = Vec::with_capacity(array.rows() * width);
    for row in 0..array.rows() {
        array.read_row(row, &mut bytes)?;
        values.extend(array.element.values(&bytes));
    }
    Ok((array.shape, values))
}

/// The bytes of a file with an array of these sizes, in f64 and C's order.
///
/// ```
/// use downhill::data::array_bytes;
///
/// let bytes = array_bytes(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
/// assert!(bytes.starts_with(b"\x93NUMPY"));
/// assert!(bytes.ends_with(&5.0_f64.to_le_bytes()));
/// ```
pub fn array_bytes(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The elements begin at a multiple of 64 bytes.
    let length = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Whether a path is that of a NumPy array by its ending.
pub(super) fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

/// The array in a file.
pub(super) fn open(path: &Path, memory: HostMemory) -> Result<RowArray> {
    parse(Store::open(path, memory)?, "header")
}

/// The array in a store; `place` is where errors say that the header is.
pub(super) fn parse(store: Store, place: &str) -> Result<RowArray> {
    let path = store.path().to_owned();
    let wrong = |message: String| Error::data(&path, place, message);
    let (text, start) = read_header(&store, &wrong)?;
    let header = Header::parse(&text).map_err(wrong)?;
    let Header { element, first_fastest, shape } = header;
    if shape.is_empty() || shape.contains(&0) {
        return Err(wrong(format!("an array of shape {shape:?} has no rows")));
    }
    let count = shape.iter().try_fold(element.bytes(), |product, size| product.checked_mul(*size));
    let Some(promised) = count.filter(|bytes| isize::try_from(*bytes).is_ok()) else {
        return Err(wrong(format!("promises {shape:?} elements, more than any memory holds")));
    };
    let found = store.len() - start;
    if found != promised as u64 {
        return Err(wrong(format!("promises {promised} bytes, but {found} follow it; the file is damaged")));
    }
    Ok(RowArray { store, start, element, shape, first_fastest })
}

/// The text of the header and where the elements begin.
fn read_header(store: &Store, wrong: &impl Fn(String) -> Error) -> Result<(String, u64)> {
    let mut fixed = [0; 12];
    let short = || wrong("the file is shorter than the header of a NumPy array".to_owned());
    let there = fixed.len().min(usize::try_from(store.len()).unwrap_or(usize::MAX));
    store.read(0, &mut fixed[..there])?;
    if !MAGIC.starts_with(&fixed[..there.min(MAGIC.len())]) || there == 0 {
        return Err(if there == 0 { short() } else { wrong("is no NumPy array".to_owned()) });
    }
    let (length, start) = match fixed[6] {
        _ if there < fixed.len() => return Err(short()),
        1 => (u32::from(u16::from_le_bytes([fixed[8], fixed[9]])), 10),
        2 | 3 => (u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]), 12),
        version => return Err(wrong(format!("is of version {version}; versions 1 to 3 are read"))),
    };
    let length = length as usize;
    if length > LONGEST_HEADER {
        return Err(wrong(format!("a header of {length} bytes is none of an array of numbers")));
    }
    let end = start + length as u64;
    if end > store.len() {
        return Err(short());
    }
    let mut text = vec![0; length];
    store.read(start, &mut text)?;
    let text = String::from_utf8(text).map_err(|_| wrong("is not UTF-8 text".to_owned()))?;
    Ok((text, end))
}

/// What the three keys say.
struct Header {
    element: Element,
    first_fastest: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let description = value_of(text, "descr")?;
        let described = description.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
        let Some((name, _)) = described else {
            return Err("the elements are records of several fields; save an array of numbers".to_owned());
        };
        let element = Element::parse(name).ok_or_else(|| {
            format!("elements of type {} are no numbers that are read; convert them to float32", quoted(name))
        })?;
        let order = value_of(text, "fortran_order")?;
        let first_fastest = match (order.starts_with("True"), order.starts_with("False")) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err("`fortran_order` is neither True nor False".to_owned()),
        };
        let shape = value_of(text, "shape")?;
        let shape = shape.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let sizes = shape.map(|(sizes, _)| sizes.split(',').map(str::trim).filter(|size| !size.is_empty()));
        let sizes = sizes.and_then(|sizes| sizes.map(parse_size).collect());
        let shape = sizes.ok_or("`shape` is no list of sizes")?;
        Ok(Header { element, first_fastest, shape })
    }
}

/// A size, perhaps with the `L` that Python 2 writes behind its long integers.
fn parse_size(text: &str) -> Option<usize> {
    text.strip_suffix('L').unwrap_or(text).parse().ok()
}

/// What stands behind a key.
fn value_of<'a>(text: &'a str, key: &str) -> Result<&'a str, String> {
    let (_, rest) = text.split_once(&format!("'{key}'")).ok_or_else(|| format!("says no `{key}`"))?;
    rest.trim_start().strip_prefix(':').map(str::trim_start).ok_or_else(|| format!("says no `{key}`"))
}
