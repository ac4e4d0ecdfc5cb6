//! Vectors from scalars, and scalars and vectors from vectors, with Python's meaning of negative places.

use std::ops::Range;

use super::build::{Builder, said};
use super::value::{Said, Value};

impl Builder {
    /// `[a, b, c]` of scalars.
    pub(super) fn vector(&mut self, elements: Vec<Value>) -> Said<Value> {
        if let Some(longer) = elements.iter().find(|element| self.length(element).is_some()) {
            return Err(format!("the elements of a vector are scalars, not {}", self.describe(longer)));
        }
        let count = elements.len();
        let known = elements.iter().map(|element| element.number().unwrap_or(0.0)).collect();
        let mut total = Value::vector(known);
        for (at, element) in elements.into_iter().enumerate() {
            if let Value::Node(var) = element {
                let alone = self.graph.reshape(var, [1]);
                let placed =
                    alone.and_then(|alone| self.graph.pad(alone, 0, at, count - 1 - at)).map_err(said)?;
                let so_far = self.node(total)?;
                total = Value::Node(self.graph.add(placed, so_far).map_err(said)?);
            }
        }
        Ok(total)
    }

    /// `vector[index]`
    pub(super) fn index(&mut self, index: &Value, vector: Value) -> Said<Value> {
        let length = self.length(&vector).ok_or("a scalar has no elements")?;
        let place = place(index)?;
        let from_start = if place < 0.0 { place + length as f64 } else { place };
        if !(0.0..length as f64).contains(&from_start) {
            return Err(format!("there is no element {place} in a vector of {length}"));
        }
        let at = from_start as usize;
        match vector {
            Value::Known(array) => Ok(Value::scalar(array.data[at])),
            Value::Node(var) => {
                let alone = self.graph.slice(var, 0, at..at + 1);
                alone
                    .and_then(|alone| self.graph.reshape(alone, crate::Shape::scalar()))
                    .map(Value::Node)
                    .map_err(said)
            }
        }
    }

    /// `vector[from:to]`, whose bounds may lie outside, as in Python.
    pub(super) fn slice(&mut self, from: Option<&Value>, to: Option<&Value>, vector: Value) -> Said<Value> {
        let length = self.length(&vector).ok_or("a scalar has no elements")?;
        let bound = |bound: Option<&Value>, absent: usize| -> Said<usize> {
            let Some(bound) = bound else { return Ok(absent) };
            let place = place(bound)?;
            let from_start = if place < 0.0 { place + length as f64 } else { place };
            Ok(from_start.clamp(0.0, length as f64) as usize)
        };
        let range: Range<usize> = bound(from, 0)?..bound(to, length)?;
        if range.is_empty() {
            return Err(format!("no element of a vector of {length} is between these bounds"));
        }
        match vector {
            Value::Known(array) => Ok(Value::vector(array.data[range].to_vec())),
            Value::Node(var) => self.graph.slice(var, 0, range).map(Value::Node).map_err(said),
        }
    }
}

/// The whole number that an index is.
fn place(index: &Value) -> Said<f64> {
    let place = index.number().filter(|place| place.fract() == 0.0);
    place.ok_or_else(|| "an index is a known whole number".to_owned())
}
