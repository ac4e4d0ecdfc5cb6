//! The matmul kernel family: C[batch, m, n] = Σₖ A[batch, m, k] · B[batch, k, n] in f32, as WGSL text.
//!
//! Each invocation keeps a tile of C in registers. How the operands come there is the body's: `direct` from the
//! buffers, `staged` through workgroup memory, `units` so to matrix units. Every element of C is one sum in the order of k, each product added by one
//! fma, so its bits do not depend on the body or the tile. Shapes and strides come from a uniform, so that layers share
//! pipelines; what is specialised is how the operands lie, whether they can be read four floats at a time, the tile, and
//! the epilogue that fusion hangs on.

use std::fmt::Write;

use super::accumulated;
use crate::plan::expression::float_type;

mod direct;
mod staged;
mod tile;
mod units;

#[cfg(test)]
mod tests;

pub(crate) use tile::{
    Body, ProductShape, SUBGROUP, Tile, Tiling, Tilings, broadcasts, direct_tile, tiles, tiling_for, tuned,
};

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
    fn element(self) -> &'static str {
        float_type(self.half, self.vec4)
    }

    /// What the array holds at `place`, in f32.
    fn value(self, name: char, place: &str) -> String {
        match self.half {
            true => format!("{}({name}[{place}])", float_type(false, self.vec4)),
            false => format!("{name}[{place}]"),
        }
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
    /// k of the last batch entry: parts of a summed axis are batch entries, and the last may be shorter.
    pub(crate) last_k: u32,
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
    m: u32, n: u32, k: u32, last_k: u32, batch: u32,
    lda: u32, ldb: u32, ldc: u32,
    a_stride: u32, b_stride: u32, c_stride: u32,
    a_offset: u32, b_offset: u32, c_offset: u32,
    first_row: u32, first_column: u32,
    tiles_m: u32, tiles_n: u32, fold: u32,
}
@group(0) @binding(1) var<uniform> p: Matmul;
";

const COMPONENTS: [char; 4] = ['x', 'y', 'z', 'w'];

impl MatmulSpec {
    /// How the kernel reads the operands. Lanes hand round single rows of A, of which there is nothing to read across,
    /// unless there are four for each.
    fn operands(&self) -> [Operand; 2] {
        let across_rows = self.tile.body == Body::Broadcast
            && self.a.layout == Layout::Kept
            && !self.tile.rows.is_multiple_of(4 * SUBGROUP);
        [Operand { vec4: self.a.vec4 && !across_rows, ..self.a }, self.b]
    }
}

impl Operand {
    /// Declares where the batch entry begins and the leading dimension, in units of the array.
    fn declare_start(self, text: &mut String, name: char) {
        let shift = if self.vec4 { " >> 2u" } else { "" };
        let _ = writeln!(text, "    let {name}_start = (p.{name}_offset + entry * p.{name}_stride){shift};");
        let _ = writeln!(text, "    let {name}_ld = p.ld{name}{shift};");
    }

    /// Where the line of an index of the kept axis begins, or of four adjacent ones where vectors lie along that axis;
    /// past the edge `limit` the last line is repeated.
    fn line(self, name: char, index: &str, limit: &str) -> String {
        let place = match (self.layout, self.vec4) {
            (Layout::Summed, _) => format!("min({index}, {limit} - 1u) * {name}_ld"),
            (Layout::Kept, false) => format!("min({index}, {limit} - 1u)"),
            (Layout::Kept, true) => format!("min({index}, ({limit} >> 2u) - 1u)"),
        };
        format!("{name}_start + {place}")
    }

    /// How far along a line position `k` of the summed axis lies, or the four positions from it on.
    fn along(self, name: char, k: &str) -> String {
        match (self.layout, self.vec4) {
            (Layout::Summed, true) => format!("(({k}) >> 2u)"),
            (Layout::Summed, false) => k.to_owned(),
            (Layout::Kept, _) => format!("({k}) * {name}_ld"),
        }
    }
}

/// The whole WGSL module of one kernel, entry point `main`.
///
/// `step` declares what binding 0 holds. Bindings: 0 step, 1 [`MatmulParams`], 2 A, 3 B, then what the
/// epilogue declares, and C at `output_binding`.
pub(crate) fn matmul_wgsl(spec: &MatmulSpec, step: &str, epilogue: &Epilogue, output_binding: u32) -> String {
    let tile = spec.tile;
    let mut text = String::from(step);
    declare(&mut text, spec, epilogue, output_binding);
    if spec.former == Former::AddedByStep {
        text += &accumulated("c", "T");
    }
    match tile.body {
        Body::Direct | Body::Broadcast => {}
        Body::Staged => staged::declare(&mut text, tile),
        Body::Units => units::declare(&mut text, tile),
    }
    begin(&mut text, tile);
    begin_sums(&mut text, spec);
    match tile.body {
        Body::Direct | Body::Broadcast => direct::sum(&mut text, spec),
        Body::Staged => staged::sum(&mut text, spec),
        Body::Units => units::sum(&mut text, spec),
    }
    for row in 0..tile.rows {
        let _ = writeln!(text, "    if row0 + {}u < p.m {{", tile.row_offset(row));
        for vector in 0..tile.column_vectors {
            store(&mut text, spec, row, vector);
        }
        text += "    }\n";
    }
    text += "}\n";
    text
}

