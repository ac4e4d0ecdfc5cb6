//! Tables in Parquet files, read row group by row group.
//!
//! A row group is compressed as a whole, so rows cannot be read alone. A table too large for the memory is
//! decoded once into a temporary file of floats, of which they can.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::array::{ArrayFeatures, RowArray};
use super::columns::{Columns, Role};
use super::dataset::{Dataset, Features};
use super::element::Element;
use super::files::{quoted, stem};
use super::schema::{Encoding, Purpose};
use super::store::Store;
use super::target::TargetColumn;
use crate::host::HostMemory;
use crate::{Error, Result};

/// Rows that are decoded at once.
const CHUNK: usize = 1 << 14;

/// Reads a table: every column numbers or booleans but the target, which may be text.
pub(super) fn load(path: &Path, purpose: Purpose, memory: HostMemory) -> Result<Dataset> {
    let file = File::open(path).map_err(|error| Error::read(path, error))?;
    let length = file.metadata().map_err(|error| Error::read(path, error))?.len();
    let reader = SerializedFileReader::new(file).map_err(|error| damaged(path, &error))?;
    let rows = count_rows(reader.metadata(), length).map_err(|message| Error::data(path, "", message))?;
    let table = Table::new(path, &reader, rows, purpose)?;
    let mut target = TargetColumn::new(purpose);
    let features = if memory.holds(table.bytes_of(rows)) {
        let mut values = Vec::new();
        table.read(&reader, &mut target, |group| {
            values.extend_from_slice(group);
            Ok(())
        })?;
        Features::Floats(values)
    } else {
        table.unpack(&reader, &mut target, memory)?
    };
    let (task, targets) = target.finish();
    Dataset::new(&stem(path), table.columns.schema(purpose, task), features, targets)
}

fn damaged(path: &Path, error: &ParquetError) -> Error {
    let first = error.to_string();
    let first = first.lines().next().unwrap_or_default();
    Error::data(path, "", format!("is no Parquet file, or a damaged one ({first}); fetch it again"))
}

/// How many rows there are. What the file says of itself must agree, for the decoder takes it at its word.
fn count_rows(metadata: &ParquetMetaData, length: u64) -> Result<usize, String> {
    let lies = || "is no Parquet file, or a damaged one (its parts do not add up); fetch it again".to_owned();
    let mut rows = 0u32;
    for group in metadata.row_groups() {
        let more = u32::try_from(group.num_rows()).ok();
        rows = more.and_then(|more| rows.checked_add(more)).ok_or_else(lies)?;
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
            let end = end.and_then(|(start, bytes)| start.checked_add(bytes));
            if end.is_none_or(|end| end > length) {
                return Err(lies());
            }
        }
    }
    if i64::from(rows) != metadata.file_metadata().num_rows() {
        return Err(lies());
    }
    if rows == 0 {
        return Err("there are columns but no rows".to_owned());
    }
    Ok(rows as usize)
}

struct Table<'a> {
    path: &'a Path,
    rows: usize,
    columns: Columns,
}

impl<'a> Table<'a> {
    fn new(
        path: &'a Path,
        reader: &SerializedFileReader<File>,
        rows: usize,
        purpose: Purpose,
    ) -> Result<Self> {
        let wrong = |message: String| Error::data(path, "columns", message);
        let metadata = reader.metadata().file_metadata();
        let leaves = metadata.schema_descr().columns();
        if leaves.is_empty() {
            return Err(wrong("the file has none".to_owned()));
        }
        if let Some(nested) =
            leaves.iter().find(|leaf| leaf.path().parts().len() > 1 || leaf.max_rep_level() > 0)
        {
            let message =
                format!("{} is not flat; a row needs one value of each", quoted(&nested.path().string()));
            return Err(wrong(message));
        }
        let names = leaves.iter().map(|leaf| leaf.name().to_owned()).collect();
        let columns = Columns::new(names, purpose).map_err(wrong)?;
        for (leaf, role) in leaves.iter().zip(&columns.roles) {
            check_type(leaf, *role, &columns).map_err(wrong)?;
        }
        Ok(Table { path, rows, columns })
    }

    /// Bytes of the features of so many rows.
    fn bytes_of(&self, rows: usize) -> u64 {
        (rows as u64).saturating_mul(self.columns.features as u64).saturating_mul(size_of::<f32>() as u64)
    }

