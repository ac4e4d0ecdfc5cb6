//! Rows in memory or in a file, read by index in the form in which the GPU takes them.

use std::ops::Range;
use std::sync::Arc;

use super::array::ArrayFeatures;
use super::csv::IndexedText;
use super::files::copy_words;
use super::random::permutation;
use super::schema::{Encoding, Schema, Task};
use crate::{Error, Result};

/// Rows of features with a target each.
///
/// Cloning and [`subset`](Dataset::subset) share the rows; nothing is copied. Nothing here waits for a device.
///
/// ```
/// use downhill::data::{Dataset, Targets, Task};
///
/// // Three rows of two features, each of one of two classes.
/// let features = vec![0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
/// let rows = Dataset::from_f32(features, &[2], Task::classes(2), Targets::Labels(vec![0, 1, 1]))?;
/// assert_eq!((rows.rows(), rows.label(2)), (3, Some(1)));
/// assert_eq!(rows.subset(1..3)?.features(0), Some(vec![1.0, 0.0]));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone)]
pub struct Dataset {
    name: String,
    schema: Arc<Schema>,
    features: Arc<Features>,
    targets: Arc<Targets>,
    selection: Selection,
}

/// Where the rows of features are.
pub(super) enum Features {
    /// Bytes in memory, row after row.
    Bytes(Vec<u8>),
    /// Floats in memory, row after row.
    Floats(Vec<f32>),
    /// An array in a file or as it was in one.
    Array(ArrayFeatures),
    /// A table too large for the memory.
    Text(IndexedText),
    /// Buffers of an app's on its device, with the targets.
    Lent(LentRows),
}

/// Rows that lie in an app's own buffers.
pub(crate) struct LentRows {
    pub features: wgpu::Buffer,
    pub targets: wgpu::Buffer,
    /// Features in all rows.
    count: usize,
}

impl Features {
    /// Values in all rows.
    fn count(&self) -> usize {
        match self {
            Features::Bytes(bytes) => bytes.len(),
            Features::Floats(floats) => floats.len(),
            Features::Array(array) => array.array.rows() * array.width(),
            Features::Text(text) => text.count(),
            Features::Lent(rows) => rows.count,
        }
    }

    /// Copies rows as the GPU takes them; `out` has their bytes exactly.
    fn copy_rows(&self, rows: &[usize], width: usize, out: &mut [u8]) -> Result<()> {
        match self {
            Features::Bytes(bytes) => {
                for (row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
                    out.copy_from_slice(&bytes[row * width..][..width]);
                }
            }
            Features::Floats(floats) => {
                for (row, out) in rows.iter().zip(out.chunks_exact_mut(width * size_of::<f32>())) {
                    copy_words(floats[row * width..][..width].iter().map(|x| x.to_le_bytes()), out);
                }
            }
            Features::Array(array) => array.copy_rows(rows, out)?,
            Features::Text(text) => text.copy_rows(rows, out)?,
            Features::Lent(_) => return Err(on_the_device("read by the host")),
        }
        Ok(())
    }
}

/// What each row is to be answered with.
///
/// ```
/// use downhill::data::{Dataset, Targets, Task};
///
/// let lengths = Targets::Values(vec![0.5, 2.5]);
/// let rows = Dataset::from_f32(vec![1.0, 3.0], &[1], Task::Values { width: 1 }, lengths)?;
/// assert_eq!(rows.values(1), Some(&[2.5][..]));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class for each row.
    Labels(Vec<u32>),
    /// Numbers, row after row.
    Values(Vec<f32>),
    /// Rows without an answer, to be predicted.
    Absent,
}

impl Targets {
    fn len(&self) -> usize {
        match self {
            Targets::Labels(labels) => labels.len(),
            Targets::Values(values) => values.len(),
            Targets::Absent => 0,
        }
    }
}

/// Which rows of the storage a data set has, in its order.
#[derive(Clone)]
enum Selection {
    Range(Range<usize>),
    Rows(Arc<[u32]>),
}

impl Selection {
    fn len(&self) -> usize {
        match self {
            Selection::Range(range) => range.len(),
            Selection::Rows(rows) => rows.len(),
        }
    }

    /// The row of the storage that `row` is.
    fn get(&self, row: usize) -> Option<usize> {
        match self {
            Selection::Range(range) => range.clone().nth(row),
            Selection::Rows(rows) => rows.get(row).map(|stored| *stored as usize),
        }
    }

    fn slice(&self, rows: Range<usize>) -> Selection {
        match self {
            Selection::Range(range) => Selection::Range(range.start + rows.start..range.start + rows.end),
            Selection::Rows(stored) => Selection::Rows(stored[rows].into()),
        }
    }
}

