//! Data that cannot be right: one line that names the culprit, exit code 2, and never a panic.

mod data_files;

use std::fs;
use std::path::Path;

use data_files::{gzip, idx, pixels, write, write_idx_folder};
use downhill::data::{
    DataSpec, Dataset, Schema, TargetKind, Targets, Task, TestSpec, load, load_as, load_for_evaluation,
    load_for_prediction,
};
use downhill::{Error, Result};

/// The message of an error that must come, checked for what holds of all of them.
fn refused<T>(case: &str, result: Result<T>) -> String {
    let Err(error) = result else { panic!("{case}: not refused") };
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{case}: one line, not {message:?}");
    assert_eq!(error.exit_code(), 2, "{case}: {message}");
    message
}

fn assert_names(case: &str, message: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(message.contains(fragment), "{case}: `{fragment}` is not in `{message}`");
    }
}

#[test]
fn specifications() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unknown = write(folder.path(), "table.xlsx", b"?").display().to_string();
    let table: [(&str, &[&str]); 10] = [
        ("", &["data: ``", "known are `digits`"]),
        ("digitz", &["`digitz` is no file or folder", "random:ROWSxCOLS:CLASSES"]),
        ("two\nlines", &["`two\\nlines`"]),
        (&unknown, &["table.xlsx` is of no known format", ".csv.gz"]),
        ("random:", &["rows, columns and from 2 classes"]),
        ("random:10x10", &["rows, columns and from 2 classes"]),
        ("random:10x0:2", &["rows, columns and from 2 classes"]),
        ("random:10x10:1", &["rows, columns and from 2 classes"]),
        ("random:10x10:11", &["rows, columns and from 2 classes to as many as rows"]),
        ("random:-1x10:2", &["rows, columns and from 2 classes"]),
    ];
    for (text, fragments) in table {
        assert_names(text, &refused(text, text.parse::<DataSpec>()), fragments);
        refused(text, text.parse::<TestSpec>());
    }
    for text in ["0%", "100%", "-3%", "NaN%", "%", "many%"] {
        assert_names(text, &refused(text, text.parse::<TestSpec>()), &["test: `", "percentage"]);
    }
}

#[test]
fn sources_as_a_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = DataSpec::Csv(folder.path().join("missing.csv"));
    let a_folder = DataSpec::Csv(folder.path().to_owned());
    let huge = DataSpec::Random { rows: u32::MAX, columns: u32::MAX, classes: 2 };
    let large = DataSpec::Random { rows: 4_000_000_000, columns: 1_000, classes: 2 };
    let percent = TestSpec::Percent(120.0);
    let table: [(&str, Result<_>, &[&str]); 7] = [
        ("missing file", load(&missing, None, None, 0), &["cannot read", "missing.csv"]),
        ("folder for a file", load(&a_folder, None, None, 0), &["cannot read"]),
        ("too many values", load(&huge, None, None, 0), &["4294967295 × 4294967295", "memory"]),
        ("more than is free", load(&large, None, None, 0), &["4000000000 × 1000", "memory"]),
        (
            "target of pixels",
            load(&DataSpec::Digits, Some("label"), None, 0),
            &["target: digits has no columns", "`label`"],
        ),
        ("percentage", load(&DataSpec::Digits, None, Some(&percent), 0), &["test: ", "between 0 and 1"]),
        (
            "test source of another width",
            load(
                &DataSpec::Digits,
                None,
                Some(&TestSpec::Source(DataSpec::Random { rows: 9, columns: 3, classes: 2 })),
                0,
            ),
            &["random:9x3:2: has 3 features a row, the model takes 64"],
        ),
    ];
    for (case, result, fragments) in table {
        assert_names(case, &refused(case, result), fragments);
    }
}

