//! The same rows from every format, and however little memory there is.

use std::fs;
use std::path::Path;

use super::schema::{Part, Purpose};
use super::*;
use crate::host::HostMemory;

const ROWS: usize = 257;
const COLUMNS: usize = 5;

/// No memory at all: nothing is kept and nothing is mapped.
const NONE: HostMemory = HostMemory { free: Some(0), address_space: Some(0) };
/// Files are mapped, but no rows are kept.
const MAPPED: HostMemory = HostMemory { free: Some(0), address_space: None };
const PLENTY: HostMemory = HostMemory { free: None, address_space: None };

const TRAIN: Purpose = Purpose::Train { target: None, kind: TargetKind::Auto };

/// Features and, last, a target of a row: integers in 8 bits, so that every type holds them.
fn value(row: usize, column: usize) -> u8 {
    if column == COLUMNS { (row % 3) as u8 } else { ((row * 31 + column * 7) % 127) as u8 }
}

fn all_rows(dataset: &Dataset) -> (Vec<u8>, Vec<u8>) {
    let indices: Vec<u32> = (0..dataset.rows() as u32).rev().collect();
    let mut features = vec![0; indices.len() * dataset.features_bytes_per_row()];
    let mut targets = vec![0; indices.len() * dataset.targets_bytes_per_row()];
    dataset.copy_rows(&indices, &mut features, &mut targets).unwrap();
    (features, targets)
}

/// What the rows are as floats, the last one first, with their labels.
fn expected() -> (Vec<u8>, Vec<u8>) {
    let features =
        (0..ROWS).rev().flat_map(|row| (0..COLUMNS).map(move |column| f32::from(value(row, column))));
    let labels = (0..ROWS).rev().map(|row| u32::from(value(row, COLUMNS)));
    (features.flat_map(f32::to_le_bytes).collect(), labels.flat_map(u32::to_le_bytes).collect())
}

fn csv_text() -> String {
    let header = (0..=COLUMNS).map(|column| format!("c{column}")).collect::<Vec<_>>().join(",");
    let row = |row| (0..=COLUMNS).map(|column| value(row, column).to_string()).collect::<Vec<_>>().join(",");
    // A blank line is no row, and lines may end as on Windows.
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    format!("{header}\r\n{}\r\n\r\n{}\n", rows[..9].join("\r\n"), rows[9..].join("\n"))
}

/// How a type is written: its name in a header, and the bytes of a number in it.
type Written = (&'static str, fn(u8) -> Vec<u8>);

const TYPES: [Written; 17] = [
    ("<f4", |x| f32::from(x).to_le_bytes().to_vec()),
    (">f4", |x| f32::from(x).to_be_bytes().to_vec()),
    ("<f8", |x| f64::from(x).to_le_bytes().to_vec()),
    (">f8", |x| f64::from(x).to_be_bytes().to_vec()),
    ("|u1", |x| vec![x]),
    ("|i1", |x| vec![x]),
    ("<u2", |x| u16::from(x).to_le_bytes().to_vec()),
    (">u2", |x| u16::from(x).to_be_bytes().to_vec()),
    ("<i2", |x| i16::from(x).to_le_bytes().to_vec()),
    (">i2", |x| i16::from(x).to_be_bytes().to_vec()),
    ("<u4", |x| u32::from(x).to_le_bytes().to_vec()),
    ("<i4", |x| i32::from(x).to_le_bytes().to_vec()),
    (">i4", |x| i32::from(x).to_be_bytes().to_vec()),
    ("<u8", |x| u64::from(x).to_le_bytes().to_vec()),
    ("<i8", |x| i64::from(x).to_le_bytes().to_vec()),
    (">i8", |x| i64::from(x).to_be_bytes().to_vec()),
    (">u8", |x| u64::from(x).to_be_bytes().to_vec()),
];

fn npy(name: &str, version: u8, fortran: bool, shape: &str, elements: Vec<u8>) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{name}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([version, 0]);
    match version {
        1 => file.extend((text.len() as u16).to_le_bytes()),
        _ => file.extend((text.len() as u32).to_le_bytes()),
    }
    file.extend(text.as_bytes());
    file.extend(elements);
    file
}

/// The table as an array of a type, row after row or column after column.
fn npy_table((name, bytes): Written, version: u8, fortran: bool) -> Vec<u8> {
    let place = |at: usize| match fortran {
        true => (at % ROWS, at / ROWS),
        false => (at / (COLUMNS + 1), at % (COLUMNS + 1)),
    };
    let elements = (0..ROWS * (COLUMNS + 1)).map(place).flat_map(|(row, column)| bytes(value(row, column)));
    npy(name, version, fortran, &format!("({ROWS}, {})", COLUMNS + 1), elements.collect())
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_table_gives_the_same_rows_from_memory_and_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "table.csv", csv_text());
    for memory in [PLENTY, MAPPED, NONE] {
        let rows = csv::load(&path, TRAIN, memory).unwrap();
        assert_eq!(rows.decodes(), memory != PLENTY, "{memory:?}");
        assert_eq!(all_rows(&rows), expected(), "{memory:?}");
        assert_eq!(rows.schema().task, Task::classes(3));
        assert_eq!(rows.features(9).unwrap()[0], f32::from(value(9, 0)));
    }
    let digest = |memory| csv::load(&path, TRAIN, memory).unwrap().digest().unwrap();
    assert_eq!(digest(PLENTY), digest(NONE));
}

