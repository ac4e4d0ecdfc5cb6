//! Systems with known solutions, by every method and in both precisions.

use std::sync::OnceLock;

use super::*;
use crate::{Gpu, GpuOptions};

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}")))
}

/// Numbers on (−1, 1) from a seed (Knuth's linear congruences).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }

    pub(super) fn vector(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The five-point Laplacian on a square grid.
pub(super) fn poisson(side: usize) -> SparseMatrix {
    diffusion(side, |_, _| 1.0)
}

/// −div(k·grad) on a square grid with zeros beyond it, k given for each edge between two cells, counted from 0 with the border.
fn diffusion(side: usize, mut k: impl FnMut(usize, usize) -> f64) -> SparseMatrix {
    let cell = |i: usize, j: usize| (i - 1) * side + j - 1;
    let is_inside = |i: usize, j: usize| (1..=side).contains(&i) && (1..=side).contains(&j);
    let mut entries = Vec::new();
    for i in 0..=side {
        for j in 0..=side {
            for (a, b) in [(i + 1, j), (i, j + 1)] {
                let weight = k(i + a, j + b);
                let ends = [((i, j), (a, b)), ((a, b), (i, j))];
                for (from, to) in ends.into_iter().filter(|(from, _)| is_inside(from.0, from.1)) {
                    entries.push((cell(from.0, from.1), cell(from.0, from.1), weight));
                    if is_inside(to.0, to.1) {
                        entries.push((cell(from.0, from.1), cell(to.0, to.1), -weight));
                    }
                }
            }
        }
    }
    SparseMatrix::from_entries(side * side, side * side, entries).unwrap()
}

fn solved(name: &str, arithmetic: Arithmetic, system: &System) -> Solution {
    let options = SolveOptions { arithmetic, ..SolveOptions::new(name).unwrap() };
    solve(gpu(), system, &options).unwrap()
}

#[test]
fn poisson_is_solved_by_every_sparse_method_in_both_precisions() {
    for (name, most) in [("jacobi", 1500), ("gauss-seidel", 800), ("sor", 300), ("cg", 60), ("pcg", 60), ("lsqr", 300)] {
        for arithmetic in [Arithmetic::F32, Arithmetic::F64] {
            for side in [1, 3, 16] {
                let matrix = poisson(side);
                let x = Random(side as u64).vector(side * side);
                let system = System::with_solution(matrix, x).unwrap();
                let solution = solved(name, arithmetic, &system);
                let case = format!("{name} {arithmetic:?} {side}: {solution:?}");
                assert_eq!(solution.status, SolveStatus::Converged, "{case}");
                assert!(solution.relative_residual <= 1e-6 && solution.iterations <= most, "{case}");
                // The residual's bound times the condition number of the grid, 120 at most.
                assert!(solution.max_error.unwrap() <= 1e-6 * 120.0 * 4.0, "{case}");
            }
        }
    }
}

/// A matrix of random numbers, with what a method asks of it.
fn dense(rows: usize, columns: usize, seed: u64) -> SparseMatrix {
    SparseMatrix::from_dense(rows, columns, &Random(seed).vector(rows * columns)).unwrap()
}

/// B·Bᵀ + 1 for a random B of n × n over √n: condition numbers of about 5.
fn positive_definite(n: usize, seed: u64) -> SparseMatrix {
    let b = Random(seed).vector(n * n);
    let entry = |i: usize, j: usize| (0..n).map(|k| b[i * n + k] * b[j * n + k]).sum::<f64>() / n as f64;
    let values: Vec<f64> = (0..n * n).map(|place| entry(place / n, place % n) + f64::from(u8::from(place / n == place % n))).collect();
    SparseMatrix::from_dense(n, n, &values).unwrap()
}

#[test]
fn dense_systems_of_awkward_sizes_are_solved_in_both_precisions() {
    for n in [1, 3, 63, 65, 257] {
        for (name, matrix) in [("lu", dense(n, n, 1)), ("qr", dense(n, n, 2)), ("cholesky", positive_definite(n, 3))] {
            for arithmetic in [Arithmetic::F32, Arithmetic::F64] {
                let x = Random(4).vector(n);
                let system = System::with_solution(matrix.clone(), x.clone()).unwrap();
                let solution = solved(name, arithmetic, &system);
                let case = format!("{name} {n} {arithmetic:?}: {:?} {:?}", solution.reason, solution.condition);
                assert_eq!(solution.status, SolveStatus::Converged, "{case}");
                assert!(solution.relative_residual <= 1e-6, "{case} {}", solution.relative_residual);
                // The residual's bound, or that of one rounding, times the condition number.
                let within = 1e-6 * solution.condition.unwrap() * norm(&x);
                assert!(solution.max_error.unwrap() <= within, "{case} {:?}", solution.max_error);
            }
        }
    }
}
