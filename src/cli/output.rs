//! Standard output and standard error: results and JSON lines on the one, all else on the other.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use crate::{Error, Result};

/// Why a command ends before it is done.
pub(super) enum Stop {
    /// It failed.
    Failed(Error),
    /// It failed, as the last result says; what a person is to be told.
    Told(String),
    /// Whoever read the results has seen enough.
    ClosedPipe,
    /// It was told to end; how to go on.
    Interrupted(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// What a command returns.
pub(super) type Ended<T = ()> = Result<T, Stop>;

/// Where a command says things, and how much of it.
pub(super) struct Output {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
}

/// An object with its event's name before it.
#[derive(Serialize)]
struct Tagged<'a, T: Serialize> {
    event: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

impl Output {
    /// A JSON line, where they are wanted.
    pub fn event(&self, event: &str, body: &impl Serialize) -> Ended {
        if self.json { self.object(&Tagged { event, body }) } else { Ok(()) }
    }

    /// A JSON line of an object that has its event's name, where they are wanted.
    pub fn object(&self, object: &impl Serialize) -> Ended {
        if !self.json {
            return Ok(());
        }
        match serde_json::to_string(object) {
            Ok(line) => print(&line),
            Err(error) => print_error(error.into()),
        }
    }

    /// Lines of a result for people, where JSON is not wanted.
    pub fn result(&self, text: &str) -> Ended {
        if self.json { Ok(()) } else { print(text) }
    }

    /// A line on standard error that explains, where that is wanted.
    pub fn explain(&self, text: &str) {
        if self.verbose && !self.quiet {
            complain(text);
        }
    }

    /// A line on standard error about something that the user should know.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// Says what failed; returns the exit code.
    pub fn failed(&self, message: &str, code: u8) -> u8 {
        let message = one_line(message);
        complain(&format!("error: {message}"));
        self.last(&message, code)
    }

    /// Shows the place in a text that `error` is about, if it is about one.
    pub fn point_at(&self, error: &Error) {
        if let Error::Expression { text, column, .. } = error {
            pointed(text, *column).iter().for_each(|line| complain(line));
        }
    }

    /// Says what failed where the results have told it already; returns the exit code.
    pub fn told(&self, message: &str) -> u8 {
        complain(&format!("error: {}", one_line(message)));
        1
    }

    /// Says how to go on after an interrupt; returns the exit code.
    pub fn interrupted(&self, message: &str) -> u8 {
        complain(message);
        self.last(&one_line(message), INTERRUPTED)
    }

    fn last(&self, message: &str, code: u8) -> u8 {
        // If even this cannot be written, the exit code still tells.
        let _ = self.event("error", &serde_json::json!({ "message": message, "code": code }));
        code
    }
}

/// The exit code after Ctrl-C, as shells have it: 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

fn print(text: &str) -> Ended {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).or_else(print_error)
}

fn print_error(error: io::Error) -> Ended {
    Err(match error.kind() {
        ErrorKind::BrokenPipe => Stop::ClosedPipe,
        _ => Stop::Failed(Error::write(Path::new("standard output"), error)),
    })
}

/// Writes a line to standard error; a closed one is nobody's loss.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Errors where no file can be written at `path`, before anything is done for it.
///
/// # Errors
/// [`Error::Setting`] of the setting `flag`.
pub(super) fn check_file(flag: &str, path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let missing = folder.filter(|folder| !folder.is_dir());
    match (path.is_dir(), missing) {
        (true, _) => Err(Error::setting(flag, format!("{} is a folder, not a file", path.display()))),
        (_, Some(folder)) => Err(Error::setting(flag, format!("there is no folder {}", folder.display()))),
        _ => Ok(()),
    }
}

/// Characters of a text on either side of a place that is pointed at.
const BESIDE: usize = 50;

/// `text` around the character `column`, counted from 1, and a line with a caret under that.
fn pointed(text: &str, column: usize) -> [String; 2] {
    let first = column.saturating_sub(1 + BESIDE);
    let excerpt: String = one_line(text).chars().skip(first).take(2 * BESIDE).collect();
    [format!("  {excerpt}"), format!("  {}^", " ".repeat(column - 1 - first))]
}

/// Names of files may hold anything, line breaks too.
fn one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
