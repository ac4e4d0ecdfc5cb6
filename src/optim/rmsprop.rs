//! RMSProp: each element's step divided by the running root mean square of its gradient.

use super::descent::penalised;
use super::hyper;
use super::rule::{
    ALWAYS, EPS, Form, LEARNING_RATE, MOMENTUM, UpdateRule, WEIGHT_DECAY, WITH_MOMENTUM, averaged,
};

pub(super) const RMSPROP: UpdateRule = UpdateRule {
    name: "rmsprop",
    doc: "steps divided by the running root mean square of the gradient",
    hyper: &[
        hyper::learning_rate(1e-2),
        hyper::number("alpha", 0.99, hyper::DECAY, "weight of the past in the running averages"),
        hyper::eps(1e-8),
        hyper::WEIGHT_DECAY,
        hyper::momentum(0.0),
        hyper::flag("centered", "subtract the squared mean: a variance, not a square"),
        hyper::EPS_IN_SQRT,
    ],
    state: &[
        ("square_average", ALWAYS),
        ("gradient_average", |values| values.flag("centered")),
        ("velocity", WITH_MOMENTUM),
    ],
    scalars: &[
        LEARNING_RATE,
        ("one_minus_alpha", |step| 1.0 - step.of("alpha")),
        EPS,
        WEIGHT_DECAY,
        MOMENTUM,
    ],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/rmsprop.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [square_average, gradient_average, velocity, ..]| {
            let (alpha, eps) = (step.of("alpha"), step.of("eps"));
            let g = penalised(step, theta, gradient);
            *square_average = averaged(*square_average, g * g, alpha);
            let mut variance = *square_average;
            if step.values.flag("centered") {
                *gradient_average = averaged(*gradient_average, g, alpha);
                variance = (variance - gradient_average.powi(2)).max(0.0);
            }
            let divisor =
                if step.values.flag("eps_in_sqrt") { (variance + eps).sqrt() } else { variance.sqrt() + eps };
            *velocity = step.of("momentum") * *velocity + g / divisor;
            theta - step.learning_rate * *velocity
        },
        readout: None,
    },
};