#[test]
fn a_table_that_changes_while_it_is_in_use_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "table.csv", "a,b\n1,2\n3,4\n");
    let rows = csv::load(&path, TRAIN, NONE).unwrap();
    write(folder.path(), "table.csv", "a,b\n1,2\n3;4\n");
    rows.copy_rows(&[0], &mut [0; 4], &mut [0; 4]).unwrap();
    let error = rows.copy_rows(&[1], &mut [0; 4], &mut [0; 4]).err().unwrap().to_string();
    assert!(error.contains("table.csv: row 1: is not what it was"), "{error}");
}

#[test]
fn a_digest_tells_rows_apart_by_values_order_and_names_but_not_by_how_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |text: &str| {
        let path = write(folder.path(), "table.csv", text);
        csv::load(&path, TRAIN, PLENTY).unwrap().digest().unwrap()
    };
    let first = digest("a,b\n1,2\n3,4\n");
    assert_eq!(digest("a,b\r\n1.0,2\r\n3e0,4"), first);
    for other in ["a,b\n1,2\n3,5\n", "a,b\n1,2\n0,4\n", "a,b\n3,4\n1,2\n", "a,c\n1,2\n3,4\n", "a,b\n1,2\n"] {
        assert_ne!(digest(other), first, "{other}");
    }
}

#[test]
fn a_gzipped_table_that_memory_does_not_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, csv_text().as_bytes()).unwrap();
    let path = write(folder.path(), "table.csv.gz", gzip.finish().unwrap());
    assert_eq!(all_rows(&csv::load(&path, TRAIN, PLENTY).unwrap()), expected());
    let error = csv::load(&path, TRAIN, NONE).err().unwrap().to_string();
    assert!(error.contains("do not fit into the memory; unpack it"), "{error}");
}

#[test]
fn arrays_of_every_type_order_and_version_give_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    for (number, written) in TYPES.into_iter().enumerate() {
        for fortran in [false, true] {
            let version = 1 + (number % 3) as u8;
            let path = write(folder.path(), "table.npy", npy_table(written, version, fortran));
            for memory in [PLENTY, MAPPED, NONE] {
                let rows = npy::load(&path, None, TRAIN, memory).unwrap();
                assert_eq!(all_rows(&rows), expected(), "{} {fortran} {memory:?}", written.0);
            }
        }
    }
}

#[test]
fn pictures_of_bytes_stay_bytes_and_find_their_labels_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let pixels: Vec<u8> = (0..ROWS * 6).map(|at| (at % 251) as u8).collect();
    let features =
        write(folder.path(), "x.npy", npy("|u1", 1, false, &format!("({ROWS}, 2, 3)"), pixels.clone()));
    let labels: Vec<u8> = (0..ROWS).flat_map(|row| i64::from(value(row, COLUMNS)).to_le_bytes()).collect();
    let targets = write(folder.path(), "y.npy", npy("<i8", 2, false, &format!("({ROWS},)"), labels));
    for memory in [PLENTY, MAPPED, NONE] {
        let rows = npy::load(&features, Some(&targets), TRAIN, memory).unwrap();
        assert_eq!(rows.schema().feature_shape, [2, 3]);
        assert_eq!(rows.schema().encoding, Encoding::U8 { scale: 1.0 / 255.0 });
        let backwards: Vec<u8> = pixels.chunks(6).rev().flatten().copied().collect();
        assert_eq!(all_rows(&rows), (backwards, expected().1), "{memory:?}");
        // As questions, without their answers.
        let questions = npy::load(&features, None, Purpose::Predict(rows.schema()), memory).unwrap();
        assert_eq!((questions.rows(), questions.has_targets()), (ROWS, false));
    }
}

