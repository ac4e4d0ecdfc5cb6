//! Data sets of arrays: a table of which one column is the target, or features and targets in an array each.

use std::path::Path;

use super::array::{ArrayFeatures, RowArray};
use super::dataset::{Dataset, Features, Targets};
use super::files::quoted;
use super::schema::{Encoding, Purpose, Schema, TargetKind, Task};
use super::target::TargetColumn;
use crate::{Error, Result};

/// Rows of a two-dimensional array: the target is a column, counted from 0 or, if negative, from the end.
pub(super) fn table(name: &str, array: RowArray, purpose: Purpose) -> Result<Dataset> {
    let path = array.store.path().to_owned();
    let wrong = |message| Error::data(&path, "header", message);
    let columns = array.width();
    let named = match purpose {
        Purpose::Train { target, .. } => target,
        Purpose::Evaluate(schema) | Purpose::Predict(schema) => {
            check_nameless(&path, schema)?;
            schema.target_name.as_deref()
        }
    };
    let target = match purpose {
        Purpose::Predict(schema) if columns == schema.features() => None,
        _ if columns < 2 => {
            return Err(wrong(format!("has {columns} column; a target and a feature are needed")));
        }
        _ => Some(column_of(named.unwrap_or("-1"), columns).map_err(wrong)?),
    };
    array.check_finite(target)?;
    let mut answers = TargetColumn::new(purpose);
    if let (Some(column), Purpose::Train { .. } | Purpose::Evaluate(_)) = (target, purpose) {
        read_column(&array, column, &mut answers)?;
    }
    let (task, targets) = answers.finish();
    let target_name = target.map(|column| column.to_string());
    finish(name, array, target, Encoding::F32, target_name, (task, targets))
}

/// Rows of features, of any number of dimensions, and what they are to be answered with: a number or class a
/// row, or several numbers.
pub(super) fn pair(
    name: &str,
    features: RowArray,
    targets: Option<RowArray>,
    target_name: Option<String>,
    purpose: Purpose,
) -> Result<Dataset> {
    if let Purpose::Evaluate(schema) | Purpose::Predict(schema) = purpose {
        check_nameless(features.store.path(), schema)?;
    }
    features.check_finite(None)?;
    let answers = match (purpose, targets) {
        (Purpose::Predict(schema), _) => (schema.task.clone(), Targets::Absent),
        (_, None) => {
            return Err(Error::data(features.store.path(), "", "there are no targets beside the features"));
        }
        (_, Some(targets)) => {
            if targets.rows() != features.rows() {
                let message = format!("{} targets for {} rows", targets.rows(), features.rows());
                return Err(Error::data(targets.store.path(), "", message));
            }
            answers(&targets, purpose)?
        }
    };
    let encoding = features.encoding();
    finish(name, features, None, encoding, target_name, answers)
}

/// Refuses an array for a model whose features have names: it does not say which of them its columns are.
fn check_nameless(path: &Path, schema: &Schema) -> Result<()> {
    if schema.feature_names.is_empty() {
        return Ok(());
    }
    let message = "the model was trained on a table with column names; an array does not fit it";
    Err(Error::data(path, "header", message))
}

fn finish(
    name: &str,
    array: RowArray,
    but: Option<usize>,
    encoding: Encoding,
    target_name: Option<String>,
    (task, targets): (Task, Targets),
) -> Result<Dataset> {
    let features = ArrayFeatures { array, but, encoding };
    let feature_shape = match (&features.array.shape[1..], but) {
        ([], _) => vec![1],
        (_, Some(_)) => vec![features.width()],
        (shape, None) => shape.to_vec(),
    };
    let schema = Schema { feature_shape, encoding, feature_names: Vec::new(), target_name, task };
    features.array.store.expect_random_reads();
    Dataset::new(name, schema, Features::Array(features), targets)
}

/// The column that a number names.
fn column_of(text: &str, columns: usize) -> Result<usize, String> {
    let column = text.parse::<isize>().ok().and_then(|column| match column {
        0.. => Some(column.unsigned_abs()),
        _ => columns.checked_sub(column.unsigned_abs()),
    });
    column.filter(|column| *column < columns).ok_or_else(|| {
        let last = columns - 1;
        format!("no such target column: {}; an array's columns are 0 to {last}, -1 is the last", quoted(text))
    })
}

/// The targets of all rows: classes or numbers by the rule of tables where each row has one, else numbers.
fn answers(array: &RowArray, purpose: Purpose) -> Result<(Task, Targets)> {
    let width = array.width();
    if width == 1 {
        let mut column = TargetColumn::new(purpose);
        read_column(array, 0, &mut column)?;
        return Ok(column.finish());
    }
    if let Purpose::Train { kind: TargetKind::Classes, .. } = purpose {
        let message = format!("each row has {width} numbers; a class is a single one");
        return Err(Error::data(array.store.path(), "", message));
    }
    array.check_finite(None)?;
    let mut bytes = vec![0; width * array.element.bytes()];
    let mut values = Vec::with_capacity(array.rows() * width);
    for row in 0..array.rows() {
        array.read_row(row, &mut bytes)?;
        values.extend(array.element.values(&bytes).map(|value| value as f32));
    }
    Ok((Task::Values { width }, Targets::Values(values)))
}

fn read_column(array: &RowArray, column: usize, answers: &mut TargetColumn) -> Result<()> {
    let place = |row: usize, path: &Path, message| {
        let column = if array.width() == 1 { String::new() } else { format!(", column {column}") };
        Error::data(path, format!("row {row}{column}"), message)
    };
    for row in 0..array.rows() {
        let value = array.value(row, column)?;
        answers.push(&value.to_string()).map_err(|message| place(row, array.store.path(), message))?;
    }
    Ok(())
}
