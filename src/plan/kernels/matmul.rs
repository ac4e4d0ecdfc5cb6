//! The matmul kernel family: C[batch, m, n] = Σₖ A[batch, m, k] · B[batch, k, n] in f32, as WGSL text.
//!
//! Each invocation keeps a tile of C in registers and reads both operands as they lie in their buffers,
//! without workgroup memory. Shapes and strides come from a uniform, so that layers share pipelines;
//! what is specialised is how the operands lie, whether they can be read four floats at a time, the tile,
//! and the epilogue that fusion hangs on.

use std::fmt::Write;

use super::accumulated;
use crate::plan::expression::float_type;

mod tile;

#[cfg(test)]
mod tests;

pub(crate) use tile::{SUBGROUP, Tile, broadcasts, tile_for};

/// Which axis of an operand has stride one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// The summed axis: A stored M×K, B stored N×K (PyTorch's weights).
    Summed,
    /// The axis that C keeps: A stored K×M, B stored K×N.
    Kept,
}

/// How one operand is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operand {
    /// The axis with stride one.
    pub(crate) layout: Layout,
    /// Read as vectors of four: the length of the contiguous axis, the leading dimension, the batch stride and
    /// the offset must all be multiples of four.
    pub(crate) vec4: bool,
    /// Stored in 16 bits.
    pub(crate) half: bool,
}

impl Operand {
    fn element(&self) -> &'static str {
        float_type(self.half, self.vec4)
    }
}

/// All that distinguishes one kernel of the family from another, but the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MatmulSpec {
    pub(crate) a: Operand,
    pub(crate) b: Operand,
    pub(crate) tile: Tile,
    /// C is an array of vectors of four: n, its leading dimension, batch stride and offset are multiples of four.
    pub(crate) store_vec4: bool,
    /// C is stored in 16 bits.
    pub(crate) store_half: bool,
    pub(crate) former: Former,
}

/// What becomes of what C held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Former {
    /// It is overwritten.
    Lost,
    /// Sums go on from it, in the same order: K split over dispatches gives the bits of one.
    Continued,
    /// The same where the step accumulates, else it is overwritten: a batch split over steps is K split over them.
    ContinuedByStep,
    /// Where the step accumulates, it is added behind the epilogue, through which it must not go again; else it is
    /// overwritten.
    AddedByStep,
}

/// What happens to a sum before it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Epilogue {
    /// Bindings (from [`FIRST_EPILOGUE_BINDING`] on) and helper functions.
    pub(crate) declarations: String,
    /// Statements before the expression.
    pub(crate) statements: String,
    /// An expression of type `T` in `value: T`, `row`, `col` and `index: u32`; `T` is `vec4<f32>` where
    /// [`MatmulSpec::store_vec4`] is set, for the four columns from `col` on, else `f32`. `row` and `col`
    /// count within the batch entry's whole matrix; `index` is batch·stride + row·ldc + col, without C's
    /// offset. Empty stores the sum itself.
    pub(crate) expression: String,
}

/// The binding of the first extra operand; C takes the binding after the last of them.
pub(crate) const FIRST_EPILOGUE_BINDING: u32 = 4;

/// The uniform at binding 1. Offsets, strides and leading dimensions count floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct MatmulParams {
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) k: u32,
    pub(crate) batch: u32,
    pub(crate) lda: u32,
    pub(crate) ldb: u32,
    pub(crate) ldc: u32,
    pub(crate) a_stride: u32,
    pub(crate) b_stride: u32,
    pub(crate) c_stride: u32,
    pub(crate) a_offset: u32,
    pub(crate) b_offset: u32,
    /// Added to an element's index in the whole C; wraps, so that it can be negative.
    pub(crate) c_offset: u32,
    /// Where the block that is computed begins in the whole C.
    pub(crate) first_row: u32,
    pub(crate) first_column: u32,
    /// Workgroups along m and along n.
    pub(crate) tiles_m: u32,
    pub(crate) tiles_n: u32,
    /// Workgroups along x of a dispatch folded to two dimensions.
    pub(crate) fold: u32,
}

