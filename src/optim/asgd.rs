//! ASGD: gradient descent with a shrinking step, and beside it the average of its path.

use super::descent::penalised;
use super::hyper;
use super::rule::{ALWAYS, Form, Step, UpdateRule, WEIGHT_DECAY};

pub(super) const ASGD: UpdateRule = UpdateRule {
    name: "asgd",
    doc: "gradient descent with a shrinking step; the average of its path is kept as state",
    hyper: &[
        hyper::learning_rate(1e-2),
        hyper::number("lambd", 1e-4, hyper::NON_NEGATIVE, "λ, how fast the step and θ shrink"),
        hyper::number("alpha", 0.75, hyper::NON_NEGATIVE, "the power by which the step shrinks"),
        hyper::number("t0", 1e6, hyper::NON_NEGATIVE, "the step after which averaging begins"),
        hyper::WEIGHT_DECAY,
    ],
    state: &[("averaged_theta", ALWAYS)],
    scalars: &[
        ("step_size", step_size),
        ("shrinkage", |step| step.of("lambd") * step_size(step)),
        ("weight_of_new", weight_of_new),
        WEIGHT_DECAY,
    ],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/asgd.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [averaged_theta, ..]| {
            let eta = step_size(step);
            let g = penalised(step, theta, gradient);
            let theta = theta * (1.0 - step.of("lambd") * eta) - eta * g;
            *averaged_theta += weight_of_new(step) * (theta - *averaged_theta);
            theta
        },
        readout: None,
    },
};

/// η = α/(1 + λα(t − 1))^power. PyTorch keeps the η of a step from the one before, so that a schedule reaches it a
/// step late; here it is that of its own step.
fn step_size(step: &Step) -> f64 {
    let alpha = step.learning_rate;
    alpha / (1.0 + step.of("lambd") * alpha * (step.number - 1) as f64).powf(step.of("alpha"))
}

/// The weight of θ in the average: 1 until averaging begins, then one over the number of points in it.
fn weight_of_new(step: &Step) -> f64 {
    ((step.number - 1) as f64 - step.of("t0")).max(1.0).recip()
}
