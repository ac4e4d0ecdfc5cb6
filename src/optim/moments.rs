//! What Adam and its kin share: the decays β₁ and β₂, the numbers of their kernels, and the two kinds of weight decay.

use super::descent::penalised;
use super::hyper::{self, Hyper};
use super::rule::{Scalar, Step, averaged};

/// β₁, as nearly all of them have it.
pub(super) const BETA1: Hyper =
    hyper::number("beta1", 0.9, hyper::DECAY, "weight of the past in the mean of the gradient");

/// β₂, as nearly all of them have it.
pub(super) const BETA2: Hyper =
    hyper::number("beta2", 0.999, hyper::DECAY, "weight of the past in the mean of the squared gradient");

/// Chooses between the two kinds of weight decay.
pub(super) const DECOUPLED_WEIGHT_DECAY: Hyper =
    hyper::flag("decoupled_weight_decay", "θ shrinks by αλθ a step, and nothing is added to the gradient");

pub(super) const ONE_MINUS_BETA1: Scalar = ("one_minus_beta1", |step| 1.0 - step.of("beta1"));
pub(super) const ONE_MINUS_BETA2: Scalar = ("one_minus_beta2", |step| 1.0 - step.of("beta2"));

/// α/(1 − β₁ᵗ).
pub(super) const STEP_SIZE: Scalar = ("step_size", step_size);

/// 1/√(1 − β₂ᵗ): the correction of the root mean square.
pub(super) const ROOT_CORRECTION: Scalar =
    ("root_correction", |step| step.weight_so_far(step.of("beta2")).sqrt().recip());

/// λ of the L2 penalty.
pub(super) const PENALTY: Scalar =
    ("weight_decay", |step| if is_decoupled(step) { 0.0 } else { step.of("weight_decay") });

/// What the decay takes of θ where it is decoupled.
pub(super) const SHRINKAGE: Scalar =
    ("decay", |step| if is_decoupled(step) { step.learning_rate * step.of("weight_decay") } else { 0.0 });

/// α/(1 − β₁ᵗ): the learning rate, and with it the correction of the mean for its start at zero.
pub(super) fn step_size(step: &Step) -> f64 {
    step.learning_rate / step.weight_so_far(step.of("beta1"))
}

fn is_decoupled(step: &Step) -> bool {
    step.values.flag("decoupled_weight_decay")
}

/// θ and the gradient after either kind of weight decay, in f64.
pub(super) fn regularised(step: &Step, theta: f64, gradient: f64) -> (f64, f64) {
    if is_decoupled(step) {
        (shrunk(step, theta), gradient)
    } else {
        (theta, penalised(step, theta, gradient))
    }
}

/// θ after a decoupled weight decay, in f64.
pub(super) fn shrunk(step: &Step, theta: f64) -> f64 {
    theta * (1.0 - step.learning_rate * step.of("weight_decay"))
}

/// The running mean of the gradient a step later, and the same corrected for its start at zero, in f64.
pub(super) fn observe_mean(step: &Step, gradient: f64, first_moment: &mut f64) -> f64 {
    let beta = step.of("beta1");
    *first_moment = averaged(*first_moment, gradient, beta);
    *first_moment / step.weight_so_far(beta)
}

/// The running mean square of the gradient a step later, and the same corrected for its start at zero, in f64.
pub(super) fn observe_square(step: &Step, gradient: f64, second_moment: &mut f64) -> f64 {
    let beta = step.of("beta2");
    *second_moment = averaged(*second_moment, gradient * gradient, beta);
    *second_moment / step.weight_so_far(beta)
}
