//! Updates on a device against their f64 references: every rule, whole tensors at awkward sizes, groups and what goes
//! with a rule.

mod modifiers;
mod translation;
mod variants;

use super::super::modifiers::Grouping;
use super::super::{Average, Group, Lookahead, Modifiers, Optimizer, UPDATE_RULES};
use super::{UpdatePlan, Updater};
use crate::Result;
use crate::gpu::{AdapterClass, Gpu, GpuOptions, Kernels, Profile};
use crate::graph::{Initial, ParameterInfo};
use crate::plan::ThetaLayout;
use crate::plan::memory::{ALIGNMENT, Needs};
use crate::plan::replay::Memory;
use variants::all_variants;

/// Tensors whose sizes suit nothing: rows that begin at odd places, tall and wide matrices, one element.
const SHAPES: [(&str, &[usize]); 6] = [
    ("0.weight", &[129, 63]),
    ("0.bias", &[65]),
    ("1.weight", &[3, 65]),
    ("1.bias", &[3]),
    ("scale", &[]),
    ("2.weight", &[257, 1]),
];

/// θ, the gradient and the update of some tensors, and the same in f64.
struct Twin {
    gpu: Gpu,
    parameters: Vec<ParameterInfo>,
    layout: ThetaLayout,
    memory: Memory,
    updater: Updater,
    number: u64,
}

fn parameters(optimizer: &Optimizer, modifiers: &Modifiers) -> Vec<ParameterInfo> {
    let mut parameters: Vec<ParameterInfo> = SHAPES
        .iter()
        .map(|(name, shape)| ParameterInfo {
            name: (*name).to_owned(),
            shape: shape.to_vec(),
            initial: Initial::Constant(0.0),
            group: 0,
        })
        .collect();
    let grouping = Grouping::new(optimizer, modifiers, &parameters).unwrap();
    parameters.iter_mut().zip(grouping.of).for_each(|(info, group)| info.group = group);
    parameters
}

fn plan(optimizer: &Optimizer, modifiers: &Modifiers, profile: &Profile) -> Result<UpdatePlan> {
    let parameters = parameters(optimizer, modifiers);
    let layout = ThetaLayout::new(&parameters, profile.max_binding_size)?;
    UpdatePlan::new(optimizer, modifiers, &parameters, &layout, profile)
}

impl Twin {
    fn new(gpu: &Gpu, optimizer: &Optimizer, modifiers: &Modifiers, max_shard: u64) -> Self {
        let parameters = parameters(optimizer, modifiers);
        let layout = ThetaLayout::new(&parameters, max_shard).unwrap();
        // GPUs have their work cut into more pieces than CPUs.
        let profile = Profile { class: AdapterClass::Discrete, ..gpu.profile().clone() };
        let plan = UpdatePlan::new(optimizer, modifiers, &parameters, &layout, &profile).unwrap();
        let mut needs = Needs::of(&plan.plans().collect::<Vec<_>>());
        needs.shards = layout.shards.iter().map(|floats| 4 * *floats as u64).collect();
        needs.has_gradient = true;
        needs.scalars = plan.scalars_bytes();
        let memory = Memory::new(gpu, &needs).unwrap();
        let updater = Updater::new(gpu, &Kernels::new(gpu), plan, &memory).unwrap();
        Twin { gpu: gpu.clone(), parameters, layout, memory, updater, number: 0 }
    }

    fn shapes(&self) -> Vec<Vec<usize>> {
        self.parameters.iter().map(|info| info.shape.clone()).collect()
    }

    fn write(&self, gradient: bool, values: &[f64]) {
        let shards = if gradient { &self.memory.gradient } else { &self.memory.theta };
        let mut at = 0;
        for (info, pieces) in self.parameters.iter().zip(&self.layout.pieces) {
            for piece in pieces {
                let these: Vec<f32> =
                    values[at + piece.start..][..piece.elements].iter().map(|x| *x as f32).collect();
                let bytes = bytemuck::cast_slice(&these);
                self.gpu.write_buffer(shards[piece.shard].raw(), 4 * piece.offset as u64, bytes).unwrap();
            }
            at += info.elements();
        }
    }

    fn start(&self, theta: &[f64]) {
        self.write(false, theta);
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.updater.record_start(&mut encoder, &self.memory.theta);
        self.gpu.submit(encoder);
    }

    fn step(&mut self, learning_rate: f64, gradient: &[f64]) {
        self.number += 1;
        self.write(true, gradient);
        let scalars = self.updater.plan().scalars(self.number, learning_rate);
        let uniforms = self.memory.uniforms.raw();
        self.gpu.write_buffer(uniforms, ALIGNMENT, bytemuck::cast_slice(&scalars)).unwrap();
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.updater.record(&mut encoder.begin_compute_pass(&Default::default()), None);
        self.gpu.submit(encoder);
    }

