//! The command line: what was typed, the library calls that it means, and what comes back as text or JSON lines.

mod arguments;
mod batch_chart;
mod bench;
mod bench_batch;
mod bench_kernels;
mod devices;
mod evaluate;
mod export;
mod find_rate;
mod fit;
mod fit_many;
mod minimize;
mod optimizer_list;
mod output;
mod plan;
mod profile;
mod progress;
mod race;
mod race_expression;
mod race_training;
mod rate_chart;
mod solve;
mod train;
mod tune;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Arguments, Bench, Command};
use output::{Output, Stop};

/// Runs the program with the arguments of this process.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     downhill::cli::main()
/// }
/// ```
pub fn main() -> ExitCode {
    let began = Instant::now();
    silence_display_search();
    let typed: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(match Arguments::try_parse_from(&typed) {
        Ok(arguments) => run(&arguments, began),
        Err(error) => refuse(&error, typed.iter().any(|argument| argument == "--json")),
    })
}

fn run(arguments: &Arguments, began: Instant) -> u8 {
    let global = &arguments.global;
    start_log(global.verbose && !global.quiet);
    let output = Output { json: global.json, quiet: global.quiet, verbose: global.verbose };
    let ended = match &arguments.command {
        Command::Devices => devices::devices(arguments.global.adapter.as_deref(), &output),
        Command::Train(arguments) => train::train(arguments, global, &output),
        Command::Plan(arguments) => plan::plan(arguments, global, &output),
        Command::Eval(arguments) => evaluate::evaluate(arguments, global, &output),
        Command::Predict(arguments) => evaluate::predict(arguments, global, &output),
        Command::Export(arguments) => export::export(arguments, &output),
        Command::Minimize(arguments) => minimize::minimize(arguments, global, &output),
        Command::Solve(arguments) => solve::solve(arguments, global, &output),
        Command::Fit(arguments) => fit::fit(arguments, global, &output),
        Command::Race(arguments) => race::race(arguments, global, &output),
        Command::Tune(arguments) => tune::tune(arguments, global, &output),
        Command::Bench(Bench::Step(arguments)) => bench::step(arguments, global, &output, began),
        Command::Bench(Bench::Batch(arguments)) => bench_batch::batch(arguments, global, &output),
        Command::Bench(Bench::Kernels(arguments)) => bench_kernels::kernels(arguments, global, &output),
    };
    match ended {
        Ok(()) | Err(Stop::ClosedPipe) => 0,
        Err(Stop::Failed(error)) => {
            let code = output.failed(&error.to_string(), error.exit_code());
            output.point_at(&error);
            code
        }
        Err(Stop::Told(message)) => output.told(&message),
        Err(Stop::Interrupted(message)) => output.interrupted(&message),
    }
}

/// Mesa's layer that sorts devices by display asks Wayland, whose library complains on standard error where there is
/// no desktop. We choose the adapter ourselves, so the layer can rest there.
fn silence_display_search() {
    let headless = std::env::var_os("XDG_RUNTIME_DIR").is_none();
    let chosen = std::env::var_os("MESA_VK_DEVICE_SELECT").is_some();
    if headless && !chosen {
        // SAFETY: nothing of this process has started a thread yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Answers arguments that are no request, or a request for help.
fn refuse(error: &clap::Error, json: bool) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody may be reading, which is no error.
        let _ = error.print();
        return 0;
    }
    let output = Output { json, quiet: false, verbose: false };
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return output.failed("a command is missing after what was typed; --help lists them", 2);
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let line = telling.collect::<Vec<_>>().join("; ").replace(":; ", ": ");
    output.failed(line.strip_prefix("error: ").unwrap_or(&line), 2)
}

/// Logs what `RUST_LOG` asks for; without it, warnings of our own, as wgpu reports through values what matters.
fn start_log(verbose: bool) {
    let ours = if verbose { "info" } else { "warn" };
    let filter = format!("off,downhill={ours}");
    // Fails where an application that calls this has a logger of its own, which is then the one to use.
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).try_init();
}
