//! The dense factorisations beside those of faer, in f64.

use downhill::linear::{SolveOptions, SolveStatus, SparseMatrix, System, solve};
use downhill::{Gpu, GpuOptions};
use faer::prelude::*;
use faer::{Mat, Side};

/// Reproducible numbers on (−1, 1): Knuth's MMIX generator.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn dense(rows: usize, columns: usize, values: &[f64]) -> Mat<f64> {
    Mat::from_fn(rows, columns, |row, column| values[row * columns + column])
}

/// What faer says of a system by the factorisation of that name.
fn by_faer(method: &str, a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    match method {
        "lu" => a.partial_piv_lu().solve(b),
        "cholesky" => a.llt(Side::Lower).expect("positive definite").solve(b),
        _ => a.qr().solve_lstsq(b),
    }
}

/// Around the blocks of the kernels, 32 and 64, and where C is narrow.
#[test]
fn solutions_are_those_of_faer() {
    let sizes = [1, 2, 7, 31, 33, 64, 65, 130];
    let gpu = Gpu::new(&GpuOptions::default()).expect("an adapter");
    // A method, and rows that its matrix has more than columns.
    for (method, taller) in [("lu", 0), ("cholesky", 0), ("qr", 0), ("qr", 40)] {
        for (number, &columns) in sizes.iter().enumerate() {
            let rows = columns + taller;
            let seed = 100 * rows as u64 + number as u64;
            let mut values = numbers(rows * columns, seed);
            if method == "cholesky" {
                // B·Bᵀ + n·I.
                let b = dense(rows, columns, &values);
                let square = &b * b.transpose();
                let shifted = |place: usize| {
                    let (row, column) = (place / columns, place % columns);
                    square[(row, column)] + if row == column { columns as f64 } else { 0.0 }
                };
                values = (0..rows * columns).map(shifted).collect();
            }
            let b = numbers(rows, seed + 1);
            let matrix = SparseMatrix::from_dense(rows, columns, &values).expect("a matrix");
            let system = System::new(matrix, b.clone()).expect("a system");
            let mut options = SolveOptions::new(method).expect("a method");
            options.arithmetic = "f64".parse().expect("a precision");
            let solution = solve(&gpu, &system, &options).expect("a solution");
            assert_eq!(solution.status, SolveStatus::Converged, "{method} {rows} {columns}");
            let wanted = by_faer(method, &dense(rows, columns, &values), &dense(rows, 1, &b));
            let size = (0..columns).fold(1.0, |most: f64, row| most.max(wanted[(row, 0)].abs()));
            // Random matrices of these sizes have condition numbers of 1e4 at most, and rounding is 1e-16.
            for (row, x) in solution.x.iter().enumerate() {
                let wanted = wanted[(row, 0)];
                assert!(
                    (x - wanted).abs() <= 1e-11 * size,
                    "{method} {rows} {columns} {row}: {x} for {wanted}"
                );
            }
        }
    }
}
