//! Adagrad and Adadelta: steps divided by the root of the squares of all gradients so far, or of the recent ones.

use super::descent::penalised;
use super::hyper;
use super::rule::{ALWAYS, EPS, Form, INITIAL, LEARNING_RATE, Step, UpdateRule, WEIGHT_DECAY, averaged};

pub(super) const ADAGRAD: UpdateRule = UpdateRule {
    name: "adagrad",
    doc: "steps divided by the root of the sum of all squared gradients",
    hyper: &[
        hyper::learning_rate(1e-2),
        hyper::number("lr_decay", 0.0, hyper::NON_NEGATIVE, "α is divided by 1 + lr_decay (t − 1) at step t"),
        hyper::WEIGHT_DECAY,
        hyper::initial_accumulator(0.0, "where the sum of squares starts; Optax has 0.1"),
        hyper::eps(1e-10),
        hyper::EPS_IN_SQRT,
    ],
    state: &[("square_sum", ALWAYS)],
    scalars: &[("step_size", decayed_rate), INITIAL, EPS, WEIGHT_DECAY],
    wgsl: include_str!("../../shaders/optimizers/adagrad.wgsl"),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [square_sum, ..]| {
            let g = penalised(step, theta, gradient);
            *square_sum += step.at_first(step.of("initial_accumulator_value")) + g * g;
            let eps = step.of("eps");
            let divisor = if step.values.flag("eps_in_sqrt") {
                (*square_sum + eps).sqrt()
            } else {
                square_sum.sqrt() + eps
            };
            theta - decayed_rate(step) * g / divisor
        },
        readout: None,
    },
};

fn decayed_rate(step: &Step) -> f64 {
    step.learning_rate / (1.0 + (step.number - 1) as f64 * step.of("lr_decay"))
}

pub(super) const ADADELTA: UpdateRule = UpdateRule {
    name: "adadelta",
    doc: "steps as long as the recent ones, turned by the recent gradients: needs no learning rate",
    hyper: &[
        hyper::learning_rate(1.0),
        hyper::number("rho", 0.9, hyper::DECAY, "weight of the past in the running averages"),
        hyper::eps(1e-6),
        hyper::WEIGHT_DECAY,
    ],
    state: &[("square_average", ALWAYS), ("step_square_average", ALWAYS)],
    scalars: &[LEARNING_RATE, ("one_minus_rho", |step| 1.0 - step.of("rho")), EPS, WEIGHT_DECAY],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/adadelta.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [square_average, step_square_average, ..]| {
            let (rho, eps) = (step.of("rho"), step.of("eps"));
            let g = penalised(step, theta, gradient);
            *square_average = averaged(*square_average, g * g, rho);
            let direction = (*step_square_average + eps).sqrt() / (*square_average + eps).sqrt() * g;
            *step_square_average = averaged(*step_square_average, direction * direction, rho);
            theta - step.learning_rate * direction
        },
        readout: None,
    },
};