#[test]
fn idx_folders() {
    let images = || idx(&[5, 2, 3], &pixels(5));
    let mut damaged = gzip(&images());
    damaged[20] ^= 0x55;
    let mut wrong_checksum = gzip(&images());
    let checksum = wrong_checksum.len() - 8;
    wrong_checksum[checksum] ^= 1;
    let cut = gzip(&images())[..25].to_vec();
    let floats = [&[0, 0, 0x0d, 3][..], &images()[4..]].concat();
    let huge = idx(&[u32::MAX, u32::MAX, u32::MAX], &[]);
    let terabytes = idx(&[u32::MAX, 28, 28], &[]);

    // Case, the file that is replaced, by what (nothing: removed), fragments of the message.
    type Row<'a> = (&'a str, &'a str, Option<Vec<u8>>, &'a [&'a str]);
    let train = "train-images-idx3-ubyte";
    let table: [Row; 23] = [
        ("no images", train, None, &["neither `train-images-idx3-ubyte` nor `train-images-idx3-ubyte.gz`"]),
        ("no labels", "train-labels-idx1-ubyte", None, &["`train-labels-idx1-ubyte`"]),
        ("no test part", "t10k-images-idx3-ubyte", None, &["`t10k-images-idx3-ubyte`", "--test 20%"]),
        ("empty", train, Some(vec![]), &[train, "shorter than the 16 bytes of an IDX header"]),
        ("half a header", train, Some(images()[..10].to_vec()), &[train, "shorter than the 16 bytes"]),
        (
            "no IDX file",
            train,
            Some(b"\x89PNG and so on, no IDX".to_vec()),
            &[train, "begins with [89, 50, 4e, 47]", "[00, 00, 08, 03]"],
        ),
        ("floats", train, Some(floats), &["begins with [00, 00, 0d, 03]"]),
        (
            "labels for images",
            train,
            Some(idx(&[20], &[0; 20])),
            &["begins with [00, 00, 08, 01]", "3 dimensions"],
        ),
        (
            "shorter than said",
            train,
            Some(idx(&[5, 2, 3], &pixels(4))),
            &["promises 30 bytes, but 24 follow"],
        ),
        ("longer than said", train, Some(idx(&[5, 2, 3], &pixels(6))), &["promises 30 bytes, but 36 follow"]),
        (
            "dimensions that overflow",
            train,
            Some(huge.clone()),
            &["[4294967295, 4294967295, 4294967295]", "more than any memory"],
        ),
        ("terabytes", train, Some(terabytes.clone()), &["promises 3367254359280 bytes, but 0 follow"]),
        ("no images in it", train, Some(idx(&[0, 28, 28], &[])), &["[0, 28, 28]", "none"]),
        (
            "fewer labels",
            "train-labels-idx1-ubyte",
            Some(idx(&[4], &[0, 1, 2, 1])),
            &["train-labels-idx1-ubyte: 4 labels for 5 images"],
        ),
        (
            "unknown label in the test part",
            "t10k-labels-idx1-ubyte",
            Some(idx(&[2], &[1, 7])),
            &["t10k-labels", "row 1: label 7", "3 classes"],
        ),
        (
            "test images of another size",
            "t10k-images-idx3-ubyte",
            Some(idx(&[2, 3, 3], &[0; 18])),
            &["9 features a row, the model takes 6"],
        ),
        (
            "gzip: damaged",
            "train-images-idx3-ubyte.gz",
            Some(damaged),
            &["train-images-idx3-ubyte.gz", "corrupt"],
        ),
        (
            "gzip: wrong checksum",
            "train-images-idx3-ubyte.gz",
            Some(wrong_checksum),
            &["truncated or corrupt", "checksum"],
        ),
        (
            "gzip: truncated",
            "train-images-idx3-ubyte.gz",
            Some(cut),
            &["truncated or corrupt", "fetch it again"],
        ),
        ("gzip: none", "train-images-idx3-ubyte.gz", Some(images()), &["truncated or corrupt", "gzip"]),
        ("gzip: empty", "train-images-idx3-ubyte.gz", Some(vec![]), &["train-images-idx3-ubyte.gz"]),
        (
            "gzip: terabytes",
            "train-images-idx3-ubyte.gz",
            Some(gzip(&terabytes)),
            &["promises 3367254359280 bytes", "cannot hold them"],
        ),
        (
            "gzip: longer than said",
            "train-images-idx3-ubyte.gz",
            Some(gzip(&idx(&[5, 2, 3], &pixels(6)))),
            &["promises 30 bytes, but more follow"],
        ),
    ];
    for (case, name, content, fragments) in table {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_idx_folder(folder.path(), "");
        fs::remove_file(folder.path().join(name.trim_end_matches(".gz"))).expect("it was written");
        if let Some(content) = content {
            fs::write(folder.path().join(name), content).expect("the temporary folder takes a file");
        }
        let source = DataSpec::Idx(folder.path().to_owned());
        assert_names(case, &refused(case, load(&source, None, None, 0)), fragments);
    }
}

#[test]
fn tables() {
    let table: [(&str, &[u8], &[&str]); 25] = [
        ("empty", b"", &["t.csv: header: the file is empty"]),
        ("blank lines", b"\n\n", &["the file is empty"]),
        ("header only", b"a,b\n", &["t.csv: there are column names but no rows"]),
        ("no header", b"1,2,3\n4,5,6\n", &["header", "the first line must name the columns"]),
        ("same name twice", b"a,b,a\n1,2,3\n", &["two columns have the name `a`"]),
        ("a column without a name", b",a,b\n0,1,2\n", &["column 1 has no name"]),
        ("a name that is no text", b"a,\xff\n1,2\n", &["name of column 2 is not UTF-8"]),
        ("one column", b"a\n1\n2\n", &["single column `a`"]),
        ("semicolons", b"a;b\n1;2\n", &["between commas", "`a;b`"]),
        ("short row", b"a,b,c\n1,2,3\n4,5\n", &["t.csv: line 3: 2 values, but the header names 3 columns"]),
        ("long row", b"a,b\n1,2\n3,4\n5,6,7\n", &["line 4: 3 values"]),
        ("missing value", b"a,b\n1,2\n,4\n", &["line 3, column `a`: the value is missing"]),
        ("missing target", b"a,b\n1,2\n3,\n", &["line 3, column `b`: the value is missing"]),
        ("NaN", b"a,b\n1,2\nNaN,4\n", &["line 3, column `a`: `NaN` is not a finite"]),
        ("infinity", b"a,b\n-inf,2\n", &["line 2, column `a`: `-inf` is not a finite"]),
        (
            "too large for 32 bits",
            b"a,b\n1e39,2\n",
            &["line 2, column `a`: `1e39` is not a finite 32-bit number"],
        ),
        ("NaN as target", b"a,b\n1,2\n3,nan\n", &["line 3, column `b`: `nan` is not a finite"]),
        (
            "text as feature",
            b"a,b\n1,2\ntwo,4\n",
            &["line 3, column `a`: `two` is not a number; is it the target? --target a"],
        ),
        ("text among numbers as target", b"a,b\n1,2\n3,NA\n", &["line 3, column `b`: `NA` is not a number"]),
        (
            "number among texts as target",
            b"a,b\n1,x\n3,4\n",
            &["line 3, column `b`: `4` is a number", "text"],
        ),
        ("no text", b"a,b\n1,2\n\xfe,4\n", &["line 3, column `a`: the value is not UTF-8"]),
        ("after blank lines", b"a,b\r\n1,2\r\n\r\n\r\nx,4\r\n", &["line 5, column `a`"]),
        ("a value of two lines", b"a,b\n1,x\n2,\"x\ny\"\n", &["line 3: a quoted value goes over"]),
        ("a quote that never ends", b"a,b\n1,2\n3,\"4\n5,6\n7,8\n", &["line 3: ", "quotation mark missing"]),
        ("a header whose quote never ends", b"a,\"b\n1,2\n3,4\n", &["header: ", "quotation mark missing"]),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (case, text, fragments) in table {
        for name in ["t.csv", "t.csv.gz"] {
            let source = DataSpec::Csv(write(folder.path(), name, text));
            let message = refused(case, load(&source, None, None, 0));
            assert_names(case, &message.replace(".csv.gz", ".csv"), fragments);
        }
    }
}

#[test]
fn targets_that_are_not_what_they_are_wanted_as() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table: [(_, &[u8], _); 4] = [
        (TargetKind::Classes, b"a,b\n1,2\n1,0.5\n", "line 3, column `b`: `0.5` is not an integer"),
        (TargetKind::Classes, b"a,b\n1,2\n1,x\n", "`x` is not an integer"),
        (TargetKind::Classes, b"a,b\n1,nan\n", "`nan` is not an integer"),
        (TargetKind::Numbers, b"a,b\n1,yes\n", "line 2, column `b`: `yes` is not a number"),
    ];
    for (kind, text, fragment) in table {
        let source = DataSpec::Csv(write(folder.path(), "t.csv", text));
        let message = refused(fragment, load_as(&source, None, kind, None, 0));
        assert_names(fragment, &message, &[fragment]);
    }
}

#[test]
fn tables_that_gzip_does_not_unpack() {
    let whole = gzip(["a,b\n", &"1,2\n".repeat(2000)].concat().as_bytes());
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (case, bytes) in
        [("truncated", &whole[..whole.len() - 4]), ("no gzip", b"a,b\n1,2\n"), ("cut header", &whole[..5])]
    {
        let path = folder.path().join("t.csv.gz");
        fs::write(&path, bytes).expect("the temporary folder takes a file");
        assert_names(
            case,
            &refused(case, load(&DataSpec::Csv(path), None, None, 0)),
            &["t.csv.gz", "corrupt"],
        );
    }
}

#[test]
fn targets_that_are_not_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = DataSpec::Csv(write(folder.path(), "t.csv", b"age,height,species\n1,2,x\n"));
    let near = refused("near", load(&source, Some("speces"), None, 0));
    assert_names("near", &near, &["t.csv: header", "`speces`", "did you mean `species`?"]);
    let odd = refused("odd", load(&source, Some(&"a\nb".repeat(1000)), None, 0));
    assert!(odd.len() < 400, "{odd}");
    let far = refused("far", load(&source, Some("label"), None, 0));
    assert_names("far", &far, &["`label`", "age, height, species"]);
}

