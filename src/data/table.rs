//! Named columns of numbers in f64, all of them in memory: what is fitted, not trained on.

use std::path::{Path, PathBuf};

use ::csv::{ByteRecord, ReaderBuilder};

use super::csv::{check_record, column_names, failed, line_of, text};
use super::files::{self, quoted};
use super::npy;
use crate::host::HostMemory;
use crate::{Error, Result};

/// A table with a header, as comma-separated text, gzipped or not.
pub struct Table {
    path: PathBuf,
    names: Vec<String>,
}

impl Table {
    /// Reads the header.
    ///
    /// # Errors
    /// A file that cannot be read or is no table; two columns of one name.
    pub fn open(path: &Path) -> Result<Self> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(files::open(path)?);
        let header = reader.byte_headers().map_err(|error| failed(path, error))?;
        let names = column_names(header).map_err(|message| Error::data(path, "header", message))?;
        if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            let message = format!("two columns have the name {}", quoted(twice));
            return Err(Error::data(path, "header", message));
        }
        Ok(Table { path: path.to_owned(), names })
    }

    /// The names of the columns.
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// The columns of these names, which are among the table's. What the others hold does not matter.
    ///
    /// # Errors
    /// A file that cannot be read, a row of another length than the header, what is no finite number: with the line.
    pub fn read(&self, wanted: &[String]) -> Result<Vec<Vec<f64>>> {
        let path = &self.path;
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(files::open(path)?);
        let places: Vec<usize> =
            wanted.iter().filter_map(|name| self.names.iter().position(|known| known == name)).collect();
        let mut columns = vec![Vec::new(); places.len()];
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|error| failed(path, error))? {
            let wrong = |message: String, column: &str| match line_of(path, &record) {
                Ok(line) => Error::data(path, format!("line {line}{column}"), message),
                Err(error) => error,
            };
            check_record(&record, self.names.len()).map_err(|message| wrong(message, ""))?;
            for (&at, column) in places.iter().zip(&mut columns) {
                let value = text(&record[at]).and_then(number);
                let name = format!(", column {}", quoted(&self.names[at]));
                column.push(value.map_err(|message| wrong(message, &name))?);
            }
        }
        match columns.iter().any(Vec::is_empty) {
            true => Err(Error::data(path, "", "there are column names but no rows")),
            false => Ok(columns),
        }
    }
}

/// An array of numbers in a `.npy` file: its sizes, and its elements in C's order.
///
/// # Errors
/// A file that cannot be read or is no such array.
pub fn read_array(path: &Path) -> Result<(Vec<usize>, Vec<f64>)> {
    let array = npy::open(path, HostMemory::now())?;
    let mut values = Vec::with_capacity(array.rows() * array.width());
    let mut bytes = vec![0; array.width() * array.element.bytes()];
    for row in 0..array.rows() {
        array.read_row(row, &mut bytes)?;
        values.extend(array.element.values(&bytes));
    }
    Ok((array.shape, values))
}

/// An array of numbers as a `.npy` file of version 1 holds it, in f64.
pub fn array_bytes(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The elements begin at a multiple of 64 bytes, after ten of magic and length; the header ends in a line break.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header += &" ".repeat(padding);
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    let mut bytes = [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes()].concat();
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

/// A text as the finite number that it must be.
fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("{} is not a finite number", quoted(text))),
        Err(_) => Err(format!("{} is not a number", quoted(text))),
    }
}
