//! `downhill solve` as its users meet it.

#![cfg(feature = "cli")]

mod program;

use std::fs;
use std::path::Path;

use program::{Ended, run, succeed};
use serde_json::Value;

const POISSON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/poisson.mtx");

fn done(ended: &Ended) -> Value {
    let last = ended.stdout.lines().last().expect("a line");
    serde_json::from_str(last).expect("a JSON line")
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

/// Runs each word of a line as an argument.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| if word == "POISSON" { POISSON } else { word }).collect()
}

#[test]
fn every_method_solves_the_example_and_tells_its_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = [
        "lu",
        "qr",
        "cholesky",
        "jacobi",
        "gauss-seidel",
        "sor",
        "cg",
        "pcg",
        "pcg --preconditioner ssor",
        "pcg --preconditioner ic0",
        "lsqr",
        "cg --precision f64",
        "cholesky --precision f64",
    ];
    for row in rows {
        let line = format!("solve POISSON --rhs row-sums --json --out x.mtx --method {row}");
        let end = done(&succeed(folder.path(), &words(&line)));
        assert_eq!((&end["event"], &end["status"]), (&"done".into(), &"converged".into()), "{row}: {end}");
        assert!(number(&end, "relative_residual") <= 1e-6, "{row}: {end}");
        // The residual's bound times the condition number of the grid, 117, and the norm of the solution, 16.
        assert!(number(&end, "max_error") <= 1e-6 * 117.0 * 16.0, "{row}: {end}");
        assert!(number(&end, "iterations") >= 1.0 && number(&end, "readbacks") >= 1.0, "{row}: {end}");
        let text = fs::read_to_string(folder.path().join("x.mtx")).expect("the solution");
        let values: Vec<f64> = text.lines().skip(2).map(|line| line.parse().expect("a number")).collect();
        assert_eq!(values.len(), 256, "{row}");
        assert!(values.iter().all(|x| (x - 1.0).abs() <= number(&end, "max_error")), "{row}");
    }
}

#[test]
fn people_are_told_how_it_went() {
    let text = succeed(Path::new("."), &words("solve POISSON --rhs row-sums --method cg")).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("converged after ") && lines[0].contains("condition about 1.1e2"), "{text}");
    assert!(lines[1].starts_with("x = [") && lines[1].ends_with("… 256 in all]"), "{text}");
    let help = succeed(Path::new("."), &["solve", "--help"]).stdout;
    for word in ["gauss-seidel", "ic0", "row-sums", "[default: 1e-6]"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn files_of_both_formats_go_in_and_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.mtx"), "%%MatrixMarket matrix array real general\n2 2\n2\n0\n1\n4\n").expect("written");
    fs::write(at("b.mtx"), "%%MatrixMarket matrix array real general\n2 1\n4\n8\n").expect("written");
    let line = "solve a.mtx --rhs b.mtx --method lu --out x.npy --json";
    let end = done(&succeed(folder.path(), &words(line)));
    assert_eq!((&end["max_error"], &end["out"]), (&Value::Null, &"x.npy".into()));
    // What was written is read as a right-hand side: x = [1, 2], and A·y = x has y = [1/4, 1/2].
    succeed(folder.path(), &words("solve a.mtx --rhs x.npy --method qr --out y.mtx"));
    let text = fs::read_to_string(at("y.mtx")).expect("the solution");
    let y: Vec<f64> = text.lines().skip(2).map(|line| line.parse().expect("a number")).collect();
    // A rounding of f32 or what is left within the tolerance.
    assert!((y[0] - 0.25).abs() < 2e-6 && (y[1] - 0.5).abs() < 2e-6, "{y:?}");
}

#[test]
fn what_does_not_converge_is_told_with_its_reason_and_exits_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [("dependent.mtx", "2 2\n1\n2\n2\n4\n"), ("saddle.mtx", "2 2\n1\n2\n2\n1\n")];
    for (name, text) in files {
        let text = format!("%%MatrixMarket matrix array real general\n{text}");
        fs::write(folder.path().join(name), text).expect("written");
    }
    let rows = [
        ("dependent.mtx --method lu", "singular", "column 2 has no pivot"),
        ("saddle.mtx --method cholesky", "indefinite", "row 2"),
        ("saddle.mtx --rhs saddle_b.mtx --method cg", "indefinite", "p·A·p < 0"),
        ("saddle.mtx --method jacobi", "diverged", "not diagonally dominant"),
        ("POISSON --method cg --max-iterations 3", "max_iterations", "3 iterations left"),
    ];
    let rhs = "%%MatrixMarket matrix array real general\n2 1\n1\n-1\n";
    fs::write(folder.path().join("saddle_b.mtx"), rhs).expect("written");
    for (row, status, reason) in rows {
        let ended = run(folder.path(), &words(&format!("solve {row} --json")));
        assert_eq!(ended.code, Some(1), "{row}: {}", ended.stderr);
        let end = done(&ended);
        assert_eq!((&end["event"], &end["status"]), (&"done".into(), &status.into()), "{row}: {end}");
        assert!(ended.error(row).contains(reason), "{row}: {}", ended.stderr);
        assert!(end["reason"].as_str().expect("a reason").contains(reason), "{row}: {end}");
    }
}