/// The schema of a table with features `a` and `b` and classes `x` and `y`, or other targets.
fn schema(folder: &Path, targets: [&str; 4]) -> Schema {
    let rows = targets.map(|target| format!("1,2,{target}\n")).concat();
    let source = DataSpec::Csv(write(folder, "train.csv", format!("a,b,kind\n{rows}").as_bytes()));
    load(&source, None, None, 0).expect("a good table").train.schema().clone()
}

#[test]
fn tables_that_a_trained_model_does_not_take() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [named, numbered, number] = [["x", "y", "x", "y"], ["0", "1", "0", "1"], ["1", "2", "3", "4"]]
        .map(|targets| schema(folder.path(), targets));
    let table: [(&str, &Schema, &str, &[&str]); 8] = [
        ("missing feature", &named, "a,kind\n1,x\n", &["header", "`b`", "is missing"]),
        ("missing target", &named, "a,b\n1,2\n", &["`kind`", "is missing"]),
        ("another column", &named, "a,b,c,kind\n1,2,3,x\n", &["without a column `c`"]),
        (
            "unknown class",
            &named,
            "a,b,kind\n1,2,x\n1,2,yy\n",
            &["line 3, column `kind`: no such class", "`yy`", "known are x, y"],
        ),
        (
            "label beyond",
            &numbered,
            "a,b,kind\n1,2,0\n1,2,2\n",
            &["line 3, column `kind`: `2` is none of the 2 classes"],
        ),
        (
            "label with a fraction",
            &numbered,
            "a,b,kind\n1,2,0.5\n",
            &["line 2, column `kind`: `0.5` is none"],
        ),
        ("negative label", &numbered, "a,b,kind\n1,2,-1\n", &["line 2, column `kind`: `-1` is none"]),
        ("class for a number", &number, "a,b,kind\n1,2,x\n", &["line 2, column `kind`: `x` is not a number"]),
    ];
    for (case, schema, text, fragments) in table {
        let source = DataSpec::Csv(write(folder.path(), "t.csv", text.as_bytes()));
        assert_names(case, &refused(case, load_for_evaluation(&source, schema, 0)), fragments);
    }
    let missing = DataSpec::Csv(write(folder.path(), "t.csv", b"a\n1\n"));
    let message = refused("predict", load_for_prediction(&missing, &named, 0));
    assert_names("predict", &message, &["`b`", "is missing"]);
}

