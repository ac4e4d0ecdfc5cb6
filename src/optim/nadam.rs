//! NAdam: Adam that looks ahead as Nesterov does.

use super::hyper::{self, Hyper, HyperKind};
use super::moments::{
    BETA1, BETA2, DECOUPLED_WEIGHT_DECAY, ONE_MINUS_BETA1, ONE_MINUS_BETA2, PENALTY, ROOT_CORRECTION,
    SHRINKAGE, observe_mean, observe_square, regularised,
};
use super::rule::{ALWAYS, EPS, Form, Step, UpdateRule};

pub(super) const NADAM: UpdateRule = UpdateRule {
    name: "nadam",
    doc: "Adam that looks ahead along its mean, as Nesterov does",
    hyper: &[
        hyper::learning_rate(2e-3),
        BETA1,
        BETA2,
        hyper::eps(1e-8),
        hyper::WEIGHT_DECAY,
        hyper::number("momentum_decay", 4e-3, hyper::NON_NEGATIVE, "ψ, how fast form=pytorch warms up to β₁"),
        DECOUPLED_WEIGHT_DECAY,
        Hyper {
            name: "form",
            kind: HyperKind::Word(&["pytorch", "dozat"]),
            doc: "pytorch: β₁ warms up; dozat: β₁ is constant, as in Optax",
        },
    ],
    state: &[("first_moment", ALWAYS), ("second_moment", ALWAYS)],
    scalars: &[
        ("gradient_step", |step| step.learning_rate * look_ahead(step).0),
        ("moment_step", |step| step.learning_rate * look_ahead(step).1),
        ONE_MINUS_BETA1,
        ONE_MINUS_BETA2,
        ROOT_CORRECTION,
        EPS,
        PENALTY,
        SHRINKAGE,
    ],
    wgsl: concat!(
        include_str!("../../shaders/optimizers/averaged.wgsl"),
        include_str!("../../shaders/optimizers/nadam.wgsl"),
    ),
    form: Form::Elementwise {
        reference: |step, theta, gradient, [first_moment, second_moment, ..]| {
            let (theta, g) = regularised(step, theta, gradient);
            observe_mean(step, g, first_moment);
            let square = observe_square(step, g, second_moment);
            let (gradient_weight, moment_weight) = look_ahead(step);
            let mean = gradient_weight * g + moment_weight * *first_moment;
            theta - step.learning_rate * mean / (square.sqrt() + step.of("eps"))
        },
        readout: None,
    },
};

/// The weights of the gradient and of the first moment in the mean that looks ahead, bias corrections included.
fn look_ahead(step: &Step) -> (f64, f64) {
    let beta = step.of("beta1");
    if step.values.is("form", "dozat") {
        let one_ahead = Step { number: step.number + 1, ..*step };
        return ((1.0 - beta) / step.weight_so_far(beta), beta / one_ahead.weight_so_far(beta));
    }
    let rate = 0.96_f64.powf(step.of("momentum_decay"));
    let product = warm_up_product(beta, rate, step.number);
    let momentum = |number: u64| beta * (1.0 - 0.5 * rate.powf(number as f64));
    let (now, next) = (momentum(step.number), momentum(step.number + 1));
    ((1.0 - now) / (1.0 - product), next / (1.0 - product * next))
}

/// μ₁ … μₜ with μᵢ = β(1 − rⁱ/2), where t = `count` and r = `rate`: exact to rounding in what is used of it,
/// 1 minus it.
///
/// It takes 60 factors or fewer for PyTorch's ψ, and never more than a few thousand: at small ψ every factor is at
/// most about a half, so that the product soon vanishes beside 1; at large ψ it is the rest rⁱ that vanishes, and
/// the factors left are all β. So it needs no memory of earlier steps, and a resumed run has the very same bits.
fn warm_up_product(beta: f64, rate: f64, count: u64) -> f64 {
    let mut product = 1.0;
    let mut rest = 0.5;
    for number in 1..=count {
        rest *= rate;
        if rest < f64::EPSILON / 4.0 {
            return product * beta.powf((count - number + 1) as f64);
        }
        product *= beta * (1.0 - rest);
        if product < f64::EPSILON / 4.0 {
            break;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_of_momenta_is_that_of_all_its_factors() {
        for beta in [0.0, 0.5, 0.9, 0.999, 1.0 - 1e-6] {
            for decay in [0.0, 1e-4, 4e-3, 0.02, 0.3, 1.0, 20.0, 1e6] {
                let rate = 0.96_f64.powf(decay);
                let mut product = 1.0;
                for count in 1..=3000 {
                    product *= beta * (1.0 - 0.5 * rate.powf(count as f64));
                    let found = warm_up_product(beta, rate, count);
                    // 3,000 roundings of numbers below 1.
                    assert!(
                        (found - product).abs() < 3000.0 * f64::EPSILON,
                        "{beta} {decay} {count}: {found}"
                    );
                }
            }
        }
    }

    #[test]
    fn late_steps_take_no_more_factors_than_early_ones() {
        // Were there one factor a step, this would take hours.
        for decay in [0.0, 4e-3, 0.4, 1.0, 1e6] {
            let product = warm_up_product(1.0 - 1e-9, 0.96_f64.powf(decay), 1 << 42);
            assert!(product < f64::EPSILON, "{decay}: {product}");
        }
    }
}
