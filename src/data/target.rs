//! What the targets of a table are: classes by name, classes by number, or numbers.

use std::collections::HashMap;

use super::dataset::Targets;
use super::files::{quoted, shown};
use super::schema::{Purpose, TargetKind, Task};
use crate::error::did_you_mean;

/// More different targets than this are identifiers or measurements, not classes.
const MOST_CLASSES: usize = 10_000;

/// The targets read so far and what they are taken for.
pub(super) enum TargetColumn<'a> {
    /// Numbers, for now: whether they are classes shows with the first or at the end, where that is not known.
    Numbers {
        values: Vec<f32>,
        kind: TargetKind,
    },
    /// Labels that are the numbers themselves.
    Labels {
        labels: Vec<u32>,
        count: usize,
    },
    /// Labels that number the names as they came, or as the model knows them.
    Names {
        labels: Vec<u32>,
        numbers: HashMap<String, u32>,
        naming: Naming<'a>,
    },
    Unread(&'a Task),
}

/// Which names there may be.
#[derive(Clone, Copy)]
pub(super) enum Naming<'a> {
    /// Those of the model, in this order.
    Known(&'a [String]),
    /// Any that are no numbers.
    Texts,
    /// Integers, in whatever form they are written.
    Integers,
}

impl<'a> TargetColumn<'a> {
    pub(super) fn new(purpose: Purpose<'a>) -> Self {
        match purpose {
            Purpose::Train { kind, .. } => TargetColumn::Numbers { values: Vec::new(), kind },
            Purpose::Predict(schema) => TargetColumn::Unread(&schema.task),
            Purpose::Evaluate(schema) => match &schema.task {
                Task::Values { .. } => {
                    TargetColumn::Numbers { values: Vec::new(), kind: TargetKind::Numbers }
                }
                Task::Classes { count, names } if names.is_empty() => {
                    TargetColumn::Labels { labels: Vec::new(), count: *count }
                }
                Task::Classes { names, .. } => TargetColumn::Names {
                    labels: Vec::new(),
                    numbers: names.iter().cloned().zip(0..).collect(),
                    naming: Naming::Known(names),
                },
            },
        }
    }

    /// Takes the target of the next row, or says what is wrong with it.
    pub(super) fn push(&mut self, text: &str) -> Result<(), String> {
        if let TargetColumn::Numbers { values, kind } = self
            && values.is_empty()
            && let Some(naming) = naming_by_first(text, *kind)
        {
            *self = TargetColumn::Names { labels: Vec::new(), numbers: HashMap::new(), naming };
        }
        match self {
            TargetColumn::Numbers { values, .. } => values.push(number(text)?),
            TargetColumn::Labels { labels, count } => match text.parse::<f64>() {
                Ok(label) if label.fract() == 0.0 && (0.0..*count as f64).contains(&label) => {
                    labels.push(label as u32)
                }
                _ => return Err(format!("{} is none of the {count} classes from 0 on", quoted(text))),
            },
            TargetColumn::Names { labels, numbers, naming } => labels.push(label_of(text, numbers, *naming)?),
            TargetColumn::Unread(_) => {}
        }
        Ok(())
    }

    pub(super) fn finish(self) -> (Task, Targets) {
        match self {
            TargetColumn::Numbers { values, kind } => {
                match count_classes(&values).filter(|_| kind == TargetKind::Auto) {
                    Some(count) => {
                        let labels = values.into_iter().map(|label| label as u32).collect();
                        (Task::classes(count), Targets::Labels(labels))
                    }
                    None => (Task::Values { width: 1 }, Targets::Values(values)),
                }
            }
            TargetColumn::Labels { labels, count } => (Task::classes(count), Targets::Labels(labels)),
            TargetColumn::Names { labels, naming: Naming::Known(names), .. } => {
                (Task::Classes { count: names.len(), names: names.to_vec() }, Targets::Labels(labels))
            }
            TargetColumn::Names { labels, numbers, .. } => sort_names(labels, numbers),
            TargetColumn::Unread(task) => (task.clone(), Targets::Absent),
        }
    }
}

