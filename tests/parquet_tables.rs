//! Parquet tables: row groups, types and compressions that are read, and what is refused by row and column.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use downhill::Result;
use downhill::data::{DataSpec, Task, load, load_for_evaluation, load_for_prediction};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// The values of one column in one row group.
enum Column {
    Bools(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Texts(Vec<&'static str>),
    /// Doubles of an optional column, null where there is none.
    Optional(Vec<Option<f64>>),
}

/// Writes a file of these row groups, each a list of columns.
fn write(path: &Path, schema: &str, compression: Compression, groups: Vec<Vec<Column>>) -> DataSpec {
    let schema = parse_message_type(&format!("message table {{ {schema} }}")).expect("a schema");
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = fs::File::create(path).expect("the temporary folder takes a file");
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).expect("a file to write");
    for columns in groups {
        let mut group = writer.next_row_group().expect("a row group");
        for column in columns {
            let mut out = group.next_column().expect("no error").expect("a column of the schema");
            write_column(out.untyped(), &column);
            out.close().expect("a whole column");
        }
        group.close().expect("a whole row group");
    }
    writer.close().expect("a whole file");
    DataSpec::Parquet(path.to_owned())
}

fn write_column(out: &mut ColumnWriter, column: &Column) {
    let written = match (out, column) {
        (ColumnWriter::BoolColumnWriter(out), Column::Bools(values)) => out.write_batch(values, None, None),
        (ColumnWriter::Int32ColumnWriter(out), Column::Int32(values)) => out.write_batch(values, None, None),
        (ColumnWriter::Int64ColumnWriter(out), Column::Int64(values)) => out.write_batch(values, None, None),
        (ColumnWriter::FloatColumnWriter(out), Column::Floats(values)) => out.write_batch(values, None, None),
        (ColumnWriter::DoubleColumnWriter(out), Column::Doubles(values)) => {
            out.write_batch(values, None, None)
        }
        (ColumnWriter::DoubleColumnWriter(out), Column::Optional(values)) => {
            let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
            let values: Vec<f64> = values.iter().copied().flatten().collect();
            out.write_batch(&values, Some(&levels), None)
        }
        (ColumnWriter::ByteArrayColumnWriter(out), Column::Texts(values)) => {
            let values: Vec<ByteArray> = values.iter().map(|text| ByteArray::from(*text)).collect();
            out.write_batch(&values, None, None)
        }
        _ => panic!("the column is not of the schema's type"),
    };
    written.expect("the values are written");
}

const ALL_TYPES: &str = "required boolean a; required int32 b; required int32 c (INTEGER(32,false)); \
    required int64 d; required float e; optional double f; required binary kind (UTF8);";

fn group(first: i32, kinds: [&'static str; 2]) -> Vec<Column> {
    vec![
        Column::Bools(vec![true, false]),
        Column::Int32(vec![first, -7]),
        Column::Int32(vec![-1, 5]),
        Column::Int64(vec![5_000_000_000, -1]),
        Column::Floats(vec![0.1, -2.5]),
        Column::Optional(vec![Some(1e-3), Some(9.0)]),
        Column::Texts(kinds.to_vec()),
    ]
}

#[test]
fn all_types_are_read_from_all_row_groups_of_any_compression() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ];
    for compression in compressions {
        let groups = vec![group(3, ["cat", "dog"]), group(4, ["dog", "cat"])];
        let source = write(&folder.path().join("t.parquet"), ALL_TYPES, compression, groups);
        let train = load(&source, None, None, 0)?.train;
        let names = ["cat", "dog"].map(str::to_owned).to_vec();
        assert_eq!(train.schema().task, Task::Classes { count: 2, names }, "{compression}");
        assert_eq!(train.schema().feature_names, ["a", "b", "c", "d", "e", "f"], "{compression}");
        let labels: Vec<_> = (0..4).filter_map(|row| train.label(row)).collect();
        assert_eq!(labels, [0, 1, 1, 0], "{compression}");
        let first = |b| Some(vec![1.0, b, 4_294_967_295.0, 5e9, 0.1, 1e-3]);
        let second = Some(vec![0.0, -7.0, 5.0, -1.0, -2.5, 9.0]);
        let rows = [first(3.0), second.clone(), first(4.0), second];
        assert_eq!([0, 1, 2, 3].map(|row| train.features(row)), rows, "{compression}");

        let again = load_for_evaluation(&source, train.schema(), 0)?;
        assert_eq!(again.digest()?, train.digest()?, "{compression}");
        assert!(!load_for_prediction(&source, train.schema(), 0)?.has_targets(), "{compression}");
    }
    Ok(())
}