#[test]
fn sources_that_a_trained_model_does_not_take() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = DataSpec::Csv(write(folder.path(), "t.csv", b"a,b\n1,2\n"));
    let digits = load(&DataSpec::Digits, None, None, 0).expect("built in").train.schema().clone();
    let floats = Schema { encoding: downhill::data::Encoding::F32, ..digits.clone() };
    let five = Schema { task: Task::classes(5), ..digits.clone() };
    let table: [(&str, &DataSpec, &Schema, &str); 3] = [
        ("table for pixels", &source, &digits, "without column names"),
        (
            "bytes for floats",
            &DataSpec::Digits,
            &floats,
            "digits: its features are bytes scaled by 0.0625, the model takes 32-bit floats",
        ),
        (
            "ten classes for five",
            &DataSpec::Digits,
            &five,
            "its target is one of 10 classes, the model gives one of 5 classes",
        ),
    ];
    for (case, source, schema, fragment) in table {
        assert_names(case, &refused(case, load_for_evaluation(source, schema, 0)), &[fragment]);
    }
}

#[test]
fn rows_from_memory() {
    let labels = |labels: &[u32]| Targets::Labels(labels.to_vec());
    let make = |features: &[f32], shape: &[usize], task, targets| {
        Dataset::from_f32(features.to_vec(), shape, task, targets)
    };
    let values = Task::Values { width: 2 };
    let three_names = Task::Classes { count: 2, names: ["a", "b", "c"].map(str::to_owned).to_vec() };
    let table: [(&str, Result<Dataset>, &str); 13] = [
        ("no rows", make(&[], &[1], Task::classes(1), labels(&[])), "0 features"),
        ("half a row", make(&[1.0; 5], &[2], Task::classes(1), labels(&[0, 0])), "5 features"),
        ("no features", make(&[1.0], &[0], Task::classes(1), labels(&[0])), "shape [0]"),
        ("a shape that overflows", make(&[1.0], &[usize::MAX, 2], Task::classes(1), labels(&[0])), "shape"),
        (
            "a feature that is NaN",
            make(&[1.0, f32::NAN], &[1], Task::classes(1), labels(&[0, 0])),
            "feature 1 is NaN",
        ),
        (
            "fewer labels",
            make(&[1.0; 2], &[1], Task::classes(1), labels(&[0])),
            "2 rows with 1 targets each have 1",
        ),
        ("a label beyond", make(&[1.0; 2], &[1], Task::classes(3), labels(&[2, 3])), "label of row 1 is 3"),
        (
            "values for classes",
            make(&[1.0], &[1], Task::classes(3), Targets::Values(vec![1.0])),
            "needs labels",
        ),
        ("labels for values", make(&[1.0], &[1], values.clone(), labels(&[1])), "needs values"),
        (
            "fewer values",
            make(&[1.0], &[1], values.clone(), Targets::Values(vec![1.0])),
            "1 rows with 2 targets each",
        ),
        (
            "an infinite value",
            make(&[1.0], &[1], values, Targets::Values(vec![1.0, f32::INFINITY])),
            "target 1 is inf",
        ),
        ("more names than classes", make(&[1.0], &[1], three_names, labels(&[0])), "3 names for 2 classes"),
        (
            "a scale that is NaN",
            Dataset::from_bytes(vec![1], &[1], f32::NAN, Task::classes(1), labels(&[0])),
            "scale is NaN",
        ),
    ];
    for (case, result, fragment) in table {
        assert_names(case, &refused(case, result), &[fragment]);
    }
}

