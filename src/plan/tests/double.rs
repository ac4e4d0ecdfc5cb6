//! Plans in f64: every operation, gradients that accumulate, parameters in pieces and long sums against the f64 reference,
//! and what they take of memory.

use super::fusion::{mlp, mlp_step};
use super::operations::{gradient_programs, programs};
use super::planning::sound;
use super::translation::translate_double;
use super::{Loaded, data, gpu, lowered_gpu, random, relative_error, results_program};
use crate::gpu::{AdapterClass, Gpu, Kernels, LimitOverrides, Profile};
use crate::graph::reference::StepContext;
use crate::graph::{Graph, Initial};
use crate::plan::memory::{Needs, WGPU_BYTES};
use crate::plan::{Blueprint, Gradients, Plan, Precision, Program};
use crate::{Error, Result};

/// Our functions and the host's err by a few of 1.1e-16 each, slopes here are up to about 10, and the longest sums have 7e4
/// terms of both signs.
const TOLERANCE: f64 = 1e-13;

fn plan(program: &Program, profile: &Profile, gradients: Gradients, batch: usize) -> Result<Plan> {
    let plan = Blueprint::new(program, profile, gradients, Precision::F64)?.plan(batch)?;
    sound(&plan, profile).map_err(|message| Error::shape("plan", message))?;
    Ok(plan)
}

/// Numbers with more digits than f32 holds.
fn with_all_digits(mut step: StepContext) -> StepContext {
    step.theta.iter_mut().flatten().for_each(|x| *x *= 1.0 + 1e-9);
    step
}

/// What a program gives on a device in f64, everything that it writes filled with NaN before.
fn run(gpu: &Gpu, kernels: &Kernels, program: &Program, batch: usize, step: &StepContext) -> Vec<Vec<f64>> {
    let plan = plan(program, gpu.profile(), Gradients::Overwrite, batch).unwrap();
    let loaded = Loaded::of(gpu, kernels, plan);
    loaded.fill(0xFF);
    loaded.step(step);
    loaded.values(program)
}

fn reference(program: &Program, batch: usize, step: &StepContext) -> Vec<Vec<f64>> {
    let vars: Vec<_> = program.outputs.iter().map(|(var, _)| *var).collect();
    data(program.graph.evaluate(&vars, batch, step))
}

fn assert_close(name: &str, found: &[Vec<f64>], expected: &[Vec<f64>]) {
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = relative_error(found, expected);
        assert!(error < TOLERANCE, "{name}: output {number} is off by {error:e}");
    }
}

#[test]
fn every_operation_its_derivative_and_the_derivative_of_that_agree_with_the_reference() {
    let kernels = Kernels::new(gpu());
    for (name, program, step) in programs() {
        let step = with_all_digits(step);
        let found = run(gpu(), &kernels, &program, 1, &step);
        assert_close(&name, &found, &reference(&program, 1, &step));
    }
}

#[test]
fn gradients_of_micro_batches_are_added_up() {
    let kernels = Kernels::new(gpu());
    // Some of each family: the kernels differ from those above in their last statement alone.
    for (name, program, step) in gradient_programs().into_iter().step_by(5) {
        let step = with_all_digits(step);
        let plan = plan(&program, gpu().profile(), Gradients::Accumulate, 1).unwrap();
        let loaded = Loaded::of(gpu(), &kernels, plan);
        loaded.fill(0xFF);
        loaded.micro_step(&step, false);
        loaded.micro_step(&step, true);
        let twice = |values: Vec<f64>| values.into_iter().map(|value| 2.0 * value).collect();
        let expected: Vec<Vec<f64>> = reference(&program, 1, &step).into_iter().map(twice).collect();
        assert_close(&name, &loaded.values(&program), &expected);
    }
}

#[test]
fn parameters_larger_than_a_binding_are_cut_and_rows_weigh_what_they_do_in_f64() {
    let widths = [8, 70, 300, 10];
    let program = mlp(&widths).unwrap();
    let small = lowered_gpu(LimitOverrides { max_binding_size: Some(32 << 10), ..LimitOverrides::default() });
    let batch = 13;
    // 1/13 has no end in any precision.
    let step = with_all_digits(mlp_step(&program, &widths, batch));
    let expected = reference(&program, batch, &step);
    for (name, gpu, pieces) in [("whole", gpu(), 1), ("cut", &small, 6)] {
        let found = run(gpu, &Kernels::new(gpu), &program, batch, &step);
        let plan = plan(&program, gpu.profile(), Gradients::Overwrite, batch).unwrap();
        assert_eq!(plan.theta.pieces[2].len(), pieces, "{name}");
        assert_close(name, &found, &expected);
    }
}

