//! From what is typed to rows: the specifications of data sources, and loading what they name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::dataset::{Dataset, Features, Targets};
#[cfg(feature = "npz")]
use super::npz;
#[cfg(feature = "parquet")]
use super::parquet;
use super::random::{Random, fill_nearly_normal};
use super::schema::{Encoding, Part, Purpose, Schema, TargetKind, Task};
use super::{csv, digits, files, idx, npy};
use crate::gpu::format_bytes;
use crate::host::{self, HostMemory};
use crate::{Error, Result};

/// Where rows come from, as `--data` says it.
///
/// | written | meaning |
/// |---|---|
/// | `digits` | the 1,797 digits of 8 × 8 pixels that are built in |
/// | a folder | IDX files in MNIST's naming, `train-images-idx3-ubyte` or `….gz` and so on |
/// | `*.csv`, `*.csv.gz` | a table with a header |
/// | `*.parquet` | a table with named columns (Cargo feature `parquet`) |
/// | `*.npy` | an array of two dimensions as a table, or features whose targets are another array |
/// | `features.npy+targets.npy` | features and targets in an array each |
/// | `*.npz` | arrays of features and targets by their names (Cargo feature `npz`) |
/// | `random:ROWSxCOLS:CLASSES` | standard normal features, labels by a random linear rule |
///
/// ```
/// use downhill::data::DataSpec;
///
/// let made = DataSpec::Random { rows: 1000, columns: 20, classes: 3 };
/// assert_eq!("random:1000x20:3".parse::<DataSpec>()?, made);
/// assert_eq!("wine.csv".parse::<DataSpec>()?, DataSpec::Csv("wine.csv".into()));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataSpec {
    /// The data set that is built in.
    Digits,
    /// A folder of IDX files.
    Idx(PathBuf),
    /// A table with a header: all columns are numbers, but the target may be text.
    ///
    /// The target is a class where its values are text, or are the integers 0 to k−1, each of them present and
    /// 2k not more than the rows; else it is a number. There are at most 10,000 classes. [`load_as`] overrides
    /// this.
    Csv(PathBuf),
    /// A table as for [`Csv`](DataSpec::Csv), but in a Parquet file of flat columns without nulls.
    Parquet(PathBuf),
    /// An array of numbers, whose first dimension counts the rows.
    ///
    /// With `targets`, or where the target to train on is called a path that ends in `.npy`, that file holds
    /// the targets: one a row, a class or a number by the rule of [`Csv`](DataSpec::Csv), or several numbers a
    /// row. Unsigned bytes are then taken as pixels, from 0 to 255 as 0 to 1, and stay bytes on the GPU; other
    /// features are taken as 32-bit floats. Without, the array must have two dimensions and is a table of
    /// floats; the target is the last column or that of the number given, from 0 or, negative, from the end.
    Npy {
        /// The array of the features, or the table.
        features: PathBuf,
        /// The array of the targets.
        targets: Option<PathBuf>,
    },
    /// An archive of arrays: features by the name `x_train`, `x`, `X` or `features`, targets by `y_train`, `y`,
    /// `Y`, `targets` or `labels`, or by the name given. They are taken as those of [`Npy`](DataSpec::Npy).
    /// `x_test` and `y_test` are its test part. A single array of two dimensions is a table.
    Npz(PathBuf),
    /// Made rows, for benchmarks.
    Random {
        /// Rows, as many as classes at least.
        rows: u32,
        /// Features a row.
        columns: u32,
        /// Classes, at least two.
        classes: u32,
    },
}

const SUPPORTED: &str = "known are `digits`, a folder of IDX files, a .csv, .csv.gz, .parquet, .npy or .npz file, \
    and `random:ROWSxCOLS:CLASSES`";

impl FromStr for DataSpec {
    type Err = Error;

