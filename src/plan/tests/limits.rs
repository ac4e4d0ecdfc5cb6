//! Adapters with smaller limits, of another class or with checked kernels: the same numbers, mostly to the bit. Limits
//! are lowered in the device too, so that wgpu refuses a plan that oversteps one.

use super::fusion::{mlp, mlp_step};
use super::operations::{DEVICE_TOLERANCE, gradient_programs, programs};
use super::planning::sound;
use super::{Loaded, gpu, lowered_gpu, random, relative_error, results_program};
use crate::gpu::{AdapterClass, Gpu, GpuOptions, Kernels, LimitOverrides, Profile};
use crate::graph::reference::StepContext;
use crate::graph::{Graph, Initial};
use crate::plan::{Blueprint, Gradients, Plan, Precision, Program};

/// The outputs' bytes of one step, everything that it writes filled with NaN before.
fn bytes(gpu: &Gpu, kernels: &Kernels, program: &Program, batch: usize, step: &StepContext) -> Vec<Vec<u8>> {
    let loaded = Loaded::new(gpu, kernels, gpu.profile(), program, batch);
    sound(&loaded.plan, gpu.profile()).unwrap();
    loaded.fill(0xFF);
    loaded.step(step);
    loaded.bytes(program)
}

/// The gradients' bytes of a batch that is twice the same micro-batch.
fn accumulated_twice(gpu: &Gpu, kernels: &Kernels, program: &Program, step: &StepContext) -> Vec<Vec<u8>> {
    let blueprint = Blueprint::new(program, gpu.profile(), Gradients::Accumulate, Precision::F32);
    let plan = blueprint.unwrap().plan(1).unwrap();
    let loaded = Loaded::of(gpu, kernels, plan);
    loaded.fill(0xFF);
    loaded.micro_step(step, false);
    loaded.micro_step(step, true);
    loaded.bytes(program)
}

#[test]
fn parameters_larger_than_a_binding_or_a_buffer_are_cut_and_give_the_same_bits() {
    let sixteen = LimitOverrides { max_binding_size: Some(16 << 10), ..LimitOverrides::default() };
    let buffers = LimitOverrides { max_buffer_size: Some(24 << 10), ..LimitOverrides::default() };
    let rows = [
        // 300 rows of 70 floats are six pieces, and no axis of 70 is read by fours.
        ([8, 70, 300, 10], sixteen.clone(), 6),
        ([8, 72, 300, 12], sixteen, 6),
        ([8, 70, 300, 10], buffers, 4),
    ];
    for (widths, overrides, pieces) in rows {
        let program = mlp(&widths).unwrap();
        let small = lowered_gpu(overrides.clone());
        let batch = 13;
        let plan = Plan::new(&program, small.profile(), batch).unwrap();
        assert_eq!(plan.theta.pieces[2].len(), pieces, "{widths:?} {overrides:?}");
        let step = mlp_step(&program, &widths, batch);
        let whole = bytes(gpu(), &Kernels::new(gpu()), &program, batch, &step);
        let cut = bytes(&small, &Kernels::new(&small), &program, batch, &step);
        assert!(cut == whole, "{widths:?} {overrides:?}");
    }
}

#[test]
fn dispatches_with_more_workgroups_than_a_dimension_holds_are_folded() {
    // 40 by 40 workgroups hold the table's largest dispatch, and many of its rows need more than 40.
    let overrides = LimitOverrides { max_workgroups_per_dimension: Some(40), ..LimitOverrides::default() };
    let small = lowered_gpu(overrides);
    let [all, few] = [gpu(), &small].map(Kernels::new);
    let mut folded = 0;
    for (name, program, step) in programs() {
        let plan = Plan::new(&program, small.profile(), 1).unwrap();
        let folds = plan.dispatches.iter().filter(|dispatch| dispatch.groups[1] > 1).count();
        if folds > 0 {
            folded += folds;
            let whole = bytes(gpu(), &all, &program, 1, &step);
            assert!(bytes(&small, &few, &program, 1, &step) == whole, "{name}");
        }
    }
    assert!(folded > 20, "only {folded} dispatches were folded");
}

