//! The planner as a whole, over random programs: where tensors lie, and that neither what memory held before nor
//! what ran before changes a bit of the result.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::fusion::mlp;
use super::samples::{Genes, Sample, genes};
use super::{Loaded, gpu, lowered_gpu, random, relative_error, results_program};
use crate::Error;
use crate::gpu::{AdapterClass, Kernels, LimitOverrides, Profile, RowRuns, TRANSFER_BYTES};
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::memory::{Needs, WGPU_BYTES, result_offsets};
use crate::plan::{Binding, Destination, Home, Plan};

/// Runs `check` on `cases` random programs, the same ones every time.
pub(super) fn for_random_programs(cases: u32, check: impl Fn(&Genes) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    if let Err(failure) = runner.run(&genes(), |genes| check(&genes)) {
        panic!("{failure}");
    }
}

/// The profile of the device, as a GPU would have it, with few bindings, and by rows wherever that can be.
fn profiles() -> [Profile; 4] {
    let own = gpu().profile().clone();
    [
        Profile { class: AdapterClass::Discrete, ..own.clone() },
        Profile { max_storage_buffers: 5, ..own.clone() },
        Profile { row_runs: RowRuns::Always, ..own.clone() },
        own,
    ]
}

/// The buffer behind a binding, and the bytes there: (role, number), first, end.
fn place(plan: &Plan, binding: Binding) -> ((&'static str, usize), u64, u64) {
    let tensor = &plan.tensors[binding.tensor];
    let (buffer, first, bytes) = match tensor.home {
        Home::Parameter(number) | Home::Gradient(number) => {
            let piece = plan.theta.pieces[number][binding.piece];
            let width = plan.precision.float_bytes();
            let role = if matches!(tensor.home, Home::Parameter(_)) { "theta" } else { "gradient" };
            ((role, piece.shard), width * piece.offset as u64, width * piece.elements as u64)
        }
        Home::ThetaShard(shard) => (("theta", shard), 0, tensor.bytes),
        Home::GradientShard(shard) => (("gradient", shard), 0, tensor.bytes),
        Home::Input(number) => (("input", number), 0, tensor.bytes),
        Home::Result(number) => (("results", 0), result_offsets(plan).0[number], tensor.bytes),
        Home::Arena => {
            let slot = plan.arena_slots[binding.tensor].unwrap();
            (("arena", slot.arena), slot.offset, tensor.bytes)
        }
    };
    (buffer, first, first + bytes)
}

fn size(needs: &Needs, plan: &Plan, (role, number): (&'static str, usize)) -> u64 {
    match role {
        "theta" | "gradient" => needs.shards[number],
        "input" => needs.inputs[&plan.inputs[number].name],
        "results" => needs.results,
        _ => needs.arenas[number],
    }
}

/// What must hold of every plan, whatever it computes.
pub(super) fn sound(plan: &Plan, profile: &Profile) -> Result<(), String> {
    let needs = Needs::of(&[plan]);
    let mut written = vec![false; plan.tensors.len()];
    // For every arena tensor the first and last dispatch that touch it.
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.tensors.len()];
    for (time, dispatch) in plan.dispatches.iter().enumerate() {
        let label = &plan.kernels[dispatch.kernel].label;
        let (target, ..) = place(plan, dispatch.write);
        for &read in &dispatch.reads {
            let tensor = &plan.tensors[read.tensor];
            if place(plan, read).0 == target {
                return Err(format!("{label} reads and writes {target:?}"));
            }
            if tensor.home == Home::Arena && !written[read.tensor] {
                return Err(format!("{label} reads {} before it is written", tensor.label));
            }
        }
        written[dispatch.write.tensor] = true;
        for &binding in dispatch.reads.iter().chain([&dispatch.write]) {
            let (buffer, first, end) = place(plan, binding);
            if end > size(&needs, plan, buffer) || end - first > profile.max_binding_size || first % 256 != 0
            {
                return Err(format!("{label} binds {first}..{end} of {buffer:?}"));
            }
            let life = lives[binding.tensor].get_or_insert((time, time));
            life.1 = time;
        }
        if dispatch.reads.len() + 1 > profile.max_storage_buffers as usize {
            return Err(format!("{label} binds {} buffers", dispatch.reads.len() + 1));
        }
        let memory = plan.kernels[dispatch.kernel].workgroup_memory;
        if memory > profile.max_workgroup_memory {
            return Err(format!("{label} takes {memory} bytes of workgroup memory"));
        }
        if dispatch.groups.iter().any(|&n| n == 0 || n > profile.max_workgroups_per_dimension) {
            return Err(format!("{label} has {:?} workgroups", dispatch.groups));
        }
    }
    for a in 0..plan.tensors.len() {
        for b in 0..a {
            if let (Some(a_life), Some(b_life)) = (lives[a], lives[b])
                && [a, b].iter().all(|&tensor| plan.tensors[tensor].home == Home::Arena)
                && a_life.0 <= b_life.1
                && b_life.0 <= a_life.1
            {
                let [a, b] = [a, b].map(|tensor| place(plan, Binding { tensor, piece: 0 }));
                if a.0 == b.0 && a.1 < b.2 && b.1 < a.2 {
                    return Err(format!("two live tensors overlap: {a:?} and {b:?}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_plan_is_sound() {
    for_random_programs(400, |genes| {
        let Sample { program, batch, .. } = genes.sample().map_err(fail)?;
        for profile in profiles() {
            let plan = Plan::new(&program, &profile, batch).map_err(fail)?;
            sound(&plan, &profile).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
}

pub(super) fn fail(error: Error) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Values here are about 1 and each goes through at most 15 operations of slopes up to about 10.
const TOLERANCE: f64 = 1e-4;

#[test]
fn a_step_gives_the_same_bits_whatever_memory_held_and_whatever_ran_before() {
    let kernels = Kernels::new(gpu());
    let profiles = profiles();
    for_random_programs(48, |genes| {
        let Sample { program, batch, step } = genes.sample().map_err(fail)?;
        let profile = &profiles[genes.genes.len() % profiles.len()];
        let loaded = Loaded::new(gpu(), &kernels, profile, &program, batch);
        loaded.fill(0);
        loaded.step(&step);
        let first = loaded.bytes(&program);
        // As floats these bytes are NaN.
        loaded.fill(0xFF);
        loaded.step(&step);
        proptest::prop_assert!(loaded.bytes(&program) == first, "memory's contents show");
        let mut other = step.clone();
        other.seed += 1;
        other.theta.iter_mut().flatten().for_each(|value| *value *= -0.5);
        loaded.step(&other);
        loaded.step(&step);
        proptest::prop_assert!(loaded.bytes(&program) == first, "the step before shows");

        let vars: Vec<_> = program.outputs.iter().map(|(var, _)| *var).collect();
        let expected = program.graph.evaluate(&vars, batch, &step);
        for (number, (found, expected)) in loaded.values(&program).iter().zip(&expected).enumerate() {
            // Where terms cancel, rounding stays as large as the terms, which are about 1.
            let floor = 0.1 * (expected.data.len() as f64).sqrt();
            let norm = expected.data.iter().map(|x| x * x).sum::<f64>().sqrt();
            let error = relative_error(found, &expected.data) * norm / norm.max(floor);
            proptest::prop_assert!(error < TOLERANCE, "output {} is off by {:e}", number, error);
        }
        Ok(())
    });
}

#[test]
fn outputs_that_are_inputs_copies_or_each_other_all_get_their_own_memory() {
    let mut graph = Graph::new();
    let x = graph.parameter("x", &[3, 4], Initial::Constant(0.0)).unwrap();
    let copy = graph.copy(x).unwrap();
    let y = graph.sin(x).unwrap();
    let flat = graph.reshape(y, [12]).unwrap();
    let copy_of_y = graph.copy(y).unwrap();
    let wanted = [x, copy, y, y, flat, copy_of_y, x];
    let program = results_program(&graph, &wanted);
    let step = StepContext { theta: vec![random(3, 12, -1.0, 1.0)], ..StepContext::default() };
    let loaded = Loaded::new(gpu(), &Kernels::new(gpu()), gpu().profile(), &program, 1);
    sound(&loaded.plan, gpu().profile()).unwrap();
    loaded.fill(0xFF);
    loaded.step(&step);
    let expected = program.graph.evaluate(&wanted, 1, &step);
    for (found, expected) in loaded.values(&program).iter().zip(&expected) {
        // sin is the device's own.
        assert!(relative_error(found, &expected.data) < 1e-6, "{found:?}, not {expected:?}");
    }
}

#[test]
fn planned_bytes_are_the_bytes_that_are_allocated() {
    let lowered = |max_binding_size| LimitOverrides {
        max_binding_size: Some(max_binding_size),
        ..LimitOverrides::default()
    };
    let rows = [
        (LimitOverrides::default(), AdapterClass::Software),
        (lowered(16 << 10), AdapterClass::Software),
        (LimitOverrides::default(), AdapterClass::Discrete),
    ];
    for (overrides, class) in rows {
        let widths = [8, 70, 300, 10];
        let mut programs = vec![(mlp(&widths).unwrap(), 13), (mlp(&widths).unwrap(), 1)];
        if class == AdapterClass::Discrete {
            // Enough rows that the weights' gradients are summed in parts.
            programs.push((mlp(&[8, 40, 10]).unwrap(), 1030));
        }
        // Nothing but gradients, and nothing at all of θ.
        let mut gradients = mlp(&widths).unwrap();
        gradients.outputs.retain(|(_, destination)| matches!(destination, Destination::Gradient(_)));
        programs.push((gradients, 5));
        let mut graph = Graph::new();
        let x = graph.input("x", [Dim::BATCH, Dim::Fixed(3)]).unwrap();
        let y = graph.sin(x).unwrap();
        programs.push((results_program(&graph, &[y]), 7));
        for (program, batch) in programs {
            let gpu = lowered_gpu(overrides.clone());
            let profile = Profile { class, ..gpu.profile().clone() };
            let loaded = Loaded::new(&gpu, &Kernels::new(&gpu), &profile, &program, batch);
            let planned = Needs::of(&[&loaded.plan]).bytes();
            let mut allocated = gpu.account();
            // Through these the uniforms came; a run counts them as its staging.
            assert_eq!(
                allocated.remove("staging"),
                Some(TRANSFER_BYTES.min(2 * gpu.profile().max_buffer_size))
            );
            let mut of = |role: &str| allocated.remove(role).unwrap_or(0);
            let found = [
                of("theta"),
                of("gradient"),
                of("activations"),
                of("data"),
                of("results") + of("uniforms") + WGPU_BYTES,
            ];
            let expected =
                [planned.theta, planned.gradient, planned.activations, planned.data, planned.other];
            assert_eq!(found, expected, "θ, gradient, activations, data, other");
            assert_eq!(planned.total, expected.iter().sum::<u64>());
            assert!(allocated.is_empty(), "not planned: {allocated:?}");
        }
    }
}

/// What cannot be planned: a graph and its output, a micro-batch, and what the error says.
type Refused = (fn(&mut Graph) -> crate::Result<Var>, usize, &'static str);

const REFUSED: [Refused; 9] = [
    (|g| g.input("x", [Dim::BATCH, Dim::Fixed(0)]), 3, "[batch, 0] has no elements"),
    (|g| g.input("x", [Dim::BATCH]), 0, "at least one row"),
    (|g| g.input("x", [1 << 33, 1 << 33]), 1, "more elements than can be counted"),
    (
        // Nothing of this is stored, but the kernel's index would wrap.
        |g| {
            let one = g.input("x", [1, 1])?;
            let many = g.expand(one, [1 << 16, 1 << 17])?;
            g.sum(many, &[0])
        },
        1,
        "more than the",
    ),
    (|g| g.input("x", [Dim::BATCH, Dim::Fixed(1 << 20)]), 1 << 40, "more than the"),
    (
        |g| {
            g.input("x", [3])?;
            g.input("x", [4])
        },
        1,
        "`x` is F32 [3] and cannot be F32 [4] too",
    ),
    (
        |g| {
            let [bytes, rows] = [("bytes", Element::U8), ("rows", Element::U32)]
                .map(|(name, element)| g.input_of(name, TensorType { shape: Shape::from([4]), element }));
            g.gather(bytes?, rows?)
        },
        1,
        "cannot store bytes",
    ),
    (
        |g| {
            let negative = g.constant(-1.0)?;
            g.log(negative)
        },
        1,
        "the number is NaN",
    ),
    (
        |g| {
            let x = g.input_of("x", TensorType { shape: Shape::from([4]), element: Element::U8 })?;
            g.dropout(x, 0.5)
        },
        1,
        "convert with `to_f32`",
    ),
];

#[test]
fn what_cannot_be_planned_is_an_error_that_says_why() {
    for (build, batch, says) in REFUSED {
        let mut graph = Graph::new();
        let planned =
            build(&mut graph).and_then(|y| Plan::new(&results_program(&graph, &[y]), gpu().profile(), batch));
        let message = planned.map(|plan| plan.dispatches.len()).unwrap_err().to_string();
        assert!(message.contains(says), "`{message}` does not say `{says}`");
    }
}

#[test]
fn an_operation_that_reads_more_than_the_adapter_binds_is_an_error_that_names_it() {
    let mut graph = Graph::new();
    let [logits, labels] = [
        graph.input("logits", [Dim::BATCH, Dim::Fixed(3)]),
        graph.input_of("labels", TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 }),
    ]
    .map(Result::unwrap);
    let loss = graph.cross_entropy(logits, labels).unwrap();
    let profile = Profile { max_storage_buffers: 2, ..gpu().profile().clone() };
    let error = Plan::new(&results_program(&graph, &[loss]), &profile, 4).unwrap_err().to_string();
    assert!(error.contains("`cross-entropy` reads 2 tensors"), "{error}");
}

#[test]
fn integers_can_be_outputs_as_they_are_and_twice() {
    let mut graph = Graph::new();
    let ty = TensorType { shape: Shape::from([5]), element: Element::U32 };
    let labels = graph.input_of("labels", ty).unwrap();
    let scores = graph.input("scores", [5, 3]).unwrap();
    let best = graph.argmax(scores).unwrap();
    let program = results_program(&graph, &[labels, best, best]);
    let loaded = Loaded::new(gpu(), &Kernels::new(gpu()), gpu().profile(), &program, 1);
    // Above 2²⁴, where floats no longer count by ones.
    let large = [16_777_217.0, 4_294_967_295.0, 0.0, 1.0, 2.0];
    let scores = [[1.0, 2.0, 0.0], [3.0, 3.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-3.0, -2.0, -1.0]];
    let mut step = StepContext::default();
    step.inputs.insert("labels".to_owned(), large.to_vec());
    step.inputs.insert("scores".to_owned(), scores.concat());
    loaded.step(&step);
    let places = vec![1.0, 0.0, 2.0, 0.0, 2.0];
    assert_eq!(loaded.values(&program), [large.to_vec(), places.clone(), places]);
}
