//! Opening data files, gzipped or not, and saying what is wrong with them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

pub(super) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// The bytes of a file, decoded where its name ends in `.gz`. Errors of later reads are told by
/// [`reading_failed`].
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).map_err(|error| Error::read(path, error))?;
    Ok(if is_gzip(path) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// A failed read is the file system's fault, or that of what a gzip file holds.
pub(super) fn reading_failed(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        // What flate2 answers for a bad header or checksum, a bad stream, and a stream that breaks off.
        ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof if is_gzip(path) => {
            Error::data(path, "", format!("the gzip file is truncated or corrupt ({error}); fetch it again"))
        }
        _ => Error::read(path, error),
    }
}

/// The name of a data set that a file holds: the file's, without its endings.
pub(super) fn stem(path: &Path) -> String {
    let unpacked = if is_gzip(path) { path.with_extension("") } else { path.to_owned() };
    unpacked.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Puts words of four bytes one after the other.
pub(super) fn copy_words(words: impl Iterator<Item = [u8; 4]>, out: &mut [u8]) {
    for (out, word) in out.chunks_exact_mut(4).zip(words) {
        out.copy_from_slice(&word);
    }
}

/// Text of a user or a file as a message can show it: on one line and not too long.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 40;
    let shown = text.chars().take(SHOWN).flat_map(char::escape_debug);
    let more = text.chars().nth(SHOWN).map(|_| '…');
    shown.chain(more).collect()
}

/// [`shown`], in quotation marks.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}
