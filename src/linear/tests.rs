//! Systems with known solutions, by every method and in both precisions.

use std::sync::OnceLock;

use super::*;
use crate::{Gpu, GpuOptions};

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}")))
}

/// Numbers on (−1, 1) from a seed (Knuth's linear congruences).
pub(super) struct Random(pub u64);

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
    for (name, most) in
        [("jacobi", 1500), ("gauss-seidel", 800), ("sor", 300), ("cg", 60), ("pcg", 60), ("lsqr", 300)]
    {
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
    let values: Vec<f64> = (0..n * n)
        .map(|place| entry(place / n, place % n) + f64::from(u8::from(place / n == place % n)))
        .collect();
    SparseMatrix::from_dense(n, n, &values).unwrap()
}

#[test]
fn dense_systems_of_awkward_sizes_are_solved_in_both_precisions() {
    for n in [1, 3, 63, 65, 257] {
        for (name, matrix) in
            [("lu", dense(n, n, 1)), ("qr", dense(n, n, 2)), ("cholesky", positive_definite(n, 3))]
        {
            for arithmetic in [Arithmetic::F32, Arithmetic::F64] {
                let x = Random(4).vector(n);
                let system = System::with_solution(matrix.clone(), x.clone()).unwrap();
                let solution = solved(name, arithmetic, &system);
                let case =
                    format!("{name} {n} {arithmetic:?}: {:?} {:?}", solution.reason, solution.condition);
                assert_eq!(solution.status, SolveStatus::Converged, "{case}");
                assert!(solution.relative_residual <= 1e-6, "{case} {}", solution.relative_residual);
                // The residual's bound, or that of one rounding, times the condition number.
                let within = 1e-6 * solution.condition.unwrap() * norm(&x);
                assert!(solution.max_error.unwrap() <= within, "{case} {:?}", solution.max_error);
            }
        }
    }
}

/// A = Q·D·Qᵀ with a diagonal D spread evenly, by its logarithm, over 1 to `condition`, and Q of four reflections: a dense matrix.
fn of_spectrum(n: usize, condition: f64) -> SparseMatrix {
    let mut random = Random(7);
    let mut q: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..4 {
        let v = random.vector(n);
        let square = v.iter().map(|x| x * x).sum::<f64>();
        for row in &mut q {
            let along = 2.0 / square * row.iter().zip(&v).map(|(a, b)| a * b).sum::<f64>();
            row.iter_mut().zip(&v).for_each(|(a, b)| *a -= along * b);
        }
    }
    let root = |k: usize| condition.powf(0.5 * k as f64 / (n - 1) as f64);
    q.iter_mut().for_each(|row| row.iter_mut().enumerate().for_each(|(k, value)| *value *= root(k)));
    let entry = |i: usize, j: usize| q[i].iter().zip(&q[j]).map(|(a, b)| a * b).sum::<f64>();
    let values: Vec<f64> = (0..n * n).map(|place| entry(place / n, place % n)).collect();
    SparseMatrix::from_dense(n, n, &values).unwrap()
}

/// The second difference of n points with weights that grow from 1 to `growth`.
fn graded(n: usize, growth: f64) -> SparseMatrix {
    let weight = |i: usize| growth.powf(i as f64 / n as f64);
    let neighbours = |i: usize| (i + 1 < n).then(|| [(i, i + 1, -weight(i + 1)), (i + 1, i, -weight(i + 1))]);
    let diagonal = (0..n).map(|i| (i, i, weight(i) + weight(i + 1)));
    let entries = diagonal.chain((0..n).filter_map(neighbours).flatten()).collect();
    SparseMatrix::from_entries(n, n, entries).unwrap()
}

#[test]
fn conjugate_gradients_in_f32_take_the_iterations_of_f64_at_a_condition_of_a_million() {
    let mut random = Random(11);
    let jumping = diffusion(17, |_, _| 1e4_f64.powf(random.next()));
    let rows = [("spectrum", of_spectrum(200, 1e6)), ("jumping", jumping), ("graded", graded(300, 1e2))];
    for (label, matrix) in rows {
        let n = matrix.rows();
        let system = System::with_solution(matrix, vec![1.0; n]).unwrap();
        for (name, preconditioner) in
            [("cg", None), ("pcg", Some("jacobi")), ("pcg", Some("ssor")), ("pcg", Some("ic0"))]
        {
            let [single, double] = [Arithmetic::F32, Arithmetic::F64].map(|arithmetic| {
                let options = SolveOptions { arithmetic, ..SolveOptions::new(name).unwrap() };
                let options =
                    preconditioner.map_or(Ok(options.clone()), |name| options.preconditioned(name)).unwrap();
                let solution = solve(gpu(), &system, &options).unwrap();
                assert_eq!(
                    solution.status,
                    SolveStatus::Converged,
                    "{label} {preconditioner:?}: {:?}",
                    solution.reason
                );
                assert!(solution.relative_residual <= 1e-6);
                // Chunks of 8, 16 and at least 32 iterations, and the solution.
                assert!(solution.readbacks <= 6 + solution.iterations / 32, "{}", solution.readbacks);
                solution
            });
            assert!(2 * single.iterations <= 3 * double.iterations, "{label} {preconditioner:?}");
        }
    }
}

