//! The body on matrix units (tensor cores, WMMA): a subgroup multiplies fragments of 16 × 16 numbers of 16 bits at once and
//! sums them in f32, by wgpu's cooperative matrices.
//!
//! A workgroup brings slices of both operands to its memory, [`UNITS_DEPTH`] positions of the summed axis long and as they
//! lie in their buffers: lines of the contiguous axis. Behind each line lies a pad of eight numbers: without it, the rows of a fragment would begin in the same of
//! the 32 banks. While one slice is multiplied, the next is on its way to registers. Positions past the end are zeros; lines
//! past an edge repeat the last one, and what comes of them is not stored.
//!
//! A subgroup owns `rows` × `column_vectors / 2` fragments of C. When they are done, each goes through 256 floats of
//! workgroup memory that the subgroup owns, to the registers from which every body stores: lane l takes row l / 2, the
//! first or last eight columns.
//!
//! Products of f16 are exact in f32, but units sum them in an order, and some round, in ways of their own: the bits are not
//! those of the other bodies.

use std::fmt::Write;

use super::tile::{FRAGMENT, LANES, Tile, UNITS_DEPTH, UNITS_PAD, units_slice_bytes};
use super::{Layout, MatmulSpec, Operand, through_memory};

/// Numbers that an invocation brings at once.
const UNIT: u32 = 8;

/// Elements of a slice, vec4<f16>, that a unit is.
const ELEMENTS: u32 = UNIT / 4;

/// What the workgroup brings of one operand. A unit is what one invocation brings at once: eight neighbours of a line.
struct Slice {
    /// `a` or `b`, the prefix of every name.
    name: char,
    operand: Operand,
    /// The first index of the kept axis, and its length.
    first: &'static str,
    limit: &'static str,
    /// Rows or columns of C.
    kept: u32,
    invocations: u32,
}

/// Workgroup memory for both slices, and a fragment of each subgroup.
pub(super) fn declare(text: &mut String, tile: Tile) {
    for (name, kept) in [('a', tile.workgroup_rows()), ('b', tile.workgroup_columns())] {
        let _ = writeln!(
            text,
            "var<workgroup> {name}_slice: array<vec4<f16>, {}>;",
            units_slice_bytes(kept) / 16 * ELEMENTS
        );
    }
    let floats = FRAGMENT * FRAGMENT * tile.invocations() / LANES;
    let _ = writeln!(text, "var<workgroup> fragments: array<f32, {floats}>;");
}

/// The loop over the slices, and what becomes of it in `sum…`.
pub(super) fn sum(text: &mut String, spec: &MatmulSpec) {
    let tile = spec.tile;
    for (row, column) in fragments(tile) {
        let _ = writeln!(text, "    var fragment{row}_{column} = coop_mat16x16<f32, C>();");
    }
    let slice = |name, operand, first, limit, kept| Slice {
        name,
        operand,
        first,
        limit,
        kept,
        invocations: tile.invocations(),
    };
    let a = slice('a', spec.a, "first_row", "p.m", tile.workgroup_rows());
    let b = slice('b', spec.b, "first_col", "p.n", tile.workgroup_columns());
    let slices = [a, b];
    slices.iter().for_each(|slice| slice.declare(text));
    let fetch = slices.each_ref().map(Slice::fetch).concat();
    let stage = slices.each_ref().map(Slice::stage).concat();
    through_memory(text, UNITS_DEPTH, [&fetch, &stage], |text| {
        (0..UNITS_DEPTH / FRAGMENT).for_each(|step| multiply(text, tile, &slices, FRAGMENT * step));
    });
}

/// The fragments of a subgroup: row and column.
fn fragments(tile: Tile) -> impl Iterator<Item = (u32, u32)> {
    (0..tile.rows).flat_map(move |row| (0..tile.column_vectors / 2).map(move |column| (row, column)))
}

/// [`FRAGMENT`] positions of the slices, from `depth` on.
fn multiply(text: &mut String, tile: Tile, [a, b]: &[Slice; 2], depth: u32) {
    *text += "        {\n";
    for row in 0..tile.rows {
        let first = format!("local.y * {}u + {}u", FRAGMENT * tile.rows, FRAGMENT * row);
        a.load(text, row, &first, depth);
    }
    for column in 0..tile.column_vectors / 2 {
        let own = FRAGMENT * tile.column_vectors / 2;
        let first = format!("local.x / {LANES}u * {own}u + {}u", FRAGMENT * column);
        b.load(text, column, &first, depth);
    }
    for (row, column) in fragments(tile) {
        let sum = format!("fragment{row}_{column}");
        let _ = writeln!(text, "            {sum} = coopMultiplyAdd(a{row}, b{column}, {sum});");
    }
    *text += "        }\n";
}

/// Adds each fragment to the lanes' sums.
pub(super) fn hand_out(text: &mut String, tile: Tile) {
    let across = tile.workgroup[0] / LANES;
    let _ = write!(
        text,
        "    let own = (local.y * {across}u + local.x / {LANES}u) * {}u;
    let own_lane = own + local.x % {LANES}u * 8u;
",
        FRAGMENT * FRAGMENT
    );
    for (row, column) in fragments(tile) {
        let _ = writeln!(
            text,
            "    coopStoreT(fragment{row}_{column}, &fragments[own], {FRAGMENT}u);\n    workgroupBarrier();"
        );
        for half in 0..2 {
            let vector = 2 * column + half;
            let floats: Vec<String> =
                (0..4).map(|lane| format!("fragments[own_lane + {}u]", 4 * half + lane)).collect();
            let _ = writeln!(text, "    sum{row}_{vector} += vec4({});", floats.join(", "));
        }
        *text += "    workgroupBarrier();\n";
    }
}

