//! The body on matrix units (tensor cores, WMMA): a subgroup multiplies fragments of 16 × 16 numbers of 16 bits at once and
//! sums them in f32, by wgpu's cooperative matrices.
//!
//! Slices of both operands come to workgroup memory as in `staged`, but as single f16: of A [depth, rows], of B
//! [depth, columns]. A subgroup owns `rows` × `column_vectors / 2` fragments of C. When they are done, each goes through
//! 256 floats of workgroup memory that the subgroup owns, to the registers from which every body stores: lane l takes row
//! l / 2, the first or last eight columns.
//!
//! Products of f16 are exact in f32, but units sum them in an order, and some round, in ways of their own: the bits are not
//! those of the other bodies.

use std::fmt::Write;

use super::MatmulSpec;
use super::staged::through_memory;
use super::tile::{DEPTH, FRAGMENT, LANES, Tile};

/// Workgroup memory for both slices, and a fragment of each subgroup.
pub(super) fn declare(text: &mut String, tile: Tile) {
    for (name, length) in [('a', tile.workgroup_rows()), ('b', tile.workgroup_columns())] {
        let _ = writeln!(text, "var<workgroup> {name}_slice: array<f16, {}>;", DEPTH * length);
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
    through_memory(text, spec, |text, _| multiply(text, tile));
    hand_out(text, tile);
}

/// The fragments of a subgroup: row and column.
fn fragments(tile: Tile) -> impl Iterator<Item = (u32, u32)> {
    (0..tile.rows).flat_map(move |row| (0..tile.column_vectors / 2).map(move |column| (row, column)))
}

/// A whole slice: its depth is a fragment's.
fn multiply(text: &mut String, tile: Tile) {
    let (rows, columns) = (tile.workgroup_rows(), tile.workgroup_columns());
    for row in 0..tile.rows {
        let first = format!("local.y * {}u + {}u", FRAGMENT * tile.rows, FRAGMENT * row);
        // Along the slice's rows, positions of the summed axis: A's columns.
        let _ = writeln!(
            text,
            "        let a{row} = coopLoad<coop_mat16x16<f16, A>>(&a_slice[{first}], {rows}u);"
        );
    }
    for column in 0..tile.column_vectors / 2 {
        let own = FRAGMENT * tile.column_vectors / 2;
        let first = format!("local.x / {LANES}u * {own}u + {}u", FRAGMENT * column);
        let _ = writeln!(
            text,
            "        let b{column} = coopLoadT<coop_mat16x16<f16, B>>(&b_slice[{first}], {columns}u);"
        );
    }
    for (row, column) in fragments(tile) {
        let sum = format!("fragment{row}_{column}");
        let _ = writeln!(text, "        {sum} = coopMultiplyAdd(a{row}, b{column}, {sum});");
    }
}

/// Adds each fragment to the lanes' sums.
fn hand_out(text: &mut String, tile: Tile) {
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