#[test]
fn least_squares_and_least_solutions_are_found_by_qr_and_lsqr() {
    for (rows, columns) in [(65, 3), (3, 65), (257, 63), (63, 257), (1, 3), (3, 1)] {
        let matrix = dense(rows, columns, 5);
        let system = System::new(matrix.clone(), Random(6).vector(rows)).unwrap();
        for name in ["qr", "lsqr"] {
            for arithmetic in [Arithmetic::F32, Arithmetic::F64] {
                let solution = solved(name, arithmetic, &system);
                let case = format!("{name} {rows} × {columns} {arithmetic:?}: {:?}", solution.reason);
                assert_eq!(solution.status, SolveStatus::Converged, "{case}");
                // Least squares leave nothing along A's columns; a least solution lies in the span of A's rows.
                match rows > columns {
                    true => assert!(solution.relative_gradient.unwrap() <= 1e-6, "{case}"),
                    false => assert!(solution.relative_residual <= 1e-6, "{case}"),
                }
                let exact = normal_equations(&matrix, system.rhs());
                let difference: Vec<f64> = exact.iter().zip(&solution.x).map(|(a, b)| a - b).collect();
                // The tolerance times the square of the condition numbers of such matrices, 3 to 20.
                assert!(
                    norm(&difference) <= 4e-4 * norm(&exact),
                    "{case}: {}",
                    norm(&difference) / norm(&exact)
                );
            }
        }
    }
}

/// The least squares or the least solution in f64 on the host, by AᵀA or A·Aᵀ.
fn normal_equations(matrix: &SparseMatrix, rhs: &[f64]) -> Vec<f64> {
    let mirror = matrix.transposed();
    let square = |a: &SparseMatrix, b: &SparseMatrix| {
        let columns = (0..b.columns()).map(|j| {
            let unit: Vec<f64> = (0..b.columns()).map(|i| f64::from(u8::from(i == j))).collect();
            a.product(&b.product(&unit))
        });
        columns.collect::<Vec<_>>()
    };
    match matrix.rows() > matrix.columns() {
        true => eliminated(square(&mirror, matrix), mirror.product(rhs)),
        false => mirror.product(&eliminated(square(matrix, &mirror), rhs.to_vec())),
    }
}

/// Elimination without pivots, for positive definite matrices.
fn eliminated(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for k in 0..n {
        for i in k + 1..n {
            let factor = a[i][k] / a[k][k];
            (k..n).for_each(|j| a[i][j] -= factor * a[k][j]);
            b[i] -= factor * b[k];
        }
    }
    for k in (0..n).rev() {
        b[k] = (b[k] - (k + 1..n).map(|j| a[k][j] * b[j]).sum::<f64>()) / a[k][k];
    }
    b
}

#[test]
fn many_small_systems_are_solved_together() {
    for n in [1, 3, 33, 65] {
        for name in ["lu", "qr", "cholesky"] {
            for arithmetic in [Arithmetic::F32, Arithmetic::F64] {
                let options = SolveOptions { arithmetic, ..SolveOptions::new(name).unwrap() };
                let matrix =
                    |seed| if name == "cholesky" { positive_definite(n, seed) } else { dense(n, n, seed) };
                let mut systems: Vec<System> = (0..7)
                    .map(|seed| System::with_solution(matrix(seed), Random(seed + 50).vector(n)).unwrap())
                    .collect();
                // Neighbours of a singular one are solved as without it.
                systems[3] =
                    System::new(SparseMatrix::from_entries(n, n, vec![]).unwrap(), vec![1.0; n]).unwrap();
                let solutions = solve_batch(gpu(), &systems, &options).unwrap();
                for (number, solution) in solutions.iter().enumerate() {
                    let case = format!("{name} {n} {arithmetic:?} {number}: {:?}", solution.reason);
                    if number == 3 {
                        let wanted =
                            if name == "cholesky" { SolveStatus::Indefinite } else { SolveStatus::Singular };
                        assert_eq!(solution.status, wanted, "{case}");
                        continue;
                    }
                    assert_eq!(solution.status, SolveStatus::Converged, "{case}");
                    let alone = solve(gpu(), &systems[number], &options).unwrap();
                    assert_eq!(solution.x, alone.x, "{case}");
                }
            }
        }
    }
}

