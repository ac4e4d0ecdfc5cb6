//! Values of the stack machine: numbers that are known, and nodes of the graph that depend on an unknown.

use super::build::Builder;
use crate::graph::{Array, Dim, Var};

/// Elements of a vector: what the reference computes with on the host, in f64.
pub(super) const MOST_ELEMENTS: usize = 1 << 20;

/// A scalar or a vector.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Its elements, of shape [] or [n].
    Known(Array),
    Node(Var),
}

/// A message without a place, which the stack machine knows.
pub(super) type Said<T> = Result<T, String>;

impl Value {
    pub fn scalar(number: f64) -> Self {
        Value::Known(Array { shape: Vec::new(), data: vec![number] })
    }

    pub fn vector(data: Vec<f64>) -> Self {
        Value::Known(Array { shape: vec![data.len()], data })
    }

    /// The number that it is, where it is a known scalar.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Known(array) if array.shape.is_empty() => array.data.first().copied(),
            _ => None,
        }
    }

    /// Each element through `function`, where it is known.
    pub fn map(&self, function: impl Fn(f64) -> f64) -> Option<Value> {
        let Value::Known(array) = self else { return None };
        let data = array.data.iter().map(|&x| function(x)).collect();
        Some(Value::Known(Array { shape: array.shape.clone(), data }))
    }

    /// Pairs of elements through `function`, a scalar beside every element of a vector, where both are known. Their
    /// lengths agree.
    pub fn zip(&self, other: &Value, function: impl Fn(f64, f64) -> f64) -> Option<Value> {
        let (Value::Known(a), Value::Known(b)) = (self, other) else { return None };
        let longer = if a.shape.len() >= b.shape.len() { a } else { b };
        let element = |array: &Array, i: usize| array.data[if array.shape.is_empty() { 0 } else { i }];
        let data = (0..longer.data.len()).map(|i| function(element(a, i), element(b, i))).collect();
        Some(Value::Known(Array { shape: longer.shape.clone(), data }))
    }
}

impl Builder {
    /// The number of elements of a vector; none for a scalar, as a column of a table is for each row.
    pub(super) fn length(&self, value: &Value) -> Option<usize> {
        match value {
            Value::Known(array) => array.shape.first().copied(),
            Value::Node(var) => match self.graph.shape(*var).dims().first() {
                Some(Dim::Fixed(size)) => Some(*size),
                Some(Dim::Batch(_)) | None => None,
            },
        }
    }

    /// How messages call a value.
    pub(super) fn describe(&self, value: &Value) -> String {
        match self.length(value) {
            None => "a scalar".to_owned(),
            Some(length) => format!("a vector of {length}"),
        }
    }

    /// Whether a value is a number for each row of a table.
    fn is_column(&self, value: &Value) -> bool {
        let Value::Node(var) = value else { return false };
        matches!(self.graph.shape(*var).dims().first(), Some(Dim::Batch(_)))
    }

    fn no_such_pair(&self, what: &str, length: usize) -> Said<()> {
        Err(format!(
            "{what} takes a column of the data and a scalar, not a vector of {length}; take one of its elements"
        ))
    }

    /// Refuses two vectors of different lengths, and a vector with a column.
    pub(super) fn agree(&self, what: &str, a: &Value, b: &Value) -> Said<()> {
        match (self.length(a), self.length(b)) {
            (Some(first), Some(second)) if first != second => {
                Err(format!("{what} takes vectors of one length, not of {first} and {second}"))
            }
            (Some(length), None) if self.is_column(b) => self.no_such_pair(what, length),
            (None, Some(length)) if self.is_column(a) => self.no_such_pair(what, length),
            _ => Ok(()),
        }
    }

    /// The node of a value. A vector of one number is that number spread; another known one becomes an input that is
    /// filled once.
    pub(super) fn node(&mut self, value: Value) -> Said<Var> {
        let array = match value {
            Value::Node(var) => return Ok(var),
            Value::Known(array) => array,
        };
        if let Some(number) = array.data.iter().find(|x| !(**x as f32).is_finite()) {
            return Err(match number.is_nan() {
                true => {
                    "this is not a number; is there 0/0, or a logarithm or root of a negative one?".into()
                }
                false => format!("{number:e} is beyond 3.4e38, where the numbers of the GPU end"),
            });
        }
        let first = array.data[0];
        let shape: Vec<Dim> = array.shape.iter().map(|&size| Dim::Fixed(size)).collect();
        let made = if array.data.iter().all(|x| x.to_bits() == first.to_bits()) {
            let constant = self.graph.constant(first);
            constant.and_then(|var| self.graph.broadcast_to(var, crate::Shape(shape)))
        } else {
            let known = self.tables.iter().position(|table| *table == array.data);
            let number = known.unwrap_or(self.tables.len());
            self.graph.input(&table_name(number), crate::Shape(shape)).inspect(|_| {
                if known.is_none() {
                    self.tables.push(array.data);
                }
            })
        };
        made.map_err(|error| error.to_string())
    }
}

/// The input slot of a known vector.
pub(super) fn table_name(number: usize) -> String {
    format!("known vector {number}")
}