impl Dataset {
    /// A data set from floats in memory: `features` are rows of `feature_shape`, one after the other.
    ///
    /// # Errors
    /// Lengths that do not fit each other, a label that is not below the count of classes, a value that is not
    /// finite, no rows, or more than 2³²−1.
    pub fn from_f32(
        features: Vec<f32>,
        feature_shape: &[usize],
        task: Task,
        targets: Targets,
    ) -> Result<Self> {
        if let Some(position) = features.iter().position(|value| !value.is_finite()) {
            let message = format!("feature {position} is {}, not a finite number", features[position]);
            return Err(Error::shape(OPERATION, message));
        }
        Self::from_memory(Features::Floats(features), feature_shape, Encoding::F32, task, targets)
    }

    /// A data set from bytes in memory, whose values are the bytes times `scale`: the GPU holds them as bytes
    /// too and scales them where they are used.
    ///
    /// # Errors
    /// As [`from_f32`](Dataset::from_f32).
    pub fn from_bytes(
        features: Vec<u8>,
        feature_shape: &[usize],
        scale: f32,
        task: Task,
        targets: Targets,
    ) -> Result<Self> {
        if !scale.is_finite() {
            return Err(Error::shape(OPERATION, format!("the scale is {scale}, not a finite number")));
        }
        let features = Features::Bytes(features);
        Self::from_memory(features, feature_shape, Encoding::U8 { scale }, task, targets)
    }

