//! RAdam: Adam that trusts its root mean square only once enough gradients are in it.

use super::hyper;
use super::moments::{
    BETA1, BETA2, DECOUPLED_WEIGHT_DECAY, ONE_MINUS_BETA1, ONE_MINUS_BETA2, PENALTY, SHRINKAGE, observe_mean,
    observe_square, regularised, step_size,
};
use super::rule::{ALWAYS, EPS, Form, Step, UpdateRule};

/// The simple moving average's length from which the root mean square is trusted: the paper says 4, PyTorch and
/// Optax 5.
const TRUSTED_LENGTH: f64 = 5.0;

pub(super) const RADAM: UpdateRule = UpdateRule {
    name: "radam",
    doc: "Adam whose first steps are plain momentum, until the mean square can be trusted",
    hyper: &[
        hyper::learning_rate(1e-3),
        BETA1,
        BETA2,
        hyper::eps(1e-8),
        hyper::WEIGHT_DECAY,
        DECOUPLED_WEIGHT_DECAY,
    ],
    state: &[("first_moment", ALWAYS), ("second_moment", ALWAYS)],
    scalars: &[
        ("plain_step", |step| if rectification(step).is_some() { 0.0 } else { step_size(step) }),
        ("rectified_step", |step| rectification(step).map_or(0.0, |factor| factor * step_size(step))),
        ONE_MINUS_BETA1,
        ONE_MINUS_BETA2,
        EPS,
        PENALTY,
        SHRINKAGE,
    ],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/radam.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, second_moment, ..]| {
            let (theta, g) = regularised(step, theta, gradient);
            let mean = observe_mean(step, g, first_moment);
            observe_square(step, g, second_moment);
            let divisor = second_moment.sqrt() + step.of("eps");
            let direction = rectification(step).map_or(mean, |factor| factor * mean / divisor);
            theta - step.learning_rate * direction
        },
        readout: None,
    },
};

/// r √(1 − β₂ᵗ), by which a step over √v + ε is multiplied (Liu et al. 2020, algorithm 2); `None` where there are
/// too few gradients in v.
fn rectification(step: &Step) -> Option<f64> {
    let beta = step.of("beta2");
    let weight = step.weight_so_far(beta);
    let longest = 2.0 / (1.0 - beta) - 1.0;
    let length = longest - 2.0 * step.number as f64 * (1.0 - weight) / weight;
    let trust = |length: f64| (length - 4.0) * (length - 2.0) / length;
    (length > TRUSTED_LENGTH).then(|| (trust(length) / trust(longest) * weight).sqrt())
}
