//! A = Q·R by Householder's reflections, for matrices with at least as many rows as columns.

use super::Kind;
use super::batch::{BLOCK, Batch};
use super::factors::{Factors, Triangle, read_vectors, substitute};
use super::product::{Block, Product, tile};
use super::scaling::Scaling;
use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, LaunchList, Shader};
use crate::linear::matrix::SparseMatrix;
use crate::linear::report::{Failure, SolveStatus};

const SHARED: &[&str] = &[include_str!("../../../shaders/linear/panel.wgsl")];

pub(super) static PANEL: Shader = Shader {
    label: "reflections of a panel",
    before: SHARED,
    text: include_str!("../../../shaders/linear/qr_panel.wgsl"),
    reads: 0,
    writes: 5,
};
pub(super) static TURN: Shader = Shader {
    label: "turn of QR",
    before: SHARED,
    text: include_str!("../../../shaders/linear/qr_turn.wgsl"),
    reads: 2,
    writes: 1,
};
pub(super) static REFLECTIONS: Shader = Shader {
    label: "reflections",
    before: &[],
    text: include_str!("../../../shaders/linear/reflections.wgsl"),
    reads: 2,
    writes: 1,
};

/// The factorisation for any matrix, and for least squares.
pub(in crate::linear) static QR: Kind =
    Kind { scale: Scaling::of_columns, factorise, operations: |n| 4 * n * n * n / 3, judge };

fn judge(diagonal: &[f64], _: f64) -> Option<Failure> {
    let row = diagonal.iter().position(|value| *value == 0.0 || !value.is_finite())?;
    Some((SolveStatus::Singular, format!("column {} depends on the columns before it", row + 1)))
}

/// What the panels leave.
struct Scratch {
    taus: Buffer,
    diagonals: Buffer,
    vectors: Buffer,
    turns: Buffer,
    /// Vᵀ·A and −Tᵀ·Vᵀ·A, 32 rows each.
    w: Buffer,
    turned: Buffer,
}

impl Scratch {
    fn into_buffers(self) -> Vec<Buffer> {
        vec![self.taus, self.diagonals, self.vectors, self.turns, self.w, self.turned]
    }
}

fn factorise<'a>(device: &'a Device<'a>, matrices: &[SparseMatrix]) -> Result<Factors<'a>> {
    let batch = Batch::new(device, matrices)?;
    let (height, width, count) = (batch.padded_rows, batch.ld, batch.count);
    let scratch = Scratch {
        taus: device.zeros(count * height)?,
        diagonals: device.zeros(count * height)?,
        vectors: device.zeros(count * height * BLOCK)?,
        turns: device.zeros(count * BLOCK * BLOCK)?,
        w: device.zeros(count * width * BLOCK)?,
        turned: device.zeros(count * width * BLOCK)?,
    };
    let mut list = device.launches();
    for first in batch.panels() {
        panel(&mut list, &batch, &scratch, first);
    }
    let factorisation = list.finish()?;
    factorisation.submit(device.gpu, 1);
    let diagonals = read_vectors(device, &batch, &scratch.diagonals)?;
    let x = device.zeros(count * height)?;
    let triangle = |is_transposed| Triangle { is_upper: true, has_unit_diagonal: false, is_transposed };
    let mut forward = device.launches();
    reflect(&mut forward, &batch, [&scratch.taus, &x], false);
    substitute(&mut forward, &batch, &x, triangle(false));
    let forward = forward.finish()?;
    let mut backward = device.launches();
    substitute(&mut backward, &batch, &x, triangle(true));
    reflect(&mut backward, &batch, [&scratch.taus, &x], true);
    let backward = backward.finish()?;
    let order = vec![(0..batch.rows).collect(); count];
    let (rows, columns, held) = (batch.rows, batch.columns, scratch.into_buffers());
    Ok(Factors {
        device,
        rows,
        columns,
        batch,
        factorisation,
        _held: held,
        x,
        forward,
        backward,
        order,
        diagonals,
    })
}

/// A panel, and A −= V·Tᵀ·Vᵀ·A right of it.
fn panel<'a>(list: &mut LaunchList<'a>, batch: &'a Batch, scratch: &'a Scratch, first: usize) {
    let (height, width, count) = (batch.padded_rows, batch.ld, batch.count);
    let Scratch { taus, diagonals, vectors, turns, w, turned } = scratch;
    let writes = [&batch.buffer, taus, diagonals, vectors, turns];
    list.groups(&PANEL, count, &batch.panel(height, first, height * BLOCK), &writes);
    let next = first + BLOCK;
    if next == width {
        return;
    }
    let tile = tile(list.device(), [height, width, BLOCK]);
    let (rows, columns) = (height - first, width - next);
    let v = || Block::new(vectors, [first, 0], BLOCK, height * BLOCK);
    let line = |buffer: &'a Buffer| Block::new(buffer, [0, next], width, width * BLOCK);
    let rest = || Block::new(&batch.buffer, [first, next], width, batch.stride());
    let product = |size, [a, b, c]: [Block<'a>; 3], adds| Product { size, a, b, c, adds };
    list.product(tile, count, &product([BLOCK, columns, rows], [v().transposed(), rest(), line(w)], false));
    let numbers = count * width * BLOCK;
    list.each(&TURN, numbers, &batch.panel(numbers, first, 0), &[turns, w, turned]);
    list.product(tile, count, &product([rows, columns, BLOCK], [v(), line(turned), rest()], true));
}

fn reflect<'a>(list: &mut LaunchList<'a>, batch: &'a Batch, [taus, x]: [&'a Buffer; 2], is_reversed: bool) {
    let sizes = [batch.padded_rows, batch.ld, batch.ld, batch.stride(), batch.padded_rows, batch.padded_rows];
    let parameters = [&sizes.map(|number| number as u32)[..], &[u32::from(is_reversed)]].concat();
    list.groups(&REFLECTIONS, batch.count, &parameters, &[&batch.buffer, taus, x]);
}