/// Σ in about twice the digits of f64 (Neumaier 1974): a plain sum of so many errs more than what it is compared with.
fn exact_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0, 0.0);
    for term in terms {
        let next: f64 = sum + term;
        lost += if f64::abs(sum) >= f64::abs(term) { (sum - next) + term } else { (term - next) + sum };
        sum = next;
    }
    sum + lost
}

#[test]
fn long_sums_and_numbers_beyond_f32_keep_their_digits() {
    let mut graph = Graph::new();
    let x = graph.parameter("x", &[300_000], Initial::Constant(0.0)).unwrap();
    let sum = graph.sum(x, &[0]).unwrap();
    let largest = graph.max(x, &[0]).unwrap();
    let square = graph.mul(x, x).unwrap();
    let squares = graph.sum(square, &[0]).unwrap();
    let program = results_program(&graph, &[sum, largest, squares]);
    let kernels = Kernels::new(gpu());
    for (scale, shift) in [(1.0, 0.0), (1e150, 0.0), (-1e-150, 0.0), (1.0, -3.0), (1e120, -3e120)] {
        let values: Vec<f64> =
            random(3, 300_000, 0.0, 1.0).iter().map(|x| scale * x * (1.0 + 1e-9) + shift).collect();
        let expected = [
            exact_sum(values.iter().copied()),
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            exact_sum(values.iter().map(|x| x * x)),
        ];
        let step =
            StepContext { theta: vec![values], valid_rows: 1, row_weight: 1.0, ..StepContext::default() };
        let found = run(gpu(), &kernels, &program, 1, &step).concat();
        for (found, expected) in found.into_iter().zip(expected) {
            let error = (found - expected).abs() / expected.abs();
            assert!(error < TOLERANCE, "{scale:e} x + {shift:e}: {found:e}, not {expected:e}");
        }
    }
}

#[test]
fn a_plan_in_f64_takes_the_bytes_that_it_says() {
    let widths = [8, 70, 30, 10];
    let program = mlp(&widths).unwrap();
    let needs = |precision| {
        let blueprint = Blueprint::new(&program, gpu().profile(), Gradients::Overwrite, precision).unwrap();
        Needs::of(&[&blueprint.plan(13).unwrap()])
    };
    let (single, double) = (needs(Precision::F32).bytes(), needs(Precision::F64).bytes());
    assert_eq!((2 * single.theta, 2 * single.gradient), (double.theta, double.gradient));
    assert!(double.activations > single.activations);

    let gpu = lowered_gpu(LimitOverrides::default());
    gpu.prepare_transfers().unwrap();
    let before: u64 = gpu.account().values().sum();
    let loaded = Loaded::of(
        &gpu,
        &Kernels::new(&gpu),
        plan(&program, gpu.profile(), Gradients::Overwrite, 13).unwrap(),
    );
    let allocated = gpu.account().values().sum::<u64>() - before;
    assert_eq!(Needs::of(&[&loaded.plan]).bytes().total - WGPU_BYTES, allocated);
}

#[test]
fn kernels_in_f64_are_valid_for_vulkan_and_refused_where_there_is_none() {
    let mut translated = std::collections::BTreeSet::new();
    for (name, program, _) in programs().into_iter().chain(gradient_programs()) {
        for class in [AdapterClass::Software, AdapterClass::Discrete] {
            let profile = Profile { class, f64: true, ..Profile::portable() };
            let plan = plan(&program, &profile, Gradients::Accumulate, 1).unwrap();
            for kernel in plan.kernels {
                if translated.insert(kernel.wgsl.clone()) {
                    translate_double(&kernel.wgsl, kernel.workgroup_memory)
                        .unwrap_or_else(|message| panic!("{name}: {message}\n{}", kernel.wgsl));
                }
            }
        }
    }
    assert!(translated.len() > 300, "only {} kernels", translated.len());
}

#[test]
fn an_adapter_without_f64_says_so() {
    let (_, program, _) = programs().remove(0);
    let error = plan(&program, &Profile::portable(), Gradients::Overwrite, 1).unwrap_err();
    assert!(matches!(&error, Error::Setting { .. }) && error.to_string().contains("f64"), "{error}");
}
