//! Rules whose step in each tensor is scaled by the norm of its parameters: LAMB, LARS.

use super::hyper::{self, Hyper, HyperKind};
use super::rule::{
    ALWAYS, EPS, Form, LEARNING_RATE, MOMENTUM, Passes, Step, UpdateRule, WEIGHT_DECAY, WITH_MOMENTUM,
};

pub(super) const LAMB: UpdateRule = UpdateRule {
    name: "lamb",
    doc: "Adam whose step in each tensor is as long as the learning rate times the tensor's norm",
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
        hyper::eps(1e-6),
        Hyper { doc: "weight λ of θ in the direction", ..hyper::WEIGHT_DECAY },
    ],
    state: &[("first_moment", ALWAYS), ("second_moment", ALWAYS)],
    scalars: &[
        LEARNING_RATE,
        ("one_minus_beta1", |step| 1.0 - step.of("beta1")),
        ("one_minus_beta2", |step| 1.0 - step.of("beta2")),
        ("mean_correction", |step| step.weight_so_far(step.of("beta1")).recip()),
        ("root_correction", |step| step.weight_so_far(step.of("beta2")).sqrt().recip()),
        EPS,
        WEIGHT_DECAY,
    ],
    wgsl: include_str!("../../shaders/optimizers/lamb.wgsl"),
    form: Form::Tensorwise {
        passes: Passes::TrustRatio { moments: &["first_moment", "second_moment"] },
        reference: |step, _, theta, gradient, state| {
            let [first_moment, second_moment] = state else { return };
            let (beta1, beta2) = (step.of("beta1"), step.of("beta2"));
            let direction: Vec<f64> = (0..theta.len())
                .map(|i| {
                    let g = gradient[i];
                    first_moment[i] = beta1 * first_moment[i] + (1.0 - beta1) * g;
                    second_moment[i] = beta2 * second_moment[i] + (1.0 - beta2) * g * g;
                    let mean = first_moment[i] / step.weight_so_far(beta1);
                    let square = second_moment[i] / step.weight_so_far(beta2);
                    mean / (square.sqrt() + step.of("eps")) + step.of("weight_decay") * theta[i]
                })
                .collect();
            let (along, against) = (norm(theta), norm(&direction));
            let ratio = if along == 0.0 || against == 0.0 { 1.0 } else { along / against };
            for (theta, direction) in theta.iter_mut().zip(direction) {
                *theta -= step.learning_rate * ratio * direction;
            }
        },
    },
};

pub(super) const LARS: UpdateRule = UpdateRule {
    name: "lars",
    doc: "momentum whose learning rate in each tensor follows the ratio of its norm to its gradient's",
    hyper: &[
        hyper::learning_rate(1e-3),
        hyper::momentum(0.9),
        Hyper { doc: "weight λ of θ in the direction", ..hyper::WEIGHT_DECAY },
        Hyper {
            name: "trust_coefficient",
            kind: HyperKind::Number { default: 1e-3, range: hyper::NON_NEGATIVE },
            doc: "how far a tensor may go, as a share of its norm",
        },
    ],
    state: &[("velocity", WITH_MOMENTUM)],
    scalars: &[LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, ("trust_coefficient", trust_coefficient)],
    wgsl: include_str!("../../shaders/optimizers/lars.wgsl"),
    form: Form::Tensorwise {
        passes: Passes::TrustRatio { moments: &[] },
        reference: |step, _, theta, gradient, state| {
            let decay = step.of("weight_decay");
            let direction: Vec<f64> =
                theta.iter().zip(gradient).map(|(theta, g)| g + decay * theta).collect();
            let (along, against) = (norm(theta), norm(&direction));
            let ratio = match along == 0.0 || against == 0.0 {
                true => 1.0,
                false => trust_coefficient(step) * along / against,
            };
            for (i, theta) in theta.iter_mut().enumerate() {
                let mut velocity = step.learning_rate * ratio * direction[i];
                if let [past] = state {
                    velocity += step.of("momentum") * past[i];
                    past[i] = velocity;
                }
                *theta -= velocity;
            }
        },
    },
};

fn trust_coefficient(step: &Step) -> f64 {
    step.of("trust_coefficient")
}

fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}
