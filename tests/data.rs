//! Data sets through the public interface: what is in the files is what the rows say.

mod data_files;

use std::path::Path;

use data_files::{idx, pixels, write, write_idx_folder};
use downhill::data::{
    DataSpec, Dataset, Encoding, Schema, Split, TargetKind, Targets, Task, TestSpec, load, load_as,
    load_for_evaluation, load_for_prediction,
};
use downhill::{Error, Result};

fn spec(text: &str) -> Result<DataSpec> {
    text.parse()
}

fn csv_spec(folder: &Path, name: &str, text: &str) -> DataSpec {
    DataSpec::Csv(write(folder, name, text.as_bytes()))
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Features and label of each row.
fn classes_of(dataset: &Dataset) -> Vec<(Vec<f32>, u32)> {
    let row = |row| Some((dataset.features(row)?, dataset.label(row)?));
    (0..dataset.rows()).map_while(row).collect()
}

fn values_of(dataset: &Dataset) -> Vec<Option<&[f32]>> {
    (0..dataset.rows()).map(|row| dataset.values(row)).collect()
}

#[test]
fn specifications_are_read_and_written_alike() -> Result<()> {
    for text in [
        "digits",
        "a/table.csv",
        "table.CSV.gz",
        "t.parquet",
        "t.npz",
        "x.npy",
        "x.npy+y.npy",
        "random:100x20:3",
        env!("CARGO_MANIFEST_DIR"),
    ] {
        assert_eq!(spec(text)?.to_string(), text);
        assert_eq!(text.parse::<TestSpec>()?, TestSpec::Source(spec(text)?));
    }
    assert_eq!(spec("random:100x20:3")?, DataSpec::Random { rows: 100, columns: 20, classes: 3 });
    for text in ["20%", "29%", "0.5%"] {
        assert_eq!(text.parse::<TestSpec>()?.to_string(), text);
    }
    Ok(())
}

#[test]
fn idx_folders_read_the_same_plain_and_gzipped() -> Result<()> {
    for ending in ["", ".gz"] {
        let folder = temporary();
        write_idx_folder(folder.path(), ending);
        let Split { train, test } = load(&DataSpec::Idx(folder.path().to_owned()), None, None, 0)?;
        let test = test.expect("IDX folders bring their test part");
        assert_eq!((train.rows(), test.rows()), (5, 2), "{ending}");
        assert_eq!(train.schema().feature_shape, [2, 3]);
        assert_eq!(train.schema().encoding, Encoding::U8 { scale: 1.0 / 255.0 });
        assert_eq!(train.schema().task, Task::classes(3));
        assert_eq!(train.schema(), test.schema());

        let mut features = vec![0; 3 * 6];
        let mut targets = vec![0; 3 * 4];
        train.copy_rows(&[4, 0, 4], &mut features, &mut targets)?;
        assert_eq!(features, [&pixels(5)[24..], &pixels(5)[..6], &pixels(5)[24..]].concat());
        assert_eq!(targets, [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(test.features(1), Some((6..12).map(|byte| byte as f32 * (1.0 / 255.0)).collect()));
    }
    Ok(())
}

#[test]
fn a_percentage_or_another_source_replaces_the_test_part() -> Result<()> {
    let folder = temporary();
    write(folder.path(), "train-images-idx3-ubyte", &idx(&[5, 2, 3], &pixels(5)));
    write(folder.path(), "train-labels-idx1-ubyte", &idx(&[5], &[0, 2, 1, 0, 1]));
    let source = DataSpec::Idx(folder.path().to_owned());
    let Split { train, test } = load(&source, None, Some(&TestSpec::Percent(40.0)), 3)?;
    let test = test.expect("asked for");
    assert_eq!((train.rows(), test.rows()), (3, 2));
    let mut together = [classes_of(&train), classes_of(&test)].concat();
    together.sort_by(|a, b| a.0[0].total_cmp(&b.0[0]));
    let labels = Targets::Labels(vec![0, 2, 1, 0, 1]);
    let whole = Dataset::from_bytes(pixels(5), &[2, 3], 1.0 / 255.0, Task::classes(3), labels)?;
    assert_eq!(together, classes_of(&whole));

    let digits = load(&DataSpec::Digits, None, Some(&TestSpec::Source(DataSpec::Digits)), 0)?;
    assert_eq!(digits.test.map(|test| test.rows()), Some(450));
    Ok(())
}

#[test]
fn fashion_mnist_has_its_published_size() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/fashion-mnist");
    if !folder.is_dir() {
        // The data is not part of the project; the small folders above stand in for it.
        eprintln!("not checked: {} is not there", folder.display());
        return Ok(());
    }
    let Split { train, test } = load(&DataSpec::Idx(folder), None, None, 0)?;
    let test = test.expect("IDX folders bring their test part");
    assert_eq!((train.name(), train.rows(), test.rows()), ("fashion-mnist", 60_000, 10_000));
    assert_eq!(train.schema().feature_shape, [28, 28]);
    for (part, each) in [(&train, 6_000), (&test, 1_000)] {
        let mut counts = [0; 10];
        (0..part.rows()).filter_map(|row| part.label(row)).for_each(|label| counts[label as usize] += 1);
        assert_eq!(counts, [each; 10]);
    }
    Ok(())
}

#[test]
fn table_targets_are_classes_or_numbers_by_what_they_are() -> Result<()> {
    let named = |names: &[&str]| Task::Classes {
        count: names.len(),
        names: names.iter().map(|name| name.to_string()).collect(),
    };
    let number = Task::Values { width: 1 };
    let table = [
        ("text, sorted by name", "b a b c", named(&["a", "b", "c"])),
        ("integers from 0, twice each", "0 1 1 0", Task::classes(2)),
        ("written as floats", "0.0 1.0 1.0 0", Task::classes(2)),
        ("integers once each", "0 1 2 3", number.clone()),
        ("a gap", "0 2 2 0", number.clone()),
        ("one value", "0 0 0 0", number.clone()),
        ("negative", "-1 0 0 1", number.clone()),
        ("fractions", "0 1 0.5 1", number),
    ];
    let folder = temporary();
    for (case, targets, expected) in table {
        let rows: String = targets.split(' ').map(|target| format!("1.5,{target}\n")).collect();
        let source = csv_spec(folder.path(), "t.csv", &format!("x,y\n{rows}"));
        assert_eq!(load(&source, None, None, 0)?.train.schema().task, expected, "{case}");
    }
    Ok(())
}

#[test]
fn table_targets_are_what_they_are_wanted_as() -> Result<()> {
    let classes = |names: &[&str]| Task::Classes {
        count: names.len(),
        names: names.iter().map(|name| name.to_string()).collect(),
    };
    let number = Task::Values { width: 1 };
    let table = [
        (TargetKind::Numbers, "0 1 1 0", number.clone(), vec![]),
        (TargetKind::Numbers, "3 7 7 3", number, vec![]),
        (TargetKind::Classes, "0 1 1 0", Task::classes(2), vec![0, 1, 1, 0]),
        (TargetKind::Classes, "0 1 2 3", Task::classes(4), vec![0, 1, 2, 3]),
        (TargetKind::Classes, "7 3 3 7", classes(&["3", "7"]), vec![1, 0, 0, 1]),
        (TargetKind::Classes, "1 -1 -1.0 +1", classes(&["-1", "1"]), vec![1, 0, 0, 1]),
        (TargetKind::Classes, "10 9 2 1", classes(&["1", "2", "9", "10"]), vec![3, 2, 1, 0]),
        (TargetKind::Classes, "b a b c", classes(&["a", "b", "c"]), vec![1, 0, 1, 2]),
    ];
    let folder = temporary();
    for (kind, targets, expected, labels) in table {
        let rows: String = targets.split(' ').map(|target| format!("1.5,{target}\n")).collect();
        let source = csv_spec(folder.path(), "t.csv", &format!("x,y\n{rows}"));
        let train = load_as(&source, None, kind, None, 0)?.train;
        assert_eq!(train.schema().task, expected, "{targets}");
        assert_eq!((0..4).filter_map(|row| train.label(row)).collect::<Vec<_>>(), labels, "{targets}");
        // The same rows are rows that a model for them can be tested on.
        let test = load_for_evaluation(&source, train.schema(), 0)?;
        assert_eq!(test.schema(), train.schema(), "{targets}");
    }
    Ok(())
}

#[test]
fn a_table_gives_its_columns_whatever_its_dress() -> Result<()> {
    let table = [
        ("plain.csv", "a,kind,b\n1,no,-2.5\n3e1,yes,4\n"),
        ("Zipped.V2.csv.gz", "a,kind,b\n1,no,-2.5\n3e1,yes,4\n"),
        ("mark.csv", "\u{feff}a,kind,b\n1,no,-2.5\n30,yes,4"),
        ("windows.csv", "a,kind,b\r\n1,no,-2.5\r\n30,yes,4\r\n"),
        ("quoted.csv", "\"a\",\"kind\",\"b\"\n\"1\",\"no\",\"-2.5\"\n30,yes,4\n"),
        ("spaced.csv", "a , kind, b\n 1, no , -2.5\n\n+30,yes,4.\n\n"),
    ];
    let folder = temporary();
    for (name, text) in table {
        let train = load(&csv_spec(folder.path(), name, text), Some("kind"), None, 0)?.train;
        assert_eq!(classes_of(&train), [(vec![1.0, -2.5], 0), (vec![30.0, 4.0], 1)], "{name}");
        assert_eq!(train.name(), name.trim_end_matches(".gz").trim_end_matches(".csv"));
        assert_eq!(train.schema().feature_names, ["a", "b"]);
        assert_eq!(train.schema().target_name.as_deref(), Some("kind"));
    }
    Ok(())
}

#[test]
fn another_table_uses_the_classes_and_columns_of_the_first() -> Result<()> {
    let folder = temporary();
    let first = csv_spec(folder.path(), "first.csv", "a,b,kind\n1,2,x\n3,4,z\n5,6,y\n");
    let second = csv_spec(folder.path(), "second.csv", "kind,b,a\nz,20,10\ny,40,30\n");
    let Split { train, test } = load(&first, None, Some(&TestSpec::Source(second.clone())), 0)?;
    let expected = [(vec![10.0, 20.0], 2), (vec![30.0, 40.0], 1)];
    assert_eq!(classes_of(&test.expect("asked for")), expected);
    assert_eq!(classes_of(&load_for_evaluation(&second, train.schema(), 0)?), expected);

    // To predict, the targets may be missing, wrong or right.
    for text in
        ["b,a\n20,10\n40,30\n", "kind,b,a\n,20,10\nnever seen,40,30\n", "a,kind,b\n10,x,20\n30,y,40\n"]
    {
        let questions = csv_spec(folder.path(), "questions.csv", text);
        let questions = load_for_prediction(&questions, train.schema(), 0)?;
        assert_eq!(questions.features(1), Some(vec![30.0, 40.0]));
        assert_eq!((questions.has_targets(), questions.targets_bytes_per_row()), (false, 0));
        assert_eq!(questions.schema(), train.schema());
    }
    Ok(())
}

#[test]
fn a_number_stays_a_number_in_another_table() -> Result<()> {
    let folder = temporary();
    let first = csv_spec(folder.path(), "first.csv", "a,b\n1,0.5\n3,2\n");
    let second = csv_spec(folder.path(), "second.csv", "a,b\n1,0\n2,1\n1,0\n2,1\n");
    let train = load(&first, None, None, 0)?.train;
    let test = load_for_evaluation(&second, train.schema(), 0)?;
    assert_eq!(values_of(&test), [Some(&[0.0][..]), Some(&[1.0]), Some(&[0.0]), Some(&[1.0])]);
    Ok(())
}

#[test]
fn images_are_predicted_without_a_file_of_labels() -> Result<()> {
    let folder = temporary();
    write_idx_folder(folder.path(), "");
    let source = DataSpec::Idx(folder.path().to_owned());
    let schema = load(&source, None, None, 0)?.train.schema().clone();
    std::fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).expect("it was written");
    let questions = load_for_prediction(&source, &schema, 0)?;
    assert_eq!((questions.rows(), questions.has_targets()), (2, false));
    assert!(load_for_evaluation(&source, &schema, 0).is_err());
    Ok(())
}

#[test]
fn made_rows_follow_the_seed_and_are_learnable() -> Result<()> {
    let made = |seed| load(&spec("random:2000x20:4")?, None, Some(&"random:500x20:4".parse()?), seed);
    let (first, again, other) = (made(1)?, made(1)?, made(2)?);
    assert_eq!(classes_of(&first.train), classes_of(&again.train));
    assert_ne!(classes_of(&first.train), classes_of(&other.train));
    let test = first.test.expect("asked for");
    assert_ne!(classes_of(&test), classes_of(&first.train)[..500]);

    // A nearest-mean classifier of the training rows does far better on the test rows than chance, 1/4.
    let mut means = vec![(vec![0.0f32; 20], 0.0f32); 4];
    for (features, label) in classes_of(&first.train) {
        let (sum, count) = &mut means[label as usize];
        sum.iter_mut().zip(features).for_each(|(sum, x)| *sum += x);
        *count += 1.0;
    }
    let score = |(sum, count): &(Vec<f32>, f32), x: &[f32]| {
        let mean = sum.iter().map(|sum| sum / count.max(1.0));
        mean.zip(x).map(|(mean, x)| (mean - x).powi(2)).sum::<f32>()
    };
    let nearest = |x: &[f32]| {
        let distances = means.iter().map(|mean| score(mean, x));
        distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(class, _)| class as u32)
    };
    let right = classes_of(&test).iter().filter(|(x, label)| nearest(x) == Some(*label)).count();
    assert!(right > 300, "{right} of 500");
    Ok(())
}

