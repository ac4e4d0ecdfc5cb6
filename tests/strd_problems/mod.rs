//! NIST's nonlinear least-squares problems, from `tests/data/strd`.

use std::fs;
use std::path::{Path, PathBuf};

use downhill::{FitData, FitModel, data::Table};

/// A problem with its certified answers.
#[allow(dead_code, reason = "the example prints fewer of them than the tests check")]
pub struct Problem {
    pub name: String,
    pub difficulty: String,
    pub equation: String,
    pub starts: [String; 2],
    pub certified: Vec<f64>,
    pub errors: Vec<f64>,
    pub rss: f64,
    pub residual_sd: f64,
    pub degrees_of_freedom: usize,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/strd")
}

/// All of them.
pub fn problems() -> Vec<Problem> {
    let text = fs::read_to_string(folder().join("certified.tsv")).expect("the list of problems");
    text.lines().skip(1).map(problem).collect()
}

fn problem(line: &str) -> Problem {
    let fields: Vec<&str> = line.split('\t').collect();
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let numbers = |text: &str| text.split(' ').map(number).collect();
    Problem {
        name: fields[0].to_owned(),
        difficulty: fields[1].to_owned(),
        equation: fields[2].to_owned(),
        starts: [fields[3].to_owned(), fields[4].to_owned()],
        certified: numbers(fields[5]),
        errors: numbers(fields[6]),
        rss: number(fields[7]),
        residual_sd: number(fields[8]),
        degrees_of_freedom: fields[9].parse().expect("a count"),
    }
}

impl Problem {
    /// The equation with one of its starts, and the table.
    pub fn open(&self, start: usize) -> (FitModel, FitData) {
        let table = Table::open(&folder().join(format!("{}.csv", self.name))).expect("the table");
        let model =
            FitModel::parse(&self.equation, &self.starts[start], &table.names(), None).expect("the equation");
        let columns = table.read(model.columns()).expect("the columns");
        let mut data = FitData::new(columns[0].len());
        for (name, values) in model.columns().iter().zip(columns) {
            data = data.shared(name, values).expect("a column");
        }
        (model, data)
    }
}

/// The digits that the worst of `found` has in common with `certified`: NIST's logarithm of the relative error, at most 11,
/// which is what is certified; 0 where the worst has none.
pub fn digits(found: &[f64], certified: &[f64]) -> f64 {
    let digits = |(found, certified): (&f64, &f64)| -((found - certified).abs() / certified.abs()).log10();
    let worst = found
        .iter()
        .zip(certified)
        .map(digits)
        .fold(f64::INFINITY, |a, b| if b < a || b.is_nan() { b } else { a });
    if worst.is_nan() { 0.0 } else { worst.clamp(0.0, 11.0) }
}
