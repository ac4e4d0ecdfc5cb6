//! The staged body: a workgroup brings a slice of both operands, [`DEPTH`] positions of the summed axis long, into its
//! memory, and every invocation multiplies from there. While it multiplies one slice, the next is on its way to registers.
//!
//! Workgroup memory holds a slice of A as [depth, rows / 4] and of B as [depth, columns / 4] vectors of four adjacent
//! rows or columns, however they lie in their buffers, so that the multiplication reads nothing but whole vectors.
//! Positions past the end are zeros, whose products change no sum; lines past an edge repeat the last line, and what comes
//! of them is not stored.
//!
//! **Banks.** Workgroup memory has 32 banks of four bytes on the GPUs of the day, so eight lanes at a time read or write a
//! vector each without waiting for one another if their places differ modulo 8. A row of a slice is 8, 16 or 32 vectors,
//! so what decides is the place within the row.
//! - Multiplying, neighbours along the columns read neighbouring vectors of B, and the same one of A.
//! - Vectors that lie along the kept axis are written by neighbours to neighbouring places.
//! - Of blocks that are transposed on the way, four neighbours along the summed axis write to one column of the slice. So
//!   row k has its vectors exchanged, vector g at place g ^ ([`TURN`] · ⌊k/4⌋): the four go to places 0, 2, 4 and 6, and
//!   those of the next line fall between them. A pad behind each row would still let them meet in
//!   pairs, and 128 × 128 × 16 leaves no room for one.
//! - Single floats are gathered across four lines by neighbours along the summed axis, and four of those do wait: that is
//!   the way of lengths that are no multiples of four.

use std::fmt::Write;

use super::tile::{DEPTH, Tile};
use super::{COMPONENTS, Layout, MatmulSpec, Operand, multiply_add, store_row_sums, through_memory};

/// By how much the vectors of a row are exchanged for every four rows before it.
const TURN: u32 = 2;

/// What the workgroup brings of one operand. A unit is what one invocation brings at once: the vector of one position, or
/// a block of four positions.
struct Slice {
    /// `a` or `b`, the prefix of every name.
    name: char,
    operand: Operand,
    /// The first index of the kept axis, and its length.
    first: &'static str,
    limit: &'static str,
    /// Vectors in a row of the slice.
    groups: u32,
    invocations: u32,
    /// The invocation that brings the first unit.
    first_lane: u32,
}

/// Workgroup memory for both slices.
pub(super) fn declare(text: &mut String, tile: Tile) {
    for (name, length) in [('a', tile.workgroup_rows()), ('b', tile.workgroup_columns())] {
        let _ = writeln!(text, "var<workgroup> {name}_slice: array<vec4<f32>, {}>;", DEPTH * length / 4);
    }
}

/// The loop over the slices.
pub(super) fn sum(text: &mut String, spec: &MatmulSpec) {
    let totals = if spec.sums_rows { spec.tile.rows / 4 } else { 0 };
    for group in 0..totals {
        let _ = writeln!(text, "    var total{group} = vec4<f32>();");
    }
    let slices = slices(spec);
    for slice in &slices {
        slice.declare(text);
    }
    let fetch = slices.each_ref().map(Slice::fetch).concat();
    let stage = slices.each_ref().map(Slice::stage).concat();
    // Written out four by four: a loop costs a seventh of the speed on an H200.
    through_memory(text, DEPTH, [&fetch, &stage], |text| {
        (0..DEPTH / 4).for_each(|four| multiply(text, spec, &slices, four));
    });
    if spec.sums_rows {
        *text += "    if col0 == 0u {\n";
        for group in 0..totals {
            let row = format!("row0 + {}u", 4 * group);
            store_row_sums(text, spec, &format!("total{group}"), &row, true);
        }
        *text += "    }\n";
    }
}

/// Both operands; where half of the invocations suffice for each, one half brings A and the other B.
fn slices(spec: &MatmulSpec) -> [Slice; 2] {
    let tile = spec.tile;
    let invocations = tile.invocations();
    let slice = |name, operand, first, limit, length: u32| Slice {
        name,
        operand,
        first,
        limit,
        groups: length / 4,
        invocations,
        first_lane: 0,
    };
    let a = slice('a', spec.a, "first_row", "p.m", tile.workgroup_rows());
    let b = slice('b', spec.b, "first_col", "p.n", tile.workgroup_columns());
    let first_lane = if a.units() + b.units() <= invocations { a.units() } else { 0 };
    [a, Slice { first_lane, ..b }]
}

/// The four positions of the slice with this number.
fn multiply(text: &mut String, spec: &MatmulSpec, [a, b]: &[Slice; 2], four: u32) {
    let tile = spec.tile;
    let vectors = tile.rows / 4;
    *text += "        {\n";
    for step in 0..4 {
        for group in 0..vectors {
            a.read(text, group, (four, step), &format!("local.y * {vectors}u + {group}u"));
        }
        for vector in 0..tile.column_vectors {
            b.read(text, vector, (four, step), &format!("local.x + {}u", vector * tile.workgroup[0]));
        }
    }
    if spec.sums_rows {
        *text += "            if first_col == 0u {\n";
        for (step, group) in (0..4).flat_map(|step| (0..vectors).map(move |group| (step, group))) {
            let _ = writeln!(text, "                total{group} += a{group}_{step};");
        }
        *text += "            }\n";
    }
    let of_a = |row: u32, step: u32| format!("a{}_{step}.{}", row / 4, COMPONENTS[row as usize % 4]);
    multiply_add(text, tile, 4, of_a, |vector, step| format!("b{vector}_{step}"));
    *text += "        }\n";
}