#[test]
fn a_training_step_runs_in_seven_workgroups_a_dimension_and_an_elementwise_kernel_in_three() {
    let limit = |most| {
        let max_workgroups_per_dimension = Some(most);
        lowered_gpu(LimitOverrides { max_workgroups_per_dimension, ..LimitOverrides::default() })
    };
    let widths = [5, 96, 3];
    let (seven, program) = (limit(7), mlp(&widths).unwrap());
    let step = mlp_step(&program, &widths, 33);
    let whole = bytes(gpu(), &Kernels::new(gpu()), &program, 33, &step);
    assert!(bytes(&seven, &Kernels::new(&seven), &program, 33, &step) == whole);

    let mut graph = Graph::new();
    // 499 single elements are 8 workgroups of 64, and 3 by 3 are 9.
    let x = graph.parameter("x", &[499], Initial::Constant(0.0)).unwrap();
    let y = graph.sin(x).unwrap();
    let (three, program) = (limit(3), results_program(&graph, &[y]));
    let step = StepContext { theta: vec![random(1, 499, -1.0, 1.0)], ..StepContext::default() };
    let whole = bytes(gpu(), &Kernels::new(gpu()), &program, 1, &step);
    assert!(bytes(&three, &Kernels::new(&three), &program, 1, &step) == whole);
    let two = Profile { max_workgroups_per_dimension: 2, ..gpu().profile().clone() };
    let error = Plan::new(&program, &two, 1).unwrap_err().to_string();
    assert!(error.contains("2 by 4 workgroups"), "{error}");
}

#[test]
fn plans_for_a_gpu_are_right_on_every_adapter() {
    let profile = Profile { class: AdapterClass::Discrete, ..gpu().profile().clone() };
    let kernels = Kernels::new(gpu());
    for (name, program, step) in programs() {
        let loaded = Loaded::new(gpu(), &kernels, &profile, &program, 1);
        sound(&loaded.plan, &profile).unwrap();
        loaded.fill(0xFF);
        loaded.step(&step);
        let vars: Vec<_> = program.outputs.iter().map(|(var, _)| *var).collect();
        let expected = program.graph.evaluate(&vars, 1, &step);
        for (number, (found, expected)) in loaded.values(&program).iter().zip(&expected).enumerate() {
            let error = relative_error(found, &expected.data);
            assert!(error < DEVICE_TOLERANCE, "{name}: output {number} is off by {error:e}");
        }
    }
}

/// On software to the bit; elsewhere to what WGSL leaves open of a division (2.5 units in the last place), which NVIDIA's
/// compiler does in other ways beside checks.
fn alike(found: &[Vec<u8>], expected: &[Vec<u8>]) -> bool {
    let numbers = |bytes: &Vec<u8>| bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
    let near =
        |(a, b): (f32, f32)| a.to_bits() == b.to_bits() || (a - b).abs() <= 5.0 * f32::EPSILON * b.abs();
    found == expected
        || gpu().profile().class != AdapterClass::Software
            && found.iter().map(Vec::len).eq(expected.iter().map(Vec::len))
            && found.iter().zip(expected).all(|(a, b)| numbers(a).into_iter().zip(numbers(b)).all(near))
}

#[test]
fn kernels_with_runtime_checks_give_the_same_results() {
    let checked = Gpu::new(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap();
    let [without, with] = [gpu(), &checked].map(Kernels::new);
    for (name, program, step) in programs() {
        let unchecked = bytes(gpu(), &without, &program, 1, &step);
        let checked = bytes(&checked, &with, &program, 1, &step);
        assert!(alike(&checked, &unchecked), "{name}");
    }
    for (name, program, step) in gradient_programs() {
        let unchecked = accumulated_twice(gpu(), &without, &program, &step);
        let checked = accumulated_twice(&checked, &with, &program, &step);
        assert!(alike(&checked, &unchecked), "accumulated {name}");
    }
}