const PARAMS: &str = "\
struct Matmul {
    m: u32, n: u32, k: u32, batch: u32,
    lda: u32, ldb: u32, ldc: u32,
    a_stride: u32, b_stride: u32, c_stride: u32,
    a_offset: u32, b_offset: u32, c_offset: u32,
    first_row: u32, first_column: u32,
    tiles_m: u32, tiles_n: u32, fold: u32,
}
@group(0) @binding(1) var<uniform> p: Matmul;
";

const COMPONENTS: [char; 4] = ['x', 'y', 'z', 'w'];

/// One operand as the generated text names it. A line is what one index of the kept axis is read along, or
/// four adjacent ones where vectors lie along that axis.
struct Reader {
    /// `a` or `b`, the prefix of every name.
    name: char,
    operand: Operand,
    /// Rows of A or columns of B that an invocation multiplies.
    items: u32,
    /// Each lane reads its own item of every [`SUBGROUP`], for all.
    broadcast: bool,
}

impl Reader {
    /// Vectors along the kept axis.
    fn grouped(&self) -> bool {
        self.operand.vec4 && self.operand.layout == Layout::Kept
    }

    /// Vectors along the summed axis, whose length is then a multiple of four.
    fn spans_four(&self) -> bool {
        self.operand.vec4 && self.operand.layout == Layout::Summed
    }

    fn lines(&self) -> u32 {
        match (self.broadcast, self.grouped()) {
            (true, true) => self.items / (4 * SUBGROUP),
            (true, false) => self.items / SUBGROUP,
            (false, true) => self.items / 4,
            (false, false) => self.items,
        }
    }

    /// Where each line begins, in units of the array; past the edge `limit` the last line is repeated.
    fn declare_lines(&self, text: &mut String, first: &str, limit: &str) {
        let name = self.name;
        let shift = if self.operand.vec4 { " >> 2u" } else { "" };
        let (lane, stride) = if self.broadcast { (" + lane", SUBGROUP) } else { ("", 1) };
        let _ = writeln!(text, "    let {name}_start = (p.{name}_offset + entry * p.{name}_stride){shift};");
        let _ = writeln!(text, "    let {name}_ld = p.ld{name}{shift};");
        for line in 0..self.lines() {
            let skip = stride * line;
            let place = match (self.operand.layout, self.operand.vec4) {
                (Layout::Summed, _) => format!("min({first}{lane} + {skip}u, {limit} - 1u) * {name}_ld"),
                (Layout::Kept, false) => format!("min({first}{lane} + {skip}u, {limit} - 1u)"),
                (Layout::Kept, true) => format!("min(({first} >> 2u){lane} + {skip}u, ({limit} >> 2u) - 1u)"),
            };
            let _ = writeln!(text, "    let {name}_line{line} = {name}_start + {place};");
        }
    }

    /// Reads what the next `steps` positions of the summed axis take, from the position `k` on.
    fn read(&self, text: &mut String, steps: u32) {
        let name = self.name;
        let reads = if self.spans_four() { 1 } else { steps };
        for step in 0..reads {
            let along = match (self.operand.layout, self.operand.vec4) {
                (Layout::Summed, true) => "(k >> 2u)".to_owned(),
                (Layout::Summed, false) => format!("k + {step}u"),
                (Layout::Kept, _) => format!("(k + {step}u) * {name}_ld"),
            };
            for line in 0..self.lines() {
                let stored = format!("{name}[{name}_line{line} + {along}]");
                let value = match self.operand.half {
                    true => format!("{}({stored})", float_type(false, self.operand.vec4)),
                    false => stored,
                };
                let _ = writeln!(text, "        let {name}{line}_{step} = {value};");
            }
            for item in 0..if self.broadcast { self.items } else { 0 } {
                // A lane holds one row of each line, or four neighbours.
                let (line, lane, part) = match self.grouped() {
                    true => {
                        let part = COMPONENTS[item as usize % 4];
                        (item / (4 * SUBGROUP), item / 4 % SUBGROUP, format!(".{part}"))
                    }
                    false => (item / SUBGROUP, item % SUBGROUP, String::new()),
                };
                let _ = writeln!(
                    text,
                    "        let {name}_of{item}_{step} = subgroupBroadcast({name}{line}_{step}{part}, {lane}u);"
                );
            }
        }
    }