    /// θ as steps use it, or as the user reads it.
    fn theta(&self, as_read: bool) -> Vec<f64> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.updater.record_readout(&mut encoder, &self.memory.theta);
        self.gpu.submit(encoder);
        let own = self.memory.theta.iter().collect();
        let shards = self.updater.readout().filter(|_| as_read).unwrap_or(own);
        let mut theta = Vec::new();
        for piece in self.layout.pieces.iter().flatten() {
            let start = 4 * piece.offset as u64;
            let range = start..start + 4 * piece.elements as u64;
            let bytes = self.gpu.read_buffer(shards[piece.shard].raw(), range).unwrap();
            theta.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes).into_iter().map(f64::from));
        }
        theta
    }

    fn skipped(&self) -> u32 {
        let control = self.updater.control().unwrap();
        bytemuck::pod_read_unaligned(&self.gpu.read_buffer(control.raw(), 8..12).unwrap())
    }
}

/// An f32 in (−1, 1) that looks random (the finaliser of SplitMix64).
fn noise(seed: u64) -> f64 {
    let mut x = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(((x ^ (x >> 31)) as f64 / (1_u64 << 63) as f64 - 1.0) as f32)
}

fn noises(seed: u64, count: usize) -> Vec<f64> {
    (0..count as u64).map(|i| noise(seed * 1_000_003 + i)).collect()
}

fn gpu() -> Gpu {
    Gpu::new(&GpuOptions::default()).unwrap()
}

fn elements(shapes: &[Vec<usize>]) -> usize {
    shapes.iter().map(|shape| shape.iter().product::<usize>()).sum()
}

/// ‖a − b‖/‖b‖.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// One optimizer in f64 over the tensors that it updates.
struct Reference {
    optimizer: Optimizer,
    members: Vec<std::ops::Range<usize>>,
    shapes: Vec<Vec<usize>>,
    state: Vec<Vec<f64>>,
}

impl Reference {
    /// A reference for every group of `twin`.
    fn of(twin: &Twin) -> Vec<Self> {
        let optimizers = twin.updater.plan().optimizers.iter().enumerate();
        let reference = |(group, optimizer): (usize, &Optimizer)| {
            let (mut members, mut shapes, mut at) = (Vec::new(), Vec::new(), 0);
            for info in &twin.parameters {
                if info.group == group {
                    members.push(at..at + info.elements());
                    shapes.push(info.shape.clone());
                }
                at += info.elements();
            }
            let floats =
                elements(&shapes.iter().map(|shape| optimizer.state_shape(shape)).collect::<Vec<_>>());
            let state = vec![vec![0.0; floats]; optimizer.state_slots().len()];
            Reference { optimizer: optimizer.clone(), members, shapes, state }
        };
        optimizers.map(reference).collect()
    }

    fn step(&mut self, number: u64, learning_rate: f64, theta: &mut [f64], gradient: &[f64]) {
        let gather = |vector: &[f64]| -> Vec<f64> {
            self.members.iter().flat_map(|range| vector[range.clone()].to_vec()).collect()
        };
        let (mut own, own_gradient) = (gather(theta), gather(gradient));
        self.optimizer
            .reference_step(number, learning_rate, &self.shapes, &mut own, &own_gradient, &mut self.state)
            .unwrap();
        let mut values = own.into_iter();
        for range in &self.members {
            theta[range.clone()].iter_mut().zip(&mut values).for_each(|(theta, value)| *theta = value);
        }
    }
}

/// Runs some steps on the device and in f64; the relative difference of θ.
fn follow(gpu: &Gpu, optimizer: &Optimizer, modifiers: &Modifiers, max_shard: u64) -> f64 {
    let mut twin = Twin::new(gpu, optimizer, modifiers, max_shard);
    let mut references = Reference::of(&twin);
    let count = elements(&twin.shapes());
    let mut theta = noises(1, count);
    twin.start(&theta);
    for number in 1..=5 {
        let gradient = noises(1 + number, count);
        let learning_rate = 0.01 * (1.0 + 0.5 * (number as f64).sin());
        twin.step(learning_rate, &gradient);
        for reference in &mut references {
            let rate = twin.updater.plan().rate_of(&reference.optimizer, learning_rate);
            reference.step(number, rate, &mut theta, &gradient);
        }
    }
    relative(&twin.theta(false), &theta)
}

#[test]
fn every_variant_follows_its_reference_on_tensors_of_awkward_sizes() {
    let gpu = gpu();
    // The momentum of Muon passes through five iterations that each magnify rounding about threefold.
    let tolerance = |name: &str| if name == "muon" { 2e-4 } else { 2e-6 };
    for optimizer in all_variants() {
        let difference = follow(&gpu, &optimizer, &Modifiers::default(), 1 << 20);
        assert!(difference < tolerance(optimizer.rule().name), "{optimizer}: {difference:e}");
    }
}

