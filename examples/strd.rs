//! Fits NIST's nonlinear least-squares problems from both of their starts and prints, as a Markdown page, how many digits of
//! the certified answers come out: `cargo run --release --example strd > docs/strd.md`.

use downhill::{FIT_METHODS, FitMethod, FitOptions, Gpu, GpuOptions, Precision, Result, Status, fit};

#[path = "../tests/strd_problems/mod.rs"]
mod strd_problems;

use strd_problems::{Problem, digits, problems};

/// Digits that count as solved, in f64 and in f32.
const SOLVED: [f64; 2] = [6.0, 3.0];

fn main() -> Result<()> {
    let gpu = Gpu::new(&GpuOptions::default())?;
    println!(
        "# NIST's problems, digit by digit\n\n\
         Digits of the worst unknown that agree with the certified ones, of which there are 11 at most, from NIST's first\n\
         and second start, with the steps that were tried; in italics where the fit did not end as converged. The errors'\n\
         digits are those of the worst standard error in f64, from the better start. Written by\n\
         `cargo run --release --example strd > docs/strd.md` on {}.",
        gpu.adapter_info().name
    );
    for method in FIT_METHODS {
        page(&gpu, method)?;
    }
    Ok(())
}

fn page(gpu: &Gpu, method: &'static FitMethod) -> Result<()> {
    println!("\n## {}\n\n{}.\n", method.name, method.about);
    println!("| problem | difficulty | f64, start 1 | start 2 | its errors | f32, start 1 | start 2 |");
    println!("|---|---|---|---|---|---|---|");
    let (mut solved, mut all) = ([0, 0], 0);
    for problem in problems() {
        let (double, errors) = row(gpu, method, &problem, Precision::F64)?;
        let (single, _) = row(gpu, method, &problem, Precision::F32)?;
        let cells: Vec<String> = double.iter().chain(&single).map(|(_, text)| text.clone()).collect();
        println!(
            "| {} | {} | {} | {} | {errors:.1} | {} | {} |",
            problem.name, problem.difficulty, cells[0], cells[1], cells[2], cells[3]
        );
        for (count, (cells, wanted)) in solved.iter_mut().zip([double, single].into_iter().zip(SOLVED)) {
            *count += cells.iter().filter(|(digits, _)| *digits >= wanted).count();
        }
        all += 2;
    }
    println!(
        "\n{} of {all} to {} digits or more in f64, {} of {all} to {} in f32.",
        solved[0], SOLVED[0], solved[1], SOLVED[1]
    );
    Ok(())
}

/// Digits from both starts, with a text each; and those of the standard errors.
fn row(
    gpu: &Gpu,
    method: &'static FitMethod,
    problem: &Problem,
    precision: Precision,
) -> Result<(Vec<(f64, String)>, f64)> {
    let mut errors = 0.0f64;
    let mut cells = Vec::new();
    for start in [0, 1] {
        let (model, data) = problem.open(start);
        let fitted = fit(gpu, &model, &data, &FitOptions { method, precision, ..FitOptions::default() })?;
        let found = digits(&fitted.estimates, &problem.certified);
        errors = errors.max(digits(&fitted.standard_errors, &problem.errors));
        let text = format!("{found:.1} ({})", fitted.steps);
        let converged = fitted.status == Status::Converged;
        cells.push((found, if converged { text } else { format!("*{text}*") }));
    }
    Ok((cells, errors))
}
