//! Parquet files through the public interface: right ones are read, wrong ones are named.

#![cfg(feature = "parquet")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use downhill::data::{DataSpec, Dataset, Task, load, load_for_prediction};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

/// The values of a column, and which rows have one where some have none.
enum Column {
    Bool(Vec<bool>),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    DoubleWithNulls(Vec<f64>, Vec<i16>),
    Text(Vec<&'static str>),
}

fn write_column(writer: &mut SerializedColumnWriter, column: &Column) {
    let written = match column {
        Column::Bool(values) => writer.typed::<BoolType>().write_batch(values, None, None),
        Column::Int(values) => writer.typed::<Int32Type>().write_batch(values, None, None),
        Column::Long(values) => writer.typed::<Int64Type>().write_batch(values, None, None),
        Column::Float(values) => writer.typed::<FloatType>().write_batch(values, None, None),
        Column::Double(values) => writer.typed::<DoubleType>().write_batch(values, None, None),
        Column::DoubleWithNulls(values, levels) => {
            writer.typed::<DoubleType>().write_batch(values, Some(levels), None)
        }
        Column::Text(values) => {
            let values: Vec<ByteArray> = values.iter().map(|value| ByteArray::from(*value)).collect();
            writer.typed::<ByteArrayType>().write_batch(&values, None, None)
        }
    };
    written.expect("values of the column's type");
}

/// Writes a file of columns declared as in `fields`, each of `groups` a row group.
fn write(folder: &Path, fields: &str, compression: Compression, groups: &[Vec<Column>]) -> PathBuf {
    let path = folder.join("t.parquet");
    let schema = parse_message_type(&format!("message schema {{ {fields} }}")).expect("a schema");
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = File::create(&path).expect("the temporary folder takes a file");
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).expect("a writer");
    for columns in groups {
        let mut group = writer.next_row_group().expect("a row group");
        for column in columns {
            let mut writer = group.next_column().expect("a column").expect("one for each field");
            write_column(&mut writer, column);
            writer.close().expect("a column");
        }
        group.close().expect("a row group");
    }
    writer.close().expect("a file");
    path
}

fn trained(path: &Path, target: Option<&str>) -> downhill::Result<Dataset> {
    Ok(load(&DataSpec::Parquet(path.to_owned()), target, None, 0)?.train)
}

#[test]
fn columns_of_all_types_are_read_over_row_groups() -> downhill::Result<()> {
    let fields = "required boolean a; required int32 b; required int64 c; required float d; \
        optional double e; required binary kind (UTF8);";
    let group = |shift: i32, kinds: [&'static str; 2]| {
        vec![
            Column::Bool(vec![true, false]),
            Column::Int(vec![shift, -1]),
            Column::Long(vec![1 << 40, -3]),
            Column::Float(vec![0.1, 2.5]),
            Column::DoubleWithNulls(vec![0.1, -4.0], vec![1, 1]),
            Column::Text(kinds.to_vec()),
        ]
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ];
    for compression in compressions {
        let groups = [group(5, ["no", "yes"]), group(6, ["yes", "no"])];
        let path = write(folder.path(), fields, compression, &groups);
        let train = trained(&path, None)?;
        let shared = |b| Some(vec![1.0, b, (1u64 << 40) as f32, 0.1, 0.1]);
        let other = Some(vec![0.0, -1.0, -3.0, 2.5, -4.0]);
        let found: Vec<_> = (0..4).map(|row| train.features(row)).collect();
        assert_eq!(found, [shared(5.0), other.clone(), shared(6.0), other], "{compression:?}");
        assert_eq!((0..4).filter_map(|row| train.label(row)).collect::<Vec<_>>(), [0, 1, 1, 0]);
        assert_eq!(train.schema().feature_names, ["a", "b", "c", "d", "e"]);
        let names = ["no", "yes"].map(str::to_owned).to_vec();
        assert_eq!(train.schema().task, Task::Classes { count: 2, names });
        let questions = load_for_prediction(&DataSpec::Parquet(path), train.schema(), 0)?;
        assert_eq!((questions.rows(), questions.has_targets()), (4, false));
    }
    Ok(())
}

#[test]
fn files_that_are_wrong_are_named() {
    let two = "required double a; required double b;";
    let doubles = |values: [f64; 2]| Column::Double(values.to_vec());
    let nulls = || Column::DoubleWithNulls(vec![1.0], vec![1, 0]);
    let text = || Column::Text(vec!["x", "y"]);
    let good = || vec![doubles([1.0, 2.0]), doubles([1.0, 2.0])];
    let second = |column| vec![good(), vec![doubles([1.0, 2.0]), column]];
    type Row<'a> = (&'a str, &'a str, Vec<Vec<Column>>, Option<&'a str>, &'a [&'a str]);
    let table: [Row; 8] = [
        ("no rows", two, vec![], None, &["there are columns but no rows"]),
        ("one column", "required double a;", vec![vec![doubles([1.0, 2.0])]], None, &["single column `a`"]),
        (
            "null",
            "required double a; optional double b;",
            vec![
                vec![doubles([1.0, 2.0]), Column::DoubleWithNulls(vec![1.0, 2.0], vec![1, 1])],
                vec![doubles([1.0, 2.0]), nulls()],
            ],
            Some("a"),
            &["row 3, column `b`: the value is null"],
        ),
        (
            "NaN",
            two,
            second(doubles([1.0, f64::NAN])),
            Some("a"),
            &["row 3, column `b`: NaN is not a finite"],
        ),
        (
            "too large",
            two,
            second(doubles([1e39, 1.0])),
            Some("a"),
            &["row 2, column `b`", "not a finite 32-bit"],
        ),
        (
            "text as feature",
            "required binary a (UTF8); required double b;",
            vec![vec![text(), doubles([1.0, 2.0])]],
            None,
            &["`a` holds text", "--target a"],
        ),
        ("unknown target", two, vec![good()], Some("c"), &["no such target column", "`c`"]),
        (
            "nested",
            "required group a { required double c; } required double b;",
            vec![good()],
            None,
            &["`a.c` is not flat"],
        ),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (case, fields, groups, target, fragments) in table {
        let path = write(folder.path(), fields, Compression::UNCOMPRESSED, &groups);
        assert_refused(case, &path, target, fragments);
    }
    let path = write(folder.path(), two, Compression::UNCOMPRESSED, &[good()]);
    let whole = fs::read(&path).expect("it was written");
    for (case, bytes) in [
        ("empty", &[][..]),
        ("truncated", &whole[..whole.len() - 6]),
        ("no file of the kind", b"a,b\n1,2\n3,4\n"),
    ] {
        fs::write(&path, bytes).expect("the temporary folder takes a file");
        assert_refused(case, &path, None, &["t.parquet", "is no Parquet file, or a damaged one"]);
    }
}

fn assert_refused(case: &str, path: &Path, target: Option<&str>, fragments: &[&str]) {
    let Err(error) = trained(path, target) else { panic!("{case}: not refused") };
    let message = error.to_string();
    assert_eq!((message.lines().count(), error.exit_code()), (1, 2), "{case}: {message}");
    for fragment in fragments {
        assert!(message.contains(fragment), "{case}: `{fragment}` is not in `{message}`");
    }
}
