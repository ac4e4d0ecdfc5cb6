//! Conjugate gradients (Hestenes and Stiefel 1952), with or without a preconditioner M: of z = M⁻¹r, α = r·z / p·Ap, x += αp,
//! r −= αAp, β = r'·z' / r·z, p = z' + βp.
//!
//! In f32 alone x stands still at a residual near the rounding of ‖A‖·‖x‖, and directions lose their conjugacy sooner, which
//! takes more iterations; in pairs of f32 there are as many as in f64 (`tests::conditioned` measures it).

use super::block::{Block, RESIDUAL, Said, Stop};
use super::preconditioner::DevicePreconditioner;
use super::{BLOCK, DeviceMatrix, FINISH, MOST_PARTS, NONE, dots, finishing, product, scaled};
use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, LaunchList, Launches, Shader};
use crate::linear::options::SolveOptions;
use crate::linear::report::{Failure, Outcome, SolveStatus};
use crate::linear::rounds::{Round, RoundEnd, solve_in_rounds};
use crate::linear::system::System;
use crate::linear::tridiagonal::extremes;

const SLOTS: &str = include_str!("../../../shaders/linear/cg_slots.wgsl");

const BEFORE: &[&str] = &[BLOCK, SLOTS, FINISH];

pub(super) static BEGIN: Shader =
    finishing("start of CG", BEFORE, include_str!("../../../shaders/linear/cg_begin.wgsl"));
pub(super) static CURVATURE: Shader =
    finishing("curvature of CG", BEFORE, include_str!("../../../shaders/linear/cg_curvature.wgsl"));
pub(super) static RESIDUALS: Shader =
    finishing("residual of CG", BEFORE, include_str!("../../../shaders/linear/cg_residual.wgsl"));
pub(super) static STEP: Shader = Shader {
    label: "step of CG",
    before: &[BLOCK, SLOTS],
    text: include_str!("../../../shaders/linear/cg_step.wgsl"),
    reads: 3,
    writes: 2,
};
pub(super) static DIRECTION: Shader = Shader {
    label: "direction of CG",
    before: &[BLOCK, SLOTS],
    text: include_str!("../../../shaders/linear/cg_direction.wgsl"),
    reads: 2,
    writes: 1,
};

/// The places of p·Ap and p·p among the scalars; their twins are in `cg_slots.wgsl`.
const CURVATURE_SLOT: usize = 3;
const SQUARE_SLOT: usize = 4;

/// Solves a symmetric positive definite system.
pub(in crate::linear) fn conjugate_gradients(
    device: &Device,
    system: &System,
    options: &SolveOptions,
) -> Result<Outcome> {
    let (matrix, scale) = scaled(&system.matrix);
    let preconditioner = options.preconditioner.map(|chosen| (chosen.make)(&matrix));
    let notes = preconditioner.as_ref().and_then(|made| made.note()).into_iter().collect();
    let memory = Memory::new(device, matrix.rows())?;
    let preconditioner = preconditioner.map(|made| DevicePreconditioner::new(device, &made)).transpose()?;
    let on_device = DeviceMatrix::new(device, &matrix)?;
    let [begin, iteration] = memory.launches(device, &on_device, preconditioner.as_ref())?;
    let mut lanczos = Vec::new();
    let limit = options.iterations(matrix.rows());
    let outcome = solve_in_rounds(system, options.tolerance, limit, |round| {
        let end = memory.round(device, [&begin, &iteration], round, &mut lanczos)?;
        Ok(RoundEnd { x: end.x.into_iter().map(|x| x / scale).collect(), ..end })
    })?;
    Ok(Outcome { condition: condition(&lanczos), notes, ..outcome })
}

/// The vectors of an iteration on a device.
struct Memory {
    count: usize,
    x: Buffer,
    residual: Buffer,
    direction: Buffer,
    /// A·p.
    product: Buffer,
    /// M⁻¹r, where there is an M.
    z: Buffer,
    parts: Buffer,
    block: Block,
}

impl Memory {
    fn new(device: &Device, count: usize) -> Result<Self> {
        let zeros = || device.zeros(count);
        Ok(Memory {
            count,
            x: zeros()?,
            residual: zeros()?,
            direction: zeros()?,
            product: zeros()?,
            z: zeros()?,
            parts: device.zeros(2 * MOST_PARTS)?,
            block: Block::new(device)?,
        })
    }

