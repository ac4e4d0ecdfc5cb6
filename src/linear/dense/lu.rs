//! P·A = L·U by elimination with partial pivoting.

use super::Kind;
use super::batch::{BLOCK, Batch};
use super::factors::{Factors, Triangle, read_vectors, substitute};
use super::product::{Block, Product, tile};
use super::scaling::Scaling;
use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, Launches, Shader};
use crate::linear::matrix::SparseMatrix;
use crate::linear::report::{Failure, SolveStatus};

const PANEL: &str = include_str!("../../../shaders/linear/panel.wgsl");

pub(super) static ELIMINATE: Shader = Shader {
    label: "LU of a panel",
    before: &[PANEL],
    text: include_str!("../../../shaders/linear/lu_panel.wgsl"),
    reads: 0,
    writes: 4,
};
pub(super) static ROWS: Shader = Shader {
    label: "rows of LU",
    before: &[PANEL],
    text: include_str!("../../../shaders/linear/lu_rows.wgsl"),
    reads: 1,
    writes: 2,
};

/// The factorisation for any square matrix.
pub(in crate::linear) static LU: Kind =
    Kind { scale: Scaling::of_both, factorise, operations: |n| 2 * n * n * n / 3, judge };

fn judge(pivots: &[f64], _: f64) -> Option<Failure> {
    let row = pivots.iter().position(|pivot| *pivot == 0.0 || !pivot.is_finite())?;
    let reason = format!("column {} has no pivot: it depends on the columns before it", row + 1);
    Some((SolveStatus::Singular, reason))
}

fn factorise<'a>(device: &'a Device<'a>, matrices: &[SparseMatrix]) -> Result<Factors<'a>> {
    let batch = Batch::new(device, matrices)?;
    let n = batch.ld;
    let pivots = device.indices(&vec![0; batch.count * n])?;
    let diagonals_buffer = device.zeros(batch.count * n)?;
    let [negated, upper] = [device.zeros(batch.count * n * BLOCK)?, device.zeros(batch.count * n * BLOCK)?];
    let mut list = device.launches();
    let rest = n - BLOCK;
    let tile = tile(device, [rest, rest, BLOCK]);
    for first in batch.panels() {
        let writes = [&batch.buffer, &pivots, &diagonals_buffer, &negated];
        list.groups(&ELIMINATE, batch.count, &batch.panel(n, first, n * BLOCK), &writes);
        let columns = batch.count * n;
        list.each(&ROWS, columns, &batch.panel(columns, first, n * BLOCK), &[&pivots, &batch.buffer, &upper]);
        let next = first + BLOCK;
        if next < n {
            list.product(
                tile,
                batch.count,
                &Product {
                    size: [n - next, n - next, BLOCK],
                    a: Block::new(&negated, [next, 0], BLOCK, n * BLOCK),
                    b: Block::new(&upper, [0, next], n, n * BLOCK),
                    c: Block::new(&batch.buffer, [next, next], n, n * n),
                    adds: true,
                },
            );
        }
    }
    let factorisation = list.finish()?;
    factorisation.submit(device.gpu, 1);
    let diagonals = read_vectors(device, &batch, &diagonals_buffer)?;
    let x = device.zeros(batch.count * n)?;
    let exchanged = device.read_bytes(&pivots, 4 * (batch.count * n) as u64)?;
    let exchanged: Vec<u32> = bytemuck::pod_collect_to_vec(&exchanged);
    let order = exchanged.chunks_exact(n).map(|exchanges| order(&exchanges[..batch.columns])).collect();
    let held = vec![pivots, diagonals_buffer, negated, upper];
    let [forward, backward] = solutions(device, &batch, &x)?;
    let (rows, columns) = (batch.rows, batch.columns);
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

/// The row at each place after exchanges, one after another.
fn order(exchanges: &[u32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..exchanges.len()).collect();
    for (place, &other) in exchanges.iter().enumerate() {
        // A row that only fills up is met where all others are 0; nothing is solved then.
        if (other as usize) < order.len() {
            order.swap(place, other as usize);
        }
    }
    order
}

/// x = U⁻¹·L⁻¹·x, and x = L⁻ᵀ·U⁻ᵀ·x.
fn solutions(device: &Device, batch: &Batch, x: &Buffer) -> Result<[Launches; 2]> {
    let solve = |is_transposed: bool| {
        let mut list = device.launches();
        for is_upper in [is_transposed, !is_transposed] {
            let triangle = Triangle { is_upper, has_unit_diagonal: !is_upper, is_transposed };
            substitute(&mut list, batch, x, triangle);
        }
        list.finish()
    };
    Ok([solve(false)?, solve(true)?])
}
