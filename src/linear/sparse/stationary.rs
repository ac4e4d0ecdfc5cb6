//! Stationary iterations: Jacobi, Gauss-Seidel and successive over-relaxation, x += ω·D⁻¹(b − A·x) for all unknowns at once or colour by
//! colour (Saad, "Iterative Methods for Sparse Linear Systems", 4.1 and 12.4).

use super::block::{Block, RESIDUAL, Said, Stop};
use super::colouring::{by_colour, colours};
use super::{BLOCK, DeviceMatrix, FINISH, MOST_PARTS, dots, finishing, scaled};
use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, Launches, Shader};
use crate::linear::matrix::SparseMatrix;
use crate::linear::options::SolveOptions;
use crate::linear::report::{Outcome, SolveStatus};
use crate::linear::rounds::{Round, RoundEnd, solve_in_rounds};
use crate::linear::system::System;

pub(super) static DEFECT: Shader = Shader {
    label: "defect",
    before: &[BLOCK],
    text: include_str!("../../../shaders/linear/defect.wgsl"),
    reads: 6,
    writes: 1,
};
pub(super) static JACOBI: Shader = Shader {
    label: "Jacobi step",
    before: &[BLOCK],
    text: include_str!("../../../shaders/linear/jacobi.wgsl"),
    reads: 3,
    writes: 1,
};
pub(super) static RELAX: Shader = Shader {
    label: "colour of a sweep",
    before: &[BLOCK],
    text: include_str!("../../../shaders/linear/relax.wgsl"),
    reads: 6,
    writes: 2,
};
pub(super) static NORM: Shader =
    finishing("norm of a sweep", &[BLOCK, FINISH], include_str!("../../../shaders/linear/stationary.wgsl"));

/// Growth of the residual that is taken for divergence: what is only a detour stays below.
const GROWN: f64 = 1e4;

/// Chunks in a row without any gain that are taken for it too.
const IDLE_CHUNKS: u32 = 3;

/// All unknowns at once.
pub(in crate::linear) fn jacobi(device: &Device, system: &System, options: &SolveOptions) -> Result<Outcome> {
    let (matrix, scale) = scaled(&system.matrix);
    let order: Vec<usize> = (0..matrix.rows()).collect();
    let sweep = Sweep { matrix, scale, order, colours: Vec::new(), omega: 1.0 };
    sweep.solve(device, system, options)
}

/// Colour by colour, in place.
pub(in crate::linear) fn gauss_seidel(
    device: &Device,
    system: &System,
    options: &SolveOptions,
) -> Result<Outcome> {
    let (matrix, scale) = scaled(&system.matrix);
    let colours = colours(&matrix);
    let order = by_colour(&colours);
    // Rows of a colour lie together.
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &row)| places[row] = place);
    let moved = matrix.entries().map(|(row, column, value)| (places[row], places[column], value));
    let matrix = SparseMatrix::from_entries(matrix.rows(), matrix.columns(), moved.collect())?;
    let counts = (0..=colours.iter().max().copied().unwrap_or(0))
        .map(|colour| colours.iter().filter(|other| **other == colour).count());
    let sweep = Sweep { matrix, scale, order, colours: counts.collect(), omega: options.omega };
    sweep.solve(device, system, options)
}

/// An iteration on paper.
struct Sweep {
    /// In the order below.
    matrix: SparseMatrix,
    scale: f64,
    /// The unknown at each place.
    order: Vec<usize>,
    /// Rows of each colour; none where all change at once.
    colours: Vec<usize>,
    omega: f64,
}

/// And on a device.
struct DeviceSweep {
    iteration: Launches,
    x: Buffer,
    b: Buffer,
    block: Block,
}

