//! Adam and its nearest kin: bias-corrected running means of the gradient over a measure of its size.

use super::descent::penalised;
use super::hyper;
use super::moments::{
    BETA1, BETA2, ONE_MINUS_BETA1, ONE_MINUS_BETA2, PENALTY, ROOT_CORRECTION, SHRINKAGE, STEP_SIZE,
    observe_mean, observe_square, shrunk,
};
use super::rule::{ALWAYS, DECAY, EPS, Form, State, Step, UpdateRule, WEIGHT_DECAY};

pub(super) const ADAM: UpdateRule = UpdateRule {
    name: "adam",
    doc: "running mean of the gradient over its running root mean square, bias-corrected",
    hyper: &[hyper::learning_rate(1e-3), BETA1, BETA2, hyper::eps(1e-8), hyper::WEIGHT_DECAY],
    state: &[("first_moment", ALWAYS), ("second_moment", ALWAYS)],
    scalars: &[STEP_SIZE, ONE_MINUS_BETA1, ONE_MINUS_BETA2, ROOT_CORRECTION, EPS, PENALTY, SHRINKAGE],
    wgsl: ADAM_WGSL,
    form: Form::Elementwise {
        reference: |step, theta, gradient, state| adam(step, theta, penalised(step, theta, gradient), state),
        readout: None,
    },
};

pub(super) const ADAMW: UpdateRule = UpdateRule {
    name: "adamw",
    doc: "Adam with a weight decay that is no part of the gradient",
    hyper: &[hyper::learning_rate(1e-3), BETA1, BETA2, hyper::eps(1e-8), hyper::decoupled_weight_decay(1e-2)],
    state: ADAM.state,
    scalars: &[
        STEP_SIZE,
        ONE_MINUS_BETA1,
        ONE_MINUS_BETA2,
        ROOT_CORRECTION,
        EPS,
        ("weight_decay", |_| 0.0), // Nothing is added to the gradient.
        DECAY,
    ],
    wgsl: ADAM_WGSL,
    form: Form::Elementwise {
        reference: |step, theta, gradient, state| adam(step, shrunk(step, theta), gradient, state),
        readout: None,
    },
};

const ADAM_WGSL: &str = concat!(
    include_str!("../../shaders/optimizers/averaged.wgsl"),
    include_str!("../../shaders/optimizers/adam.wgsl"),
);

fn adam(step: &Step, theta: f64, gradient: f64, [first_moment, second_moment, ..]: &mut State) -> f64 {
    let mean = observe_mean(step, gradient, first_moment);
    let square = observe_square(step, gradient, second_moment);
    theta - step.learning_rate * mean / (square.sqrt() + step.of("eps"))
}

pub(super) const AMSGRAD: UpdateRule = UpdateRule {
    name: "amsgrad",
    doc: "Adam with the largest mean square so far, so that no step size grows again",
    hyper: &[
        hyper::learning_rate(1e-3),
        BETA1,
        BETA2,
        hyper::eps(1e-8),
        hyper::WEIGHT_DECAY,
        hyper::flag(
            "corrected",
            "the maximum of the corrected mean squares as Optax has it, not of the raw ones",
        ),
    ],
    state: &[("first_moment", ALWAYS), ("second_moment", ALWAYS), ("largest_second_moment", ALWAYS)],
    scalars: &[STEP_SIZE, ONE_MINUS_BETA1, ONE_MINUS_BETA2, ROOT_CORRECTION, EPS, WEIGHT_DECAY],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/amsgrad.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, second_moment, largest, ..]| {
            let g = penalised(step, theta, gradient);
            let mean = observe_mean(step, g, first_moment);
            let square = observe_square(step, g, second_moment);
            let square = if step.values.flag("corrected") {
                *largest = largest.max(square);
                *largest
            } else {
                *largest = largest.max(*second_moment);
                *largest / step.weight_so_far(step.of("beta2"))
            };
            theta - step.learning_rate * mean / (square.sqrt() + step.of("eps"))
        },
        readout: None,
    },
};

pub(super) const ADAMAX: UpdateRule = UpdateRule {
    name: "adamax",
    doc: "Adam with a decaying maximum of the gradient's size in place of its root mean square",
    hyper: &[
        hyper::learning_rate(2e-3),
        BETA1,
        hyper::number("beta2", 0.999, hyper::DECAY, "decay of the largest gradient"),
        hyper::eps(1e-8),
        hyper::WEIGHT_DECAY,
    ],
    state: &[("first_moment", ALWAYS), ("largest_gradient", ALWAYS)],
    scalars: &[STEP_SIZE, ONE_MINUS_BETA1, ONE_MINUS_BETA2, EPS, WEIGHT_DECAY],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/adamax.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, largest, ..]| {
            let g = penalised(step, theta, gradient);
            let mean = observe_mean(step, g, first_moment);
            *largest = (step.of("beta2") * *largest).max(g.abs() + step.of("eps"));
            theta - step.learning_rate * mean / *largest
        },
        readout: None,
    },
};
