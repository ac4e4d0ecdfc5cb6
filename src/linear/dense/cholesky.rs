//! A = L·Lᵀ for symmetric positive definite A.

use super::Kind;
use super::batch::{BLOCK, Batch};
use super::factors::{Factors, Triangle, read_vectors, substitute};
use super::product::{Block, Product, tile};
use super::scaling::Scaling;
use crate::Result;
use crate::linear::device::{Device, Shader};
use crate::linear::matrix::SparseMatrix;
use crate::linear::report::{Failure, SolveStatus};

pub(super) static PANEL: Shader = Shader {
    label: "Cholesky factor of a panel",
    before: &[include_str!("../../../shaders/linear/panel.wgsl")],
    text: include_str!("../../../shaders/linear/cholesky_panel.wgsl"),
    reads: 0,
    writes: 3,
};

/// Columns of what is right of a panel that one product changes: each begins at the diagonal, so that little above it is computed.
const STRIP: usize = 256;

/// The factorisation for symmetric positive definite matrices.
pub(in crate::linear) static CHOLESKY: Kind =
    Kind { scale: Scaling::of_diagonal, factorise, operations: |n| n * n * n / 3, judge };

/// The matrix has a diagonal between 1 and 4: a square within the rounding of sums of such numbers is 0 to it.
fn judge(squares: &[f64], epsilon: f64) -> Option<Failure> {
    let rounding = squares.len() as f64 * epsilon;
    let row = squares.iter().position(|square| *square <= 0.0 || !square.is_finite())?;
    let what = format!("the square of row {} of the factor's diagonal is {:.1e}", row + 1, squares[row]);
    Some(match squares[row] >= -rounding {
        true => (SolveStatus::Singular, format!("{what}, 0 within rounding")),
        false => (SolveStatus::Indefinite, format!("{what}; `lu` needs no positive definite matrix")),
    })
}

fn factorise<'a>(device: &'a Device<'a>, matrices: &[SparseMatrix]) -> Result<Factors<'a>> {
    let batch = Batch::new(device, matrices)?;
    let n = batch.ld;
    let squares = device.zeros(batch.count * n)?;
    let copies = device.zeros(batch.count * 2 * n * BLOCK)?;
    let mut list = device.launches();
    let tile = tile(device, [n - BLOCK, STRIP.min(n), BLOCK]);
    for first in batch.panels() {
        let parameters = batch.panel(n, first, 2 * n * BLOCK);
        list.groups(&PANEL, batch.count, &parameters, &[&batch.buffer, &squares, &copies]);
        for strip in (first + BLOCK..n).step_by(STRIP) {
            // L, and behind all of it −L.
            let copy = |behind: usize| Block::new(&copies, [behind + strip, 0], BLOCK, 2 * n * BLOCK);
            list.product(
                tile,
                batch.count,
                &Product {
                    size: [n - strip, STRIP.min(n - strip), BLOCK],
                    a: copy(n),
                    b: copy(0).transposed(),
                    c: Block::new(&batch.buffer, [strip; 2], n, n * n),
                    adds: true,
                },
            );
        }
    }
    let factorisation = list.finish()?;
    factorisation.submit(device.gpu, 1);
    let diagonals = read_vectors(device, &batch, &squares)?;
    let x = device.zeros(batch.count * n)?;
    let solve = || -> Result<_> {
        let mut list = device.launches();
        for is_transposed in [false, true] {
            let triangle = Triangle { is_upper: false, has_unit_diagonal: false, is_transposed };
            substitute(&mut list, &batch, &x, triangle);
        }
        list.finish()
    };
    // A is its own transpose.
    let (forward, backward) = (solve()?, solve()?);
    let order = vec![(0..batch.rows).collect(); batch.count];
    let (rows, columns) = (batch.rows, batch.columns);
    Ok(Factors {
        device,
        rows,
        columns,
        batch,
        factorisation,
        _held: vec![squares, copies],
        x,
        forward,
        backward,
        order,
        diagonals,
    })
}