#[test]
fn tables_that_cannot_be_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let numbers = |values: &[f64]| Column::Doubles(values.to_vec());
    let pair = "required double a; required double b;";
    let nullable = "optional double a; required double b;";
    let texts = "required binary a (UTF8); required double b;";
    let decimals = "required int32 a (DECIMAL(5,2)); required double b;";
    let rows = || vec![numbers(&[1.0, 2.0]), numbers(&[3.0, 4.0])];
    type Row<'a> = (&'a str, &'a str, Vec<Vec<Column>>, Option<&'a str>, &'a str);
    let table: [Row; 11] = [
        ("no rows", pair, vec![], None, "there are columns but no rows"),
        ("one column", "required double a;", vec![vec![numbers(&[1.0])]], None, "single column `a`"),
        (
            "same name twice",
            "required double a; required double a;",
            vec![rows()],
            None,
            "two columns have the name `a`",
        ),
        ("no such target", pair, vec![rows()], Some("c"), "columns: no such target column: unknown name `c`"),
        (
            "null",
            nullable,
            vec![rows_of(&[Some(1.0), Some(2.0)]), rows_of(&[Some(1.0), None])],
            None,
            "row 3, column `a`: the value is null",
        ),
        (
            "NaN",
            pair,
            vec![rows(), vec![numbers(&[1.0, f64::NAN]), numbers(&[0.0, 0.0])]],
            None,
            "row 3, column `a`: NaN is not a finite",
        ),
        (
            "NaN as target",
            pair,
            vec![vec![numbers(&[1.0]), numbers(&[f64::NAN])]],
            None,
            "row 0, column `b`: `NaN`",
        ),
        (
            "too large for 32 bits",
            pair,
            vec![vec![numbers(&[1e39]), numbers(&[1.0])]],
            None,
            "row 0, column `a`: 1",
        ),
        (
            "text as feature",
            texts,
            vec![vec![Column::Texts(vec!["x"]), numbers(&[1.0])]],
            None,
            "`a` holds text, which only the target may be; is it the target? --target a",
        ),
        (
            "text where the target is named",
            texts,
            vec![vec![Column::Texts(vec!["x"]), numbers(&[1.0])]],
            Some("b"),
            "`a` holds text, which only",
        ),
        (
            "decimals",
            decimals,
            vec![vec![Column::Int32(vec![1]), numbers(&[1.0])]],
            None,
            "`a` holds decimals",
        ),
    ];
    for (case, schema, groups, target, fragment) in table {
        let source = write(&folder.path().join("t.parquet"), schema, Compression::SNAPPY, groups);
        assert_refused(case, &source, target, fragment);
    }
}

fn rows_of(first: &[Option<f64>]) -> Vec<Column> {
    vec![Column::Optional(first.to_vec()), Column::Doubles(vec![0.5; first.len()])]
}

/// Checks that loading fails with one line that is the fault of the request and says what it must.
fn assert_refused(case: &str, source: &DataSpec, target: Option<&str>, fragment: &str) {
    let Err(error) = load(source, target, None, 0) else { panic!("{case}: not refused") };
    let message = error.to_string();
    assert_eq!((message.lines().count(), error.exit_code()), (1, 2), "{case}: {message}");
    assert!(message.contains(fragment), "{case}: `{fragment}` is not in `{message}`");
}

#[test]
fn files_that_are_damaged_are_refused_wherever_the_damage_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.parquet");
    let source = write(&path, ALL_TYPES, Compression::SNAPPY, vec![group(3, ["cat", "dog"])]);
    let whole = fs::read(&path).expect("it was written");
    let table: [(&str, &[u8]); 4] = [
        ("empty", b""),
        ("no Parquet", b"a,b\n1,2\n"),
        ("cut", &whole[..whole.len() - 20]),
        ("cut early", &whole[..40]),
    ];
    for (case, bytes) in table {
        fs::write(&path, bytes).expect("the temporary folder takes a file");
        assert_refused(case, &source, None, "t.parquet: is no Parquet file, or a damaged one");
    }
    // A flipped byte may still be good data, but never a panic, and an error is one line.
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, damaged).expect("the temporary folder takes a file");
        if let Err(error) = load(&source, None, None, 0) {
            assert_eq!((error.to_string().lines().count(), error.exit_code()), (1, 2), "byte {at}: {error}");
        }
    }
}

#[test]
fn names_of_columns_are_checked_against_the_model() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.csv");
    fs::write(&path, "b,a,kind\n1,2,0.5\n3,4,1.5\n").expect("the temporary folder takes a file");
    let schema = load(&DataSpec::Csv(path), None, None, 0)?.train.schema().clone();
    let columns = || vec![Column::Doubles(vec![0.25]), Column::Int64(vec![4]), Column::Floats(vec![3.0])];
    let names = "required double kind; required int64 a; required float b;";
    let source = write(&folder.path().join("t.parquet"), names, Compression::SNAPPY, vec![columns()]);
    let other = load_for_evaluation(&source, &schema, 0)?;
    assert_eq!((other.features(0), other.values(0)), (Some(vec![3.0, 4.0]), Some(&[0.25][..])));

    let names = "required double kind; required int64 a; required float c;";
    let source = write(&folder.path().join("t.parquet"), names, Compression::SNAPPY, vec![columns()]);
    let message = load_for_evaluation(&source, &schema, 0).err().map(|error| error.to_string());
    assert!(message.is_some_and(|message| message.contains("without a column `c`")));
    Ok(())
}
