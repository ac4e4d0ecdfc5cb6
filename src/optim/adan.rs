//! Adan: Adam on the gradient and on its change.

use super::hyper;
use super::moments::{ONE_MINUS_BETA1, ONE_MINUS_BETA2, shrunk, step_size};
use super::rule::{ALWAYS, DECAY, EPS, Form, UpdateRule, averaged};

pub(super) const ADAN: UpdateRule = UpdateRule {
    name: "adan",
    doc: "Nesterov's look ahead from the change of the gradient, over a running root mean square",
    hyper: &[
        // Optax leaves it to its users; this is the paper's.
        hyper::learning_rate(1e-3),
        hyper::number("beta1", 0.98, hyper::DECAY, "weight of the past in the mean of the gradient"),
        hyper::number("beta2", 0.92, hyper::DECAY, "weight of the past in the mean of the gradient's change"),
        hyper::number("beta3", 0.99, hyper::DECAY, "weight of the past in the mean square"),
        hyper::eps(1e-8),
        hyper::number("eps_root", 1e-8, hyper::NON_NEGATIVE, "added to the mean square under the root"),
        hyper::decoupled_weight_decay(0.0),
    ],
    state: &[
        ("first_moment", ALWAYS),
        ("change_average", ALWAYS),
        ("square_average", ALWAYS),
        ("previous_gradient", ALWAYS),
    ],
    scalars: &[
        ("mean_step", step_size),
        ("change_step", |step| {
            let beta = step.of("beta2");
            step.learning_rate * (1.0 - beta) / step.weight_so_far(beta)
        }),
        ("square_correction", |step| step.weight_so_far(step.of("beta3")).recip()),
        ("has_previous", |step| 1.0 - step.at_first(1.0)),
        ONE_MINUS_BETA1,
        ONE_MINUS_BETA2,
        ("one_minus_beta3", |step| 1.0 - step.of("beta3")),
        EPS,
        ("eps_root", |step| step.of("eps_root")),
        DECAY,
    ],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/adan.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, change_average, square_average, previous]| {
            let [beta1, beta2, beta3] = ["beta1", "beta2", "beta3"].map(|name| step.of(name));
            let change = if step.number == 1 { 0.0 } else { gradient - *previous };
            let ahead = gradient + (1.0 - beta2) * change;
            *first_moment = averaged(*first_moment, gradient, beta1);
            *change_average = averaged(*change_average, change, beta2);
            *square_average = averaged(*square_average, ahead * ahead, beta3);
            *previous = gradient;
            let mean = *first_moment / step.weight_so_far(beta1)
                + (1.0 - beta2) * *change_average / step.weight_so_far(beta2);
            let square = *square_average / step.weight_so_far(beta3);
            let divisor = (square + step.of("eps_root")).sqrt() + step.of("eps");
            shrunk(step, theta) - step.learning_rate * mean / divisor
        },
        readout: None,
    },
};
