//! Tables with a header, as comma-separated text.

mod target;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::dataset::{Dataset, Features};
use super::files::{self, quoted, shown};
use super::schema::{Encoding, Purpose, Schema};
use crate::error::did_you_mean;
use crate::{Error, Result};
use target::TargetColumn;

/// Reads a table: every column a number but the target, which may be text.
pub(super) fn load(path: &Path, purpose: Purpose) -> Result<Dataset> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(files::open(path)?);
    let header = reader.byte_headers().map_err(|error| failed(path, error))?;
    let columns = Columns::new(header, purpose).map_err(|message| Error::data(path, "header", message))?;
    let mut target = TargetColumn::new(purpose);
    let features = Features::Floats(read_rows(path, &mut reader, &columns, &mut target)?);

    let (task, targets) = target.finish();
    let schema = match purpose {
        Purpose::Train { .. } => Schema {
            feature_shape: vec![columns.features],
            encoding: Encoding::F32,
            feature_names: columns.named(|role| matches!(role, Role::Feature(_))).collect(),
            target_name: columns.named(|role| matches!(role, Role::Target)).next(),
            task,
        },
        Purpose::Evaluate(schema) | Purpose::Predict(schema) => schema.clone(),
    };
    let unpacked = if files::is_gzip(path) { path.with_extension("") } else { path.to_owned() };
    let name = unpacked.file_stem().unwrap_or_default().to_string_lossy();
    Dataset::new(&name, schema, features, targets)
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

/// What a column of the file is read as.
#[derive(Clone, Copy)]
enum Role {
    /// The feature with this index.
    Feature(usize),
    Target,
    Unread,
}

/// The columns in the order of the file.
struct Columns {
    names: Vec<String>,
    roles: Vec<Role>,
    features: usize,
    /// Whether the last column is the target because none was named.
    target_is_guessed: bool,
}

impl Columns {
    fn new(header: &ByteRecord, purpose: Purpose) -> Result<Self, String> {
        check_single_line(header)?;
        let names = header.iter().enumerate().map(|(column, name)| column_name(column, name));
        let names = names.collect::<Result<Vec<String>, String>>()?;
        check_names(&names)?;
        match purpose {
            Purpose::Train { target, .. } => Self::by_target(names, target),
            Purpose::Evaluate(schema) => Self::by_schema(names, schema, Some(Role::Target)),
            Purpose::Predict(schema) => Self::by_schema(names, schema, None),
        }
    }

    /// The target is the column of that name or the last, the features are the others.
    fn by_target(names: Vec<String>, target: Option<&str>) -> Result<Self, String> {
        let features = names.len() - 1;
        if features == 0 {
            return Err(format!(
                "has the single column {}; a target and a feature are needed",
                quoted(&names[0])
            ));
        }
        let guessed = target.is_none();
        let target = match target {
            None => features,
            Some(target) => names.iter().position(|name| name == target).ok_or_else(|| {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("no such target column: {}", did_you_mean(&shown(target), &known))
            })?,
        };
        let mut roles: Vec<Role> = (0..features).map(Role::Feature).collect();
        roles.insert(target, Role::Target);
        Ok(Columns { names, roles, features, target_is_guessed: guessed })
    }

    /// The columns that the schema names, in whatever order; `target` says whether its column is needed.
    fn by_schema(names: Vec<String>, schema: &Schema, target: Option<Role>) -> Result<Self, String> {
        if schema.feature_names.len() != schema.features() {
            let message = "the model was trained on data without column names; a table does not fit it";
            return Err(message.to_owned());
        }
        let mut known: HashMap<&str, Role> = schema
            .feature_names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), Role::Feature(at)))
            .collect();
        if let Some(name) = &schema.target_name {
            known.insert(name, target.unwrap_or(Role::Unread));
        }
        let roles = names.iter().map(|name| {
            let role = known.get(name.as_str()).copied();
            role.ok_or_else(|| format!("the model was trained without a column {}; remove it", quoted(name)))
        });
        let roles = roles.collect::<Result<_, _>>()?;
        let present: HashSet<&str> = names.iter().map(String::as_str).collect();
        let mut needed =
            schema.feature_names.iter().chain(schema.target_name.iter().filter(|_| target.is_some()));
        if let Some(missing) = needed.find(|name| !present.contains(name.as_str())) {
            return Err(format!(
                "the column {}, which the model was trained with, is missing",
                quoted(missing)
            ));
        }
        Ok(Columns { names, roles, features: schema.feature_names.len(), target_is_guessed: false })
    }

    fn named(&self, which: fn(&Role) -> bool) -> impl Iterator<Item = String> {
        self.names.iter().zip(&self.roles).filter(move |(_, role)| which(role)).map(|(name, _)| name.clone())
    }
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
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("two columns have the name {}", quoted(twice))),
        None => Ok(()),
    }
}

/// All features, row after row; the targets go to `target`.
fn read_rows(
    path: &Path,
    reader: &mut Reader<Box<dyn Read>>,
    columns: &Columns,
    target: &mut TargetColumn,
) -> Result<Vec<f32>> {
    let mut features = Vec::new();
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| failed(path, error))? {
        if let Err(Fault { column, message }) = read_row(&record, columns, target, &mut features) {
            let line = line_of(path, &record)?;
            let place = match column {
                Some(column) => format!("line {line}, column {}", quoted(&columns.names[column])),
                None => format!("line {line}"),
            };
            return Err(Error::data(path, place, message));
        }
    }
    if features.is_empty() {
        return Err(Error::data(path, "", "there are column names but no rows"));
    }
    features.shrink_to_fit();
    Ok(features)
}

/// What is wrong in a row, and in which of its columns.
struct Fault {
    column: Option<usize>,
    message: String,
}

fn read_row(
    record: &ByteRecord,
    columns: &Columns,
    target: &mut TargetColumn,
    features: &mut Vec<f32>,
) -> Result<(), Fault> {
    check_single_line(record).map_err(|message| Fault { column: None, message })?;
    if record.len() != columns.names.len() {
        let message =
            format!("{} values, but the header names {} columns", record.len(), columns.names.len());
        return Err(Fault { column: None, message });
    }
    let start = features.len();
    features.resize(start + columns.features, 0.0);
    for (column, (field, role)) in record.iter().zip(&columns.roles).enumerate() {
        let read = match role {
            Role::Feature(at) => text(field)
                .and_then(|text| number(text).map_err(|message| hint(message, text, column, columns)))
                .map(|value| features[start + at] = value),
            Role::Target => text(field).and_then(|value| target.push(value)),
            Role::Unread => Ok(()),
        };
        read.map_err(|message| Fault { column: Some(column), message })?;
    }
    Ok(())
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

fn text(field: &[u8]) -> Result<&str, String> {
    match str::from_utf8(field).map(str::trim) {
        Ok("") => Err("the value is missing; fill it in or remove the row".to_owned()),
        Ok(text) => Ok(text),
        Err(_) => Err("the value is not UTF-8 text".to_owned()),
    }
}

/// A field as the number that it must be.
fn number(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("{} is not a finite 32-bit number", quoted(text))),
        Err(_) => Err(format!("{} is not a number", quoted(text))),
    }
}

/// The line on which a record begins, as an editor counts. The reader's own count stands before the blank lines
/// that it passes over, so the file is read again up to here; this happens once, for a message.
fn line_of(path: &Path, record: &ByteRecord) -> Result<usize> {
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

fn failed(path: &Path, error: csv::Error) -> Error {
    let message = error.to_string();
    match error.into_kind() {
        ErrorKind::Io(error) => files::reading_failed(path, error),
        _ => Error::data(path, "", message),
    }
}
