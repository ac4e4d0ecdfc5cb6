//! Muon: the momentum of a matrix, made orthogonal.

use super::hyper::{self, Hyper, HyperKind, HyperRange};
use super::rule::{ALWAYS, Form, LEARNING_RATE, Passes, Step, UpdateRule};

const ANY: HyperRange = HyperRange { says: "at most 1000 in size", holds: |x| x.abs() <= 1e3 };
const FEW: HyperRange = HyperRange {
    says: "a whole number from 1 to 20",
    holds: |x| (1.0..=20.0).contains(&x) && x.fract() == 0.0,
};

const fn coefficient(name: &'static str, default: f64, doc: &'static str) -> Hyper {
    Hyper { name, kind: HyperKind::Number { default, range: ANY }, doc }
}

pub(super) const MUON: UpdateRule = UpdateRule {
    name: "muon",
    doc: "momentum of matrices, made orthogonal by Newton-Schulz iterations; vectors go by adamw",
    hyper: &[
        hyper::learning_rate(1e-3),
        Hyper {
            kind: HyperKind::Number { default: 0.1, range: hyper::NON_NEGATIVE },
            doc: "weight λ of the decoupled decay θ ← θ − αλθ",
            ..hyper::WEIGHT_DECAY
        },
        hyper::momentum(0.95),
        Hyper {
            name: "nesterov",
            kind: HyperKind::Flag { default: true },
            doc: "look ahead along the velocity",
        },
        coefficient("ns_a", 3.4445, "a of a Newton-Schulz iteration X ← aX + (bS + cS²)X, S = XXᵀ"),
        coefficient("ns_b", -4.775, "b of it"),
        coefficient("ns_c", 2.0315, "c of it"),
        hyper::eps(1e-7),
        Hyper {
            name: "ns_steps",
            kind: HyperKind::Number { default: 5.0, range: FEW },
            doc: "Newton-Schulz iterations",
        },
        Hyper {
            name: "adjust_lr_fn",
            kind: HyperKind::Word(&["original", "match_rms_adamw"]),
            doc: "original: steps × √max(1, rows/columns); match_rms_adamw: × 0.2 √max(rows, columns)",
        },
    ],
    state: &[("velocity", ALWAYS)],
    scalars: &[
        LEARNING_RATE,
        ("momentum", |step| step.of("momentum")),
        ("fresh", |step| 1.0 - step.of("momentum")),
        ("kept", kept),
    ],
    wgsl: include_str!("../../shaders/optimizers/muon.wgsl"),
    form: Form::Tensorwise {
        passes: Passes::Orthogonal,
        reference: |step, shape, theta, gradient, state| {
            let ([velocity], &[rows, columns]) = (state, shape) else { return };
            let mu = step.of("momentum");
            for (velocity, g) in velocity.iter_mut().zip(gradient) {
                *velocity = mu * *velocity + (1.0 - mu) * g;
            }
            let momentum: Vec<f64> = match step.values.flag("nesterov") {
                true => gradient.iter().zip(&**velocity).map(|(g, v)| (1.0 - mu) * g + mu * v).collect(),
                false => velocity.to_vec(),
            };
            let orthogonal = orthogonalised(step, rows, columns, momentum);
            let rate = step.learning_rate * shape_factor(step.values.is("adjust_lr_fn", "original"), shape);
            for (theta, direction) in theta.iter_mut().zip(orthogonal) {
                *theta = kept(step) * *theta - rate * direction;
            }
        },
    },
};

fn kept(step: &Step) -> f64 {
    1.0 - step.learning_rate * step.of("weight_decay")
}

/// What the step of a matrix is multiplied by for its shape.
pub(super) fn shape_factor(original: bool, shape: &[usize]) -> f64 {
    let [rows, columns] = [0, 1].map(|axis| shape.get(axis).map_or(1.0, |size| *size as f64));
    if original { (rows / columns).max(1.0).sqrt() } else { 0.2 * rows.max(columns).sqrt() }
}

/// The Newton-Schulz iteration on the wider side up, in f64.
fn orthogonalised(step: &Step, rows: usize, columns: usize, matrix: Vec<f64>) -> Vec<f64> {
    let [a, b, c] = ["ns_a", "ns_b", "ns_c"].map(|name| step.of(name));
    let norm = matrix.iter().map(|x| x * x).sum::<f64>().sqrt().max(step.of("eps"));
    let mut x: Vec<f64> = matrix.iter().map(|x| x / norm).collect();
    let (m, n) = (rows.min(columns), rows.max(columns));
    if rows > columns {
        x = transposed(&x, rows, columns);
    }
    for _ in 0..step.of("ns_steps") as usize {
        let gram = product(&x, &transposed(&x, m, n), m, n, m);
        let squared = product(&gram, &gram, m, m, m);
        let polynomial: Vec<f64> = gram.iter().zip(&squared).map(|(s, s2)| b * s + c * s2).collect();
        let update = product(&polynomial, &x, m, m, n);
        x.iter_mut().zip(update).for_each(|(x, update)| *x = a * *x + update);
    }
    if rows > columns { transposed(&x, columns, rows) } else { x }
}

fn transposed(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|i| matrix[i % rows * columns + i / rows]).collect()
}

/// [m, k]·[k, n].
fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let element = |i: usize| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum();
    (0..m * n).map(element).collect()
}