/// Keras' names: an archive with both parts, stored or deflated.
#[cfg(feature = "npz")]
#[test]
fn an_archive_has_its_arrays_by_name_and_its_own_test_part() {
    let folder = tempfile::tempdir().unwrap();
    let part = |rows: usize| {
        let x = (0..rows * COLUMNS).flat_map(|at| f32::from(value(at / COLUMNS, at % COLUMNS)).to_le_bytes());
        let y = (0..rows).flat_map(|row| i64::from(value(row, COLUMNS)).to_le_bytes());
        let x = npy("<f4", 1, false, &format!("({rows}, {COLUMNS})"), x.collect());
        (x, npy("<i8", 1, false, &format!("({rows},)"), y.collect()))
    };
    let ((x, y), (x_test, y_test)) = (part(ROWS), part(31));
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let path = folder.path().join("all.npz");
        let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        for (name, bytes) in [("x_train", &x), ("y_train", &y), ("x_test", &x_test), ("y_test", &y_test)] {
            archive.start_file(format!("{name}.npy"), options).unwrap();
            std::io::Write::write_all(&mut archive, bytes).unwrap();
        }
        archive.finish().unwrap();
        let train = npz::load(&path, Part::Train, TRAIN, PLENTY).unwrap();
        assert_eq!(all_rows(&train), expected());
        assert!(npz::has_test_part(&path).unwrap());
        let test = npz::load(&path, Part::Test, Purpose::Evaluate(train.schema()), PLENTY).unwrap();
        assert_eq!((test.rows(), test.label(30)), (31, Some(0)));
        let error = npz::load(&path, Part::Train, TRAIN, NONE).err().unwrap().to_string();
        assert!(error.contains("array y_train") && error.contains("unpack it"), "{error}");
    }
}

#[cfg(feature = "parquet")]
mod of_parquet {
    use std::sync::Arc;

    use ::parquet::basic::{Compression, ZstdLevel};
    use ::parquet::data_type::{
        BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type,
    };
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// The table in row groups of 100 rows, each column of another type.
    fn write_table(path: &Path, compression: Compression, texts: bool) {
        let target = if texts { "BYTE_ARRAY c5 (UTF8)" } else { "INT64 c5" };
        let schema = format!(
            "message table {{ REQUIRED FLOAT c0; REQUIRED DOUBLE c1; REQUIRED INT32 c2; OPTIONAL INT64 c3; REQUIRED \
             INT32 c4 (UINT_8); REQUIRED {target}; }}"
        );
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut writer =
            SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, properties).unwrap();
        let rows: Vec<usize> = (0..ROWS).collect();
        for group in rows.chunks(100) {
            let column = |number| group.iter().map(move |row| value(*row, number));
            let mut columns = writer.next_row_group().unwrap();
            let mut number = 0;
            while let Some(mut out) = columns.next_column().unwrap() {
                let present = vec![1; group.len()];
                match number {
                    0 => {
                        let values: Vec<f32> = column(0).map(f32::from).collect();
                        out.typed::<FloatType>().write_batch(&values, None, None).unwrap();
                    }
                    1 => {
                        let values: Vec<f64> = column(1).map(f64::from).collect();
                        out.typed::<DoubleType>().write_batch(&values, None, None).unwrap();
                    }
                    2 | 4 => {
                        let values: Vec<i32> = column(number).map(i32::from).collect();
                        out.typed::<Int32Type>().write_batch(&values, None, None).unwrap();
                    }
                    5 if texts => {
                        let name = |x: u8| ByteArray::from(["ant", "bee", "cat"][x as usize]);
                        let values: Vec<ByteArray> = column(5).map(name).collect();
                        out.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
                    }
                    _ => {
                        let values: Vec<i64> = column(number).map(i64::from).collect();
                        let levels = (number == 3).then_some(&present[..]);
                        out.typed::<Int64Type>().write_batch(&values, levels, None).unwrap();
                    }
                }
                out.close().unwrap();
                number += 1;
            }
            columns.close().unwrap();
        }
        writer.close().unwrap();
    }

    #[test]
    fn a_parquet_table_gives_the_same_rows_from_memory_and_unpacked_into_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        let zstd = Compression::ZSTD(ZstdLevel::default());
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4_RAW, zstd] {
            for texts in [false, true] {
                write_table(&path, compression, texts);
                for memory in [PLENTY, MAPPED, NONE] {
                    let rows = parquet::load(&path, TRAIN, memory).unwrap();
                    assert_eq!(all_rows(&rows), expected(), "{compression:?} {memory:?}");
                    assert_eq!(rows.schema().feature_names, ["c0", "c1", "c2", "c3", "c4"]);
                    let Task::Classes { count: 3, names } = &rows.schema().task else {
                        panic!("three classes")
                    };
                    assert_eq!(names.is_empty(), !texts);
                }
            }
        }
    }

    #[test]
    fn a_null_is_named_by_row_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        let schema =
            Arc::new(parse_message_type("message t { OPTIONAL BOOLEAN a; REQUIRED FLOAT b; }").unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer =
            SerializedFileWriter::new(fs::File::create(&path).unwrap(), schema, properties).unwrap();
        let mut columns = writer.next_row_group().unwrap();
        let mut first = columns.next_column().unwrap().unwrap();
        first.typed::<BoolType>().write_batch(&[true, false], Some(&[1, 1, 0]), None).unwrap();
        first.close().unwrap();
        let mut second = columns.next_column().unwrap().unwrap();
        second.typed::<FloatType>().write_batch(&[1.5, 2.5, 3.5], None, None).unwrap();
        second.close().unwrap();
        columns.close().unwrap();
        writer.close().unwrap();
        let error = parquet::load(&path, TRAIN, PLENTY).err().unwrap().to_string();
        assert!(error.contains("row 2, column `a`: the value is null"), "{error}");
    }
}