    /// A data set in an app's own buffers, which a [`Trainer`](crate::Trainer) on their device reads where they lie: what a
    /// compute pass of the app wrote is trained on without a way over the host. Features are [rows, features] of f32, or of
    /// bytes four to a word; targets a u32 a row, below the count of classes, or [rows, width] of f32. The app may write them
    /// anew between two calls of [`Trainer::advance`](crate::Trainer::advance); nobody checks that they are finite, or labels
    /// classes. They do not count as memory of the run, and must not be destroyed while it goes on.
    ///
    /// # Errors
    /// [`Error::Shape`] for buffers that are too small or are not for storage, no rows, or more than 2³²−1.
    pub fn from_buffers(
        features: wgpu::Buffer,
        targets: wgpu::Buffer,
        rows: usize,
        feature_shape: &[usize],
        encoding: Encoding,
        task: Task,
    ) -> Result<Self> {
        if let Encoding::U8 { scale } = encoding
            && !scale.is_finite()
        {
            return Err(Error::shape(
                "Dataset::from_buffers",
                format!("the scale is {scale}, not a finite number"),
            ));
        }
        let count = feature_shape.iter().fold(rows, |count, size| count.saturating_mul(*size));
        let widths = [("features", &features, count.saturating_mul(encoding.bytes())), {
            ("targets", &targets, rows.saturating_mul(task.width()).saturating_mul(size_of::<u32>()))
        }];
        for (what, buffer, bytes) in widths {
            let bytes = (bytes as u64).next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
            if buffer.size() < bytes || !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
                let message = format!(
                    "the buffer of {what} has {} bytes for {:?}, and {bytes} for STORAGE are needed",
                    buffer.size(),
                    buffer.usage()
                );
                return Err(Error::shape("Dataset::from_buffers", message));
            }
        }
        let features = Features::Lent(LentRows { features, targets, count });
        Self::from_memory(features, feature_shape, encoding, task, Targets::Absent)
    }

    /// The app's buffers, where rows lie in them.
    pub(crate) fn lent(&self) -> Option<&LentRows> {
        match &*self.features {
            Features::Lent(rows) => Some(rows),
            _ => None,
        }
    }

    fn from_memory(
        features: Features,
        feature_shape: &[usize],
        encoding: Encoding,
        task: Task,
        targets: Targets,
    ) -> Result<Self> {
        let schema = Schema {
            feature_shape: feature_shape.to_vec(),
            encoding,
            feature_names: Vec::new(),
            target_name: None,
            task,
        };
        Self::new("memory", schema, features, targets)
    }

    /// A data set of rows that lie ready, checked against what `schema` says of them.
    pub(super) fn new(name: &str, schema: Schema, features: Features, targets: Targets) -> Result<Self> {
        let rows = count_rows(&schema, &features)?;
        check_targets(&schema.task, &targets, rows)?;
        Ok(Dataset {
            name: name.to_owned(),
            schema: Arc::new(schema),
            features: Arc::new(features),
            targets: Arc::new(targets),
            selection: Selection::Range(0..rows),
        })
    }

    /// The same rows as questions to a model of `task`, whatever answers stood beside them.
    pub(super) fn without_targets(self, task: &Task) -> Self {
        let schema = Schema { task: task.clone(), ..(*self.schema).clone() };
        Dataset { schema: Arc::new(schema), targets: Arc::new(Targets::Absent), ..self }
    }

    /// A short name: that of the file or folder without its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the rows mean.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Rows, at least one and below 2³².
    pub fn rows(&self) -> usize {
        self.selection.len()
    }

    /// Whether there are targets; only data that was read for prediction has none.
    pub fn has_targets(&self) -> bool {
        *self.targets != Targets::Absent || self.lent().is_some()
    }

    /// The features of one row as numbers, bytes scaled; none where there is no such row or its file can no
    /// longer be read.
    pub fn features(&self, row: usize) -> Option<Vec<f32>> {
        let row = self.selection.get(row)?;
        let mut bytes = vec![0; self.features_bytes_per_row()];
        self.features.copy_rows(&[row], self.schema.features(), &mut bytes).ok()?;
        Some(match self.schema.encoding {
            Encoding::U8 { scale } => bytes.iter().map(|byte| f32::from(*byte) * scale).collect(),
            Encoding::F32 => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        })
    }

    /// The class of one row; none where there is no such row or its target is no class.
    pub fn label(&self, row: usize) -> Option<u32> {
        match &*self.targets {
            Targets::Labels(labels) => labels.get(self.selection.get(row)?).copied(),
            _ => None,
        }
    }

    /// The target numbers of one row; none where there is no such row or its target is a class.
    pub fn values(&self, row: usize) -> Option<&[f32]> {
        let width = self.schema.task.width();
        match &*self.targets {
            Targets::Values(values) => values.get(self.range_of(row, width)?),
            _ => None,
        }
    }

    /// Bytes that the features of one row take on the GPU.
    pub fn features_bytes_per_row(&self) -> usize {
        self.schema.features() * self.schema.encoding.bytes()
    }

    /// Bytes that the targets of one row take on the GPU: u32 labels or f32 values; 0 where there are none.
    pub fn targets_bytes_per_row(&self) -> usize {
        if self.has_targets() { self.schema.task.width() * size_of::<u32>() } else { 0 }
    }

    /// Whether reading a row means parsing it, so that several threads read faster than one.
    pub(super) fn decodes(&self) -> bool {
        matches!(*self.features, Features::Text(_))
    }

    /// Copies rows as the GPU takes them: features as packed bytes or little-endian f32, targets as
    /// little-endian u32 or f32, row after row without padding.
    ///
    /// # Errors
    /// `features` and `targets` must have exactly the bytes per row times the indices; an index must be below
    /// [`rows`](Dataset::rows).
    pub fn copy_rows(&self, indices: &[u32], features: &mut [u8], targets: &mut [u8]) -> Result<()> {
        let row_bytes = [self.features_bytes_per_row(), self.targets_bytes_per_row()];
        let found = [features.len(), targets.len()];
        if found != row_bytes.map(|bytes| bytes * indices.len()) {
            let message =
                format!("{} rows of {row_bytes:?} bytes do not fill {found:?} exactly", indices.len());
            return Err(Error::shape("Dataset::copy_rows", message));
        }
        let stored = indices.iter().map(|row| {
            self.selection.get(*row as usize).ok_or_else(|| {
                Error::shape("Dataset::copy_rows", format!("there is no row {row}, only {}", self.rows()))
            })
        });
        let stored = stored.collect::<Result<Vec<usize>>>()?;
        self.features.copy_rows(&stored, self.schema.features(), features)?;
        let width = self.schema.task.width();
        match &*self.targets {
            Targets::Labels(labels) => {
                copy_words(stored.iter().map(|row| labels[*row].to_le_bytes()), targets)
            }
            Targets::Values(values) => {
                let values = stored.iter().flat_map(|row| &values[row * width..][..width]);
                copy_words(values.map(|x| x.to_le_bytes()), targets);
            }
            Targets::Absent => {}
        }
        Ok(())
    }

    /// A number that changes with the data: the CRC-32 of the schema, the count of rows, and rows evenly spread
    /// over all, about a thousand at most; of rows in an app's buffers, none. A resumed run compares it with that of its
    /// beginning.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn digest(&self) -> Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(format!("{:?} {}", self.schema, self.rows()).as_bytes());
        if self.lent().is_some() {
            return Ok(hasher.finalize());
        }
        let mut features = vec![0; self.features_bytes_per_row()];
        let mut targets = vec![0; self.targets_bytes_per_row()];
        for row in (0..self.rows()).step_by(self.rows().div_ceil(ROWS_OF_A_DIGEST)) {
            self.copy_rows(&[row as u32], &mut features, &mut targets)?;
            hasher.update(&features);
            hasher.update(&targets);
        }
        Ok(hasher.finalize())
    }

    /// Some of the rows, in their order.
    ///
    /// # Errors
    /// A range that is empty or goes beyond the rows.
    pub fn subset(&self, rows: Range<usize>) -> Result<Self> {
        if rows.is_empty() || rows.end > self.rows() {
            let message = format!("rows {rows:?} are none of the {} rows", self.rows());
            return Err(Error::shape("Dataset::subset", message));
        }
        if self.lent().is_some() {
            return Err(on_the_device("divided"));
        }
        Ok(Dataset { selection: self.selection.slice(rows), ..self.clone() })
    }

    /// Splits the rows at random: first the larger rest, then `fraction` of them (rounded, at least one row of
    /// each), both in the order that they have here.
    ///
    /// # Errors
    /// A fraction that is not between 0 and 1, or a single row.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::setting("test", format!("a fraction of {fraction} is not between 0 and 1")));
        }
        if self.rows() < 2 {
            return Err(Error::setting("test", format!("{} has a single row, nothing to split", self.name)));
        }
        if self.lent().is_some() {
            return Err(on_the_device("divided"));
        }
        let taken = ((self.rows() as f64 * fraction).round() as usize).clamp(1, self.rows() - 1);
        let mut order = Vec::new();
        permutation(&mut order, self.rows() as u32, seed, SPLIT);
        let part = |rows: &mut [u32]| {
            rows.sort_unstable();
            let stored = rows.iter().filter_map(|row| self.selection.get(*row as usize));
            let selection = Selection::Rows(stored.map(|row| row as u32).collect());
            Dataset { selection, ..self.clone() }
        };
        let (second, first) = order.split_at_mut(taken);
        Ok((part(first), part(second)))
    }

    /// Where the `width` values of a row lie in the storage.
    fn range_of(&self, row: usize, width: usize) -> Option<Range<usize>> {
        let row = self.selection.get(row)?;
        Some(row * width..(row + 1) * width)
    }
}

