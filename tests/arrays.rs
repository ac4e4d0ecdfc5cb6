//! NumPy's arrays and archives: what is in them is what the rows say, and what cannot be right is refused.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use downhill::Result;
use downhill::data::{
    DataSpec, Dataset, Encoding, Targets, Task, TestSpec, load, load_for_evaluation, load_for_prediction,
};

/// The bytes of a NumPy file with these words in its header.
fn array(description: &str, order: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    with_header(
        1,
        &format!("{{'descr': '{description}', 'fortran_order': {order}, 'shape': {shape}, }}\n"),
        elements,
    )
}

fn with_header(version: u8, header: &str, elements: &[u8]) -> Vec<u8> {
    let length = (header.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", &[version, 0][..], length, header.as_bytes(), elements].concat()
}

fn floats(shape: &str, values: &[f32]) -> Vec<u8> {
    array("<f4", "False", shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

fn archive(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("{name}.npy"), options).expect("a Vec takes all");
        zip.write_all(bytes).expect("a Vec takes all");
    }
    zip.finish().expect("a Vec takes all").into_inner()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> DataSpec {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("the temporary folder takes a file");
    path.display().to_string().parse().expect("a known ending")
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn features_of(dataset: &Dataset) -> Vec<Vec<f32>> {
    (0..dataset.rows()).filter_map(|row| dataset.features(row)).collect()
}

fn labels_of(dataset: &Dataset) -> Vec<u32> {
    (0..dataset.rows()).filter_map(|row| dataset.label(row)).collect()
}

fn values_of(dataset: &Dataset) -> Vec<&[f32]> {
    (0..dataset.rows()).filter_map(|row| dataset.values(row)).collect()
}

#[test]
fn every_type_of_element_is_read_in_both_byte_orders() -> Result<()> {
    let little: [(&str, Vec<u8>, [f32; 2]); 12] = [
        ("b1", vec![0, 1], [0.0, 1.0]),
        ("i1", vec![0x80, 3], [-128.0, 3.0]),
        ("u1", vec![0x80, 3], [128.0, 3.0]),
        ("i2", [-300i16, 7].map(i16::to_le_bytes).concat(), [-300.0, 7.0]),
        ("u2", [65000u16, 7].map(u16::to_le_bytes).concat(), [65000.0, 7.0]),
        ("i4", [-70000i32, 7].map(i32::to_le_bytes).concat(), [-70000.0, 7.0]),
        ("u4", [3_000_000_000u32, 7].map(u32::to_le_bytes).concat(), [3e9, 7.0]),
        ("i8", [-5_000_000_000i64, 7].map(i64::to_le_bytes).concat(), [-5e9, 7.0]),
        ("u8", [1u64 << 63, 7].map(u64::to_le_bytes).concat(), [9_223_372_036_854_775_808.0, 7.0]),
        ("f2", [0x3c00u16, 0xc100].map(u16::to_le_bytes).concat(), [1.0, -2.5]),
        ("f4", [0.1f32, -2.5].map(f32::to_le_bytes).concat(), [0.1, -2.5]),
        ("f8", [0.1f64, -2.5].map(f64::to_le_bytes).concat(), [0.1, -2.5]),
    ];
    let folder = temporary();
    for (code, bytes, values) in little {
        let size = bytes.len() / 2;
        let big: Vec<u8> = bytes.chunks(size).flat_map(|element| element.iter().rev()).copied().collect();
        let orders = if size == 1 { [("|", &bytes), ("|", &big)] } else { [("<", &bytes), (">", &big)] };
        for (order, elements) in orders {
            let description = format!("{order}{code}");
            let source = write(folder.path(), "t.npy", &array(&description, "False", "(1, 2)", elements));
            let train = load(&source, None, None, 0)?.train;
            assert_eq!(features_of(&train), [[values[0]]], "{description}");
            assert_eq!(values_of(&train), [[values[1]]], "{description}");
        }
    }
    Ok(())
}

#[test]
fn a_table_is_the_same_in_either_order_and_every_version() -> Result<()> {
    let stored = |values: [f32; 6]| values.map(f32::to_le_bytes).concat();
    let (rows, columns) = (stored([1.0, 2.0, 0.5, 4.0, 5.0, 1.5]), stored([1.0, 4.0, 2.0, 5.0, 0.5, 1.5]));
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
    let files = [
        array("<f4", "False", "(2, 3)", &rows),
        array("<f4", "True", "(2, 3)", &columns),
        with_header(2, header, &rows),
        with_header(3, header, &rows),
        // The keys in another order, and Python 2's long integers.
        with_header(1, "{'shape':(2L,3L),'descr':'<f4','fortran_order':False}", &rows),
    ];
    let targets = [(None, 2), (Some("0"), 0), (Some("1"), 1), (Some("-1"), 2), (Some("-3"), 0)];
    let expected = [[1.0f32, 2.0, 0.5], [4.0, 5.0, 1.5]];
    let folder = temporary();
    for (case, file) in files.iter().enumerate() {
        let source = write(folder.path(), "t.npy", file);
        for (target, column) in targets {
            let train = load(&source, target, None, 0)?.train;
            let features =
                expected.map(|row| (0..3).filter(|at| *at != column).map(|at| row[at]).collect::<Vec<_>>());
            assert_eq!(features_of(&train), features, "file {case}, {target:?}");
            assert_eq!(values_of(&train), expected.map(|row| [row[column]]), "file {case}, {target:?}");
            let again = load_for_evaluation(&source, train.schema(), 0)?;
            assert_eq!((again.schema(), values_of(&again)), (train.schema(), values_of(&train)));
            assert_eq!(features_of(&load_for_prediction(&source, train.schema(), 0)?), features);
        }
    }
    Ok(())
}

#[test]
fn fortran_order_of_three_dimensions_is_that_of_the_rows() -> Result<()> {
    // Element (row, i, j) of shape (2, 2, 3) is 100·row + 10·i + j.
    let c =
        (0..2).flat_map(|row| (0..2).flat_map(move |i| (0..3).map(move |j| (100 * row + 10 * i + j) as f32)));
    let fortran =
        (0..3).flat_map(|j| (0..2).flat_map(move |i| (0..2).map(move |row| (100 * row + 10 * i + j) as f32)));
    let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>();
    let folder = temporary();
    let labels = write(folder.path(), "y.npy", &array("|u1", "False", "(2,)", &[0, 1])).to_string();
    let first = write(folder.path(), "c.npy", &array("<f4", "False", "(2, 2, 3)", &bytes(c.collect())));
    let second = write(folder.path(), "f.npy", &array("<f4", "True", "(2, 2, 3)", &bytes(fortran.collect())));
    let [first, second] = [load(&first, Some(&labels), None, 0)?, load(&second, Some(&labels), None, 0)?];
    assert_eq!(first.train.schema().feature_shape, [2, 3]);
    assert_eq!(
        features_of(&first.train),
        [[0.0, 1.0, 2.0, 10.0, 11.0, 12.0], [100.0, 101.0, 102.0, 110.0, 111.0, 112.0]]
    );
    assert_eq!(features_of(&second.train), features_of(&first.train));
    Ok(())
}

#[test]
fn features_and_targets_of_two_files() -> Result<()> {
    let folder = temporary();
    let pixels =
        write(folder.path(), "x.npy", &array("|u1", "False", "(4, 1, 2)", &[0, 255, 51, 0, 1, 2, 3, 4]));
    let labels = array("<i8", "False", "(4,)", &[1i64, 0, 1, 0].map(i64::to_le_bytes).concat());
    let labels = write(folder.path(), "y.npy", &labels).to_string();
    let several =
        write(folder.path(), "several.npy", &floats("(4, 2)", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));

    let train = load(&pixels, Some(&labels), None, 0)?.train;
    assert_eq!((labels_of(&train), &train.schema().task), (vec![1, 0, 1, 0], &Task::classes(2)));
    assert_eq!(train.schema().encoding, Encoding::U8 { scale: 1.0 / 255.0 });
    assert_eq!(train.features(1), Some(vec![51.0 * (1.0 / 255.0), 0.0]));
    let mut bytes = [0; 2];
    train.copy_rows(&[1], &mut bytes, &mut [0; 4])?;
    assert_eq!(bytes, [51, 0]);
    assert_eq!(
        load_for_prediction(&pixels, train.schema(), 0)?.features(1),
        Some(vec![51.0 * (1.0 / 255.0), 0.0])
    );

    let both: DataSpec = format!("{pixels}+{labels}").parse()?;
    assert_eq!(both.to_string(), format!("{pixels}+{labels}"));
    let split = load(&both, None, Some(&TestSpec::Source(both.clone())), 0)?;
    let test = split.test.expect("asked for");
    assert_eq!((labels_of(&test), labels_of(&split.train)), (vec![1, 0, 1, 0], vec![1, 0, 1, 0]));

    let numbers = load(&pixels, Some(&several.to_string()), None, 0)?.train;
    assert_eq!(numbers.schema().task, Task::Values { width: 2 });
    assert_eq!(values_of(&numbers), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]);
    Ok(())
}

#[test]
fn archives_know_their_arrays_by_name() -> Result<()> {
    let x = || floats("(2, 2)", &[1.0, 2.0, 3.0, 4.0]);
    let y = || floats("(2,)", &[0.5, 0.25]);
    let z = || floats("(2,)", &[9.0, 8.5]);
    // The arrays, the target asked for, and the targets that must come.
    type Row<'a> = (Vec<(&'a str, Vec<u8>)>, Option<&'a str>, [f32; 2]);
    let table: [Row; 6] = [
        (vec![("x", x()), ("y", y())], None, [0.5, 0.25]),
        (vec![("X", x()), ("Y", y())], None, [0.5, 0.25]),
        (vec![("features", x()), ("labels", y())], None, [0.5, 0.25]),
        (vec![("features", x()), ("targets", y()), ("other", z())], Some("other"), [9.0, 8.5]),
        (vec![("x", x()), ("z", z())], Some("z"), [9.0, 8.5]),
        (vec![("anything", floats("(2, 3)", &[1.0, 2.0, 0.5, 3.0, 4.0, 0.25]))], None, [0.5, 0.25]),
    ];
    let folder = temporary();
    for (arrays, target, expected) in table {
        let names: Vec<&str> = arrays.iter().map(|(name, _)| *name).collect();
        let source = write(folder.path(), "t.npz", &archive(&arrays));
        let split = load(&source, target, None, 0)?;
        assert_eq!(features_of(&split.train), [[1.0, 2.0], [3.0, 4.0]], "{names:?}");
        assert_eq!(values_of(&split.train), expected.map(|value| [value]), "{names:?}");
        assert!(split.test.is_none(), "{names:?}");
        let again = load_for_evaluation(&source, split.train.schema(), 0)?;
        assert_eq!(values_of(&again), values_of(&split.train), "{names:?}");
    }

    let keras = [
        ("x_train", x()),
        ("y_train", y()),
        ("x_test", floats("(1, 2)", &[7.0, 6.0])),
        ("y_test", floats("(1,)", &[3.5])),
    ];
    let split = load(&write(folder.path(), "keras.npz", &archive(&keras)), None, None, 0)?;
    let test = split.test.expect("the archive has a test part");
    assert_eq!(values_of(&split.train), [[0.5], [0.25]]);
    assert_eq!((features_of(&test), values_of(&test)), (vec![vec![7.0, 6.0]], vec![&[3.5][..]]));
    Ok(())
}

#[test]
fn arrays_that_cannot_be_right() {
    let two = floats("(2, 2)", &[1.0, 2.0, 3.0, 4.0]);
    let of = |description, shape| array(description, "False", shape, &[0; 16]);
    let text = |header: &str| with_header(1, header, &[0; 16]);
    let table: [(&str, Vec<u8>, Option<&str>, &str); 27] = [
        ("empty", vec![], None, "shorter than the header"),
        ("half a magic", b"\x93NUM".to_vec(), None, "shorter than the header"),
        ("half a header", two[..30].to_vec(), None, "shorter than the header"),
        ("no array", b"PK\x03\x04 and so on".to_vec(), None, "header: is no NumPy array"),
        ("version 9", with_header(9, "", &[0; 16]), None, "version 9; versions 1 to 3"),
        ("endless header", with_header(2, &" ".repeat(20_000), &[]), None, "header of 20000 bytes"),
        ("objects", of("|O", "(2, 2)"), None, "elements of type `|O`"),
        ("strings", of("<U3", "(2, 2)"), None, "elements of type `<U3`"),
        ("complex numbers", of("<c8", "(2, 1)"), None, "elements of type `<c8`"),
        ("no byte order", of("f4", "(2, 2)"), None, "elements of type `f4`"),
        (
            "records",
            text("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }"),
            None,
            "records",
        ),
        ("no shape", text("{'descr': '<f4', 'fortran_order': False, }"), None, "says no `shape`"),
        (
            "a shape of words",
            text("{'descr': '<f4', 'fortran_order': False, 'shape': (a, b), }"),
            None,
            "`shape` is no",
        ),
        (
            "no order",
            text("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (4,), }"),
            None,
            "neither True nor False",
        ),
        ("nothing at all", text(""), None, "says no `descr`"),
        ("a single number", array("<f4", "False", "()", &[0; 4]), None, "shape [] has no rows"),
        ("no rows", array("<f4", "False", "(0, 2)", &[]), None, "shape [0, 2] has no rows"),
        ("shorter than said", two[..two.len() - 1].to_vec(), None, "promises 16 bytes, but 15 follow"),
        ("longer than said", [&two[..], &[0]].concat(), None, "promises 16 bytes, but 17 follow"),
        ("beyond all memory", of("<f8", "(4294967296, 4294967296)"), None, "more than any memory"),
        ("one column", of("<f4", "(4, 1)"), None, "has 1 column; a target and a feature"),
        ("one dimension", of("<f4", "(4,)"), None, "1 dimensions needs a file of targets"),
        ("three dimensions", of("<f4", "(1, 2, 2)"), None, "3 dimensions needs a file of targets"),
        (
            "no such column",
            two.clone(),
            Some("2"),
            "no such target column: `2`; an array's columns are 0 to 1",
        ),
        ("no such column from the end", two.clone(), Some("-3"), "no such target column: `-3`"),
        ("a column by name", two.clone(), Some("kind"), "no such target column: `kind`"),
        ("missing targets", two, Some("nowhere.npy"), "cannot read nowhere.npy"),
    ];
    let folder = temporary();
    for (case, bytes, target, fragment) in table {
        assert_refused(case, load(&write(folder.path(), "t.npy", &bytes), target, None, 0), fragment);
    }
}

/// Checks that an error comes, as one line and the fault of the request, and says what it must.
fn assert_refused<T>(case: &str, result: Result<T>, fragment: &str) {
    let Err(error) = result else { panic!("{case}: not refused") };
    let message = error.to_string();
    assert_eq!((message.lines().count(), error.exit_code()), (1, 2), "{case}: {message}");
    assert!(message.contains(fragment), "{case}: `{fragment}` is not in `{message}`");
}

#[test]
fn values_that_are_not_finite_are_named_by_row_and_column() {
    let nan = f32::NAN;
    let table: [(&str, Vec<u8>, &str); 6] = [
        (
            "a feature",
            floats("(2, 3)", &[1.0, 2.0, 3.0, 4.0, nan, 6.0]),
            "row 1, column 1: NaN is not a finite",
        ),
        ("the target", floats("(2, 2)", &[1.0, 2.0, 3.0, nan]), "row 1, column 1: `NaN` is not a finite"),
        (
            "in Fortran's order",
            array("<f4", "True", "(2, 3)", &[1.0, 2.0, nan, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat()),
            "row 0, column 1: NaN",
        ),
        (
            "too large for 32 bits",
            array(">f8", "False", "(1, 2)", &[1e39f64, 0.0].map(f64::to_be_bytes).concat()),
            "row 0, column 0: 1000000000000000000000000000000000000000 is not a finite 32-bit number",
        ),
        (
            "half precision",
            array("<f2", "False", "(1, 2)", &[0xfc00u16, 0].map(u16::to_le_bytes).concat()),
            "row 0, column 0: -inf",
        ),
        // Beyond what is looked at in one go.
        (
            "far behind",
            floats(
                "(50000, 2)",
                &(0..100_000).map(|at| if at == 99_998 { nan } else { 0.0 }).collect::<Vec<_>>(),
            ),
            "row 49999, column 0: NaN",
        ),
    ];
    let folder = temporary();
    for (case, bytes, fragment) in table {
        assert_refused(case, load(&write(folder.path(), "t.npy", &bytes), None, None, 0), fragment);
    }
}

#[test]
fn targets_in_a_file_of_their_own_that_do_not_fit() {
    let folder = temporary();
    let features = write(folder.path(), "x.npy", &floats("(3, 1, 1)", &[1.0, 2.0, 3.0]));
    let table = [
        ("fewer", floats("(2,)", &[0.0, 1.0]), "y.npy: 2 targets for 3 rows"),
        ("NaN", floats("(3,)", &[0.0, f32::NAN, 1.0]), "y.npy: row 1: `NaN`"),
        (
            "NaN among several",
            floats("(3, 2)", &[0.0, 1.0, 2.0, f32::NAN, 4.0, 5.0]),
            "y.npy: row 1, column 1: NaN",
        ),
    ];
    for (case, bytes, fragment) in table {
        let targets = write(folder.path(), "y.npy", &bytes).to_string();
        assert_refused(case, load(&features, Some(&targets), None, 0), fragment);
    }
    let pair: DataSpec =
        format!("{features}+{}", folder.path().join("y.npy").display()).parse().expect("a pair");
    assert_refused("named twice", load(&pair, Some("1"), None, 0), "target: `1` cannot be it");
}

#[test]
fn archives_that_cannot_be_right() {
    let (x, y) = (floats("(2, 2)", &[1.0, 2.0, 3.0, 4.0]), floats("(2,)", &[0.5, 0.25]));
    let whole = archive(&[("x", x.clone()), ("y", y.clone())]);
    let mut damaged = whole.clone();
    let at = 30 + "x.npy".len() + 20;
    damaged[at] ^= 0x55;
    let table: [(&str, Vec<u8>, Option<&str>, &str); 9] = [
        ("empty", vec![], None, "is no NumPy archive"),
        ("no archive", x.clone(), None, "is no NumPy archive"),
        ("truncated", whole[..whole.len() - 9].to_vec(), None, "is no NumPy archive, or a truncated one"),
        ("damaged", damaged, None, "array x: "),
        ("no arrays", archive(&[]), None, "the file has no arrays"),
        (
            "no features",
            archive(&[("a", x.clone()), ("y", y.clone())]),
            None,
            "features go by the names x_train, x",
        ),
        (
            "no targets",
            archive(&[("x", x.clone()), ("b", y.clone())]),
            None,
            "targets go by the names y_train, y",
        ),
        (
            "targets that are not there",
            whole,
            Some("yy"),
            "no such array of targets: unknown name `yy`; known are x, y",
        ),
        (
            "an array cut short",
            archive(&[("x", x[..x.len() - 1].to_vec()), ("y", y)]),
            None,
            "array x: promises 16 bytes",
        ),
    ];
    let folder = temporary();
    for (case, bytes, target, fragment) in table {
        assert_refused(case, load(&write(folder.path(), "t.npz", &bytes), target, None, 0), fragment);
    }
}

#[test]
fn arrays_that_a_trained_model_does_not_take() -> Result<()> {
    let folder = temporary();
    let table = write(folder.path(), "t.npy", &floats("(2, 3)", &[1.0, 2.0, 0.5, 3.0, 4.0, 0.25]));
    let schema = load(&table, None, None, 0)?.train.schema().clone();
    let narrow = write(folder.path(), "narrow.npy", &floats("(1, 2)", &[1.0, 2.0]));
    let wide = write(folder.path(), "wide.npy", &floats("(1, 5)", &[1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_refused("narrower", load_for_evaluation(&narrow, &schema, 0), "no such target column");
    assert_refused(
        "wider",
        load_for_evaluation(&wide, &schema, 0),
        "has 4 features a row, the model takes 2",
    );
    assert_eq!(load_for_prediction(&narrow, &schema, 0)?.features(0), Some(vec![1.0, 2.0]));

    let named = write(folder.path(), "t.csv", b"a,b\n1,2\n3,4\n");
    let schema = load(&named, None, None, 0)?.train.schema().clone();
    assert_refused("names", load_for_evaluation(&narrow, &schema, 0), "trained on a table with column names");

    let memory = Dataset::from_f32(vec![1.0], &[1], Task::classes(1), Targets::Labels(vec![0]))?;
    let pixels = write(folder.path(), "x.npy", &array("|u1", "False", "(1, 1)", &[7]));
    let labels = write(folder.path(), "y.npy", &array("|u1", "False", "(1,)", &[0]));
    let pair: DataSpec = format!("{pixels}+{labels}").parse()?;
    assert_refused("bytes", load_for_evaluation(&pair, memory.schema(), 0), "its features are bytes scaled");
    Ok(())
}