#[test]
fn what_has_no_solution_is_named() {
    use SolveStatus::{Diverged, Indefinite, MaxIterations, Singular};
    let of = |n: usize, values: &[f64]| SparseMatrix::from_dense(n, n, values).unwrap();
    let dependent = of(3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let saddle = of(2, &[1.0, 2.0, 2.0, 1.0]);
    // The second difference with free ends takes 1 to 0.
    let free = of(3, &[1.0, -1.0, 0.0, -1.0, 2.0, -1.0, 0.0, -1.0, 1.0]);
    let strong = of(2, &[1.0, 3.0, 2.0, 1.0]);
    // Jacobi's spectral radius is 1.2: positive definite, so Gauss-Seidel converges.
    let coupled = of(3, &[1.0, 0.6, 0.6, 0.6, 1.0, 0.6, 0.6, 0.6, 1.0]);
    let rows = [
        ("lu", &dependent, Singular, ""),
        ("lu", &of(2, &[1.0, 2.0, 2.0, 4.0]), Singular, "column 2 has no pivot"),
        ("lu", &of(2, &[0.0, 0.0, 0.0, 4.0]), Singular, "column 1 has no pivot"),
        ("qr", &dependent, Singular, ""),
        ("qr", &of(2, &[0.0, 1.0, 0.0, 4.0]), Singular, "column 1 depends"),
        ("cholesky", &saddle, Indefinite, "row 2"),
        ("cholesky", &free, Singular, "0 within rounding"),
        ("cholesky", &of(2, &[1.0, 0.0, 0.0, -1.0]), Indefinite, "the diagonal of row 2 is -1"),
        ("cg", &saddle, Indefinite, "p·A·p < 0"),
        ("cg", &free, Singular, ""),
        ("pcg", &of(2, &[0.0, 1.0, 1.0, 1.0]), Indefinite, "the diagonal of row 1 is 0"),
        ("jacobi", &strong, Diverged, "row 1 is not diagonally dominant: |1| on the diagonal against 3.0000"),
        ("jacobi", &coupled, Diverged, "the spectral radius of the iteration is about 1.2000, not below 1"),
        ("gauss-seidel", &strong, Diverged, "about 6.0000"),
        ("lsqr", &free, Singular, "no x solves the system"),
        ("cg", &poisson(16), MaxIterations, "5 iterations left a relative residual"),
    ];
    for (name, matrix, status, reason) in rows {
        for arithmetic in [Arithmetic::F32, Arithmetic::F64] {
            let max_iterations = (status == MaxIterations).then_some(5);
            let rhs: Vec<f64> = (0..matrix.rows()).map(|row| if row == 1 { 3.0 } else { 1.0 }).collect();
            let system = System::new(matrix.clone(), rhs).unwrap();
            let options = SolveOptions { arithmetic, max_iterations, ..SolveOptions::new(name).unwrap() };
            let solution = solve(gpu(), &system, &options).unwrap();
            let told = solution.reason.unwrap_or_default();
            assert_eq!(solution.status, status, "{name} {arithmetic:?} {matrix:?}: {told}");
            assert!(told.contains(reason), "{name} {arithmetic:?}: {told}");
        }
    }
    let system = System::new(coupled, vec![1.0; 3]).unwrap();
    assert_eq!(solved("gauss-seidel", Arithmetic::F32, &system).status, SolveStatus::Converged);
}

#[test]
fn systems_and_options_that_cannot_be_are_refused() {
    let square = poisson(2);
    let system = System::new(square.clone(), vec![1.0; 4]).unwrap();
    let with = |change: fn(&mut SolveOptions)| {
        let mut options = SolveOptions::new("cg").unwrap();
        change(&mut options);
        solve(gpu(), &system, &options).unwrap_err().to_string()
    };
    let rows = [
        (
            System::new(square.clone(), vec![1.0; 3]).unwrap_err().to_string(),
            "3 numbers, and the matrix 4 rows",
        ),
        (System::new(square.clone(), vec![f64::NAN; 4]).unwrap_err().to_string(), "rhs: row 1 is NaN"),
        (
            System::with_solution(square, vec![1.0]).unwrap_err().to_string(),
            "1 numbers are given for 4 unknowns",
        ),
        (SolveOptions::new("gc").unwrap_err().to_string(), "did you mean `cg`"),
        (SolveOptions::new("cg").unwrap().preconditioned("ic0").unwrap_err().to_string(), "`cg` takes none"),
        (SolveOptions::new("sor").unwrap().relaxed(2.0).unwrap_err().to_string(), "between 0 and 2"),
        (SolveOptions::new("cg").unwrap().relaxed(1.0).unwrap_err().to_string(), "`cg` has none"),
        (with(|options| options.tolerance = 0.0), "tolerance: must be above 0"),
        (with(|options| options.max_iterations = Some(0)), "max-iterations: must be at least 1"),
        (
            solve_batch(gpu(), std::slice::from_ref(&system), &SolveOptions::new("cg").unwrap())
                .unwrap_err()
                .to_string(),
            "method: `cg` takes one system at a time",
        ),
    ];
    for (error, message) in rows {
        assert!(error.contains(message), "{error}");
    }
}