    /// Takes a specification apart; of the file system it only asks what is a folder.
    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |why: &str| Err(Error::setting("data", format!("{} {why}; {SUPPORTED}", files::quoted(text))));
        let path = Path::new(text);
        if text == "digits" {
            return Ok(DataSpec::Digits);
        }
        if let Some(size) = text.strip_prefix("random:") {
            return match parse_random(size) {
                Some(spec) => Ok(spec),
                None => wrong("does not say rows, columns and from 2 classes to as many as rows"),
            };
        }
        if path.is_dir() {
            return Ok(DataSpec::Idx(path.to_owned()));
        }
        let lower = text.to_ascii_lowercase();
        if lower.ends_with(".csv") || lower.ends_with(".csv.gz") {
            return Ok(DataSpec::Csv(path.to_owned()));
        }
        if lower.ends_with(".parquet") {
            return Ok(DataSpec::Parquet(path.to_owned()));
        }
        if lower.ends_with(".npz") {
            return Ok(DataSpec::Npz(path.to_owned()));
        }
        if lower.ends_with(".npy") {
            let (features, targets) = match lower.find(".npy+") {
                Some(at) => (&text[..at + ".npy".len()], Some(text[at + ".npy+".len()..].into())),
                None => (text, None),
            };
            return Ok(DataSpec::Npy { features: features.into(), targets });
        }
        wrong(if path.exists() { "is of no known format" } else { "is no file or folder" })
    }
}

fn parse_random(size: &str) -> Option<DataSpec> {
    let (shape, classes) = size.split_once(':')?;
    let (rows, columns) = shape.split_once('x')?;
    let (rows, columns, classes) = (rows.parse().ok()?, columns.parse().ok()?, classes.parse().ok()?);
    (columns > 0 && (2..=rows).contains(&classes)).then_some(DataSpec::Random { rows, columns, classes })
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DataSpec::Digits => f.write_str("digits"),
            DataSpec::Idx(path) | DataSpec::Csv(path) | DataSpec::Parquet(path) | DataSpec::Npz(path) => {
                path.display().fmt(f)
            }
            DataSpec::Npy { features, targets: None } => features.display().fmt(f),
            DataSpec::Npy { features, targets: Some(targets) } => {
                write!(f, "{}+{}", features.display(), targets.display())
            }
            DataSpec::Random { rows, columns, classes } => write!(f, "random:{rows}x{columns}:{classes}"),
        }
    }
}

/// Where the rows for testing come from, as `--test` says it.
///
/// ```
/// use downhill::data::{DataSpec, TestSpec};
///
/// assert_eq!("20%".parse::<TestSpec>()?, TestSpec::Percent(20.0));
/// assert_eq!("digits".parse::<TestSpec>()?, TestSpec::Source(DataSpec::Digits));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum TestSpec {
    /// Another source, written as for `--data`; of one with two parts, its test part.
    Source(DataSpec),
    /// A part of the training rows, taken at random: more than 0 % and less than 100 %, written `20%`.
    Percent(f64),
}

impl FromStr for TestSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(percent) = text.strip_suffix('%') else {
            return Ok(TestSpec::Source(text.parse()?));
        };
        match percent.trim().parse() {
            Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(TestSpec::Percent(percent)),
            _ => {
                let message = format!("{} is no percentage between 0 and 100", files::quoted(text));
                Err(Error::setting("test", message))
            }
        }
    }
}

impl fmt::Display for TestSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            TestSpec::Source(source) => source.fmt(f),
            TestSpec::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Rows for training and rows for testing; both have the same schema.
///
/// ```
/// use downhill::data::{self, Split};
///
/// let Split { train, test } = data::load(&"digits".parse()?, None, None, 0)?;
/// assert_eq!((train.rows(), test.map(|test| test.rows())), (1347, Some(450)));
/// // Rows of an application's own, without a test set.
/// let split = Split { train: train.subset(0..100)?, test: None };
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone)]
pub struct Split {
    /// What is learned from.
    pub train: Dataset,
    /// What is never learned from, where there is such a part.
    pub test: Option<Dataset>,
}

/// Loads the rows to train on and, from `test` or else the source's own test part, the rows to test on.
///
/// `target` names the column to be learned of a source that has named columns (default: the last). `seed`
/// decides which rows a percentage takes, and what made rows are.
///
/// ```
/// use downhill::data;
///
/// let split = data::load(&"random:100x4:2".parse()?, None, Some(&"20%".parse()?), 0)?;
/// assert_eq!((split.train.rows(), split.test.map(|test| test.rows())), (80, Some(20)));
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// What cannot be read or is wrong in a file, naming the file, row and column.
pub fn load(spec: &DataSpec, target: Option<&str>, test: Option<&TestSpec>, seed: u64) -> Result<Split> {
    load_as(spec, target, TargetKind::Auto, test, seed)
}

