//! The text of an update's kernels: what a rule's WGSL finds around it.
//!
//! A variant is chosen by module constants (`CENTERED`, `FORM_LECTURE`), which compilers fold away, and binds no
//! vector that it does not keep. Every kernel binds at 0 the step's `scalar`, at 1 its own `launch`, at 2 `control`
//! where the gradient's norm is looked at, and then its vectors.

use crate::gpu::BindingKind;
use crate::optim::hyper::{HyperKind, HyperValue};
use crate::optim::{Modifiers, Optimizer};

/// A storage vector as a kernel sees it.
pub(super) struct Vector {
    pub name: String,
    pub access: Access,
    /// The type of its elements.
    pub element: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadWrite,
}

/// Four neighbours at once, or one: matrices whose rows do not begin at multiples of four are seen so.
pub(super) const FOUR: &str = "vec4<f32>";
pub(super) const ONE: &str = "f32";

impl Vector {
    pub fn new(name: &str, access: Access, element: &'static str) -> Self {
        Vector { name: format!("{name}_vector"), access, element }
    }

    /// A table that says where workgroups work: `vec4<u32>`s.
    pub fn table(name: &str) -> Self {
        Vector { name: name.to_owned(), access: Access::Read, element: "vec4<u32>" }
    }
}

/// A kernel's text and bindings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UpdateKernel {
    pub label: String,
    pub wgsl: String,
    pub bindings: Vec<BindingKind>,
}

/// Everything around the body of a kernel.
pub(super) struct Frame<'a> {
    pub optimizer: &'a Optimizer,
    pub modifiers: &'a Modifiers,
    /// The element of θ and the gradient: [`FOUR`] or [`ONE`].
    pub element: &'static str,
    pub vectors: Vec<Vector>,
}

/// What the scalars of modifiers are called, in their order behind the rule's.
const MODIFIER_SCALARS: [&str; Modifiers::SCALARS] = ["clip_value", "average_weight", "lookahead_weight"];

/// What `shaders/update/` shares.
const SHARED: &str = include_str!("../../../shaders/update/shared.wgsl");

