//! The command line; all of it lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    downhill::cli::main()
}