impl Slice {
    /// Numbers of a line without its pad.
    fn along(&self) -> u32 {
        match self.operand.layout {
            Layout::Summed => UNITS_DEPTH,
            Layout::Kept => self.kept,
        }
    }

    /// Elements of a line with its pad.
    fn stride(&self) -> u32 {
        (self.along() + UNITS_PAD) / UNIT * ELEMENTS
    }

    /// Units that each invocation brings: all tiles divide evenly.
    fn turns(&self) -> u32 {
        self.kept * UNITS_DEPTH / UNIT / self.invocations
    }

    /// Each unit's place in the operand, and its register. Neighbouring invocations take neighbours along the contiguous
    /// axis.
    fn declare(&self, text: &mut String) {
        let Slice { name, operand, first, limit, .. } = *self;
        operand.declare_start(text, name);
        let across = self.along() / UNIT;
        for unit in 0..self.turns() {
            let number = format!("(lane + {}u)", unit * self.invocations);
            let (line, along) = (format!("{number} / {across}u"), format!("{number} % {across}u * {UNIT}u"));
            let _ = writeln!(
                text,
                "    let {name}_place{unit} = {line} * {}u + {number} % {across}u * {ELEMENTS}u;
    var {name}_next{unit}_0: vec4<f16>;
    var {name}_next{unit}_1: vec4<f16>;",
                self.stride()
            );
            let place = match operand.layout {
                Layout::Summed => {
                    let _ = writeln!(text, "    let {name}_k{unit} = {along};");
                    operand.line(name, &format!("{first} + {line}"), limit)
                }
                Layout::Kept => {
                    let _ = writeln!(
                        text,
                        "    let {name}_k{unit} = {line};\n    let {name}_at{unit} = {first} + {along};"
                    );
                    continue;
                }
            };
            let _ = writeln!(text, "    let {name}_line{unit} = {place};");
        }
    }

    /// Reads the units of the slice that begins at `k`: whole vectors where the operand allows, else number by number.
    fn fetch(&self) -> String {
        let mut text = String::new();
        for unit in 0..self.turns() {
            for half in 0..2 {
                let value = match self.operand.vec4 {
                    true => self.value(unit, 4 * half, 4, "vec4<f16>()"),
                    false => {
                        let each = |of: u32| self.value(unit, 4 * half + of, 1, "f16()");
                        format!("vec4({})", [0, 1, 2, 3].map(each).join(", "))
                    }
                };
                let _ = writeln!(text, "            {}_next{unit}_{half} = {value};", self.name);
            }
        }
        text
    }

    /// What the operand holds from the unit's number `of` on, `width` numbers, or zeros behind the end.
    fn value(&self, unit: u32, of: u32, width: u32, zeros: &str) -> String {
        let Slice { name, limit, .. } = *self;
        let shift = if width == 4 { " >> 2u" } else { "" };
        let k = format!("k + {name}_k{unit}");
        let (place, there) = match self.operand.layout {
            Layout::Summed => (
                format!("{name}_line{unit} + (min({k} + {of}u, k_end - {width}u){shift})"),
                format!("{k} + {of}u < k_end"),
            ),
            Layout::Kept => (
                format!(
                    "{name}_start + min({k}, k_end - 1u) * {name}_ld + (min({name}_at{unit} + {of}u, {limit} - {width}u){shift})"
                ),
                format!("{k} < k_end"),
            ),
        };
        format!("select({zeros}, {name}[{place}], {there})")
    }

    /// Writes the units from registers to workgroup memory.
    fn stage(&self) -> String {
        let name = self.name;
        let mut text = String::new();
        for (unit, half) in (0..self.turns()).flat_map(|unit| [(unit, 0), (unit, 1)]) {
            let _ = writeln!(
                text,
                "        {name}_slice[{name}_place{unit} + {half}u] = {name}_next{unit}_{half};"
            );
        }
        text
    }

    /// Declares the fragment of a number from a line of the kept axis and a position of the summed one on. Rows of A and
    /// columns of B are the kept axis: along it, A lies by columns and B by rows.
    fn load(&self, text: &mut String, number: u32, kept: &str, depth: u32) {
        let Slice { name, operand, .. } = *self;
        let stride = self.stride();
        let (role, by_rows) = match name {
            'a' => ("A", operand.layout == Layout::Summed),
            _ => ("B", operand.layout == Layout::Kept),
        };
        let place = match operand.layout {
            Layout::Summed => format!("({kept}) * {stride}u + {}u", depth / UNIT * ELEMENTS),
            Layout::Kept => format!("{}u + ({kept}) / {UNIT}u * {ELEMENTS}u", depth * stride),
        };
        let call = if by_rows { "coopLoadT" } else { "coopLoad" };
        let _ = writeln!(
            text,
            "            let {name}{number} = {call}<coop_mat16x16<f16, {role}>>(&{name}_slice[{place}], {stride}u);"
        );
    }
}
