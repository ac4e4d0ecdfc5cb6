//! What the rows of a data set mean, apart from the rows themselves.

use serde::{Deserialize, Serialize};

/// What a data set's rows hold: kept with a trained run, so that other data can be checked against it.
///
/// ```
/// use downhill::data;
///
/// let digits = data::load(&"digits".parse()?, None, None, 0)?;
/// let schema = digits.train.schema();
/// assert_eq!((schema.feature_shape.as_slice(), schema.features()), (&[8, 8][..], 64));
/// assert_eq!(schema.task.outputs(), 10);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Shape of one row's features, `[64]` or `[28, 28]`; rows are stored flat, last dimension fastest.
    pub feature_shape: Vec<usize>,
    /// How a feature is stored.
    pub encoding: Encoding,
    /// A name for each feature, or none where they are pixels of a picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feature_names: Vec<String>,
    /// The name of the target column, where there are columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_name: Option<String>,
    /// What is to be learned.
    pub task: Task,
}

/// How features are stored, on the host and on the GPU.
///
/// ```
/// use downhill::data::Encoding;
///
/// let pixels = Encoding::U8 { scale: 1.0 / 255.0 };
/// assert_eq!((pixels.bytes(), Encoding::F32.bytes()), (1, 4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Bytes; a feature's value is the byte times `scale`, computed on the GPU.
    U8 {
        /// 1/255 for pixels that are to lie between 0 and 1.
        scale: f32,
    },
    /// 32-bit floats.
    F32,
}

impl Encoding {
    /// Bytes that one feature takes.
    pub fn bytes(self) -> usize {
        match self {
            Encoding::U8 { .. } => 1,
            Encoding::F32 => 4,
        }
    }

    fn describe(self) -> String {
        match self {
            Encoding::U8 { scale } => format!("bytes scaled by {scale}"),
            Encoding::F32 => "32-bit floats".to_owned(),
        }
    }
}

/// What the targets are.
///
/// ```
/// use downhill::data::Task;
///
/// let animals = Task::Classes { count: 2, names: vec!["cat".to_owned(), "dog".to_owned()] };
/// assert_eq!((animals.outputs(), animals.width()), (2, 1));
/// assert_eq!(Task::Values { width: 3 }.outputs(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Each row belongs to one class.
    Classes {
        /// Labels are below this.
        count: usize,
        /// A name for each class; none where the labels are names enough.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
    },
    /// Each row has `width` numbers.
    Values {
        /// Numbers a row.
        width: usize,
    },
}

impl Task {
    /// `count` classes without names.
    pub fn classes(count: usize) -> Self {
        Task::Classes { count, names: Vec::new() }
    }

    /// Numbers that a model gives for a row: a score for each class, or the numbers themselves.
    pub fn outputs(&self) -> usize {
        match self {
            Task::Classes { count, .. } => *count,
            Task::Values { width } => *width,
        }
    }

    /// Columns of targets a row: one label, or the numbers.
    pub fn width(&self) -> usize {
        match self {
            Task::Classes { .. } => 1,
            Task::Values { width } => *width,
        }
    }

    fn describe(&self) -> String {
        match self {
            Task::Classes { count, names } if names.is_empty() => format!("one of {count} classes"),
            Task::Classes { count, .. } => format!("one of {count} named classes"),
            Task::Values { width: 1 } => "a number".to_owned(),
            Task::Values { width } => format!("{width} numbers"),
        }
    }
}

impl Schema {
    /// Features a row: the product of the shape.
    pub fn features(&self) -> usize {
        self.feature_shape.iter().product()
    }

    /// Why rows of `other` cannot be given to a model that was made for this schema, if they cannot.
    pub(super) fn why_unlike(&self, other: &Schema) -> Option<String> {
        if self.features() != other.features() {
            return Some(format!(
                "has {} features a row, the model takes {}",
                other.features(),
                self.features()
            ));
        }
        if self.encoding != other.encoding {
            return Some(format!(
                "its features are {}, the model takes {}",
                other.encoding.describe(),
                self.encoding.describe()
            ));
        }
        (self.task != other.task).then(|| {
            format!("its target is {}, the model gives {}", other.task.describe(), self.task.describe())
        })
    }
}

/// What the targets of a table are wanted as.
///
/// ```
/// use downhill::{Loss, data::TargetKind};
///
/// assert_eq!(Loss::CrossEntropy.target_kind(), TargetKind::Classes);
/// assert_eq!(Loss::MeanSquaredError.target_kind(), TargetKind::Numbers);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetKind {
    /// What they look like; [`DataSpec::Csv`](super::DataSpec::Csv) tells the rule.
    #[default]
    Auto,
    /// Classes: texts, or integers, which are named by themselves and sorted by value unless they are 0 to k−1.
    Classes,
    /// Numbers, whatever they look like.
    Numbers,
}

/// What rows are read for: it decides what is made of their targets.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// A new model: the file says what the target is, which of its columns if there are columns.
    Train { target: Option<&'a str>, kind: TargetKind },
    /// A model with this schema; targets are needed.
    Evaluate(&'a Schema),
    /// A model with this schema; targets are not looked at and need not be there.
    Predict(&'a Schema),
}

/// The two parts that some sources come in; the others are the same for both.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Train,
    Test,
}
