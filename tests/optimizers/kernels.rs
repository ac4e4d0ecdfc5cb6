//! Every variant of every rule: its kernels are valid on all backends and follow the f64 reference on the GPU.

use downhill::{HyperKind, HyperValue, Optimizer, UPDATE_RULES, UpdateRule};

use crate::golden::{self, Case};
use crate::gpu::Machine;
use crate::largest_difference;
use crate::problems::problem;

/// Numbers that reach every branch and scalar of a rule: μ = 0 keeps no velocity, λ > 0 decays, and so on.
const CHOICES: [(&str, &[f64]); 3] =
    [("momentum", &[0.0, 0.9]), ("weight_decay", &[0.01]), ("dampening", &[0.1])];

/// The optimizers for every choice of the rule's flags and words, and of the numbers in [`CHOICES`].
fn variants(rule: &UpdateRule) -> Vec<Optimizer> {
    let mut optimizers = vec![Optimizer::new(rule.name).unwrap()];
    for hyper in rule.hyper {
        let chosen = CHOICES.iter().find(|(name, _)| *name == hyper.name);
        let values: Vec<HyperValue> = match hyper.kind {
            HyperKind::Flag => vec![false.into(), true.into()],
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

fn all_variants() -> Vec<Optimizer> {
    UPDATE_RULES.iter().flat_map(variants).collect()
}

#[test]
fn every_variant_translates_for_vulkan_metal_and_direct3d() {
    let optimizers = all_variants();
    // 1 sgd, 2 × 2 momentum, 2 × 2 nesterov, 2 × 2 × 2 rmsprop, 1 adam.
    assert_eq!(optimizers.len(), 18);
    for optimizer in &optimizers {
        for source in std::iter::once(optimizer.wgsl()).chain(optimizer.readout_wgsl()) {
            translate(&source).unwrap_or_else(|error| panic!("{optimizer}: {error}\n{source}"));
        }
    }
}

fn translate(source: &str) -> Result<(), Box<dyn std::error::Error>> {
    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module)?;
    let words = spv::write_vec(&module, &info, &spv::Options::default(), None)?;
    let (metal, _) = msl::write_string(&module, &info, &Default::default(), &Default::default())?;
    let mut direct3d = String::new();
    hlsl::Writer::new(&mut direct3d, &hlsl::Options::default(), &hlsl::PipelineOptions::default())
        .write(&module, &info, None)?;
    assert!(!words.is_empty() && !metal.is_empty() && !direct3d.is_empty());
    Ok(())
}

/// An f32 in [−1, 1] that looks random and depends on `seed` alone (the finaliser of SplitMix64).
fn noise(seed: u64) -> f64 {
    let mut x = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(((x ^ (x >> 31)) as f64 / (1_u64 << 63) as f64 - 1.0) as f32)
}

#[test]
fn kernels_follow_the_reference_over_changing_learning_rates() {
    /// Five workgroups, the last of them nearly empty.
    const LENGTH: u64 = 4 * 4 * 256 + 3;
    let machine = Machine::new();
    for optimizer in all_variants() {
        let mut theta: Vec<f64> = (0..LENGTH).map(noise).collect();
        let mut state = vec![vec![0.0; theta.len()]; optimizer.state_slots().len()];
        let shard = machine.shard(&optimizer, &theta);
        for step in 1..=100 {
            let learning_rate = 0.01 * (1.0 + 0.5 * (step as f64).sin());
            let gradient: Vec<f64> = (0..LENGTH).map(|i| noise(step * 1_000_003 + i)).collect();
            shard.step(step, learning_rate, &gradient);
            optimizer.reference_step(step, learning_rate, &mut theta, &gradient, &mut state).unwrap();
        }
        let (found, padding) = shard.reported();
        let wanted = optimizer.reference_readout(&theta, &state).unwrap();
        let difference = largest_difference(&found, &wanted);
        // 100 roundings of numbers below 4, each at most 2.4e-7; most cancel (4e-6 at worst on llvmpipe).
        assert!(difference <= 2.4e-5, "off by {difference:e}: {optimizer}");
        assert!(padding.len() == 61 && padding.iter().all(|x| *x == 0.0), "padding: {optimizer}");
    }
}

#[test]
fn kernels_follow_the_golden_trajectories() {
    let machine = Machine::new();
    for case in golden::trajectories().iter().flat_map(|golden| &golden.cases) {
        follow(&machine, case);
    }
}

/// The gradients are f64, rounded at the end: what differs is the update alone.
fn follow(machine: &Machine, case: &Case) {
    let (optimizer, problem) = (case.optimizer(), problem(&case.problem));
    let shard = machine.shard(&optimizer, &(problem.start)());
    let mut checkpoints = 0;
    for step in 1..=*case.step.last().unwrap() {
        let (_, gradient) = (problem.evaluate)(&shard.theta());
        shard.step(step, optimizer.learning_rate(), &gradient);
        let Some(at) = case.step.iter().position(|recorded| *recorded == step) else { continue };
        checkpoints += 1;
        let (theta, _) = shard.reported();
        let deviation = case.f32_max_abs_dev.as_ref().map_or(0.0, |deviations| deviations[at]);
        // Where the iteration magnifies rounding past 1e-2, two f32 programs part; their losses, near the same
        // minimum, less so.
        if deviation > 1e-2 {
            let difference = ((problem.evaluate)(&theta).0 - case.loss[at]).abs();
            assert!(difference <= 5e-3, "{} step {step}: loss off by {difference:e}", case.id);
            continue;
        }
        // What the file's README asks: f32 rounding, magnified as the iteration magnifies it.
        let (difference, tolerance) = (largest_difference(&theta, &case.theta[at]), 1e-5 + 10.0 * deviation);
        assert!(difference <= tolerance, "{} step {step}: off by {difference:e} > {tolerance:e}", case.id);
    }
    assert_eq!(checkpoints, case.step.len());
}
