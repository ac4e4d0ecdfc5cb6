//! The one error type: what was wrong, where, and what to do about it.
//!
//! Every message is a single line. [`Error::exit_code`] tells a request that was wrong (2) from work
//! that failed (1), as the command line promises.

use std::path::{Path, PathBuf};

/// The result of every fallible call of this crate.
///
/// ```
/// use downhill::{Optimizer, Result};
///
/// fn adam(rate: f64) -> Result<Optimizer> {
///     Optimizer::new("adam")?.with("lr", rate)
/// }
/// assert!(adam(1e-3).is_ok() && adam(-1.0).is_err());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, each with what names the culprit.
///
/// ```
/// use downhill::{Error, Optimizer};
///
/// let error = Optimizer::new("adm").unwrap_err();
/// assert_eq!(error.to_string(), "optimizer: unknown name `adm`; did you mean `adam`?");
/// assert!(matches!(error, Error::Setting { .. }) && error.exit_code() == 2);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter that can run compute shaders, or the one asked for is not there.
    #[error("{0}")]
    Adapter(String),

    /// The device was lost, or the driver refused something the plan had checked.
    #[error("the GPU device failed while {doing}: {message}")]
    Device {
        /// What was being done.
        doing: String,
        /// What the driver or wgpu said.
        message: String,
    },

    /// The memory needed is more than the budget or one of the adapter's limits.
    #[error("{0}")]
    DoesNotFit(String),

    /// Memory that was planned within the budget was not there when it was allocated, or is above a limit set
    /// since.
    #[error("{0}")]
    OutOfMemory(String),

    /// An operation of a graph was given shapes or types that it does not take.
    #[error("{operation}: {message}")]
    Shape {
        /// The operation's name.
        operation: String,
        /// What is wrong with its operands.
        message: String,
    },

    /// A setting has a value that cannot be used: a flag, a key of a file or an argument of a call.
    #[error("{name}: {message}")]
    Setting {
        /// The setting's name.
        name: String,
        /// What is wrong with its value.
        message: String,
    },

    /// A text in the language of expressions cannot be read, or asks for something that does not exist.
    #[error("{name}, column {column}: {message}")]
    Expression {
        /// What the text is: `expression` or `start`.
        name: &'static str,
        /// The text.
        text: String,
        /// The character of the text where it shows, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },

    /// A data file says something that cannot be right.
    #[error("{}: {}{message}", path.display(), if place.is_empty() { String::new() } else { format!("{place}: ") })]
    Data {
        /// The file.
        path: PathBuf,
        /// A row, a column, a byte; may be empty.
        place: String,
        /// What is wrong there.
        message: String,
    },

    /// A file or folder could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// A file or folder could not be written; what stood there before is untouched.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// A run folder or checkpoint is not one, or belongs to another run.
    #[error("{}: {message}", path.display())]
    Run {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// The loss became NaN or infinite.
    #[error("{0}")]
    Diverged(String),
}

impl Error {
    /// The exit code that the command line gives: 2 where the request was wrong, 1 where the work failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Adapter(_)
            | Error::Device { .. }
            | Error::DoesNotFit(_)
            | Error::OutOfMemory(_)
            | Error::Write { .. }
            | Error::Diverged(_) => 1,
            Error::Shape { .. }
            | Error::Setting { .. }
            | Error::Expression { .. }
            | Error::Data { .. }
            | Error::Read { .. }
            | Error::Run { .. } => 2,
        }
    }

    pub(crate) fn shape(operation: &str, message: impl Into<String>) -> Self {
        Error::Shape { operation: operation.to_owned(), message: message.into() }
    }

    pub(crate) fn setting(name: &str, message: impl Into<String>) -> Self {
        Error::Setting { name: name.to_owned(), message: message.into() }
    }

    /// The same of a setting that its user knows by another name.
    #[cfg(any(feature = "cli", feature = "capi"))]
    pub(crate) fn of_setting(self, name: &str) -> Self {
        match self {
            Error::Setting { message, .. } => Error::setting(name, message),
            other => other,
        }
    }

    pub(crate) fn data(path: &Path, place: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Data { path: path.to_owned(), place: place.into(), message: message.into() }
    }

    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Error::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Error::Write { path: path.to_owned(), source }
    }

    pub(crate) fn run(path: &Path, message: impl Into<String>) -> Self {
        Error::Run { path: path.to_owned(), message: message.into() }
    }
}

/// Names that a message lists at most: a table can have thousands of columns.
const LISTED: usize = 20;

/// `unknown` is not in `known`: one line that says so, with the nearest name when one is near.
pub(crate) fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    // Whoever writes in capitals has the letters right.
    let typed = unknown.to_lowercase();
    let nearest = known.iter().map(|name| (strsim::damerau_levenshtein(&typed, name), *name)).min();
    match nearest {
        Some((distance, name)) if distance <= name.len().div_ceil(3) && distance < name.len() => {
            format!("unknown name `{unknown}`; did you mean `{name}`?")
        }
        _ if known.len() > LISTED => {
            let (listed, more) = (known[..LISTED].join(", "), known.len() - LISTED);
            format!("unknown name `{unknown}`; known are {listed} and {more} more")
        }
        _ => format!("unknown name `{unknown}`; known are {}", known.join(", ")),
    }
}