impl Sweep {
    fn solve(&self, device: &Device, system: &System, options: &SolveOptions) -> Result<Outcome> {
        let count = self.order.len();
        let matrix = DeviceMatrix::new(device, &self.matrix)?;
        let inverses: Vec<f64> = self.matrix.diagonal().into_iter().map(|value| self.omega / value).collect();
        let inverses = device.vector(&inverses)?;
        let [x, b, defect] = [device.zeros(count)?, device.zeros(count)?, device.zeros(count)?];
        let (parts, block) = (device.zeros(2 * MOST_PARTS)?, Block::new(device)?);
        let mut list = device.launches();
        let [starts, columns, values] = matrix.buffers();
        let state = &block.buffer;
        if self.colours.is_empty() {
            let reads = [starts, columns, values, &b, &x, state, &defect];
            list.each(&DEFECT, count, &[count as u32], &reads);
            list.each(&JACOBI, count, &[count as u32], &[&inverses, &defect, state, &x]);
        }
        let mut first = 0;
        for &rows in &self.colours {
            let buffers = [starts, columns, values, &inverses, &b, state, &x, &defect];
            list.each(&RELAX, rows, &[first as u32, rows as u32], &buffers);
            first += rows;
        }
        dots(&mut list, count, [&defect, &defect, &parts, state], &NORM);
        let iteration = list.finish()?;
        let on_device = DeviceSweep { iteration, x, b, block };
        let limit = options.iterations(count);
        solve_in_rounds(system, options.tolerance, limit, |round| {
            self.round(device, &on_device, system, round)
        })
    }

    fn round(
        &self,
        device: &Device,
        sweep: &DeviceSweep,
        system: &System,
        round: &Round,
    ) -> Result<RoundEnd> {
        let count = self.order.len();
        let rhs: Vec<f64> = self.order.iter().map(|&row| round.rhs[row]).collect();
        device.write(&sweep.x, &vec![0.0; count])?;
        device.write(&sweep.b, &rhs)?;
        sweep.block.start(device, &[round.target * round.target, 1.0])?;
        let mut pace = Pace::default();
        let said = sweep.block.run(device, &sweep.iteration, round.iterations, |said| pace.see(said))?;
        let mut x = vec![0.0; count];
        let found = device.read(&sweep.x, count)?;
        self.order.iter().zip(found).for_each(|(&row, value)| x[row] = value / self.scale);
        let failed = (said.stop != Some(Stop::Converged) && pace.is_lost())
            .then(|| (SolveStatus::Diverged, self.reason(&pace, &said, system)));
        Ok(RoundEnd { x, iterations: said.iterations, failed })
    }

    /// Why an iteration goes away from the solution.
    fn reason(&self, pace: &Pace, said: &Said, system: &System) -> String {
        let radius = match pace.factor.is_finite() {
            true => format!("the spectral radius of the iteration is about {:.4}, not below 1", pace.factor),
            false => "the residual is not finite".to_owned(),
        };
        let dominance = undominated(&system.matrix).map_or(String::new(), |(row, diagonal, others)| {
            format!(
                "; row {} is not diagonally dominant: |{diagonal}| on the diagonal against {others:.4} beside it",
                row + 1
            )
        });
        format!("after {} iterations {radius}{dominance}", said.iterations)
    }
}

/// The row whose diagonal is least dominant, with its diagonal and the sum of its other entries' sizes, if any is not.
fn undominated(matrix: &SparseMatrix) -> Option<(usize, f64, f64)> {
    let row = |row: usize| {
        let (mut diagonal, mut others) = (0.0, 0.0);
        for (column, value) in matrix.row(row) {
            if column == row { diagonal = value } else { others += value.abs() }
        }
        (row, diagonal, others)
    };
    let least = (0..matrix.rows()).map(row).max_by(|a, b| (a.2 / a.1.abs()).total_cmp(&(b.2 / b.1.abs())));
    least.filter(|(_, diagonal, others)| others > &diagonal.abs())
}

/// How the residual goes.
#[derive(Default)]
struct Pace {
    /// What an iteration makes of it.
    factor: f64,
    /// Chunks without any gain until now.
    idle: u32,
}

impl Pace {
    /// Looks at a chunk; whether there is no sense in another.
    fn see(&mut self, said: &Said) -> bool {
        let squares: Vec<f64> = said.history.iter().map(|[square, _]| *square).collect();
        let now = said.scalars[RESIDUAL];
        // The first half may still be on its way to the pace that lasts.
        let middle = squares.len().saturating_sub(1) / 2;
        let steps = squares.len().saturating_sub(1) - middle;
        if steps > 0 {
            self.factor = (now / squares[middle]).powf(0.5 / steps as f64);
        }
        self.idle = if self.factor >= 1.0 { self.idle + 1 } else { 0 };
        // A round starts at a residual of 1.
        let has_grown = !now.is_finite() || now > GROWN * GROWN;
        self.is_lost() && (has_grown || self.idle >= IDLE_CHUNKS)
    }

    /// Whether the residual does not get less.
    fn is_lost(&self) -> bool {
        !self.factor.is_finite() || self.factor >= 1.0
    }
}
