//! Rules that take of the gradient only its sign: Rprop and Lion.

use super::hyper;
use super::moments::{BETA1, ONE_MINUS_BETA1, ONE_MINUS_BETA2, shrunk};
use super::rule::{ALWAYS, DECAY, Form, LEARNING_RATE, UpdateRule, averaged};

pub(super) const RPROP: UpdateRule = UpdateRule {
    name: "rprop",
    doc: "a step size for every element, which grows while its gradient keeps its sign; for whole batches",
    hyper: &[
        hyper::number("lr", 1e-2, hyper::NON_NEGATIVE, "the first step of every element"),
        hyper::number("eta_minus", 0.5, hyper::SHRINKING, "what a change of sign multiplies the step by"),
        hyper::number("eta_plus", 1.2, hyper::GROWING, "what a kept sign multiplies the step by"),
        hyper::number("step_min", 1e-6, hyper::NON_NEGATIVE, "the shortest step"),
        hyper::number("step_max", 50.0, hyper::NON_NEGATIVE, "the longest step"),
    ],
    state: &[("previous_gradient", ALWAYS), ("step_size", ALWAYS)],
    scalars: &[
        ("initial", |step| step.at_first(step.learning_rate)),
        ("eta_minus", |step| step.of("eta_minus")),
        ("eta_plus", |step| step.of("eta_plus")),
        ("step_min", |step| step.of("step_min")),
        ("step_max", |step| step.of("step_max")),
    ],
    wgsl: include_str!("../../shaders/optimizers/rprop.wgsl"),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [previous, step_size, ..]| {
            let agreement = sign(gradient) * sign(*previous);
            let factor = match agreement {
                1.0 => step.of("eta_plus"),
                -1.0 => step.of("eta_minus"),
                _ => 1.0,
            };
            *step_size = (*step_size + step.at_first(step.learning_rate)) * factor;
            *step_size = step_size.max(step.of("step_min")).min(step.of("step_max"));
            *previous = if agreement < 0.0 { 0.0 } else { gradient };
            theta - sign(*previous) * *step_size
        },
        readout: None,
    },
};

pub(super) const LION: UpdateRule = UpdateRule {
    name: "lion",
    doc: "steps of one size along the sign of a running mean, with decoupled weight decay",
    hyper: &[
        hyper::learning_rate(1e-4),
        BETA1,
        hyper::number("beta2", 0.99, hyper::DECAY, "weight of the past in the mean that is kept"),
        hyper::decoupled_weight_decay(1e-3),
    ],
    state: &[("first_moment", ALWAYS)],
    scalars: &[LEARNING_RATE, ONE_MINUS_BETA1, ONE_MINUS_BETA2, DECAY],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/lion.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, ..]| {
            let direction = sign(averaged(*first_moment, gradient, step.of("beta1")));
            *first_moment = averaged(*first_moment, gradient, step.of("beta2"));
            shrunk(step, theta) - step.learning_rate * direction
        },
        readout: None,
    },
};

/// −1, 0 or 1, as WGSL has it: `f64::signum` knows no 0.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}