    /// Decodes all rows; `take` gets the features of some after the other, row after row.
    fn read(
        &self,
        reader: &SerializedFileReader<File>,
        target: &mut TargetColumn,
        mut take: impl FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        for index in 0..reader.num_row_groups() {
            let group = reader.get_row_group(index).map_err(|error| damaged(self.path, &error))?;
            let mut columns = self.open_columns(&*group)?;
            let end = first + group.metadata().num_rows() as usize;
            while first < end {
                let rows = first..end.min(first + CHUNK);
                take(&self.read_rows(&mut columns, rows.clone(), target)?)?;
                first = rows.end;
            }
        }
        Ok(())
    }

    /// The columns of a row group that are read.
    fn open_columns(&self, group: &dyn RowGroupReader) -> Result<Vec<OpenColumn>> {
        let roles = self.columns.roles.iter().copied().enumerate();
        let read = roles.filter(|(_, role)| !matches!(role, Role::Unread));
        let open = read.map(|(column, role)| {
            let reader = group.get_column_reader(column).map_err(|error| damaged(self.path, &error))?;
            let unsigned = is_unsigned(group.metadata().column(column).column_descr());
            Ok(OpenColumn { column, role, reader, unsigned })
        });
        open.collect()
    }

    /// The features of the next rows of a row group, which have these numbers in the file.
    fn read_rows(
        &self,
        columns: &mut [OpenColumn],
        rows: Range<usize>,
        target: &mut TargetColumn,
    ) -> Result<Vec<f32>> {
        let width = self.columns.features;
        let mut features = vec![0.0; rows.len() * width];
        for OpenColumn { column, role, reader, unsigned } in columns {
            let mut put = |row: usize, value: Value| match role {
                Role::Feature(at) => value.feature().map(|value| features[row * width + *at] = value),
                Role::Target => value.text().and_then(|text| target.push(&text)),
                Role::Unread => Ok(()),
            };
            read_column(reader, *unsigned, rows.len(), &mut put).map_err(|stop| match stop {
                Stop::File(error) => damaged(self.path, &error),
                Stop::Value { row, message } => {
                    let name = quoted(&self.columns.names[*column]);
                    Error::data(self.path, format!("row {}, column {name}", rows.start + row), message)
                }
            })?;
        }
        Ok(features)
    }

    /// Decodes all rows into a temporary file, which goes when it is closed.
    fn unpack(
        &self,
        reader: &SerializedFileReader<File>,
        target: &mut TargetColumn,
        memory: HostMemory,
    ) -> Result<Features> {
        let folder = std::env::temp_dir();
        let (path, shown) = (self.path.display(), folder.display());
        log::info!("{path}: memory does not hold its rows; they are unpacked into a file in {shown}");
        let failed = |error| Error::write(&folder, error);
        let mut out = BufWriter::new(tempfile::tempfile().map_err(failed)?);
        self.read(reader, target, |group| {
            group.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())).map_err(failed)
        })?;
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        let array = RowArray {
            store: Store::of_file(self.path, file, memory)?,
            start: 0,
            element: Element::F32,
            shape: vec![self.rows, self.columns.features],
            first_fastest: false,
        };
        array.store.expect_random_reads();
        Ok(Features::Array(ArrayFeatures { array, but: None, encoding: Encoding::F32 }))
    }
}

/// Refuses types that are no numbers, and texts that are not the target.
fn check_type(leaf: &ColumnDescriptor, role: Role, columns: &Columns) -> Result<(), String> {
    if matches!(role, Role::Unread) {
        return Ok(());
    }
    let name = quoted(leaf.name());
    let is_decimal = leaf.converted_type() == ConvertedType::DECIMAL
        || matches!(leaf.logical_type_ref(), Some(LogicalType::Decimal { .. }));
    match (leaf.physical_type(), role) {
        (PhysicalType::INT96 | PhysicalType::FIXED_LEN_BYTE_ARRAY, _) => {
            Err(format!("{name} is of type {}, which is no number", leaf.physical_type()))
        }
        _ if is_decimal => Err(format!("{name} holds decimals; convert them to floats")),
        (PhysicalType::BYTE_ARRAY, Role::Feature(_)) if columns.target_is_guessed => {
            let name = leaf.name();
            Err(format!(
                "{} holds text, which only the target may be; is it the target? --target {name}",
                quoted(name)
            ))
        }
        (PhysicalType::BYTE_ARRAY, Role::Feature(_)) => {
            Err(format!("{name} holds text, which only the target may be"))
        }
        _ => Ok(()),
    }
}

