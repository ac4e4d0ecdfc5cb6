//! The program as its users meet it: run with arguments in a folder of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program with `arguments`, to be run in `folder`.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downhill"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_remove("RUST_LOG");
    // Tests leave nothing in the user's folders.
    command.env("DOWNHILL_CACHE", "off");
    command
}

/// Runs the program to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Ended {
    Ended::of(command(folder, arguments).output().expect("the program starts"))
}

/// Runs the program, which must succeed.
pub fn succeed(folder: &Path, arguments: &[&str]) -> Ended {
    let ended = run(folder, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended
}

/// How the program ended and what it said.
pub struct Ended {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The one line of an error, without its `error: `.
    pub fn error(&self, case: &str) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [line] = lines[..] else { panic!("{case}: not one line but `{}`", self.stderr) };
        line.strip_prefix("error: ").unwrap_or_else(|| panic!("{case}: `{line}` is no error"))
    }
}
