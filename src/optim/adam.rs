//! Adam: bias-corrected running means of the gradient and of its square.

use super::descent::penalised;
use super::hyper::{self, Hyper, HyperKind};
use super::rule::{ALWAYS, EPS, UpdateRule, WEIGHT_DECAY};

pub(super) const ADAM: UpdateRule = UpdateRule {
    name: "adam",
    doc: "running mean of the gradient over its running root mean square, bias-corrected",
    hyper: &[
        hyper::learning_rate(1e-3),
        Hyper {
            name: "beta1",
            kind: HyperKind::Number { default: 0.9, range: hyper::DECAY },
            doc: "weight of the past in the mean of the gradient",
        },
        Hyper {
            name: "beta2",
            kind: HyperKind::Number { default: 0.999, range: hyper::DECAY },
            doc: "weight of the past in the mean of the squared gradient",
        },
        hyper::EPS,
        hyper::WEIGHT_DECAY,
    ],
    state: &[("first_moment", ALWAYS), ("second_moment", ALWAYS)],
    scalars: &[
        ("step_size", |step| step.learning_rate / step.weight_so_far(step.of("beta1"))),
        ("one_minus_beta1", |step| 1.0 - step.of("beta1")),
        ("one_minus_beta2", |step| 1.0 - step.of("beta2")),
        ("root_correction", |step| step.weight_so_far(step.of("beta2")).sqrt().recip()),
        EPS,
        WEIGHT_DECAY,
    ],
    wgsl: include_str!("../../shaders/optimizers/adam.wgsl"),
    reference: |step, theta, gradient, [first_moment, second_moment, ..]| {
        let (beta1, beta2) = (step.of("beta1"), step.of("beta2"));
        let g = penalised(step, theta, gradient);
        *first_moment = beta1 * *first_moment + (1.0 - beta1) * g;
        *second_moment = beta2 * *second_moment + (1.0 - beta2) * g * g;
        let mean = *first_moment / step.weight_so_far(beta1);
        let square = *second_moment / step.weight_so_far(beta2);
        theta - step.learning_rate * mean / (square.sqrt() + step.of("eps"))
    },
    readout: None,
};