fn is_unsigned(leaf: &ColumnDescriptor) -> bool {
    use ConvertedType::{UINT_8, UINT_16, UINT_32, UINT_64};
    matches!(leaf.converted_type(), UINT_8 | UINT_16 | UINT_32 | UINT_64)
}

/// A value of a column.
enum Value<'a> {
    Number(f64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    fn feature(&self) -> Result<f32, String> {
        match self {
            Value::Number(number) if (*number as f32).is_finite() => Ok(*number as f32),
            Value::Number(number) => Err(format!("{number} is not a finite 32-bit number")),
            Value::Bytes(_) => Err("the value is text, not a number".to_owned()),
        }
    }

    fn text(&self) -> Result<String, String> {
        match self {
            Value::Number(number) => Ok(number.to_string()),
            Value::Bytes(bytes) => match str::from_utf8(bytes).map(str::trim) {
                Ok("") => Err("the value is empty; fill it in or remove the row".to_owned()),
                Ok(text) => Ok(text.to_owned()),
                Err(_) => Err("the value is not UTF-8 text".to_owned()),
            },
        }
    }
}

/// A column of a row group, read up to some row.
struct OpenColumn {
    /// Its place in the file.
    column: usize,
    role: Role,
    reader: ColumnReader,
    unsigned: bool,
}

/// Why a column was not read to its end.
enum Stop {
    File(ParquetError),
    Value { row: usize, message: String },
}

type Put<'a> = dyn FnMut(usize, Value) -> Result<(), String> + 'a;

fn read_column(reader: &mut ColumnReader, unsigned: bool, rows: usize, put: &mut Put) -> Result<(), Stop> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => {
            read_values(reader, rows, put, |value| Value::Number(f64::from(*value)))
        }
        ColumnReader::Int32ColumnReader(reader) if unsigned => {
            read_values(reader, rows, put, |value| Value::Number(f64::from(*value as u32)))
        }
        ColumnReader::Int32ColumnReader(reader) => {
            read_values(reader, rows, put, |value| Value::Number(f64::from(*value)))
        }
        ColumnReader::Int64ColumnReader(reader) if unsigned => {
            read_values(reader, rows, put, |value| Value::Number(*value as u64 as f64))
        }
        ColumnReader::Int64ColumnReader(reader) => {
            read_values(reader, rows, put, |value| Value::Number(*value as f64))
        }
        ColumnReader::FloatColumnReader(reader) => {
            read_values(reader, rows, put, |value| Value::Number(f64::from(*value)))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            read_values(reader, rows, put, |value| Value::Number(*value))
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            read_values(reader, rows, put, |value| Value::Bytes(value.data()))
        }
        ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
            Err(Stop::Value { row: 0, message: "the type is no number".to_owned() })
        }
    }
}

/// Gives all values of a column to `put`, with their rows from 0.
fn read_values<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    put: &mut Put,
    value: impl Fn(&T::T) -> Value,
) -> Result<(), Stop> {
    let (mut values, mut levels) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    let mut row = 0;
    while row < rows {
        values.clear();
        levels.clear();
        let read = reader.read_records(CHUNK.min(rows - row), Some(&mut levels), None, &mut values);
        let (records, found, _) = read.map_err(Stop::File)?;
        if found < records {
            // A flat column has the levels 0, null, and 1.
            let null = levels.iter().position(|level| *level == 0).unwrap_or(0);
            let message = "the value is null; fill it in or remove the row".to_owned();
            return Err(Stop::Value { row: row + null, message });
        }
        if records == 0 {
            let message = format!("the column ends after {row} of {rows} rows; the file is damaged");
            return Err(Stop::Value { row, message });
        }
        for (at, stored) in values.iter().enumerate() {
            put(row + at, value(stored)).map_err(|message| Stop::Value { row: row + at, message })?;
        }
        row += records;
    }
    Ok(())
}