    /// The float of row or column `item`, `step` positions after `k`.
    fn scalar(&self, item: u32, step: u32) -> String {
        let name = self.name;
        let whole = if self.broadcast { format!("{name}_of{item}") } else { format!("{name}{item}") };
        if self.spans_four() {
            format!("{whole}_0.{}", COMPONENTS[step as usize])
        } else if self.grouped() && !self.broadcast {
            format!("{name}{}_{step}.{}", item / 4, COMPONENTS[item as usize % 4])
        } else {
            format!("{whole}_{step}")
        }
    }

    /// Items `4 * group` to `4 * group + 3` as a vector.
    fn vector(&self, group: u32, step: u32) -> String {
        if self.grouped() {
            return format!("{}{group}_{step}", self.name);
        }
        let items: Vec<String> = (0..4).map(|lane| self.scalar(4 * group + lane, step)).collect();
        format!("vec4({})", items.join(", "))
    }
}

/// The whole WGSL module of one kernel, entry point `main`.
///
/// `step` declares what binding 0 holds. Bindings: 0 step, 1 [`MatmulParams`], 2 A, 3 B, then what the
/// epilogue declares, and C at `output_binding`.
pub(crate) fn matmul_wgsl(spec: &MatmulSpec, step: &str, epilogue: &Epilogue, output_binding: u32) -> String {
    let tile = spec.tile;
    // Lanes hand round single rows, of which there is nothing to read across, unless there are four for each.
    let across_rows =
        tile.broadcast && spec.a.layout == Layout::Kept && !tile.rows.is_multiple_of(4 * SUBGROUP);
    let a_operand = Operand { vec4: spec.a.vec4 && !across_rows, ..spec.a };
    let a = Reader { name: 'a', operand: a_operand, items: tile.rows, broadcast: tile.broadcast };
    let b = Reader { name: 'b', operand: spec.b, items: 4 * tile.column_vectors, broadcast: false };
    let mut text = String::from(step);
    declare(&mut text, [a.operand, b.operand], spec, epilogue, output_binding);
    if spec.former == Former::AddedByStep {
        text += &accumulated("c", "T");
    }
    begin(&mut text, tile);
    a.declare_lines(&mut text, "row0", "p.m");
    b.declare_lines(&mut text, "col0", "p.n");
    for row in 0..tile.rows {
        for vector in 0..tile.column_vectors {
            let continued = spec.former == Former::Continued;
            let start = if continued { stored(spec, row, vector) } else { "vec4(0.0)".to_owned() };
            let _ = writeln!(text, "    var sum{row}_{vector} = {start};");
        }
    }
    if spec.former == Former::ContinuedByStep {
        continue_by_step(&mut text, spec);
    }
    text += "    var k = 0u;\n    for (; k < (p.k & ~3u); k += 4u) {\n";
    multiply(&mut text, tile, &a, &b, 4);
    text += "    }\n";
    if !a.spans_four() && !b.spans_four() {
        text += "    for (; k < p.k; k++) {\n";
        multiply(&mut text, tile, &a, &b, 1);
        text += "    }\n";
    }
    for row in 0..tile.rows {
        let _ = writeln!(text, "    if row0 + {row}u < p.m {{");
        for vector in 0..tile.column_vectors {
            store(&mut text, spec, row, vector);
        }
        text += "    }\n";
    }
    text += "}\n";
    text
}

/// The module-level declarations after the step uniform.
fn declare(
    text: &mut String,
    [a, b]: [Operand; 2],
    spec: &MatmulSpec,
    epilogue: &Epilogue,
    output_binding: u32,
) {
    let expression = if epilogue.expression.is_empty() { "value" } else { &epilogue.expression };
    let _ = write!(
        text,
        "{PARAMS}alias T = {};
alias C = {};
@group(0) @binding(2) var<storage, read> a: array<{}>;
@group(0) @binding(3) var<storage, read> b: array<{}>;
@group(0) @binding({output_binding}) var<storage, read_write> c: array<C>;
{}
fn epilogue(value: T, row: u32, col: u32, index: u32) -> T {{
{}    return {expression};
}}
",
        float_type(false, spec.store_vec4),
        float_type(spec.store_half, spec.store_vec4),
        a.element(),
        b.element(),
        epilogue.declarations,
        epilogue.statements,
    );
}

