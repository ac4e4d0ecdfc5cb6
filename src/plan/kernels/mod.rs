//! The generators of WGSL, one file a kernel family. Each is pure text from plain data.
//!
//! Every kernel binds the step's uniform at 0, its own parameters at 1, what it reads from 2 on, and what it
//! writes last.

pub(crate) mod by_rows;
pub(crate) mod map;
pub(crate) mod matmul;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod scatter;

use super::expression::Width;

/// Where a kernel's reads begin.
pub(crate) const FIRST_READ: usize = 2;

/// Invocations of a one-dimensional workgroup.
pub(crate) const WORKGROUP: usize = 64;

/// What kernels that hold a word must begin with.
const EXTENSIONS: [(&str, &str); 2] = [("coop_mat", "wgpu_cooperative_matrix"), ("f16", "f16")];

/// A kernel's text with the extensions that it takes.
pub(crate) fn with_extensions(wgsl: String) -> String {
    let taken = EXTENSIONS.iter().filter(|(word, _)| wgsl.contains(word));
    taken.map(|(_, name)| format!("enable {name};\n")).collect::<String>() + &wgsl
}

/// The text that every kernel but the matmul begins with: the element type, the step and the parameters, which are
/// `count` invocations or workgroups, `fold` of them along x, and `fields`.
fn prologue(width: Width, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!(" {field}: u32,")).collect();
    format!(
        "alias T = {};\n{}struct Params {{ count: u32, fold: u32,{fields} }}\n\
         @group(0) @binding(1) var<uniform> p: Params;\n",
        width.alias(),
        include_str!("../../../shaders/step.wgsl"),
    )
}

/// The declaration of what a kernel writes, and of `accumulated` where it does `accumulate`.
fn output(binding: usize, ty: &str, accumulate: bool) -> String {
    let declaration =
        format!("@group(0) @binding({binding}) var<storage, read_write> result: array<{ty}>;\n");
    if accumulate { declaration + &accumulated("accumulated", "result", ty) } else { declaration }
}

/// The function `name` that adds to a value what `buffer` holds at its place, where the step says so. Nothing is read
/// where not: memory that no step has written may hold NaN.
fn accumulated(name: &str, buffer: &str, ty: &str) -> String {
    format!(
        "fn {name}(place: u32, value: {ty}) -> {ty} {{\n    \
             if (step.accumulate != 0u) {{ return {buffer}[place] + value; }}\n    \
             return value;\n}}\n"
    )
}

/// The statement that stores `value` at `place` of what [`output`] declares.
fn store(place: &str, value: &str, accumulate: bool) -> String {
    match accumulate {
        true => format!("result[{place}] = accumulated({place}, {value});"),
        false => format!("result[{place}] = {value};"),
    }
}

/// The head of a kernel in which invocation `i` of `count` works alone.
fn entry() -> String {
    format!(
        "@compute @workgroup_size({WORKGROUP})\n\
         fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n    \
             let i = id.x + id.y * p.fold;\n    \
             if (i >= p.count) {{ return; }}\n"
    )
}

/// The head of a kernel in which workgroup `i` of `count` works together, its invocations numbered by `lane`.
fn cooperative_entry() -> String {
    format!(
        "@compute @workgroup_size({WORKGROUP})\n\
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{\n    \
             let i = group.x + group.y * p.fold;\n    \
             if (i >= p.count) {{ return; }}\n"
    )
}

/// Statements that leave in every lane the combination of all lanes' `value` (of type `ty`), by a tree in
/// `memory`; `combine` joins `{a}` and `{b}`.
fn combine_lanes(value: &str, memory: &str, combine: &str) -> String {
    let joined =
        combine.replace("{a}", &format!("{memory}[lane]")).replace("{b}", &format!("{memory}[lane + half]"));
    format!(
        "    {memory}[lane] = {value};\n    workgroupBarrier();\n    \
         for (var half = {}u; half > 0u; half /= 2u) {{\n        \
             if (lane < half) {{ {memory}[lane] = {joined}; }}\n        \
             workgroupBarrier();\n    }}\n    {value} = {memory}[0];\n    workgroupBarrier();\n",
        WORKGROUP / 2
    )
}