#[test]
fn requests_for_rows_that_are_not_there() -> Result<()> {
    let dataset =
        Dataset::from_bytes(vec![1, 2, 3, 4], &[2], 1.0, Task::classes(1), Targets::Labels(vec![0, 0]))?;
    let table: [(&str, Result<()>, &str); 8] = [
        ("row beyond", dataset.copy_rows(&[2], &mut [0; 2], &mut [0; 4]), "no row 2"),
        ("features too short", dataset.copy_rows(&[0], &mut [0; 1], &mut [0; 4]), "1 rows of [2, 4] bytes"),
        ("targets too long", dataset.copy_rows(&[0], &mut [0; 2], &mut [0; 5]), "1 rows of [2, 4] bytes"),
        ("empty part", dataset.subset(1..1).map(drop), "1..1"),
        ("part beyond", dataset.subset(1..3).map(drop), "1..3"),
        ("nothing taken", dataset.split(0.0, 0).map(drop), "between 0 and 1"),
        ("NaN taken", dataset.split(f64::NAN, 0).map(drop), "between 0 and 1"),
        ("a single row", dataset.subset(0..1)?.split(0.5, 0).map(drop), "single row"),
    ];
    for (case, result, fragment) in table {
        assert_names(case, &refused(case, result), &[fragment]);
    }
    Ok(())
}

#[test]
fn the_exit_code_of_a_missing_file_is_that_of_a_wrong_request() {
    let error = load(&DataSpec::Csv("no such.csv".into()), None, None, 0).err();
    assert!(matches!(error, Some(Error::Read { .. })));
}