/// The entry point up to the first row and column of the invocation's tile.
///
/// Only whole subgroups return early: a lane past the last column must stay to hand round its row of A.
fn begin(text: &mut String, tile: Tile) {
    let [columns, rows] = tile.workgroup;
    let lane = if tile.broadcast { ",\n    @builtin(subgroup_invocation_id) lane: u32" } else { "" };
    let _ = write!(
        text,
        "
@compute @workgroup_size({columns}, {rows})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>{lane}
) {{
    let place = group.x + group.y * p.fold;
    let tiles = p.tiles_m * p.tiles_n;
    let entry = place / tiles;
    let row0 = ((place % tiles) / p.tiles_n * {rows}u + local.y) * {}u;
    let col0 = (place % p.tiles_n * {columns}u + local.x) * {}u;
    if entry >= p.batch || row0 >= p.m {{ return; }}
    let index0 = entry * p.c_stride + p.first_row * p.ldc + p.first_column;
",
        tile.rows,
        4 * tile.column_vectors,
    );
}

/// Multiplies and adds `steps` positions of the summed axis, one after the other for every element of C: a CPU has not
/// registers for all sums, so each is brought there once for all steps.
fn multiply(text: &mut String, tile: Tile, a: &Reader, b: &Reader, steps: u32) {
    a.read(text, steps);
    b.read(text, steps);
    for vector in 0..tile.column_vectors {
        for step in 0..steps {
            let _ = writeln!(text, "        let columns{vector}_{step} = {};", b.vector(vector, step));
        }
        for row in 0..tile.rows {
            for step in 0..steps {
                let (sum, factor) = (format!("sum{row}_{vector}"), a.scalar(row, step));
                let _ = writeln!(text, "        {sum} = fma(vec4({factor}), columns{vector}_{step}, {sum});");
            }
        }
    }
}

/// Starts the sums from what C holds where the step accumulates; where not, it is not even read.
fn continue_by_step(text: &mut String, spec: &MatmulSpec) {
    text.push_str("    if step.accumulate != 0u {\n");
    for row in 0..spec.tile.rows {
        for vector in 0..spec.tile.column_vectors {
            let _ = writeln!(text, "        sum{row}_{vector} = {};", stored(spec, row, vector));
        }
    }
    text.push_str("    }\n");
}

/// What C holds for a row and four columns; past an edge anything in C, for it is not stored.
fn stored(spec: &MatmulSpec, row: u32, vector: u32) -> String {
    let line = format!("p.c_offset + index0 + min(row0 + {row}u, p.m - 1u) * p.ldc");
    if spec.store_vec4 {
        return format!("c[({line} + min(col0 + {}u, p.n - 4u)) >> 2u]", 4 * vector);
    }
    let lanes: Vec<String> = (4 * vector..4 * vector + 4)
        .map(|column| format!("c[{line} + min(col0 + {column}u, p.n - 1u)]"))
        .collect();
    format!("vec4({})", lanes.join(", "))
}

/// Stores a row's four columns, each element or vector through the epilogue and only inside C.
fn store(text: &mut String, spec: &MatmulSpec, row: u32, vector: u32) {
    let (parts, shift): (&[&str], &str) =
        if spec.store_vec4 { (&[""], " >> 2u") } else { (&[".x", ".y", ".z", ".w"], "") };
    for (lane, part) in parts.iter().enumerate() {
        let column = 4 * vector as usize + lane;
        let place = format!("(p.c_offset + index){shift}");
        let (open, close) = match spec.former {
            Former::AddedByStep => (format!("accumulated({place}, "), ")"),
            Former::Lost if spec.store_half => ("C(".to_owned(), ")"),
            Former::Lost | Former::Continued | Former::ContinuedByStep => (String::new(), ""),
        };
        let _ = writeln!(
            text,
            "        if col0 + {column}u < p.n {{
            let index = index0 + (row0 + {row}u) * p.ldc + col0 + {column}u;
            c[{place}] = {open}epilogue(
                sum{row}_{vector}{part}, p.first_row + row0 + {row}u, p.first_column + col0 + {column}u, index){close};
        }}"
        );
    }
}
