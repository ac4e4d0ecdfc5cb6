//! RMSProp: each element's step divided by the running root mean square of its gradient.

use super::descent::penalised;
use super::hyper::{self, Hyper, HyperKind};
use super::rule::{ALWAYS, EPS, LEARNING_RATE, MOMENTUM, UpdateRule, WEIGHT_DECAY, WITH_MOMENTUM};

pub(super) const RMSPROP: UpdateRule = UpdateRule {
    name: "rmsprop",
    doc: "steps divided by the running root mean square of the gradient",
    hyper: &[
        hyper::learning_rate(1e-2),
        Hyper {
            name: "alpha",
            kind: HyperKind::Number { default: 0.99, range: hyper::DECAY },
            doc: "weight of the past in the running averages",
        },
        hyper::EPS,
        hyper::WEIGHT_DECAY,
        hyper::momentum(0.0),
        Hyper {
            name: "centered",
            kind: HyperKind::Flag,
            doc: "subtract the squared mean: a variance, not a square",
        },
        Hyper {
            name: "eps_in_sqrt", kind: HyperKind::Flag, doc: "√(v + ε) as Optax has it, not √v + ε"
        },
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
    wgsl: include_str!("../../shaders/optimizers/rmsprop.wgsl"),
    reference: |step, theta, gradient, [square_average, gradient_average, velocity, ..]| {
        let (alpha, eps) = (step.of("alpha"), step.of("eps"));
        let g = penalised(step, theta, gradient);
        *square_average = alpha * *square_average + (1.0 - alpha) * g * g;
        let mut variance = *square_average;
        if step.values.flag("centered") {
            *gradient_average = alpha * *gradient_average + (1.0 - alpha) * g;
            variance = (variance - gradient_average.powi(2)).max(0.0);
        }
        let divisor =
            if step.values.flag("eps_in_sqrt") { (variance + eps).sqrt() } else { variance.sqrt() + eps };
        *velocity = step.of("momentum") * *velocity + g / divisor;
        theta - step.learning_rate * *velocity
    },
    readout: None,
};