/// Loads as [`load`] does, but the targets of a table are taken for what `kind` says; other sources know what
/// theirs are.
///
/// ```
/// use downhill::data::{DataSpec, TargetKind, Task, load_as};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let path = folder.join("grades.csv");
/// # std::fs::write(&path, "hours,grade\n9,0\n2,1\n8,0\n3,1\n").unwrap();
/// // Grades of 0 and 1 look like classes and are to be numbers.
/// let grades = load_as(&DataSpec::Csv(path), Some("grade"), TargetKind::Numbers, None, 0)?;
/// assert_eq!(grades.train.schema().task, Task::Values { width: 1 });
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`load`], and targets that cannot be of that kind.
pub fn load_as(
    spec: &DataSpec,
    target: Option<&str>,
    kind: TargetKind,
    test: Option<&TestSpec>,
    seed: u64,
) -> Result<Split> {
    let whole = read(spec, Part::Train, Purpose::Train { target, kind }, seed)?;
    let (train, test) = match test {
        Some(TestSpec::Percent(percent)) => {
            let (train, test) = whole.split(percent / 100.0, seed)?;
            (train, Some(test))
        }
        Some(TestSpec::Source(source)) => {
            let test = load_for_evaluation(source, whole.schema(), seed)?;
            (whole, Some(test))
        }
        None if has_test_part(spec)? => {
            let test = load_for_evaluation(spec, whole.schema(), seed)?;
            (whole, Some(test))
        }
        None => (whole, None),
    };
    Ok(Split { train, test })
}

/// Loads rows with targets for a model that was trained on rows of `schema`: the test part of a source that has
/// one, else all rows. A table must have the same columns, in any order.
///
/// ```
/// use downhill::data::{load, load_for_evaluation};
///
/// let digits = load(&"digits".parse()?, None, None, 0)?;
/// let schema = digits.train.schema();
/// assert_eq!(load_for_evaluation(&"digits".parse()?, schema, 0)?.rows(), 450);
/// // Rows of another kind are refused.
/// assert!(load_for_evaluation(&"random:10x3:2".parse()?, schema, 0).is_err());
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`load`], and rows or targets that the model does not fit.
pub fn load_for_evaluation(spec: &DataSpec, schema: &Schema, seed: u64) -> Result<Dataset> {
    read_fitting(spec, Purpose::Evaluate(schema), schema, seed)
}

/// Loads rows as [`load_for_evaluation`] does, but without their targets, which need not be there.
///
/// ```
/// use downhill::data::{load, load_for_prediction};
///
/// let digits = load(&"digits".parse()?, None, None, 0)?;
/// let questions = load_for_prediction(&"digits".parse()?, digits.train.schema(), 0)?;
/// assert!(questions.rows() == 450 && !questions.has_targets());
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`load`], and rows that the model does not fit.
pub fn load_for_prediction(spec: &DataSpec, schema: &Schema, seed: u64) -> Result<Dataset> {
    read_fitting(spec, Purpose::Predict(schema), schema, seed)
}

/// Whether a source brings rows for testing.
fn has_test_part(spec: &DataSpec) -> Result<bool> {
    match spec {
        DataSpec::Digits | DataSpec::Idx(_) => Ok(true),
        #[cfg(feature = "npz")]
        DataSpec::Npz(path) => npz::has_test_part(path),
        // Reading it says why it is not read.
        #[cfg(not(feature = "npz"))]
        DataSpec::Npz(_) => Ok(false),
        DataSpec::Csv(_) | DataSpec::Parquet(_) | DataSpec::Npy { .. } | DataSpec::Random { .. } => Ok(false),
    }
}

fn read_fitting(spec: &DataSpec, purpose: Purpose, schema: &Schema, seed: u64) -> Result<Dataset> {
    let dataset = read(spec, Part::Test, purpose, seed)?;
    match schema.why_unlike(dataset.schema()) {
        Some(message) => Err(Error::data(Path::new(&spec.to_string()), "", message)),
        None => Ok(dataset),
    }
}