/// The module-level declarations after the step uniform.
fn declare(text: &mut String, spec: &MatmulSpec, epilogue: &Epilogue, output_binding: u32) {
    let [a, b] = spec.operands();
    let expression = if epilogue.expression.is_empty() { "value" } else { &epilogue.expression };
    let _ = write!(
        text,
        "{PARAMS}alias T = {};
alias Stored = {};
@group(0) @binding(2) var<storage, read> a: array<{}>;
@group(0) @binding(3) var<storage, read> b: array<{}>;
@group(0) @binding({output_binding}) var<storage, read_write> c: array<Stored>;
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
/// Direct, only whole subgroups return early: a lane past the last column must stay to hand round its row of A. Staged,
/// only whole workgroups do, whose memory all invocations fill.
fn begin(text: &mut String, tile: Tile) {
    let [columns, rows] = tile.workgroup;
    let (lane, outside) = match tile.body {
        Body::Direct => ("", " || row0 >= p.m"),
        Body::Broadcast => (",\n    @builtin(subgroup_invocation_id) lane: u32", " || row0 >= p.m"),
        Body::Staged | Body::Units => (",\n    @builtin(local_invocation_index) lane: u32", ""),
    };
    let [row0, col0] = tile.first_place();
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
    let first_row = (place % tiles) / p.tiles_n * {}u;
    let first_col = place % p.tiles_n * {}u;
    let row0 = first_row + {row0};
    let col0 = first_col + {col0};
    if entry >= p.batch{outside} {{ return; }}
    let index0 = entry * p.c_stride + p.first_row * p.ldc + p.first_column;
    let k_end = select(p.k, p.last_k, entry + 1u == p.batch);
",
        tile.workgroup_rows(),
        tile.workgroup_columns(),
    );
}

/// Starts the sums at zero or from what C holds; where that is the step's to say and it does not accumulate, C is not
/// even read.
fn begin_sums(text: &mut String, spec: &MatmulSpec) {
    let places =
        || (0..spec.tile.rows).flat_map(|row| (0..spec.tile.column_vectors).map(move |vector| (row, vector)));
    for (row, vector) in places() {
        let start = match spec.former {
            Former::Continued => stored(spec, row, vector),
            Former::Lost | Former::ContinuedByStep | Former::AddedByStep => "vec4(0.0)".to_owned(),
        };
        let _ = writeln!(text, "    var sum{row}_{vector} = {start};");
    }
    if spec.former == Former::ContinuedByStep {
        *text += "    if step.accumulate != 0u {\n";
        for (row, vector) in places() {
            let _ = writeln!(text, "        sum{row}_{vector} = {};", stored(spec, row, vector));
        }
        *text += "    }\n";
    }
}

/// Multiplies and adds `steps` positions of the summed axis, one after the other for every element of C: a CPU has not
/// registers for all sums, so each is brought there once for all steps. `of_a` names the float of a row, `of_b` a group of
/// four columns, at a step.
fn multiply_add(
    text: &mut String,
    tile: Tile,
    steps: u32,
    of_a: impl Fn(u32, u32) -> String,
    of_b: impl Fn(u32, u32) -> String,
) {
    for vector in 0..tile.column_vectors {
        for step in 0..steps {
            let _ = writeln!(text, "        let columns{vector}_{step} = {};", of_b(vector, step));
        }
        for row in 0..tile.rows {
            for step in 0..steps {
                let (sum, factor) = (format!("sum{row}_{vector}"), of_a(row, step));
                let _ = writeln!(text, "        {sum} = fma(vec4({factor}), columns{vector}_{step}, {sum});");
            }
        }
    }
}

/// What C holds for a row and four columns; past an edge anything in C, for it is not stored.
fn stored(spec: &MatmulSpec, row: u32, vector: u32) -> String {
    let first = spec.tile.column_offset(vector);
    let row = spec.tile.row_offset(row);
    let line = format!("p.c_offset + index0 + min(row0 + {row}u, p.m - 1u) * p.ldc");
    if spec.store_vec4 {
        return format!("c[({line} + min(col0 + {first}u, p.n - 4u)) >> 2u]");
    }
    let lanes: Vec<String> =
        (first..first + 4).map(|column| format!("c[{line} + min(col0 + {column}u, p.n - 1u)]")).collect();
    format!("vec4({})", lanes.join(", "))
}

/// Stores a row's four columns, each element or vector through the epilogue and only inside C.
fn store(text: &mut String, spec: &MatmulSpec, row: u32, vector: u32) {
    let (parts, shift): (&[&str], &str) =
        if spec.store_vec4 { (&[""], " >> 2u") } else { (&[".x", ".y", ".z", ".w"], "") };
    for (lane, part) in parts.iter().enumerate() {
        let column = spec.tile.column_offset(vector) + lane as u32;
        let down = spec.tile.row_offset(row);
        let place = format!("(p.c_offset + index){shift}");
        let (open, close) = match spec.former {
            Former::AddedByStep => (format!("accumulated({place}, "), ")"),
            Former::Lost if spec.store_half => ("Stored(".to_owned(), ")"),
            Former::Lost | Former::Continued | Former::ContinuedByStep => (String::new(), ""),
        };
        let _ = writeln!(
            text,
            "        if col0 + {column}u < p.n {{
            let index = index0 + (row0 + {down}u) * p.ldc + col0 + {column}u;
            c[{place}] = {open}epilogue(
                sum{row}_{vector}{part}, p.first_row + row0 + {down}u, p.first_column + col0 + {column}u, index){close};
        }}"
        );
    }
}