#[test]
fn a_gradient_of_zero_is_no_division_by_zero() {
    const SMALLEST: f64 = f32::MIN_POSITIVE as f64;
    let gpu = gpu();
    for optimizer in all_variants() {
        // The least that may be added to state that is still zero, in rules that divide by it.
        let optimizer = optimizer.clone().with("eps", SMALLEST).unwrap_or(optimizer);
        let optimizer = optimizer.clone().with("eps_root", 0.0).unwrap_or(optimizer);
        let mut twin = Twin::new(&gpu, &optimizer, &Modifiers::default(), 1 << 20);
        let mut references = Reference::of(&twin);
        let count = elements(&twin.shapes());
        let mut theta = noises(1, count);
        theta[0] = 0.0;
        twin.start(&theta);
        for number in 1..=3 {
            twin.step(0.01, &vec![0.0; count]);
            for reference in &mut references {
                let rate = twin.updater.plan().rate_of(&reference.optimizer, 0.01);
                reference.step(number, rate, &mut theta, &vec![0.0; count]);
            }
        }
        let found = twin.theta(false);
        // A few roundings of what weight decay and Yogi's start alone move.
        let difference = relative(&found, &theta);
        assert!(difference <= 1e-6 && found[0] == 0.0, "{optimizer}: {difference:e}");
    }
}

#[test]
fn kernels_with_runtime_checks_give_the_same_bits() {
    let checked = Gpu::new(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap();
    let modifiers = Modifiers {
        clip_norm: Some(3.0),
        skip_not_finite: true,
        average: Some(Average::Exponential { decay: 0.75 }),
        ..Modifiers::default()
    };
    for rule in UPDATE_RULES {
        let optimizer = Optimizer::new(rule.name).unwrap();
        let [without, with] = [&gpu(), &checked].map(|gpu| {
            let mut twin = Twin::new(gpu, &optimizer, &modifiers, 40 << 10);
            let count = elements(&twin.shapes());
            twin.start(&noises(1, count));
            (2..4).for_each(|seed| twin.step(0.01, &noises(seed, count)));
            [twin.theta(false), twin.theta(true)]
        });
        assert!(without == with, "{}", rule.name);
    }
}

#[test]
fn tensors_that_are_cut_between_shards_are_scaled_as_wholes() {
    let gpu = gpu();
    for rule in ["adam", "lamb", "lars"] {
        let optimizer = Optimizer::new(rule).unwrap();
        // 0.weight [129, 63] does not fit 8 KiB.
        let difference = follow(&gpu, &optimizer, &Modifiers::default(), 8 << 10);
        assert!(difference < 2e-6, "{rule}: {difference:e}");
    }
    for rule in ["adafactor", "muon"] {
        let optimizer = Optimizer::new(rule).unwrap();
        let profile = Profile { max_binding_size: 8 << 10, ..gpu.profile().clone() };
        let error = plan(&optimizer, &Modifiers::default(), &profile).unwrap_err().to_string();
        assert!(error.contains("`0.weight`"), "{error}");
    }
}

#[test]
fn groups_have_rules_rates_and_state_of_their_own() {
    let gpu = gpu();
    let group = |pattern: &str, optimizer: Optimizer| Group { pattern: pattern.to_owned(), optimizer };
    let adam = Optimizer::new("adam").unwrap();
    let rows: [(Optimizer, Vec<Group>); 3] = [
        (
            adam.clone().with("weight_decay", 0.1).unwrap(),
            vec![group("*.bias", adam.clone()), group("scale", Optimizer::new("sgd").unwrap())],
        ),
        (Optimizer::new("muon").unwrap(), vec![group("1.*", Optimizer::new("lamb").unwrap())]),
        (
            Optimizer::new("adafactor").unwrap(),
            vec![group("0.*", Optimizer::new("nesterov").unwrap().with("form", "lecture").unwrap())],
        ),
    ];
    for (optimizer, groups) in rows {
        let modifiers = Modifiers { groups, ..Modifiers::default() };
        let difference = follow(&gpu, &optimizer, &modifiers, 1 << 20);
        assert!(difference < 2e-4, "{optimizer}: {difference:e}");
    }
}

/// Adafactor's promise: rows and columns instead of all elements.
#[test]
fn state_takes_the_memory_that_the_theory_says() {
    let bytes = |rule: &str| {
        let optimizer = Optimizer::new(rule).unwrap();
        plan(&optimizer, &Modifiers::default(), &Profile::portable()).unwrap().bytes("state")
    };
    let padded = |floats: usize| ThetaLayout::padded(floats) as u64 * 4;
    let theta: u64 = SHAPES.iter().map(|(_, shape)| padded(shape.iter().product())).sum();
    assert_eq!(
        (bytes("sgd"), bytes("momentum"), bytes("adam"), bytes("lamb")),
        (0, theta, 2 * theta, 2 * theta)
    );
    // Rows and columns of three matrices, 65 + 3 + 1 floats of the rest, each rounded to 16 bytes.
    let factored =
        [129 + 63, 65, 3 + 65, 3, 1, 257 + 1].iter().map(|floats: &u64| floats.next_multiple_of(4) * 4);
    assert_eq!(bytes("adafactor"), factored.sum::<u64>());
}
