//! Every variant of every rule: all choices of its flags and words, and numbers that reach its branches.

use crate::optim::{HyperKind, HyperValue, Optimizer, UPDATE_RULES, UpdateRule};

/// Numbers that reach every branch and scalar of a rule: μ = 0 keeps no velocity, λ > 0 decays, and so on.
const CHOICES: [(&str, &[f64]); 6] = [
    ("momentum", &[0.0, 0.9]),
    ("weight_decay", &[0.01]),
    ("dampening", &[0.1]),
    ("lr_decay", &[0.01]),
    ("initial_accumulator_value", &[0.1]),
    ("t0", &[10.0]),
];

/// The optimizers for every choice of the rule's flags and words, and of the numbers in [`CHOICES`].
fn variants(rule: &UpdateRule) -> Vec<Optimizer> {
    let mut optimizers = vec![Optimizer::new(rule.name).unwrap()];
    for hyper in rule.hyper {
        let chosen = CHOICES.iter().find(|(name, _)| *name == hyper.name);
        let values: Vec<HyperValue> = match hyper.kind {
            HyperKind::Flag { .. } => vec![false.into(), true.into()],
            HyperKind::Word(words) => words.iter().map(|word| HyperValue::from(*word)).collect(),
            HyperKind::Number { default, .. } => {
                chosen.map_or(&[default][..], |(_, numbers)| numbers).iter().map(|x| (*x).into()).collect()
            }
        };
        let with = |optimizer: &Optimizer| -> Vec<Optimizer> {
            values.iter().map(|value| optimizer.clone().with(hyper.name, value.clone()).unwrap()).collect()
        };
        optimizers = optimizers.iter().flat_map(with).collect();
    }
    optimizers
}

pub fn all_variants() -> Vec<Optimizer> {
    UPDATE_RULES.iter().flat_map(variants).collect()
}

#[test]
fn no_variant_is_forgotten() {
    // 2 × 2 momentum, 2 × 2 nesterov, 2 × 2 × 2 rmsprop, 2 adagrad, 2 × 2 nadam, 2 amsgrad, 2 radam, 2 lars,
    // 2 × 2 × 2 muon, and 13 rules of one form each.
    assert_eq!(all_variants().len(), 49);
}