#[test]
fn rows_from_memory_are_copied_as_little_endian_words() -> Result<()> {
    let targets = Targets::Values(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let dataset = Dataset::from_f32(vec![0.5, -1.0, 2.0], &[1], Task::Values { width: 2 }, targets)?;
    assert_eq!((dataset.features_bytes_per_row(), dataset.targets_bytes_per_row()), (4, 8));
    let (mut features, mut targets) = (vec![0; 8], vec![0; 16]);
    dataset.copy_rows(&[2, 0], &mut features, &mut targets)?;
    let words = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(features, words(&[2.0, 0.5]));
    assert_eq!(targets, words(&[5.0, 6.0, 1.0, 2.0]));
    assert_eq!(
        (dataset.values(1), dataset.label(1), dataset.features(3)),
        (Some(&[3.0, 4.0][..]), None, None)
    );
    Ok(())
}

#[test]
fn parts_of_parts_keep_their_rows() -> Result<()> {
    let labels = Targets::Labels((0..20).collect());
    let whole = Dataset::from_bytes((0..20).collect(), &[1], 1.0, Task::classes(20), labels)?;
    let labels = |part: &Dataset| (0..part.rows()).filter_map(|row| part.label(row)).collect::<Vec<_>>();
    let middle = whole.subset(5..15)?;
    assert_eq!(labels(&middle.subset(2..4)?), [7, 8]);

    let (rest, taken) = middle.split(0.3, 1)?;
    assert_eq!((rest.rows(), taken.rows()), (7, 3));
    let mut all = [labels(&rest), labels(&taken)].concat();
    all.sort_unstable();
    assert_eq!(all, (5..15).collect::<Vec<u32>>());
    assert_eq!(labels(&middle.split(0.3, 1)?.1), labels(&taken));
    assert_eq!(labels(&rest.subset(1..3)?), labels(&rest)[1..3]);

    let mut bytes = [0; 2];
    rest.copy_rows(&[6, 0], &mut bytes, &mut [0; 8])?;
    assert_eq!(bytes.map(u32::from), [labels(&rest)[6], labels(&rest)[0]]);
    Ok(())
}

#[test]
fn a_schema_survives_its_file() -> Result<()> {
    let folder = temporary();
    let table = csv_spec(folder.path(), "t.csv", "a,kind\n1,x\n3,z\n");
    for dataset in [load(&table, None, None, 0)?.train, load(&DataSpec::Digits, None, None, 0)?.train] {
        let text = serde_json::to_string(dataset.schema()).expect("a schema is plain data");
        assert_eq!(&serde_json::from_str::<Schema>(&text).expect(&text), dataset.schema(), "{text}");
    }
    Ok(())
}

#[test]
fn errors_of_data_are_single_lines_whatever_the_file_says() {
    let folder = temporary();
    let endless = "x".repeat(100_000);
    for text in [format!("a,b\n1,\"two\nlines\n{endless}\",3\n"), format!("a,\"b\n{endless}\",a\n1,2,3\n")] {
        let error = load(&csv_spec(folder.path(), "t.csv", &text), None, None, 0).err();
        let message = error.as_ref().map(Error::to_string).unwrap_or_default();
        assert!(!message.is_empty() && message.lines().count() == 1 && message.len() < 400, "{message}");
    }
}