impl Frame<'_> {
    /// The kernel whose functions, `fn main` among them, are `body`; workgroups have
    /// [`Optimizer::WORKGROUP_SIZE`] invocations.
    pub fn kernel(&self, label: &str, body: &str) -> UpdateKernel {
        let name = self.optimizer.rule.name;
        let (functions, constants) = (self.optimizer.rule.wgsl, constants(self.optimizer));
        let wgsl = format!(
            "// {label} of {name}\nalias T = {};\n{}{}{}{constants}\n{SHARED}\n{functions}\n{}{body}",
            self.element,
            structures(self.optimizer),
            self.declarations(),
            self.vectors_text(),
            self.helpers(),
        );
        UpdateKernel { label: format!("{name}: {label}"), wgsl, bindings: self.bindings() }
    }

    fn bindings(&self) -> Vec<BindingKind> {
        let control = self.modifiers.need_norm().then_some(BindingKind::Uniform);
        let vectors = self.vectors.iter().map(|vector| match vector.access {
            Access::Read => BindingKind::ReadStorage,
            Access::ReadWrite => BindingKind::ReadWriteStorage,
        });
        [BindingKind::Uniform; 2].into_iter().chain(control).chain(vectors).collect()
    }

    fn declarations(&self) -> String {
        let mut text = "@group(0) @binding(0) var<uniform> scalar: Scalars;\n\
                        @group(0) @binding(1) var<uniform> launch: Launch;\n"
            .to_owned();
        if self.modifiers.need_norm() {
            text += "@group(0) @binding(2) var<uniform> control: Control;\n";
        }
        text
    }

    fn vectors_text(&self) -> String {
        let first = 2 + usize::from(self.modifiers.need_norm());
        let vectors = self.vectors.iter().enumerate();
        let declare = |(index, Vector { name, access, element }): (usize, &Vector)| {
            let access = if *access == Access::Read { "read" } else { "read_write" };
            format!(
                "@group(0) @binding({}) var<storage, {access}> {name}: array<{element}>;\n",
                first + index
            )
        };
        vectors.map(declare).collect()
    }

    /// `gradient_at`, `is_skipped` and `put_theta` as the modifiers have them.
    fn helpers(&self) -> String {
        let clip_value = self.modifiers.clip_value;
        let has = |name: &str| self.vectors.iter().any(|vector| vector.name == format!("{name}_vector"));
        let skipped = if self.modifiers.skips() { "control.skip != 0u" } else { "false" };
        let mut text = format!("fn is_skipped() -> bool {{\n    return {skipped};\n}}\n");
        if has("gradient") {
            let scaled = if self.modifiers.need_norm() { " * control.scale" } else { "" };
            let clipped = match clip_value {
                Some(_) => "clamp(gradient, T(-scalar.clip_value), T(scalar.clip_value))",
                None => "gradient",
            };
            text += &format!(
                "fn gradient_at(i: u32) -> T {{\n    let gradient = gradient_vector[i]{scaled};\n    \
                 return {clipped};\n}}\n"
            );
        }
        if self.writes_theta() {
            text += &self.put_theta(has("slow"), has("average"));
        }
        text
    }

    fn writes_theta(&self) -> bool {
        self.vectors.iter().any(|vector| vector.name == "theta_vector" && vector.access == Access::ReadWrite)
    }

    /// Writes the new θ, `at.theta`, and what follows it.
    fn put_theta(&self, lookahead: bool, average: bool) -> String {
        // By rounding, a + (b − a) may be another number than b.
        let towards = "fn approach(past: T, newest: T, weight: f32) -> T {\n    \
                       return select(past + weight * (newest - past), newest, weight == 1.0);\n}\n";
        let mut text = if lookahead || average { towards.to_owned() } else { String::new() };
        text += "fn put_theta(i: u32, after: T) -> T {\n    var theta = after;\n";
        if lookahead {
            text += "    if (scalar.lookahead_weight > 0.0) {\n        \
                     theta = approach(slow_vector[i], theta, scalar.lookahead_weight);\n        \
                     slow_vector[i] = theta;\n    }\n";
        }
        text += "    theta_vector[i] = theta;\n    return theta;\n}\n";
        if average {
            text += "fn put_average(i: u32, theta: T) {\n    if (scalar.average_weight > 0.0) {\n        \
                     let past = average_vector[i];\n        \
                     average_vector[i] = approach(past, theta, scalar.average_weight);\n    }\n}\n";
        } else {
            text += "fn put_average(i: u32, theta: T) {}\n";
        }
        text
    }

    /// `before` with θ and the state vectors `slots` at `i`.
    pub fn loads(slots: &[&str]) -> String {
        let states = slots.iter().map(|slot| format!("    before.{slot} = {slot}_vector[i];\n"));
        std::iter::once("    var before: Element;\n    before.theta = theta_vector[i];\n".to_owned())
            .chain(states)
            .collect()
    }

    /// The state vectors `slots` at `i` from `after`.
    pub fn stores(slots: &[&str]) -> String {
        slots.iter().map(|slot| format!("    {slot}_vector[i] = after.{slot};\n")).collect()
    }
}

/// A rule in WGSL for a kernel that declares `scalar: Scalars` itself.
pub(in crate::optim) fn rule(optimizer: &Optimizer) -> String {
    let (structures, constants) = (structures(optimizer), constants(optimizer));
    format!("{structures}{constants}{}", optimizer.rule.wgsl)
}

/// `Scalars` of the rule's numbers and the modifiers', and `Element`.
fn structures(optimizer: &Optimizer) -> String {
    let rule = optimizer.rule;
    let names = rule.scalars.iter().map(|(name, _)| name).chain(&MODIFIER_SCALARS);
    let scalars: String = names.map(|name| format!("    {name}: f32,\n")).collect();
    let fields: String = rule.state.iter().map(|(name, _)| format!("    {name}: vec4<f32>,\n")).collect();
    format!("struct Scalars {{\n{scalars}}}\nstruct Element {{\n    theta: vec4<f32>,\n{fields}}}\n")
}

/// The variant: a constant per flag, and one per word that could have been chosen.
fn constants(optimizer: &Optimizer) -> String {
    let mut text = String::new();
    for (hyper, value) in optimizer.values.iter() {
        let name = hyper.name.to_uppercase();
        match (hyper.kind, value) {
            (HyperKind::Flag { .. }, value) => text += &format!("const {name}: bool = {value};\n"),
            (HyperKind::Word(words), HyperValue::Word(chosen)) => {
                for word in words {
                    let choice = word.to_uppercase();
                    text += &format!("const {name}_{choice}: bool = {};\n", word == chosen);
                }
            }
            _ => {}
        }
    }
    text
}
