//! Every kernel of every variant of every rule, alone and with all modifiers, translated for Vulkan, Metal and DX12.

use std::collections::BTreeSet;

use super::plan;
use super::variants::all_variants;
use crate::gpu::Profile;
use crate::optim::{Average, Lookahead, Modifiers, Optimizer};
use crate::plan::tests::translation::translate;

/// Nothing, and all that goes together; Lookahead does not go with the look-ahead form.
fn modifiers(optimizer: &Optimizer) -> Vec<Modifiers> {
    let all = Modifiers {
        clip_norm: Some(1.0),
        clip_value: Some(0.5),
        skip_not_finite: true,
        average: Some(Average::Exponential { decay: 0.9 }),
        ..Modifiers::default()
    };
    let lookahead = Some(Lookahead { steps: 5, rate: 0.5 });
    let slow =
        [Modifiers { average: None, lookahead, ..all.clone() }, Modifiers { lookahead, ..all.clone() }];
    let ahead = optimizer.readout_rule().is_some();
    [Modifiers::default(), all].into_iter().chain(slow.into_iter().filter(|_| !ahead)).collect()
}

#[test]
fn kernels_of_every_variant_are_valid_for_vulkan_metal_and_dx12() {
    let mut translated = BTreeSet::new();
    for optimizer in all_variants() {
        for modifiers in modifiers(&optimizer) {
            let plan = plan(&optimizer, &modifiers, &Profile::portable()).unwrap();
            assert!(!plan.kernels.is_empty(), "{optimizer}");
            for kernel in &plan.kernels {
                if translated.insert(kernel.wgsl.clone()) {
                    translate(&kernel.wgsl, false).unwrap_or_else(|error| {
                        panic!("{optimizer} {}: {error}\n{}", kernel.label, kernel.wgsl)
                    });
                }
            }
        }
    }
    assert!(translated.len() > 3 * all_variants().len() / 2, "only {} kernels", translated.len());
}
