//! Adafactor: a matrix's squared gradients are remembered by their means over rows and columns.

use super::hyper::{self, Hyper, HyperKind, HyperRange};
use super::rule::{ALWAYS, Form, Passes, Step, UpdateRule};

const NEGATIVE: HyperRange = HyperRange { says: "at most 0", holds: |x| (-1e3..=0.0).contains(&x) };

pub(super) const ADAFACTOR: UpdateRule = UpdateRule {
    name: "adafactor",
    doc: "steps divided by the root mean square of the gradient, kept as means over rows and columns",
    hyper: &[
        hyper::learning_rate(1e-2),
        Hyper {
            name: "beta2_decay",
            kind: HyperKind::Number { default: -0.8, range: NEGATIVE },
            doc: "the newest square weighs t to this power",
        },
        Hyper {
            name: "eps1",
            // PyTorch's default is the rounding error of θ's type.
            kind: HyperKind::Number { default: f32::EPSILON as f64, range: hyper::ROOTED },
            doc: "ε₁, below which no root mean square goes",
        },
        Hyper {
            name: "eps2",
            kind: HyperKind::Number { default: 1e-3, range: hyper::NON_NEGATIVE },
            doc: "ε₂, below which the norm of θ that scales the step does not go",
        },
        Hyper {
            name: "d",
            kind: HyperKind::Number { default: 1.0, range: hyper::POSITIVE },
            doc: "longer steps than this, as root mean square, are shortened",
        },
        Hyper { doc: "weight λ of the decoupled decay θ ← θ − αλθ", ..hyper::WEIGHT_DECAY },
    ],
    state: &[("second_moment", ALWAYS)],
    scalars: &[
        ("newest", newest),
        ("relative_rate", relative_rate),
        ("eps1", |step| step.of("eps1")),
        ("least_square", |step| step.of("eps1").powi(2)),
        ("eps2", |step| step.of("eps2")),
        ("longest", |step| step.of("d")),
        ("kept", kept),
    ],
    wgsl: include_str!("../../shaders/optimizers/adafactor.wgsl"),
    form: Form::Tensorwise {
        passes: Passes::Factored,
        reference: |step, shape, theta, gradient, state| {
            let [second_moment] = state else { return };
            let squares = squares(step, shape, gradient, second_moment);
            let least = step.of("eps1").powi(2);
            let direction: Vec<f64> =
                gradient.iter().zip(squares).map(|(g, v)| g / v.max(least).sqrt()).collect();
            let rate = step.of("eps2").max(root_mean_square(theta)) * relative_rate(step);
            let rate = rate / (root_mean_square(&direction) / step.of("d")).max(1.0);
            for (theta, direction) in theta.iter_mut().zip(direction) {
                *theta = kept(step) * *theta - rate * direction;
            }
        },
    },
};

/// The weight of the newest square; at the first step it is all.
fn newest(step: &Step) -> f64 {
    (step.number as f64).powf(step.of("beta2_decay"))
}

fn relative_rate(step: &Step) -> f64 {
    step.learning_rate.min((step.number as f64).sqrt().recip())
}

/// What decay leaves of θ.
fn kept(step: &Step) -> f64 {
    1.0 - step.learning_rate * step.of("weight_decay")
}

/// The mean squares that stand for those of each element: a matrix's are R·Cᵀ/mean(R), where the state holds first R
/// and then C; all others' are the state itself.
fn squares(step: &Step, shape: &[usize], gradient: &[f64], state: &mut [f64]) -> Vec<f64> {
    let towards = |mean: &mut f64, square: f64| *mean += newest(step) * (square - *mean);
    let &[rows, columns] = shape else {
        state.iter_mut().zip(gradient).for_each(|(mean, g)| towards(mean, g * g));
        return state.to_vec();
    };
    let (by_row, by_column) = state.split_at_mut(rows);
    for (row, mean) in by_row.iter_mut().enumerate() {
        let squares = gradient[row * columns..][..columns].iter().map(|g| g * g);
        towards(mean, squares.sum::<f64>() / columns as f64);
    }
    for (column, mean) in by_column.iter_mut().enumerate() {
        let squares = gradient[column..].iter().step_by(columns).map(|g| g * g);
        towards(mean, squares.sum::<f64>() / rows as f64);
    }
    let mean = (by_row.iter().sum::<f64>() / rows as f64).max(step.of("eps1"));
    (0..rows * columns).map(|i| by_row[i / columns] * by_column[i % columns] / mean).collect()
}

fn root_mean_square(vector: &[f64]) -> f64 {
    (vector.iter().map(|x| x * x).sum::<f64>() / vector.len() as f64).sqrt()
}
