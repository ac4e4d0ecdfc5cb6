//! The matmul kernel family: C[batch, m, n] = Σₖ A[batch, m, k] · B[batch, k, n] in f32, as WGSL text.
//!
//! Each invocation keeps a tile of C in registers. How the operands come there is the body's: `direct` from the
//! buffers, `staged` through workgroup memory, `units` so to matrix units. Every element of C is one sum in the order of
//! k, each product added by one fma, so its bits do not depend on the body or the tile; `pair` puts two products into one
//! kernel. Shapes and strides come from a uniform, so that layers share
//! pipelines; what is specialised is how the operands lie, whether they can be read four floats at a time, the tile, and
//! the epilogue that fusion hangs on.

use std::fmt::Write;

use super::{FIRST_READ, accumulated};
use crate::plan::expression::float_type;

mod direct;
mod pair;
mod spec;
mod staged;
mod tile;
mod units;

#[cfg(test)]
mod tests;

pub(crate) use pair::pair_wgsl;
use spec::PARAMS;
pub(crate) use spec::{
    Epilogue, FIRST_EPILOGUE_BINDING, Former, Layout, MatmulParams, MatmulSpec, Operand, ProductText,
};
pub(crate) use tile::{
    Body, ProductShape, SUBGROUP, Tile, Tiling, Tilings, broadcasts, direct_tile, tiles, tiling_for, tuned,
};

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

/// The whole WGSL module of one product, entry point `main`.
///
/// `step` declares what binding 0 holds. Bindings: 0 step, 1 [`MatmulParams`], 2 A, 3 B, then what the
/// epilogue declares, C, and behind it the sums of rows.
pub(crate) fn matmul_wgsl(product: &ProductText, step: &str) -> String {
    let tile = product.spec.tile;
    let mut text = format!("{step}{PARAMS}@group(0) @binding(1) var<uniform> p: Matmul;\n");
    declare(&mut text, product, FIRST_READ, FIRST_READ + product.reads);
    declare_memory(&mut text, tile);
    begin(&mut text, tile);
    text += "    let place = group.x + group.y * p.fold;\n";
    compute(&mut text, &product.spec);
    text += "}\n";
    text
}

/// What one product declares for the module, its operands bound from `first_read` on and its results from `first_write`.
fn declare(text: &mut String, product: &ProductText, first_read: usize, first_write: usize) {
    let ProductText { spec, epilogue, .. } = product;
    let [a, b] = spec.operands();
    let expression = if epilogue.expression.is_empty() { "value" } else { &epilogue.expression };
    let _ = write!(
        text,
        "alias T = {};
alias Stored = {};
@group(0) @binding({first_read}) var<storage, read> a: array<{}>;
@group(0) @binding({}) var<storage, read> b: array<{}>;
@group(0) @binding({first_write}) var<storage, read_write> c: array<Stored>;
{}
fn epilogue(value: T, row: u32, col: u32, index: u32) -> T {{
{}    return {expression};
}}
",
        float_type(false, spec.store_vec4),
        float_type(spec.store_half, spec.store_vec4),
        a.element(),
        first_read + 1,
        b.element(),
        epilogue.declarations,
        epilogue.statements,
    );
    if spec.former == Former::AddedByStep {
        *text += &accumulated("accumulated", "c", "T");
    }
    if spec.sums_rows {
        let binding = first_write + 1;
        let _ =
            writeln!(text, "@group(0) @binding({binding}) var<storage, read_write> row_sums: array<f32>;");
        if spec.former != Former::Lost {
            *text += &accumulated("accumulated_sum", "row_sums", "f32");
        }
    }
}

/// Declares the workgroup memory of a tile.
fn declare_memory(text: &mut String, tile: Tile) {
    match tile.body {
        Body::Direct | Body::Broadcast => {}
        Body::Staged => staged::declare(text, tile),
        Body::Units => units::declare(text, tile),
    }
}

/// The head of the entry point.
fn begin(text: &mut String, tile: Tile) {
    let [columns, rows] = tile.workgroup;
    let lane = match tile.body {
        Body::Direct => "",
        Body::Broadcast => ",\n    @builtin(subgroup_invocation_id) lane: u32",
        Body::Staged | Body::Units => ",\n    @builtin(local_invocation_index) lane: u32",
    };
    let _ = write!(
        text,
        "
@compute @workgroup_size({columns}, {rows})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>{lane}
) {{
"
    );
}

/// What workgroup `place` of a product does.
fn compute(text: &mut String, spec: &MatmulSpec) {
    locate(text, spec.tile);
    match spec.tile.body {
        Body::Direct | Body::Broadcast => {
            begin_sums(text, spec);
            direct::sum(text, spec);
        }
        Body::Staged => {
            begin_sums(text, spec);
            staged::sum(text, spec);
        }
        Body::Units => {
            units::sum(text, spec);
            // Registers are the fragments' until then.
            begin_sums(text, spec);
            units::hand_out(text, spec.tile);
        }
    }
    for row in 0..spec.tile.rows {
        let _ = writeln!(text, "    if row0 + {}u < p.m {{", spec.tile.row_offset(row));
        for vector in 0..spec.tile.column_vectors {
            store(text, spec, row, vector);
        }
        *text += "    }\n";
    }
}

/// A loop over the summed axis that brings slices of `depth` positions to registers by `fetch`, from there to workgroup memory by
/// `stage`, and has `multiply` write what becomes of each, while the next is on its way.
fn through_memory(
    text: &mut String,
    depth: u32,
    [fetch, stage]: [&str; 2],
    multiply: impl FnOnce(&mut String),
) {
    let _ = write!(
        text,
        "    var k = 0u;
{fetch}    loop {{
{stage}        workgroupBarrier();
        k += {depth}u;
        if k < k_end {{
{fetch}        }}
"
    );
    multiply(text);
    *text += "        if k >= k_end { break; }\n        workgroupBarrier();\n    }\n";
}

/// The first row and column of the invocation's tile.
///
/// Direct, only whole subgroups return early: a lane past the last column must stay to hand round its row of A. Staged,
/// only whole workgroups do, whose memory all invocations fill.
fn locate(text: &mut String, tile: Tile) {
    let outside = match tile.body {
        Body::Direct | Body::Broadcast => " || row0 >= p.m",
        Body::Staged | Body::Units => "",
    };
    let [row0, col0] = tile.first_place();
    let _ = write!(
        text,
        "    let tiles = p.tiles_m * p.tiles_n;
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

/// Stores a sum of A's rows, or the four of neighbouring ones, from `row` on and only inside C.
fn store_row_sums(text: &mut String, spec: &MatmulSpec, sum: &str, row: &str, four: bool) {
    let parts: &[&str] = if four { &[".x", ".y", ".z", ".w"] } else { &[""] };
    for (lane, part) in parts.iter().enumerate() {
        let place = format!("{row} + {lane}u");
        let value = match spec.former {
            Former::Lost => format!("{sum}{part}"),
            _ => format!("accumulated_sum({place}, {sum}{part})"),
        };
        let _ = writeln!(text, "        if {place} < p.m {{ row_sums[{place}] = {value}; }}");
    }
}
