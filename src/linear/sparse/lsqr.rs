//! LSQR (Paige and Saunders, "LSQR: an algorithm for sparse linear equations and sparse least squares", 1982): conjugate gradients on
//! AᵀA in effect, by bidiagonalisation, without squaring what rounding does. From zero it finds the solution of least norm.

use super::block::{Block, RESIDUAL, Said};
use super::{BLOCK, DeviceMatrix, FINISH, MOST_PARTS, dots, finishing, product, scaled};
use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, Launches, Shader};
use crate::linear::matrix::{SparseMatrix, norm};
use crate::linear::options::SolveOptions;
use crate::linear::report::{Failure, Outcome, SolveStatus, relative_gradient};
use crate::linear::rounds::{Round, RoundEnd, solve_in_rounds};
use crate::linear::system::System;
use crate::linear::tridiagonal::extremes;

const SLOTS: &str = include_str!("../../../shaders/linear/lsqr_slots.wgsl");

/// The places of α and β among the scalars; their twins are in `lsqr_slots.wgsl`.
const ALPHA: u32 = 3;
const BETA: u32 = 4;

const BEFORE: &[&str] = &[BLOCK, SLOTS, FINISH];

pub(super) static LEFT: Shader =
    finishing("left of LSQR", BEFORE, include_str!("../../../shaders/linear/lsqr_left.wgsl"));
pub(super) static RIGHT: Shader =
    finishing("right of LSQR", BEFORE, include_str!("../../../shaders/linear/lsqr_right.wgsl"));
pub(super) static STEP: Shader = Shader {
    label: "step of LSQR",
    before: &[BLOCK, SLOTS],
    text: include_str!("../../../shaders/linear/lsqr_step.wgsl"),
    reads: 2,
    writes: 2,
};
pub(super) static NORMALISE: Shader = Shader {
    label: "unit vector of LSQR",
    before: &[BLOCK, SLOTS],
    text: include_str!("../../../shaders/linear/normalise.wgsl"),
    reads: 1,
    writes: 1,
};

/// Solves a system, or finds its least squares.
pub(in crate::linear) fn lsqr(device: &Device, system: &System, options: &SolveOptions) -> Result<Outcome> {
    let (matrix, scale) = scaled(&system.matrix);
    let mut bidiagonal = Vec::new();
    let limit = options.iterations(matrix.rows().max(matrix.columns()));
    let run = Run::new(device, matrix, options.tolerance)?;
    let outcome = solve_in_rounds(system, options.tolerance, limit, |round| {
        let end = run.round(device, round, &mut bidiagonal)?;
        Ok(RoundEnd { x: end.x.into_iter().map(|x| x / scale).collect(), ..end })
    })?;
    let outcome = Outcome { condition: condition(&bidiagonal), ..outcome };
    Ok(unsolvable(system, options.tolerance, limit, outcome))
}

/// Least squares that leave a residual, where there would be none if A had an inverse.
fn unsolvable(system: &System, tolerance: f64, limit: u64, outcome: Outcome) -> Outcome {
    let is_flat = || relative_gradient(system, &system.residual(&outcome.x)) <= 10.0 * tolerance;
    if outcome.status != SolveStatus::MaxIterations || outcome.iterations == limit || !is_flat() {
        return outcome;
    }
    let reason = "no x solves the system: the matrix is singular, and x are its least squares".to_owned();
    Outcome { status: SolveStatus::Singular, reason: Some(reason), ..outcome }
}

/// An iteration on a device.
struct Run {
    matrix: SparseMatrix,
    mirror: SparseMatrix,
    gradient_target: f64,
    iteration: Launches,
    u: Buffer,
    v: Buffer,
    w: Buffer,
    x: Buffer,
    block: Block,
    /// What only launches read and write.
    _others: ([DeviceMatrix; 2], Buffer),
}

