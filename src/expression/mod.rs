//! The language of functions to minimise: text to a [`Graph`](crate::Graph) of scalars and vectors.
//!
//! `token` and `parse` turn text into instructions of a stack machine, so that however long a text is, only nesting
//! takes stack; `build` runs them. A value in which no unknown stands is computed at once, in f64.

mod build;
mod function;
mod index;
mod parse;
mod power;
mod token;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use build::{Builder, Start, column_input};

use crate::Error;

/// What is wrong with a text, and the byte at which it shows.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub at: usize,
    pub message: String,
}

impl Fault {
    pub fn new(at: usize, message: impl Into<String>) -> Self {
        Fault { at, message: message.into() }
    }

    /// The error about `text`, which messages call `name`.
    pub fn in_text(self, name: &'static str, text: &str) -> Error {
        let column = 1 + text.char_indices().take_while(|(at, _)| *at < self.at).count();
        Error::Expression { name, text: text.to_owned(), column, message: self.message }
    }
}
