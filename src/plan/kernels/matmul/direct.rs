//! The direct body: each invocation reads both operands as they lie in their buffers. Where it can, every lane of a
//! subgroup reads other rows of A, and hands them round.

use std::fmt::Write;

use super::tile::{Body, SUBGROUP};
use super::{COMPONENTS, Layout, MatmulSpec, Operand, multiply_add, store_row_sums};
use crate::plan::expression::float_type;

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

/// The loop over the summed axis.
pub(super) fn sum(text: &mut String, spec: &MatmulSpec) {
    let tile = spec.tile;
    let [a, b] = spec.operands();
    let broadcast = tile.body == Body::Broadcast;
    let a = Reader { name: 'a', operand: a, items: tile.rows, broadcast };
    let b = Reader { name: 'b', operand: b, items: 4 * tile.column_vectors, broadcast: false };
    a.declare_lines(text, "row0", "p.m");
    b.declare_lines(text, "col0", "p.n");
    if spec.sums_rows {
        a.begin_totals(text);
    }
    *text += "    var k = 0u;\n    for (; k < (k_end & ~3u); k += 4u) {\n";
    multiply(text, spec, &a, &b, 4);
    *text += "    }\n";
    if !a.spans_four() && !b.spans_four() {
        *text += "    for (; k < k_end; k++) {\n";
        multiply(text, spec, &a, &b, 1);
        *text += "    }\n";
    }
    if spec.sums_rows {
        a.store_totals(text, spec);
    }
}

fn multiply(text: &mut String, spec: &MatmulSpec, a: &Reader, b: &Reader, steps: u32) {
    a.read(text, steps);
    if spec.sums_rows {
        a.add_up(text, steps);
    }
    b.read(text, steps);
    multiply_add(
        text,
        spec.tile,
        steps,
        |row, step| a.scalar(row, step),
        |vector, step| b.vector(vector, step),
    );
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
        let (name, operand) = (self.name, self.operand);
        operand.declare_start(text, name);
        for line in 0..self.lines() {
            let place = operand.line(name, &self.index(first, line), limit);
            let _ = writeln!(text, "    let {name}_line{line} = {place};");
        }
    }

    /// The index of the kept axis that a line stands for, or the number of its four.
    fn index(&self, first: &str, line: u32) -> String {
        let (lane, stride) = if self.broadcast { (" + lane", SUBGROUP) } else { ("", 1) };
        let first = if self.grouped() { format!("({first} >> 2u)") } else { first.to_owned() };
        format!("{first}{lane} + {}u", stride * line)
    }

    /// Starts the sums over k of each line.
    fn begin_totals(&self, text: &mut String) {
        let ty = float_type(false, self.grouped());
        for line in 0..self.lines() {
            let _ = writeln!(text, "    var total{line} = {ty}();");
        }
    }

    /// Adds what was read for `steps` positions to the sums of the lines, in the workgroups of C's first columns.
    fn add_up(&self, text: &mut String, steps: u32) {
        *text += "        if first_col == 0u {\n";
        for (step, line) in (0..steps).flat_map(|step| (0..self.lines()).map(move |line| (step, line))) {
            let _ = writeln!(text, "            total{line} += {}{line}_{step};", self.name);
        }
        *text += "        }\n";
    }

    /// Stores the sums of the lines: a lane its own, where lanes hand round what they read, else the first invocation of
    /// each row of C.
    fn store_totals(&self, text: &mut String, spec: &MatmulSpec) {
        let first = if self.broadcast { "first_col" } else { "col0" };
        let _ = writeln!(text, "    if {first} == 0u {{");
        for line in 0..self.lines() {
            let index = self.index("row0", line);
            let row = if self.grouped() { format!("4u * ({index})") } else { index };
            store_row_sums(text, spec, &format!("total{line}"), &row, self.grouped());
        }
        *text += "    }\n";
    }

    /// Reads what the next `steps` positions of the summed axis take, from the position `k` on.
    fn read(&self, text: &mut String, steps: u32) {
        let name = self.name;
        let reads = if self.spans_four() { 1 } else { steps };
        for step in 0..reads {
            let along = self.operand.along(name, &format!("k + {step}u"));
            for line in 0..self.lines() {
                let value = self.operand.value(name, &format!("{name}_line{line} + {along}"));
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