impl Slice {
    /// Vectors lie along the summed axis: four of them are transposed on the way.
    fn in_blocks(&self) -> bool {
        self.operand.vec4 && self.operand.layout == Layout::Summed
    }

    fn units(&self) -> u32 {
        self.groups * DEPTH / if self.in_blocks() { 4 } else { 1 }
    }

    /// Units that each invocation brings, the last of them perhaps only some.
    fn turns(&self) -> u32 {
        self.units().div_ceil(self.invocations)
    }

    /// Lines that the four rows or columns of a group lie on.
    fn lines(&self) -> u32 {
        if self.operand.vec4 && self.operand.layout == Layout::Kept { 1 } else { 4 }
    }

    /// Vectors that a unit is read as.
    fn vectors(&self) -> u32 {
        if self.in_blocks() { 4 } else { 1 }
    }

    /// `statements` for those invocations that bring something.
    fn guarded(&self, statements: &str) -> String {
        if self.units() >= self.invocations {
            return statements.to_owned();
        }
        format!("        if {}_unit0 < {}u {{\n{statements}        }}\n", self.name, self.units())
    }

    /// Each unit's place in the slice and in the operand, and the registers that it comes to. Neighbouring invocations
    /// take neighbours along the contiguous axis.
    fn declare(&self, text: &mut String) {
        let Slice { name, operand, groups, .. } = *self;
        operand.declare_start(text, name);
        for unit in 0..self.turns() {
            let number = format!("lane - {}u + {}u", self.first_lane, unit * self.invocations);
            let (group, along) = match (operand.layout, operand.vec4) {
                (Layout::Kept, _) => (format!("% {groups}u"), format!("/ {groups}u")),
                (Layout::Summed, false) => (format!("/ {DEPTH}u"), format!("% {DEPTH}u")),
                (Layout::Summed, true) => (format!("/ {}u", DEPTH / 4), format!("% {}u * 4u", DEPTH / 4)),
            };
            let place = format!("({name}_group{unit} ^ ({name}_k{unit} / 4u * {TURN}u))");
            let _ = writeln!(
                text,
                "    let {name}_unit{unit} = {number};
    let {name}_group{unit} = {name}_unit{unit} {group};
    let {name}_k{unit} = {name}_unit{unit} {along};
    let {name}_place{unit} = {name}_k{unit} * {groups}u + {place};"
            );
            for line in 0..self.lines() {
                let index = match self.lines() {
                    1 => format!("({} >> 2u) + {name}_group{unit}", self.first),
                    _ => format!("{} + 4u * {name}_group{unit} + {line}u", self.first),
                };
                let place = operand.line(name, &index, self.limit);
                let _ = writeln!(text, "    let {name}_line{unit}_{line} = {place};");
            }
            for vector in 0..self.vectors() {
                let _ = writeln!(text, "    var {name}_next{unit}_{vector}: vec4<f32>;");
            }
        }
    }

    /// Reads the units of the slice that begins at `k` into registers: whole vectors where the operand allows, else four
    /// floats. A minimum and a selection a unit, beside hundreds of multiplications, keep to what there is.
    fn fetch(&self) -> String {
        let name = self.name;
        let mut text = String::new();
        for unit in 0..self.turns() {
            let along = self.operand.along(name, "at");
            let element =
                |line: u32| self.operand.value(name, &format!("{name}_line{unit}_{line} + {along}"));
            let (last, values) = match (self.operand.vec4, self.operand.layout) {
                (true, Layout::Summed) => (4, (0..4).map(element).collect()),
                (true, Layout::Kept) => (1, vec![element(0)]),
                (false, _) => {
                    let floats: Vec<String> = (0..4).map(element).collect();
                    (1, vec![format!("vec4({})", floats.join(", "))])
                }
            };
            let _ = writeln!(
                text,
                "        {{\n            let at = min(k + {name}_k{unit}, k_end - {last}u);
            let there = k + {name}_k{unit} < k_end;"
            );
            for (vector, value) in values.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "            {name}_next{unit}_{vector} = select(vec4<f32>(), {value}, there);"
                );
            }
            text += "        }\n";
        }
        self.guarded(&text)
    }

    /// Writes the units from registers to workgroup memory.
    fn stage(&self) -> String {
        let Slice { name, groups, .. } = *self;
        let mut text = String::new();
        for unit in 0..self.turns() {
            for step in 0..self.vectors() {
                let value = match self.in_blocks() {
                    true => {
                        let part = COMPONENTS[step as usize];
                        let parts = [0, 1, 2, 3].map(|line| format!("{name}_next{unit}_{line}.{part}"));
                        format!("vec4({})", parts.join(", "))
                    }
                    false => format!("{name}_next{unit}_0"),
                };
                let place = format!("{name}_place{unit} + {}u", step * groups);
                let _ = writeln!(text, "        {name}_slice[{place}] = {value};");
            }
        }
        self.guarded(&text)
    }

    /// Declares the vector of an invocation's `group`, `step` positions after the fours before.
    fn read(&self, text: &mut String, group: u32, (four, step): (u32, u32), place: &str) {
        let Slice { name, groups, .. } = *self;
        let _ = writeln!(
            text,
            "            let {name}{group}_{step} = {name}_slice[{}u + (({place}) ^ {}u)];",
            (4 * four + step) * groups,
            TURN * four
        );
    }
}
