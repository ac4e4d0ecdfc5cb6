//! Named columns of numbers in f64, all of them in memory: what is fitted, not trained on.

use std::path::{Path, PathBuf};

use ::csv::{ByteRecord, ReaderBuilder};

use super::csv::{check_record, column_names, failed, line_of, text};
use super::files::{self, quoted};
use crate::{Error, Result};

/// A table with a header, as comma-separated text, gzipped or not.
///
/// ```
/// use downhill::data::Table;
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let path = folder.join("decay.csv");
/// # std::fs::write(&path, "t,y\n0,4.1\n1,2.0\n2,0.9\n").unwrap();
/// let table = Table::open(&path)?;
/// assert_eq!(table.names(), ["t", "y"]);
/// assert_eq!(table.read(&["y".to_owned()])?, [[4.1, 2.0, 0.9]]);
/// # Ok::<(), downhill::Error>(())
/// ```
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

/// A text as the finite number that it must be.
fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("{} is not a finite number", quoted(text))),
        Err(_) => Err(format!("{} is not a number", quoted(text))),
    }
}