#[test]
fn requests_that_cannot_be_met_are_one_line_and_exit_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let general = "%%MatrixMarket matrix coordinate real general\n";
    let files = [
        ("complex.mtx", "%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1 0\n".to_owned()),
        ("pattern.mtx", "%%MatrixMarket matrix coordinate pattern general\n1 1 1\n1 1\n".to_owned()),
        ("short.mtx", format!("{general}2 2 3\n1 1 1\n2 2 1\n")),
        ("index.mtx", format!("{general}2 2 1\n1 3 1\n")),
        ("infinite.mtx", format!("{general}1 1 1\n1 1 inf\n")),
        ("wide.mtx", format!("{general}1 2 2\n1 1 1\n1 2 1\n")),
        ("one-sided.mtx", format!("{general}2 2 3\n1 1 2\n1 2 1\n2 2 2\n")),
        ("hollow.mtx", format!("{general}2 2 2\n1 2 1\n2 1 1\n")),
        ("three.mtx", "%%MatrixMarket matrix array real general\n3 1\n1\n2\n3\n".to_owned()),
        ("no.npy", "no array".to_owned()),
    ];
    for (name, text) in &files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    let rows = [
        ("missing.mtx --method lu", "cannot read missing.mtx"),
        ("complex.mtx --method lu", "complex.mtx: line 1: is a complex matrix"),
        ("pattern.mtx --method lu", "pattern.mtx: line 1: is only a pattern"),
        ("short.mtx --method lu", "promises 3 entries, but 2 follow"),
        ("index.mtx --method lu", "line 3: column 3 is none of 1 to 2"),
        ("infinite.mtx --method lu", "line 3: inf is not finite"),
        ("no.npy --method lu", "no NumPy array"),
        ("wide.mtx --method lu", "is 1 × 2, and `lu` takes square ones"),
        ("wide.mtx --method cg", "is 1 × 2, and `cg` takes square ones"),
        ("one-sided.mtx --method cg", "is not symmetric: 1 at row 1, column 2, and 0 at row 2, column 1"),
        ("one-sided.mtx --method cholesky", "`cholesky` needs that"),
        ("hollow.mtx --method jacobi", "a zero on the diagonal in row 1, by which `jacobi` divides"),
        (
            "POISSON --method lu --rhs three.mtx",
            "three.mtx: the right-hand side has 3 numbers, and the matrix 256 rows",
        ),
        ("POISSON --method lu --rhs POISSON", "is of shape [256, 256], not a vector"),
        ("POISSON --method lu --rhs missing.mtx", "cannot read missing.mtx"),
        ("POISSON --method gmres", "method: unknown name `gmres`"),
        ("POISSON --method cg --preconditioner ic0", "preconditioner: `cg` takes none"),
        ("POISSON --method pcg --preconditioner ilu", "preconditioner: unknown name `ilu`"),
        ("POISSON --method cg --tolerance 0", "tolerance: must be above 0"),
        ("POISSON --method cg --max-iterations 0", "max-iterations: must be at least 1"),
        ("POISSON --method cg --precision f16", "precision: unknown name `f16`"),
        ("POISSON --method sor --omega 2", "omega: must lie between 0 and 2"),
        ("POISSON --method cg --out no/x.mtx", "out: there is no folder no"),
        ("POISSON", "--method"),
    ];
    for (row, message) in rows {
        let ended = run(folder.path(), &words(&format!("solve {row} --json")));
        assert_eq!(ended.code, Some(2), "{row}: {}", ended.stderr);
        assert!(ended.error(row).contains(message), "{row}: {}", ended.stderr);
        let end = done(&ended);
        assert_eq!((&end["event"], &end["code"]), (&"error".into(), &2.into()), "{row}: {end}");
    }
}
