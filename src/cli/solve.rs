//! `downhill solve`: a system of linear equations from files, to its solution and a report.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::arguments::Global;
use super::output::{Ended, Output, Stop, check_file};
use crate::linear::{
    METHODS, PRECONDITIONERS, Solution, SolveOptions, SolveStatus, System, read_matrix, read_vector,
    solve as run, write_vector,
};
use crate::{Error, Result};

/// Unknowns that people are shown.
const SHOWN: usize = 10;

/// Below the flags in the help.
fn help() -> String {
    let line = |name: &str, about: &str| format!("  {name:14}{about}\n");
    let methods: String = METHODS.iter().map(|method| line(method.name, method.about)).collect();
    let preconditioners: String = PRECONDITIONERS.iter().map(|known| line(known.name, known.about)).collect();
    format!(
        "Methods:\n{methods}\nPreconditioners:\n{preconditioners}\nExamples:\n  \
         downhill solve A.mtx --rhs row-sums --method cg\n  \
         downhill solve A.mtx --rhs b.mtx --method pcg --preconditioner ic0 --tolerance 1e-8 --out x.mtx"
    )
}

#[derive(Args)]
#[command(after_help = help())]
pub(super) struct SolveArguments {
    /// The matrix: Matrix Market (`coordinate` or `array`, real), or a NumPy array with the ending .npy
    #[arg(value_name = "A.mtx")]
    pub matrix: PathBuf,
    /// The right-hand side: a file as for the matrix, `ones`, or `row-sums`: A·1, so that the solution is known and its
    /// error told
    #[arg(long, value_name = "FILE|ones|row-sums", default_value = "ones")]
    pub rhs: String,
    /// The method, one of those below
    #[arg(long, value_name = "NAME")]
    pub method: String,
    /// The preconditioner of `pcg`, one of those below [default: jacobi]
    #[arg(long, value_name = "NAME")]
    pub preconditioner: Option<String>,
    /// ‖b − A·x‖ / ‖b‖ at which it is solved
    #[arg(long, value_name = "X", default_value = "1e-6", allow_negative_numbers = true)]
    pub tolerance: f64,
    /// The most iterations [default: 20 for each unknown, at least 1000]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_iterations: Option<u64>,
    /// In what the device computes: f32, or f64 on adapters that have it
    #[arg(long, value_name = "f32|f64", default_value = "f32")]
    pub precision: String,
    /// The relaxation of `sor`, between 0 and 2 [default: 1.5]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub omega: Option<f64>,
    /// Where the solution goes, as Matrix Market, or with the ending .npy as a NumPy array
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub(super) fn solve(arguments: &SolveArguments, global: &Global, output: &Output) -> Ended {
    let options = options(arguments)?;
    if let Some(path) = &arguments.out {
        check_file("out", path)?;
    }
    let gpu_options = global.gpu_options()?;
    let system = system(arguments)?;
    options.check(&system)?;
    let gpu = global.open(gpu_options)?;
    output.explain(&format!("{} on {}", options.method.name, gpu.adapter_info().name));
    let solution = run(&gpu, &system, &options)?;
    solution.notes.iter().for_each(|note| output.explain(note));
    // The last iterate may be of use, what is no solution is not.
    let is_of_use = matches!(solution.status, SolveStatus::Converged | SolveStatus::MaxIterations);
    let out = arguments.out.as_deref().filter(|_| is_of_use);
    if let Some(path) = out {
        write_vector(path, &solution.x)?;
    }
    conclude(arguments, out, &system, &solution, output)
}

fn options(arguments: &SolveArguments) -> Result<SolveOptions> {
    let mut options = SolveOptions::new(&arguments.method)?;
    if let Some(name) = &arguments.preconditioner {
        options = options.preconditioned(name)?;
    }
    if let Some(omega) = arguments.omega {
        options = options.relaxed(omega)?;
    }
    options.tolerance = arguments.tolerance;
    options.max_iterations = arguments.max_iterations;
    options.arithmetic = arguments.precision.parse()?;
    Ok(options)
}

fn system(arguments: &SolveArguments) -> Result<System> {
    let matrix = read_matrix(&arguments.matrix)?;
    match arguments.rhs.as_str() {
        "ones" => {
            let ones = vec![1.0; matrix.rows()];
            System::new(matrix, ones)
        }
        "row-sums" => {
            let ones = vec![1.0; matrix.columns()];
            System::with_solution(matrix, ones)
        }
        file => {
            let path = Path::new(file);
            System::new(matrix, read_vector(path)?).map_err(|error| match error {
                Error::Shape { message, .. } => Error::data(path, "", message),
                other => other,
            })
        }
    }
}

/// Tells what came of it; the solution lies in `out`.
fn conclude(
    arguments: &SolveArguments,
    out: Option<&Path>,
    system: &System,
    solution: &Solution,
    output: &Output,
) -> Ended {
    let matrix = system.matrix();
    output.event(
        "done",
        &json!({
            "status": solution.status,
            "iterations": solution.iterations,
            "relative_residual": solution.relative_residual,
            "relative_gradient": solution.relative_gradient,
            "max_error": solution.max_error,
            "condition": solution.condition,
            "reason": solution.reason,
            "readbacks": solution.readbacks,
            "seconds": solution.seconds,
            "method": arguments.method,
            "precision": arguments.precision,
            "rows": matrix.rows(),
            "columns": matrix.columns(),
            "entries": matrix.stored(),
            "notes": solution.notes,
            "out": out,
        }),
    )?;
    if solution.status != SolveStatus::Converged {
        return Err(Stop::Told(failure(solution)));
    }
    let told =
        |name: &str, value: Option<f64>| value.map_or(String::new(), |value| format!(", {name} {value:.1e}"));
    output.result(&format!(
        "converged after {} iterations: relative residual {:.1e}{}{}{}, {} readbacks",
        solution.iterations,
        solution.relative_residual,
        told("relative gradient", solution.relative_gradient),
        told("largest error", solution.max_error),
        told("condition about", solution.condition),
        solution.readbacks,
    ))?;
    let mut numbers: Vec<String> = solution.x.iter().take(SHOWN).map(|x| format!("{x:?}")).collect();
    if solution.x.len() > SHOWN {
        numbers.push(format!("… {} in all", solution.x.len()));
    }
    output.result(&format!("x = [{}]", numbers.join(", ")))
}

fn failure(solution: &Solution) -> String {
    let what = match solution.status {
        SolveStatus::Converged => "converged",
        SolveStatus::Diverged => "diverged",
        SolveStatus::MaxIterations => "not converged",
        SolveStatus::Singular => "singular",
        SolveStatus::Indefinite => "not positive definite",
    };
    let reason = solution.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("{what}{reason}")
}
