//! Tables with a header, as comma-separated text.
//!
//! One pass checks every row and reads the targets. The features stay in memory where they fit; else only each
//! row's place in the file does, and a row is read and parsed again whenever a minibatch needs it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::columns::{Columns, Role};
use super::dataset::{Dataset, Features};
use super::files::{self, quoted, stem};
use super::schema::Purpose;
use super::store::Store;
use super::target::{TargetColumn, number};
use crate::host::HostMemory;
use crate::{Error, Result};

/// Reads a table: every column a number but the target, which may be text.
pub(super) fn load(path: &Path, purpose: Purpose, memory: HostMemory) -> Result<Dataset> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(files::open(path)?);
    let header = reader.byte_headers().map_err(|error| failed(path, error))?;
    let columns = column_names(header).and_then(|names| Columns::new(names, purpose));
    let columns = columns.map_err(|message| Error::data(path, "header", message))?;
    let mut target = TargetColumn::new(purpose);
    let rows = read_rows(path, &mut reader, &columns, &mut target, memory)?;
    let (task, targets) = target.finish();
    let schema = columns.schema(purpose, task);
    let features = match rows {
        Rows::Values(values) => Features::Floats(values),
        Rows::Places(mut places) => {
            let text = Store::open(path, memory)?;
            text.expect_random_reads();
            places.push(text.len());
            Features::Text(IndexedText { text, places, columns })
        }
    };
    Dataset::new(&stem(path), schema, features, targets)
}

/// The names in the first line.
pub(super) fn column_names(header: &ByteRecord) -> Result<Vec<String>, String> {
    check_single_line(header)?;
    let names = header.iter().enumerate().map(|(column, name)| column_name(column, name));
    let names = names.collect::<Result<Vec<String>, String>>()?;
    check_names(&names)?;
    Ok(names)
}

fn column_name(column: usize, name: &[u8]) -> Result<String, String> {
    match str::from_utf8(name).map(str::trim) {
        Ok("") => Err(format!(
            "column {} has no name; name it, or remove it if it only numbers the rows",
            column + 1
        )),
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Err(format!("the name of column {} is not UTF-8 text", column + 1)),
    }
}

/// Refuses a quoted value of several lines, for that is what a forgotten quotation mark looks like: it would
/// swallow rows unnoticed.
fn check_single_line(record: &ByteRecord) -> Result<(), String> {
    if record.as_slice().contains(&b'\n') {
        return Err("a quoted value goes over the end of the line; is a quotation mark missing?".to_owned());
    }
    Ok(())
}

/// Refuses what is no header, or not of columns between commas.
fn check_names(names: &[String]) -> Result<(), String> {
    match names {
        [] => return Err("the file is empty; it needs a line of column names, then rows".to_owned()),
        [single] if single.contains([';', '\t']) => {
            return Err(format!("the columns must stand between commas, this is one: {}", quoted(single)));
        }
        _ => {}
    }
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        return Err("all names are numbers; the first line must name the columns".to_owned());
    }
    Ok(())
}

/// The rows of a table, in memory or as where they are.
enum Rows {
    /// All features, row after row.
    Values(Vec<f32>),
    /// The byte at which each row begins.
    Places(Vec<u64>),
}

/// Reads and checks all rows; the targets go to `target`.
fn read_rows(
    path: &Path,
    reader: &mut Reader<Box<dyn Read>>,
    columns: &Columns,
    target: &mut TargetColumn,
    memory: HostMemory,
) -> Result<Rows> {
    let (mut values, mut places) = (Vec::new(), Vec::new());
    let mut fits = true;
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| failed(path, error))? {
        if !fits {
            values.clear();
        }
        let read = read_features(&record, columns, &mut values);
        if let Err(Fault { column, message }) = read.and_then(|()| read_target(&record, columns, target)) {
            let line = line_of(path, &record)?;
            let place = match column {
                Some(column) => format!("line {line}, column {}", quoted(&columns.names[column])),
                None => format!("line {line}"),
            };
            return Err(Error::data(path, place, message));
        }
        places.push(record.position().map_or(0, |position| position.byte()));
        if fits && !memory.holds((values.len() * size_of::<f32>()) as u64) {
            if files::is_gzip(path) {
                let message = "its rows do not fit into the memory; unpack it, then they are read as needed";
                return Err(Error::data(path, "", message));
            }
            log::info!(
                "{}: rows are read from the file as needed, for memory does not hold them",
                path.display()
            );
            fits = false;
            values = Vec::new();
        }
    }
    if places.is_empty() {
        return Err(Error::data(path, "", "there are column names but no rows"));
    }
    if !fits {
        return Ok(Rows::Places(places));
    }
    values.shrink_to_fit();
    Ok(Rows::Values(values))
}