impl Run {
    fn new(device: &Device, matrix: SparseMatrix, tolerance: f64) -> Result<Self> {
        let mirror = matrix.transposed();
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let forth = DeviceMatrix::new(device, &matrix)?;
        let back = DeviceMatrix::new(device, &mirror)?;
        let u = device.zeros(rows)?;
        let [v, w, x] = [device.zeros(columns)?, device.zeros(columns)?, device.zeros(columns)?];
        let (parts, block) = (device.zeros(2 * MOST_PARTS)?, Block::new(device)?);
        let state = &block.buffer;
        let mut list = device.launches();
        product(&mut list, &forth, &v, state, ALPHA, &u);
        dots(&mut list, rows, [&u, &u, &parts, state], &LEFT);
        list.each(&NORMALISE, rows, &[rows as u32], &[state, &u]);
        product(&mut list, &back, &u, state, BETA, &v);
        dots(&mut list, columns, [&v, &v, &parts, state], &RIGHT);
        list.each(&NORMALISE, columns, &[columns as u32], &[state, &v]);
        list.each(&STEP, columns, &[columns as u32], &[&v, state, &x, &w]);
        let iteration = list.finish()?;
        // A little below, so that the last rounding does not cost a round.
        let gradient_target = 0.9 * tolerance * matrix.norm();
        Ok(Run {
            matrix,
            mirror,
            gradient_target,
            iteration,
            u,
            v,
            w,
            x,
            block,
            _others: ([forth, back], parts),
        })
    }

    fn round(&self, device: &Device, round: &Round, bidiagonal: &mut Vec<[f64; 2]>) -> Result<RoundEnd> {
        let columns = self.matrix.columns();
        // β = ‖b‖ = 1, so u is b.
        let gradient = self.mirror.product(&round.rhs);
        let alpha = norm(&gradient);
        if alpha == 0.0 {
            let reason = "no x makes the residual less: Aᵀ(b − A·x) is 0".to_owned();
            return Ok(RoundEnd {
                x: gradient,
                iterations: 0,
                failed: Some((SolveStatus::Singular, reason)),
            });
        }
        let v: Vec<f64> = gradient.iter().map(|value| value / alpha).collect();
        device.write(&self.u, &round.rhs)?;
        device.write(&self.v, &v)?;
        device.write(&self.w, &v)?;
        device.write(&self.x, &vec![0.0; columns])?;
        // In the order of `lsqr_slots.wgsl`: ρ̄ = α and φ̄ = β.
        let scalars = [round.target, 1.0, self.gradient_target, alpha, 1.0, 0.0, alpha, 1.0];
        self.block.start(device, &scalars)?;
        let is_first = bidiagonal.is_empty();
        if is_first {
            bidiagonal.push([alpha, 0.0]);
        }
        let said = self.block.run(device, &self.iteration, round.iterations, |said| {
            if is_first {
                bidiagonal.extend(&said.history);
            }
            !said.scalars[RESIDUAL].is_finite()
        })?;
        let x = device.read(&self.x, columns)?;
        Ok(RoundEnd { x, iterations: said.iterations, failed: failure(&said) })
    }
}

fn failure(said: &Said) -> Option<Failure> {
    let reason = || format!("after {} iterations the residual is not finite", said.iterations);
    (!said.scalars[RESIDUAL].is_finite()).then(|| (SolveStatus::Diverged, reason()))
}

/// The condition number as the iterations saw it: the ratio of the extreme singular values of the bidiagonal matrix B with α on the
/// diagonal and β below, by the eigenvalues of BᵀB. The first line is α₁ alone, each later one αₖ₊₁ and βₖ₊₁.
fn condition(lines: &[[f64; 2]]) -> Option<f64> {
    let usable = lines.iter().take_while(|[alpha, beta]| alpha.is_finite() && beta.is_finite()).count();
    let lines = &lines[..usable];
    // The last α belongs to a column that is not there yet.
    let columns = usable.saturating_sub(1);
    let diagonal: Vec<f64> = (0..columns).map(|k| lines[k][0].powi(2) + lines[k + 1][1].powi(2)).collect();
    let beside: Vec<f64> = (1..columns).map(|k| lines[k][0] * lines[k][1]).collect();
    let [least, largest] = extremes(&diagonal, &beside)?;
    (least > 0.0).then(|| (largest / least).sqrt())
}
