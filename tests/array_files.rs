//! NumPy's arrays and archives through the public interface: right ones are read, wrong ones are named.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use downhill::Result;
use downhill::data::{
    DataSpec, Dataset, Encoding, Split, Task, load, load_for_evaluation, load_for_prediction,
};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// The bytes of a NumPy file of version 1.
fn npy(description: &str, first_fastest: bool, shape: &str, elements: &[u8]) -> Vec<u8> {
    let order = if first_fastest { "True" } else { "False" };
    let text = format!("{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), elements].concat()
}

fn floats(shape: &str, values: &[f32]) -> Vec<u8> {
    npy("'<f4'", false, shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

fn bytes(shape: &str, values: &[u8]) -> Vec<u8> {
    npy("'|u1'", false, shape, values)
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).expect("a Vec takes all");
        archive.write_all(bytes).expect("a Vec takes all");
    }
    archive.finish().expect("a Vec takes all").into_inner()
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("the temporary folder takes a file");
    path.display().to_string()
}

fn spec(text: &str) -> DataSpec {
    text.parse().expect("a source")
}

fn trained(text: &str, target: Option<&str>) -> Result<Dataset> {
    Ok(load(&spec(text), target, None, 0)?.train)
}

fn features_of(dataset: &Dataset) -> Vec<Option<Vec<f32>>> {
    (0..dataset.rows()).map(|row| dataset.features(row)).collect()
}

fn labels_of(dataset: &Dataset) -> Vec<u32> {
    (0..dataset.rows()).filter_map(|row| dataset.label(row)).collect()
}

#[test]
fn every_type_and_order_of_bytes_is_read() -> Result<()> {
    // Type, the bytes of 0, of 1 and of another value, that value.
    let table: [(&str, [&[u8]; 3], f32); 20] = [
        ("|b1", [&[0], &[1], &[1]], 1.0),
        ("|i1", [&[0], &[1], &[0xfd]], -3.0),
        ("|u1", [&[0], &[1], &[3]], 3.0),
        ("<i2", [&[0; 2], &[1, 0], &[0xfd, 0xff]], -3.0),
        (">i2", [&[0; 2], &[0, 1], &[0xff, 0xfd]], -3.0),
        ("<u2", [&[0; 2], &[1, 0], &[0, 0xff]], 65280.0),
        (">u2", [&[0; 2], &[0, 1], &[0xff, 0]], 65280.0),
        ("<i4", [&[0; 4], &[1, 0, 0, 0], &[0xfd, 0xff, 0xff, 0xff]], -3.0),
        (">i4", [&[0; 4], &[0, 0, 0, 1], &[0xff, 0xff, 0xff, 0xfd]], -3.0),
        ("<u4", [&[0; 4], &[1, 0, 0, 0], &[0, 0, 0, 0x80]], 2147483648.0),
        (">u4", [&[0; 4], &[0, 0, 0, 1], &[0x80, 0, 0, 0]], 2147483648.0),
        ("<i8", [&[0; 8], &1i64.to_le_bytes(), &(-3i64).to_le_bytes()], -3.0),
        (">i8", [&[0; 8], &1i64.to_be_bytes(), &(-3i64).to_be_bytes()], -3.0),
        ("<u8", [&[0; 8], &1u64.to_le_bytes(), &(1u64 << 63).to_le_bytes()], 9223372036854775808.0),
        ("<f2", [&[0; 2], &[0, 0x3c], &[0, 0xc2]], -3.0),
        (">f2", [&[0; 2], &[0x3c, 0], &[0xc2, 0]], -3.0),
        ("<f4", [&[0; 4], &1f32.to_le_bytes(), &0.1f32.to_le_bytes()], 0.1),
        (">f4", [&[0; 4], &1f32.to_be_bytes(), &0.1f32.to_be_bytes()], 0.1),
        ("<f8", [&[0; 8], &1f64.to_le_bytes(), &0.1f64.to_le_bytes()], 0.1),
        (">f8", [&[0; 8], &1f64.to_be_bytes(), &0.1f64.to_be_bytes()], 0.1),
    ];
    let folder = temporary();
    for (description, [zero, one, other], value) in table {
        let elements = [one, zero, other, one, zero, one, other, zero].concat();
        let file = npy(&format!("'{description}'"), false, "(4, 2)", &elements);
        let train = trained(&written(folder.path(), "t.npy", &file), None)?;
        let expected = [1.0, value, 0.0, value].map(|value| Some(vec![value]));
        assert_eq!(features_of(&train), expected, "{description}");
        assert_eq!(labels_of(&train), [0, 1, 1, 0], "{description}");
        assert_eq!(train.schema().encoding, Encoding::F32, "{description}");
    }
    Ok(())
}

#[test]
fn the_first_dimension_may_run_fastest() -> Result<()> {
    // Rows of [2, 3] whose values are row·100 + i·10 + j.
    let value = |row: usize, i: usize, j: usize| (row * 100 + i * 10 + j) as f32;
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for at in 0..12 {
        slow.extend(value(at / 6, at / 3 % 2, at % 3).to_le_bytes());
        fast.extend(value(at % 2, at / 2 % 2, at / 4).to_le_bytes());
    }
    let folder = temporary();
    let labels = written(folder.path(), "y.npy", &bytes("(2,)", &[0, 1]));
    for (first_fastest, elements) in [(false, slow), (true, fast)] {
        let x = written(folder.path(), "x.npy", &npy("'<f4'", first_fastest, "(2, 2, 3)", &elements));
        let train = trained(&format!("{x}+{labels}"), None)?;
        assert_eq!(train.schema().feature_shape, [2, 3]);
        let expected =
            [0.0, 100.0].map(|row| Some([0.0, 1.0, 2.0, 10.0, 11.0, 12.0].map(|x| row + x).to_vec()));
        assert_eq!(features_of(&train), expected);
    }
    Ok(())
}

#[test]
fn a_table_has_its_target_in_the_column_that_is_named() -> Result<()> {
    let folder = temporary();
    let path = written(folder.path(), "t.npy", &floats("(2, 3)", &[0.5, 1.0, 2.5, 3.5, 4.0, 5.5]));
    for (target, column) in [(None, 2), (Some("0"), 0), (Some("1"), 1), (Some("-1"), 2), (Some("-3"), 0)] {
        let train = trained(&path, target)?;
        let rows = [[0.5f32, 1.0, 2.5], [3.5, 4.0, 5.5]];
        for (at, row) in rows.iter().enumerate() {
            let others = (0..3).filter(|other| *other != column).map(|other| row[other]);
            assert_eq!(train.features(at), Some(others.collect()), "{target:?}");
            assert_eq!(train.values(at), Some(&row[column..=column]), "{target:?}");
        }
        assert_eq!(train.schema().target_name, Some(column.to_string()));
        let again = load_for_evaluation(&spec(&path), train.schema(), 0)?;
        assert_eq!(features_of(&again), features_of(&train), "{target:?}");
        let questions = load_for_prediction(&spec(&path), train.schema(), 0)?;
        assert_eq!(features_of(&questions), features_of(&train), "{target:?}");
    }
    Ok(())
}

#[test]
fn features_and_targets_may_have_a_file_each() -> Result<()> {
    let folder = temporary();
    let pixels = written(folder.path(), "pixels.npy", &bytes("(2, 2)", &[0, 51, 255, 102]));
    let labels =
        written(folder.path(), "labels.npy", &npy("'>i4'", false, "(2,)", &[0, 0, 0, 1, 0, 0, 0, 0]));
    for train in [trained(&format!("{pixels}+{labels}"), None)?, trained(&pixels, Some(&labels))?] {
        assert_eq!(train.schema().encoding, Encoding::U8 { scale: 1.0 / 255.0 });
        let expected =
            [[0.0, 51.0], [255.0, 102.0]].map(|row| Some(row.map(|byte| byte * (1.0 / 255.0)).to_vec()));
        assert_eq!(features_of(&train), expected);
        let questions = load_for_prediction(&spec(&pixels), train.schema(), 0)?;
        assert_eq!((features_of(&questions), questions.has_targets()), (features_of(&train), false));
    }
    let numbers = written(folder.path(), "numbers.npy", &floats("(2, 2)", &[0.5, 1.0, -2.0, 4.0]));
    let train = trained(&format!("{pixels}+{numbers}"), None)?;
    assert_eq!(train.schema().task, Task::Values { width: 2 });
    assert_eq!(train.values(1), Some(&[-2.0, 4.0][..]));
    Ok(())
}

#[test]
fn archives_are_read_by_the_names_in_them() -> Result<()> {
    let folder = temporary();
    let (x, y) = (floats("(4, 1)", &[1.0, 2.0, 3.0, 4.0]), bytes("(4,)", &[0, 1, 1, 0]));
    let table =
        [("x", "y", None), ("X", "Y", None), ("features", "labels", None), ("features", "targets", None)];
    for (features, targets, target) in table.into_iter().chain([("x", "digit", Some("digit"))]) {
        let path = written(folder.path(), "t.npz", &npz(&[(features, x.clone()), (targets, y.clone())]));
        let Split { train, test } = load(&spec(&path), target, None, 0)?;
        assert_eq!((labels_of(&train), test.is_none()), (vec![0, 1, 1, 0], true), "{features} {targets}");
        assert_eq!(features_of(&train), [1.0, 2.0, 3.0, 4.0].map(|x| Some(vec![x])));
    }
    let parts = [
        ("x_train", x),
        ("y_train", y),
        ("x_test", floats("(1, 1)", &[9.0])),
        ("y_test", bytes("(1,)", &[1])),
    ];
    let path = written(folder.path(), "mnist.npz", &npz(&parts));
    let test = load(&spec(&path), None, None, 0)?.test.expect("the archive has a test part");
    assert_eq!((features_of(&test), labels_of(&test)), (vec![Some(vec![9.0])], vec![1]));

    let single = npz(&[("arr_0", floats("(2, 2)", &[1.0, 0.5, 2.0, 1.5]))]);
    let train = trained(&written(folder.path(), "single.npz", &single), None)?;
    assert_eq!((train.features(1), train.values(1)), (Some(vec![2.0]), Some(&[1.5][..])));
    Ok(())
}

fn assert_refused(case: &str, result: Result<Dataset>, fragments: &[&str]) {
    let Err(error) = result else { panic!("{case}: not refused") };
    let message = error.to_string();
    assert_eq!((message.lines().count(), error.exit_code()), (1, 2), "{case}: {message}");
    for fragment in fragments {
        assert!(message.contains(fragment), "{case}: `{fragment}` is not in `{message}`");
    }
}

#[test]
fn arrays_that_are_wrong_are_named() {
    let good = floats("(2, 2)", &[1.0; 4]);
    let mut version = good.clone();
    version[6] = 9;
    let mut endless = good.clone();
    endless[8..10].copy_from_slice(&[0xff, 0xff]);
    let objects = npy("'|O'", false, "(2, 2)", &[0; 32]);
    let records = npy("[('a', '<f4')]", false, "(2, 2)", &[0; 16]);
    let table: [(&str, Vec<u8>, &[&str]); 15] = [
        ("empty", vec![], &["t.npy: header: the file is shorter"]),
        ("cut in the magic", good[..4].to_vec(), &["shorter than the header"]),
        ("cut in the header", good[..40].to_vec(), &["shorter than the header"]),
        ("no array", b"\x89PNG and so on, no array".to_vec(), &["is no NumPy array"]),
        ("version", version, &["version 9"]),
        ("endless header", endless, &["header of 65535 bytes"]),
        ("objects", objects, &["`|O` are no numbers"]),
        ("texts", npy("'<U8'", false, "(2, 2)", &[0; 128]), &["`<U8` are no numbers"]),
        ("records", records, &["records of several fields"]),
        ("shorter than said", good[..good.len() - 4].to_vec(), &["promises 16 bytes, but 12 follow"]),
        ("overflow", floats("(9223372036854775807, 9)", &[]), &["more than any memory"]),
        ("no rows", floats("(0, 2)", &[]), &["[0, 2] has no rows"]),
        ("one column", floats("(2, 1)", &[1.0; 2]), &["has 1 column"]),
        ("three dimensions", floats("(2, 1, 1)", &[1.0; 2]), &["3 dimensions needs a file of targets"]),
        ("NaN", floats("(2, 2)", &[1.0, 2.0, f32::NAN, 1.0]), &["row 1, column 0: NaN is not a finite"]),
    ];
    let folder = temporary();
    for (case, file, fragments) in table {
        assert_refused(case, trained(&written(folder.path(), "t.npy", &file), None), fragments);
    }
    let path = written(folder.path(), "t.npy", &floats("(2, 2)", &[1.0, f32::INFINITY, 2.0, 3.0]));
    assert_refused("infinite target", trained(&path, None), &["row 0, column 1", "not a finite"]);
    let labels = written(folder.path(), "y.npy", &bytes("(3,)", &[0, 1, 1]));
    assert_refused("label counts", trained(&format!("{path}+{labels}"), None), &["row 0, column 1"]);
    let path = written(folder.path(), "t.npy", &good);
    assert_refused("label counts", trained(&path, Some(&labels)), &["y.npy: 3 targets for 2 rows"]);
    for target in ["2", "-3", "age"] {
        assert_refused(target, trained(&path, Some(target)), &["no such target column", "0 to 1"]);
    }
}

#[test]
fn archives_that_are_wrong_are_named() {
    let (x, y) = (floats("(2, 1)", &[1.0, 2.0]), bytes("(2,)", &[0, 1]));
    let good = npz(&[("x", x.clone()), ("y", y.clone())]);
    let nan = npz(&[("x", floats("(2, 1)", &[1.0, f32::NAN])), ("y", y.clone())]);
    let mut damaged = good.clone();
    // Behind the first member's local header and name begins what it holds.
    damaged[45] ^= 0x55;
    type Row<'a> = (&'a str, Vec<u8>, Option<&'a str>, &'a [&'a str]);
    let table: [Row; 9] = [
        ("empty", vec![], None, &["t.npz: is no NumPy archive"]),
        ("no archive", b"\x93NUMPY and so on".to_vec(), None, &["is no NumPy archive"]),
        ("truncated", good[..good.len() / 2].to_vec(), None, &["is no NumPy archive"]),
        ("damaged", damaged, None, &["array x", "truncated or corrupt"]),
        ("no arrays", npz(&[]), None, &["the file has no arrays"]),
        (
            "no features",
            npz(&[("a", x.clone()), ("y", y)]),
            None,
            &["features go by the names", "the file has a, y"],
        ),
        (
            "no targets",
            npz(&[("x", x.clone()), ("z", x)]),
            None,
            &["targets go by the names", "the file has x, z"],
        ),
        ("unknown target", good, Some("yy"), &["no such array of targets", "`yy`", "known are x, y"]),
        ("NaN", nan, None, &["row 1, column 0: NaN is not a finite"]),
    ];
    let folder = temporary();
    for (case, file, target, fragments) in table {
        assert_refused(case, trained(&written(folder.path(), "t.npz", &file), target), fragments);
    }
}

#[test]
fn arrays_that_a_trained_model_does_not_take() -> Result<()> {
    let folder = temporary();
    let table = written(folder.path(), "t.csv", b"a,b\n1,0.5\n2,1.5\n");
    let named = trained(&table, None)?.schema().clone();
    let array = written(folder.path(), "t.npy", &floats("(2, 2)", &[1.0; 4]));
    let nameless = trained(&array, None)?.schema().clone();
    let wide = written(folder.path(), "wide.npy", &floats("(2, 9)", &[1.0; 18]));
    let evaluated = |path: &str, schema| load_for_evaluation(&spec(path), schema, 0);
    assert_refused("names", evaluated(&array, &named), &["a table with column names"]);
    assert_refused("width", evaluated(&wide, &nameless), &["8 features a row, the model takes 1"]);
    assert_refused("no names", evaluated(&table, &nameless), &["without column names"]);
    Ok(())
}