fn read(spec: &DataSpec, part: Part, purpose: Purpose, seed: u64) -> Result<Dataset> {
    let takes_no_target = matches!(spec, DataSpec::Digits | DataSpec::Idx(_) | DataSpec::Random { .. });
    if let (Purpose::Train { target: Some(target), .. }, true) = (purpose, takes_no_target) {
        let message = format!("{spec} has no columns with names, so {} cannot be one", files::quoted(target));
        return Err(Error::setting("target", message));
    }
    let memory = HostMemory::now();
    let dataset = match spec {
        DataSpec::Digits => digits::load(part),
        DataSpec::Idx(folder) => idx::load(folder, part, purpose, memory),
        DataSpec::Csv(path) => csv::load(path, purpose, memory),
        DataSpec::Npy { features, targets } => npy::load(features, targets.as_deref(), purpose, memory),
        #[cfg(feature = "npz")]
        DataSpec::Npz(path) => npz::load(path, part, purpose, memory),
        #[cfg(not(feature = "npz"))]
        DataSpec::Npz(path) => {
            let message = "this build reads no archives of NumPy; build it with the Cargo feature `npz`";
            Err(Error::data(path, "", message))
        }
        #[cfg(feature = "parquet")]
        DataSpec::Parquet(path) => parquet::load(path, purpose, memory),
        #[cfg(not(feature = "parquet"))]
        DataSpec::Parquet(path) => {
            let message = "this build reads no Parquet files; build it with the Cargo feature `parquet`";
            Err(Error::data(path, "", message))
        }
        DataSpec::Random { rows, columns, classes } => make(*rows, *columns, *classes, part, seed),
    }?;
    Ok(match purpose {
        Purpose::Predict(schema) => dataset.without_targets(&schema.task),
        _ => dataset,
    })
}

/// The streams of random numbers behind made rows: both parts follow one rule but share no row.
const RULE: u64 = 0;
const TRAIN_ROWS: u64 = 1;
const TEST_ROWS: u64 = 2;

/// Features that a class looks at: few, so that the labels cost little beside the features.
const FEATURES_OF_A_CLASS: usize = 8;

/// Makes rows of nearly normal features with mean 0 and variance 1. A class scores a row by a weighted sum of some features, and the
/// label is the class with the highest score.
fn make(rows: u32, columns: u32, classes: u32, part: Part, seed: u64) -> Result<Dataset> {
    let stream = match part {
        Part::Train => TRAIN_ROWS,
        Part::Test => TEST_ROWS,
    };
    let width = columns as usize;
    let values = (rows as usize).saturating_mul(width);
    // Refused before it is filled: systems promise more memory than they have, and end whoever takes them at
    // their word.
    let bytes = (values as u64).saturating_add(u64::from(rows)).saturating_mul(4);
    if let Some(free) = host::free_bytes().filter(|free| bytes > *free) {
        let (bytes, free) = (format_bytes(bytes), format_bytes(free));
        let message =
            format!("{rows} × {columns} random values take {bytes} of host memory and {free} are free");
        return Err(Error::setting("data", message));
    }
    // Asked for and given back: zeroed memory, which costs nothing before it is written, cannot be asked for.
    Vec::<f32>::new().try_reserve_exact(values).map_err(|_| {
        Error::setting("data", format!("{rows} × {columns} random values do not fit into the memory"))
    })?;
    let mut features = vec![0.0; values];
    fill_nearly_normal(&mut features, seed, stream);

    let mut random = Random::new(seed, RULE);
    let rule: Vec<(usize, f32)> = (0..classes as usize * FEATURES_OF_A_CLASS)
        .map(|_| (random.below(columns) as usize, random.normals()[0]))
        .collect();
    let label = |row: &[f32]| {
        let score = |class: &[(usize, f32)]| class.iter().map(|(at, weight)| row[*at] * weight).sum::<f32>();
        let scores = rule.chunks_exact(FEATURES_OF_A_CLASS).map(score).enumerate();
        scores.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(class, _)| class as u32)
    };
    let labels = features.chunks_exact(width).map(label).collect();
    let schema = Schema {
        feature_shape: vec![width],
        encoding: Encoding::F32,
        feature_names: Vec::new(),
        target_name: None,
        task: Task::classes(classes as usize),
    };
    let name = format!("random-{rows}x{columns}-{classes}");
    Dataset::new(&name, schema, Features::Floats(features), Targets::Labels(labels))
}
