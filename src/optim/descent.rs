//! Gradient descent, plain and with a velocity: SGD, momentum, Nesterov.

use super::hyper::{self, Hyper, HyperKind};
use super::rule::{
    Form, LEARNING_RATE, MOMENTUM as MU, Readout, Step, UpdateRule, WEIGHT_DECAY, WITH_MOMENTUM,
};

/// The default learning rate of `torch.optim.SGD`.
const PYTORCH_LEARNING_RATE: f64 = 1e-3;

/// PyTorch has momentum and Nesterov as settings of its SGD, off by default; as rules of their own they are on.
const USUAL_MOMENTUM: f64 = 0.9;

const FORM: Hyper = Hyper {
    name: "form",
    kind: HyperKind::Word(&["pytorch", "lecture"]),
    doc: "pytorch: α scales the whole velocity; lecture: v ← μv − αg, θ ← θ + v",
};

pub(super) const SGD: UpdateRule = UpdateRule {
    name: "sgd",
    doc: "gradient descent",
    hyper: &[hyper::learning_rate(PYTORCH_LEARNING_RATE), hyper::WEIGHT_DECAY],
    state: &[],
    scalars: &[LEARNING_RATE, WEIGHT_DECAY],
    wgsl: include_str!("../../shaders/optimizers/sgd.wgsl"),
    form: Form::Elementwise {
        reference: |step, theta, gradient, _| theta - step.learning_rate * penalised(step, theta, gradient),
        readout: None,
    },
};

pub(super) const MOMENTUM: UpdateRule = UpdateRule {
    name: "momentum",
    doc: "gradient descent of a ball with inertia",
    hyper: &[
        hyper::learning_rate(PYTORCH_LEARNING_RATE),
        hyper::momentum(USUAL_MOMENTUM),
        Hyper {
            name: "dampening",
            kind: HyperKind::Number { default: 0.0, range: hyper::DECAY },
            doc: "what is withheld of every gradient but the first",
        },
        hyper::WEIGHT_DECAY,
        FORM,
    ],
    state: &[("velocity", WITH_MOMENTUM)],
    scalars: &[LEARNING_RATE, MU, ("fresh", fresh), WEIGHT_DECAY],
    wgsl: include_str!("../../shaders/optimizers/momentum.wgsl"),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [velocity, ..]| {
            let past = step.of("momentum") * *velocity;
            let force = fresh(step) * penalised(step, theta, gradient);
            if step.values.is("form", "lecture") {
                *velocity = past - step.learning_rate * force;
                theta + *velocity
            } else {
                *velocity = past + force;
                theta - step.learning_rate * *velocity
            }
        },
        readout: None,
    },
};

pub(super) const NESTEROV: UpdateRule = UpdateRule {
    name: "nesterov",
    doc: "momentum that looks ahead along its velocity",
    hyper: &[
        hyper::learning_rate(PYTORCH_LEARNING_RATE),
        hyper::momentum(USUAL_MOMENTUM),
        hyper::WEIGHT_DECAY,
        FORM,
    ],
    state: &[("velocity", WITH_MOMENTUM)],
    scalars: &[LEARNING_RATE, MU, WEIGHT_DECAY],
    wgsl: include_str!("../../shaders/optimizers/nesterov.wgsl"),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [velocity, ..]| {
            let mu = step.of("momentum");
            let g = penalised(step, theta, gradient);
            if step.values.is("form", "lecture") {
                // As the lecture writes it: back from the look-ahead point, on by the velocity, and ahead again.
                let point = theta - mu * *velocity;
                *velocity = mu * *velocity - step.learning_rate * g;
                point + *velocity + mu * *velocity
            } else {
                *velocity = mu * *velocity + g;
                theta - step.learning_rate * (g + mu * *velocity)
            }
        },
        readout: Some(Readout {
            needed: |values| values.is("form", "lecture") && WITH_MOMENTUM(values),
            reference: |values, theta, [velocity, ..]| theta - values.number("momentum") * velocity,
        }),
    },
};

/// The weight of the new gradient in the velocity. PyTorch starts the buffer with the whole first gradient, and
/// knows no dampening where there is no buffer.
fn fresh(step: &Step) -> f64 {
    if step.number == 1 || step.of("momentum") == 0.0 { 1.0 } else { 1.0 - step.of("dampening") }
}

/// The gradient with that of the L2 penalty.
pub(super) fn penalised(step: &Step, theta: f64, gradient: f64) -> f64 {
    gradient + step.of("weight_decay") * theta
}
