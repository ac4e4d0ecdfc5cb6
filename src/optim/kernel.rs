//! The generator of a rule's kernels: bindings, constants and the loop over elements around its WGSL functions.
//!
//! A variant is chosen by module constants (`CENTERED`, `FORM_LECTURE`), which compilers fold away, and binds no
//! vector that it does not keep.

use super::Optimizer;
use super::hyper::{HyperKind, HyperValue};

/// What one of a kernel's storage vectors is called in it, and how it is bound.
struct Vector {
    name: String,
    access: &'static str,
}

impl Vector {
    fn new(name: &str, access: &'static str) -> Self {
        Vector { name: format!("{name}_vector"), access }
    }
}

/// The update kernel: gradient (read), θ and each state vector (read and written).
pub(super) fn update(optimizer: &Optimizer) -> String {
    let slots = optimizer.state_slots();
    let mut vectors = vec![Vector::new("gradient", "read"), Vector::new("theta", "read_write")];
    vectors.extend(slots.iter().map(|slot| Vector::new(slot, "read_write")));
    let stores: String = slots.iter().map(|slot| format!("    {slot}_vector[i] = after.{slot};\n")).collect();
    let body = format!(
        "    let after = update(before, gradient_vector[i]);\n    theta_vector[i] = after.theta;\n{stores}"
    );
    kernel(optimizer, &vectors, &body)
}

/// The readout kernel: the reported θ (written), the theta vector and each state vector (read).
pub(super) fn readout(optimizer: &Optimizer) -> String {
    let mut vectors = vec![Vector::new("readout", "read_write"), Vector::new("theta", "read")];
    vectors.extend(optimizer.state_slots().iter().map(|slot| Vector::new(slot, "read")));
    kernel(optimizer, &vectors, "    readout_vector[i] = readout(before);\n")
}

fn kernel(optimizer: &Optimizer, vectors: &[Vector], body: &str) -> String {
    let rule = optimizer.rule;
    let scalars: String = rule.scalars.iter().map(|(name, _)| format!("    {name}: f32,\n")).collect();
    let fields: String = rule.state.iter().map(|(name, _)| format!("    {name}: vec4<f32>,\n")).collect();
    let bindings: String = vectors
        .iter()
        .enumerate()
        .map(|(index, Vector { name, access })| {
            let binding = index + 2;
            format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<vec4<f32>>;\n")
        })
        .collect();
    let constants = constants(optimizer);
    let loads: String = optimizer
        .state_slots()
        .iter()
        .map(|slot| format!("    before.{slot} = {slot}_vector[i];\n"))
        .collect();
    let workgroup_size = Optimizer::WORKGROUP_SIZE;
    let functions = rule.wgsl;
    format!(
        "// Optimizer {name}
struct Scalars {{
{scalars}}}

struct Shard {{
    count: u32, // of vec4s
    fold: u32, // invocations in a row of the two-dimensional dispatch
}}

struct Element {{
    theta: vec4<f32>,
{fields}}}

@group(0) @binding(0) var<uniform> scalar: Scalars;
@group(0) @binding(1) var<uniform> shard: Shard;
{bindings}
{constants}
{functions}
@compute @workgroup_size({workgroup_size})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    let i = id.x + id.y * shard.fold;
    if (i >= shard.count) {{
        return;
    }}
    var before: Element;
    before.theta = theta_vector[i];
{loads}{body}}}
",
        name = rule.name,
    )
}

/// The variant: a constant per flag, and one per word that could have been chosen.
fn constants(optimizer: &Optimizer) -> String {
    let mut text = String::new();
    for (hyper, value) in optimizer.values.iter() {
        let name = hyper.name.to_uppercase();
        match (hyper.kind, value) {
            (HyperKind::Flag, value) => text += &format!("const {name}: bool = {value};\n"),
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
