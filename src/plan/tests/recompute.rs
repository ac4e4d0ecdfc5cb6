//! Programs that make activations again: the same bits as those that keep them, in less memory.

use super::fusion::mlp;
use super::planning::{for_random_programs, sound};
use super::samples::Sample;
use super::{Loaded, gpu, random};
use crate::Result;
use crate::gpu::Kernels;
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Shape, TensorType};
use crate::nn::{Loss, Mode, ModelSpec};
use crate::plan::recompute::{Variant, variants};
use crate::plan::{Destination, Plan, Program};

/// The training step of a model on rows of 12 floats with labels of 5 classes.
fn training(model: &str) -> Result<Program> {
    let mut graph = Graph::new();
    let features = graph.input("features", [Dim::BATCH, Dim::Fixed(12)])?;
    let labels = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
    let labels = graph.input_of("targets", labels)?;
    // Rows that are scaled before they are read, as pixels are.
    let scaled = graph.scale(features, 0.5)?;
    let outputs = model.parse::<ModelSpec>()?.build(&mut graph, scaled, 5, Mode::Train)?;
    let loss = Loss::CrossEntropy.build(&mut graph, outputs, labels)?;
    let parameters = graph.parameter_vars().to_vec();
    let gradients = graph.gradient(loss, &parameters)?.into_iter().enumerate();
    let gradients = gradients.map(|(number, var)| (var, Destination::Gradient(number)));
    let outputs = [(loss, Destination::Result(0))].into_iter().chain(gradients).collect();
    Ok(Program { graph, outputs })
}

fn step_of(program: &Program, batch: usize) -> StepContext {
    let mut step = StepContext {
        seed: 5,
        step: 3,
        valid_rows: batch,
        row_weight: 1.0 / batch as f64,
        ..StepContext::default()
    };
    step.inputs.insert("features".to_owned(), random(1, batch * 12, -1.0, 1.0));
    let labels = random(2, batch, 0.0, 5.0).into_iter().map(f64::floor).collect();
    step.inputs.insert("targets".to_owned(), labels);
    for (number, parameter) in program.graph.parameters().iter().enumerate() {
        step.theta.push(random(number as u64 + 3, parameter.elements(), -0.6, 0.6));
    }
    step
}

fn outputs(kernels: &Kernels, program: &Program, batch: usize, step: &StepContext) -> Vec<Vec<u8>> {
    let loaded = Loaded::new(gpu(), kernels, gpu().profile(), program, batch);
    loaded.fill(0xFF);
    loaded.step(step);
    loaded.bytes(program)
}

fn deep(layers: usize, width: usize, activation: &str) -> String {
    format!("mlp:{}:{activation}", vec![width.to_string(); layers].join(","))
}

#[test]
fn gradients_are_the_same_to_the_bit() {
    let dropout = "linear 24, gelu, dropout 0.3, linear 16, relu, dropout 0.5, linear 16, tanh, linear 5";
    let models = [
        deep(2, 16, "relu"),
        deep(3, 24, "gelu"),
        deep(5, 16, "silu"),
        deep(8, 8, "tanh"),
        deep(12, 16, "leaky_relu"),
        dropout.to_owned(),
    ];
    let kernels = Kernels::new(gpu());
    for model in models {
        let program = training(&model).unwrap();
        let variants = variants(&program, gpu().profile()).unwrap();
        assert!(!variants.is_empty(), "{model} has activations to make again");
        for batch in [1, 7, 65] {
            let step = step_of(&program, batch);
            let expected = outputs(&kernels, &program, batch, &step);
            for Variant { program, recomputed } in &variants {
                let found = outputs(&kernels, program, batch, &step);
                assert!(found == expected, "{model}, batch {batch}: {recomputed} made again");
            }
        }
    }
}

#[test]
fn random_programs_give_the_same_bits_under_sound_plans() {
    let kernels = Kernels::new(gpu());
    let fail = |error: crate::Error| proptest::test_runner::TestCaseError::fail(error.to_string());
    let total = std::cell::Cell::new(0);
    for_random_programs(96, |genes| {
        let Sample { program, batch, step } = genes.sample().map_err(fail)?;
        let variants = variants(&program, gpu().profile()).map_err(fail)?;
        total.set(total.get() + variants.len());
        for variant in &variants {
            let plan = Plan::new(&variant.program, gpu().profile(), batch).map_err(fail)?;
            sound(&plan, gpu().profile()).map_err(proptest::test_runner::TestCaseError::fail)?;
            let found = outputs(&kernels, &variant.program, batch, &step);
            proptest::prop_assert!(found == outputs(&kernels, &program, batch, &step));
        }
        Ok(())
    });
    assert!(total.get() > 16, "only {} variants: too few programs had something to make again", total.get());
}

fn activation_bytes(program: &Program, batch: usize) -> u64 {
    let plan = Plan::new(program, gpu().profile(), batch).unwrap();
    sound(&plan, gpu().profile()).unwrap();
    plan.arenas.iter().sum()
}

fn least_bytes(program: &Program, batch: usize) -> u64 {
    let variants = variants(program, gpu().profile()).unwrap();
    variants.iter().map(|variant| activation_bytes(&variant.program, batch)).min().unwrap()
}

#[test]
fn the_activations_of_a_deep_model_grow_like_the_root_of_its_depth() {
    let batch = 256;
    let [(kept_16, least_16), (_, least_32), (kept_64, least_64)] = [16, 32, 64].map(|layers| {
        let program = mlp(&vec![32; layers + 1]).unwrap();
        (activation_bytes(&program, batch), least_bytes(&program, batch))
    });
    assert!(kept_64 as f64 / kept_16 as f64 > 3.3, "without recomputation they grow like the depth");
    // √2 a doubling, and a tenth for whole segments in the place of √n of them.
    for (fewer, more) in [(least_16, least_32), (least_32, least_64)] {
        assert!(more as f64 / (fewer as f64) < 1.1 * 2f64.sqrt(), "{fewer} and {more} bytes");
    }
    assert!(least_64 * 3 < kept_64, "{least_64} and {kept_64} bytes");
}

#[test]
fn a_program_without_a_backward_pass_has_no_variants() {
    let mut program = mlp(&[12, 16, 5]).unwrap();
    program.outputs.retain(|(_, destination)| matches!(destination, Destination::Result(_)));
    assert!(variants(&program, gpu().profile()).unwrap().is_empty());
}

#[test]
fn the_first_variant_makes_no_product_again() {
    let products = |program: &Program| {
        let plan = Plan::new(program, gpu().profile(), 7).unwrap();
        plan.dispatches.iter().filter(|dispatch| plan.kernels[dispatch.kernel].label == "matmul").count()
    };
    for model in [deep(4, 16, "gelu"), "linear 16, relu, dropout 0.5, linear 5".to_owned()] {
        let program = training(&model).unwrap();
        let variants = variants(&program, gpu().profile()).unwrap();
        assert_eq!(products(&variants[0].program), products(&program), "{model}");
        assert!(variants[0].recomputed > 0);
    }
}
