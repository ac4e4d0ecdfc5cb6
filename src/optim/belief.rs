//! AdaBelief and Yogi: Adam with another measure of the gradient's size.

use super::hyper;
use super::moments::{
    BETA1, BETA2, ONE_MINUS_BETA1, ONE_MINUS_BETA2, ROOT_CORRECTION, STEP_SIZE, observe_mean,
};
use super::rule::{ALWAYS, EPS, Form, INITIAL, UpdateRule, averaged};

/// Optax leaves the learning rate to its users; this is Adam's.
const LEARNING_RATE: f64 = 1e-3;

pub(super) const ADABELIEF: UpdateRule = UpdateRule {
    name: "adabelief",
    doc: "Adam with the gradient's distance from its mean in place of its size",
    hyper: &[
        hyper::learning_rate(LEARNING_RATE),
        BETA1,
        hyper::number("beta2", 0.999, hyper::DECAY, "weight of the past in the mean of the squared distance"),
        hyper::eps(1e-16),
        hyper::number("eps_root", 1e-16, hyper::NON_NEGATIVE, "added to the mean square in every step"),
    ],
    state: &[("first_moment", ALWAYS), ("variance", ALWAYS)],
    scalars: &[
        STEP_SIZE,
        ONE_MINUS_BETA1,
        ONE_MINUS_BETA2,
        ROOT_CORRECTION,
        EPS,
        ("eps_root", |step| step.of("eps_root")),
    ],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/adabelief.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, variance, ..]| {
            let mean = observe_mean(step, gradient, first_moment);
            let beta = step.of("beta2");
            let surprise = gradient - *first_moment;
            *variance = averaged(*variance, surprise * surprise, beta) + step.of("eps_root");
            let root = (*variance / step.weight_so_far(beta)).sqrt();
            theta - step.learning_rate * mean / (root + step.of("eps"))
        },
        readout: None,
    },
};

pub(super) const YOGI: UpdateRule = UpdateRule {
    name: "yogi",
    doc: "Adam whose mean square follows the gradient's at a speed that does not depend on how far it is off",
    hyper: &[
        hyper::learning_rate(LEARNING_RATE),
        BETA1,
        BETA2,
        hyper::eps(1e-3),
        hyper::initial_accumulator(1e-6, "where both moments start"),
    ],
    state: &[("first_moment", ALWAYS), ("second_moment", ALWAYS)],
    scalars: &[STEP_SIZE, ONE_MINUS_BETA1, ONE_MINUS_BETA2, ROOT_CORRECTION, EPS, INITIAL],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/yogi.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, second_moment, ..]| {
            let initial = step.at_first(step.of("initial_accumulator_value"));
            // Without this, θ would creep where it is 0 and its gradient is: in the padding of θ above all.
            if theta != 0.0 || gradient != 0.0 {
                *first_moment += initial;
            }
            *second_moment += initial;
            let mean = observe_mean(step, gradient, first_moment);
            let (beta, square) = (step.of("beta2"), gradient * gradient);
            if *second_moment > square {
                *second_moment -= (1.0 - beta) * square;
            } else if *second_moment < square {
                *second_moment += (1.0 - beta) * square;
            }
            let root = (*second_moment / step.weight_so_far(beta)).sqrt();
            theta - step.learning_rate * mean / (root + step.of("eps"))
        },
        readout: None,
    },
};