/// How the target of the first row says that classes are named, if it does.
fn naming_by_first(text: &str, kind: TargetKind) -> Option<Naming<'static>> {
    match (kind, text.parse::<f32>().is_ok()) {
        (TargetKind::Numbers, _) | (TargetKind::Auto, true) => None,
        (TargetKind::Classes, true) => Some(Naming::Integers),
        (TargetKind::Auto | TargetKind::Classes, false) => Some(Naming::Texts),
    }
}

/// The label of a class name; a new one where the names are not known yet.
fn label_of(text: &str, numbers: &mut HashMap<String, u32>, naming: Naming) -> Result<u32, String> {
    if let Some(label) = numbers.get(text) {
        return Ok(*label);
    }
    let integer = integer_name(text);
    if let Some(label) = integer.as_ref().and_then(|name| numbers.get(name)) {
        return Ok(*label);
    }
    let name = match naming {
        Naming::Known(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(format!("no such class: {}", did_you_mean(&shown(text), &names)));
        }
        Naming::Texts if text.parse::<f32>().is_ok() => {
            return Err(format!("{} is a number, but the target of the first row is text", quoted(text)));
        }
        Naming::Texts => text.to_owned(),
        Naming::Integers => {
            integer.ok_or_else(|| format!("{} is not an integer, so it names no class", quoted(text)))?
        }
    };
    if numbers.len() == MOST_CLASSES {
        return Err(format!("more than {MOST_CLASSES} different classes; is this the target column?"));
    }
    let label = numbers.len() as u32;
    numbers.insert(name, label);
    Ok(label)
}

/// The one name of an integer, written `3`, `+3` or `3.0`.
fn integer_name(text: &str) -> Option<String> {
    /// Integers up to here are exact in f64.
    const MOST: f64 = (1u64 << 53) as f64;
    let value = text.parse::<f64>().ok()?;
    (value.fract() == 0.0 && value.abs() <= MOST).then(|| (value as i64).to_string())
}

/// Renumbers labels by the order of their names, integers by value; those from 0 to k−1 need no names.
fn sort_names(mut labels: Vec<u32>, numbers: HashMap<String, u32>) -> (Task, Targets) {
    let mut sorted: Vec<(String, u32)> = numbers.into_iter().collect();
    sorted.sort_by_cached_key(|(name, _)| (name.parse::<i64>().ok(), name.clone()));
    let mut place = vec![0; sorted.len()];
    for (label, (_, number)) in (0..).zip(&sorted) {
        place[*number as usize] = label;
    }
    labels.iter_mut().for_each(|label| *label = place[*label as usize]);
    let names: Vec<String> = sorted.into_iter().map(|(name, _)| name).collect();
    let from_zero = names.iter().enumerate().all(|(label, name)| *name == label.to_string());
    let count = names.len();
    let names = if from_zero { Vec::new() } else { names };
    (Task::Classes { count, names }, Targets::Labels(labels))
}

/// The number k of classes where all values are integers from 0 to k−1, each of these occurs, and so often that
/// they can hardly be measurements: twice on average.
fn count_classes(values: &[f32]) -> Option<usize> {
    let most = MOST_CLASSES.min(values.len() / 2);
    let mut seen = vec![false; most];
    let mut count = 0;
    for value in values {
        if value.fract() != 0.0 || !(0.0..most as f32).contains(value) {
            return None;
        }
        seen[*value as usize] = true;
        count = count.max(*value as usize + 1);
    }
    (count >= 2 && seen[..count].iter().all(|seen| *seen)).then_some(count)
}

/// A text as the number that it must be.
pub(super) fn number(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("{} is not a finite 32-bit number", quoted(text))),
        Err(_) => Err(format!("{} is not a number", quoted(text))),
    }
}