/// A table's text, of which each row can be read alone.
pub(super) struct IndexedText {
    text: Store,
    /// The byte at which each row begins, and the end of the file.
    places: Vec<u64>,
    columns: Columns,
}

impl IndexedText {
    /// Features of all rows.
    pub fn count(&self) -> usize {
        (self.places.len() - 1) * self.columns.features
    }

    /// Copies rows as little-endian floats; `out` has their bytes exactly.
    pub fn copy_rows(&self, rows: &[usize], out: &mut [u8]) -> Result<()> {
        let mut text = Vec::new();
        for row in rows {
            let (start, end) = (self.places[*row], self.places[row + 1]);
            let at = text.len();
            text.resize(at + (end - start) as usize, 0);
            self.text.read(start, &mut text[at..])?;
            // The last row of a file may lack it, and a blank line more does no harm.
            text.push(b'\n');
        }
        let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_slice());
        let mut record = ByteRecord::new();
        let mut values = Vec::with_capacity(rows.len() * self.columns.features);
        for row in rows {
            let read = reader.read_byte_record(&mut record).is_ok_and(|found| found)
                && read_features(&record, &self.columns, &mut values).is_ok();
            if !read {
                let message = "is not what it was at the start; leave the file as it is while it is in use";
                return Err(Error::data(self.text.path(), format!("row {row}"), message));
            }
        }
        files::copy_words(values.iter().map(|value| value.to_le_bytes()), out);
        Ok(())
    }
}

/// What is wrong in a row, and in which of its columns.
struct Fault {
    column: Option<usize>,
    message: String,
}

/// Refuses a row of another length than the header's `columns`, or of several lines.
pub(super) fn check_record(record: &ByteRecord, columns: usize) -> Result<(), String> {
    check_single_line(record)?;
    if record.len() != columns {
        return Err(format!("{} values, but the header names {columns} columns", record.len()));
    }
    Ok(())
}

/// Appends a row's features, after a look at the row as a whole.
fn read_features(record: &ByteRecord, columns: &Columns, features: &mut Vec<f32>) -> Result<(), Fault> {
    check_record(record, columns.names.len()).map_err(|message| Fault { column: None, message })?;
    let start = features.len();
    features.resize(start + columns.features, 0.0);
    for (column, (field, role)) in record.iter().zip(&columns.roles).enumerate() {
        let Role::Feature(at) = role else { continue };
        let read =
            text(field).and_then(|text| number(text).map_err(|message| hint(message, text, column, columns)));
        features[start + at] = read.map_err(|message| Fault { column: Some(column), message })?;
    }
    Ok(())
}

fn read_target(record: &ByteRecord, columns: &Columns, target: &mut TargetColumn) -> Result<(), Fault> {
    let Some(column) = columns.roles.iter().position(|role| matches!(role, Role::Target)) else {
        return Ok(());
    };
    let read = text(&record[column]).and_then(|value| target.push(value));
    read.map_err(|message| Fault { column: Some(column), message })
}

/// Adds to what is wrong with a feature that a text may well be the target, where none was named.
fn hint(message: String, text: &str, column: usize, columns: &Columns) -> String {
    match text.parse::<f32>() {
        Err(_) if columns.target_is_guessed => {
            format!("{message}; is it the target? --target {}", columns.names[column])
        }
        _ => message,
    }
}

pub(super) fn text(field: &[u8]) -> Result<&str, String> {
    match str::from_utf8(field).map(str::trim) {
        Ok("") => Err("the value is missing; fill it in or remove the row".to_owned()),
        Ok(text) => Ok(text),
        Err(_) => Err("the value is not UTF-8 text".to_owned()),
    }
}

/// The line on which a record begins, as an editor counts. The reader's own count stands before the blank lines
/// that it passes over, so the file is read again up to here; this happens once, for a message.
pub(super) fn line_of(path: &Path, record: &ByteRecord) -> Result<usize> {
    let failed = |error| files::reading_failed(path, error);
    let offset = record.position().map_or(0, |position| position.byte());
    let mut file = BufReader::new(files::open(path)?);
    let mut lines = 1;
    let mut before = file.by_ref().take(offset);
    loop {
        let chunk = before.fill_buf().map_err(failed)?;
        if chunk.is_empty() {
            break;
        }
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        let read = chunk.len();
        before.consume(read);
    }
    for byte in file.bytes() {
        match byte.map_err(failed)? {
            b'\n' => lines += 1,
            b'\r' => {}
            _ => break,
        }
    }
    Ok(lines)
}

pub(super) fn failed(path: &Path, error: csv::Error) -> Error {
    let message = error.to_string();
    match error.into_kind() {
        ErrorKind::Io(error) => files::reading_failed(path, error),
        _ => Error::data(path, "", message),
    }
}