const OPERATION: &str = "data set from memory";

fn on_the_device(done: &str) -> Error {
    Error::shape("data set from buffers", format!("rows that lie on the device cannot be {done}"))
}

/// The stream of random numbers that splits; epochs count up from 0 and never reach it.
const SPLIT: u64 = u64::MAX;

/// Rows that a digest looks at, at most.
const ROWS_OF_A_DIGEST: usize = 1000;

/// How many rows the features are.
fn count_rows(schema: &Schema, features: &Features) -> Result<usize> {
    let wrong = |message: String| Err(Error::shape(OPERATION, message));
    let shape = &schema.feature_shape;
    let width = shape.iter().try_fold(1usize, |product, dimension| product.checked_mul(*dimension));
    let Some(width) = width.filter(|width| *width > 0) else {
        return wrong(format!("a row cannot have the shape {shape:?}"));
    };
    let values = features.count();
    if values == 0 || !values.is_multiple_of(width) {
        return wrong(format!("{values} features are not one or more rows of {shape:?} = {width}"));
    }
    let rows = values / width;
    if u32::try_from(rows).is_err() {
        return wrong(format!("{rows} rows are more than 2³²−1, the most that a row index can name"));
    }
    Ok(rows)
}

fn check_targets(task: &Task, targets: &Targets, rows: usize) -> Result<()> {
    let wrong = |message: String| Err(Error::shape(OPERATION, message));
    match (task, targets) {
        (_, Targets::Absent) => return Ok(()),
        (Task::Classes { count, names }, Targets::Labels(labels)) => {
            if !names.is_empty() && names.len() != *count {
                return wrong(format!("{} names for {count} classes", names.len()));
            }
            if let Some((row, label)) = first_label_beyond(labels, *count) {
                return wrong(format!("the label of row {row} is {label}, beyond the {count} classes"));
            }
        }
        (Task::Values { width: 0 }, _) => return wrong("a target needs at least one number".to_owned()),
        (Task::Values { .. }, Targets::Values(values)) => {
            if let Some(position) = values.iter().position(|value| !value.is_finite()) {
                return wrong(format!("target {position} is {}, not a finite number", values[position]));
            }
        }
        _ => return wrong("a task of classes needs labels, a task of values needs values".to_owned()),
    }
    if Some(targets.len()) != rows.checked_mul(task.width()) {
        return wrong(format!(
            "{rows} rows with {} targets each have {} targets",
            task.width(),
            targets.len()
        ));
    }
    Ok(())
}

/// The first row whose label is not below `count`, and that label.
pub(super) fn first_label_beyond(labels: &[u32], count: usize) -> Option<(usize, u32)> {
    labels.iter().copied().enumerate().find(|(_, label)| *label as usize >= count)
}