    /// What begins a round, and an iteration.
    fn launches<'a>(
        &'a self,
        device: &'a Device,
        matrix: &'a DeviceMatrix,
        preconditioner: Option<&'a DevicePreconditioner>,
    ) -> Result<[Launches; 2]> {
        let (block, count) = (&self.block.buffer, self.count);
        let z = if preconditioner.is_some() { &self.z } else { &self.residual };
        // z, its product with r, and the direction that follows.
        let turn = |list: &mut LaunchList<'a>, finish: &Shader| {
            if let Some(preconditioner) = preconditioner {
                preconditioner.apply(list, &self.residual, block, z);
            }
            dots(list, count, [z, &self.residual, &self.parts, block], finish);
            list.each(&DIRECTION, count, &[count as u32], &[z, block, &self.direction]);
        };
        let mut begin = device.launches();
        turn(&mut begin, &BEGIN);
        let mut iteration = device.launches();
        product(&mut iteration, matrix, &self.direction, block, NONE, &self.product);
        dots(&mut iteration, count, [&self.product, &self.direction, &self.parts, block], &CURVATURE);
        let step = [&self.direction, &self.product, block, &self.x, &self.residual];
        iteration.each(&STEP, count, &[count as u32], &step);
        turn(&mut iteration, &RESIDUALS);
        Ok([begin.finish()?, iteration.finish()?])
    }

    fn round(
        &self,
        device: &Device,
        [begin, iteration]: [&Launches; 2],
        round: &Round,
        lanczos: &mut Vec<[f64; 2]>,
    ) -> Result<RoundEnd> {
        let zeros = vec![0.0; self.count];
        device.write(&self.x, &zeros)?;
        device.write(&self.direction, &zeros)?;
        device.write(&self.residual, &round.rhs)?;
        // In the order of `cg_slots.wgsl`.
        let scalars = [round.target * round.target, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, flat(device)];
        self.block.start(device, &scalars)?;
        begin.submit(device.gpu, 1);
        let is_first = lanczos.is_empty();
        let said = self.block.run(device, iteration, round.iterations, |said| {
            if is_first {
                lanczos.extend(&said.history);
            }
            !said.scalars[RESIDUAL].is_finite()
        })?;
        let x = device.read(&self.x, self.count)?;
        Ok(RoundEnd { x, iterations: said.iterations, failed: failure(device, &said) })
    }
}

/// The curvature p·A·p / p·p that is 0 within the rounding of a matrix whose largest value lies between 1 and 2.
fn flat(device: &Device) -> f64 {
    4.0 * device.number.epsilon()
}

/// Why a round ended without a solution, if it did for a reason.
fn failure(device: &Device, said: &Said) -> Option<Failure> {
    let curvature = said.scalars[CURVATURE_SLOT] / said.scalars[SQUARE_SLOT];
    let after = format!("after {} iterations", said.iterations);
    let is_flat = curvature.abs() <= flat(device) || curvature.is_nan();
    match said.stop {
        Some(Stop::Curved) if is_flat => Some((
            SolveStatus::Singular,
            format!("{after} the matrix takes a direction to zero, within rounding"),
        )),
        Some(Stop::Curved) => Some((
            SolveStatus::Indefinite,
            format!(
                "{after} a direction p with p·A·p < 0 was met; `lsqr` and `lu` need no positive definite matrix"
            ),
        )),
        _ if !said.scalars[RESIDUAL].is_finite() => {
            Some((SolveStatus::Diverged, format!("{after} the residual is not finite")))
        }
        _ => None,
    }
}

/// The condition number of M⁻¹A as the iterations saw it: α and β make up the tridiagonal matrix of Lanczos (Golub and Van Loan,
/// "Matrix Computations", 11.3.5), whose eigenvalues approach the extreme ones from within.
fn condition(coefficients: &[[f64; 2]]) -> Option<f64> {
    let finite =
        coefficients.iter().take_while(|[alpha, beta]| *alpha > 0.0 && *beta >= 0.0 && beta.is_finite());
    let coefficients: Vec<[f64; 2]> = finite.copied().collect();
    let before =
        |number: usize| number.checked_sub(1).map_or(0.0, |i| coefficients[i][1] / coefficients[i][0]);
    let diagonal: Vec<f64> =
        coefficients.iter().enumerate().map(|(number, [alpha, _])| 1.0 / alpha + before(number)).collect();
    let beside: Vec<f64> = coefficients.iter().map(|[alpha, beta]| beta.sqrt() / alpha).collect();
    let [least, largest] = extremes(&diagonal, &beside[..beside.len().saturating_sub(1)])?;
    (least > 0.0).then(|| largest / least)
}
