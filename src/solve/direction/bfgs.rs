//! BFGS with the whole inverse Hessian, which lies on the host in f64: d = −H·g (Nocedal and Wright, equation 6.17).

use super::{Direction, FirstStep, Here};
use crate::Result;
use crate::plan::ThetaLayout;
use crate::solve::dense::{Symmetric, check_dense, dot};
use crate::solve::memory::MethodMemory;
use crate::solve::space::{MINUS_ONE, ONE, Space, ZERO};

/// The name of H in a memory.
const INVERSE: &str = "inverse";

/// BFGS: H, the inverse Hessian's stand-in, learns from every step (Nocedal and Wright, equation 6.17, with the first H of
/// 6.20). A step along which the gradient does not grow teaches nothing.
#[derive(Default)]
pub(crate) struct Bfgs {
    inverse: Option<Symmetric>,
}

impl Bfgs {
    /// H ← (I − ρ·s·yᵀ)·H·(I − ρ·y·sᵀ) + ρ·s·sᵀ, ρ = 1/(s·y).
    fn learn(&mut self, s: &[f64], y: &[f64]) {
        let across = dot(s, y);
        // In f32 a product near rounding has no sign to trust.
        if across <= f64::from(f32::EPSILON) * (dot(s, s) * dot(y, y)).sqrt() {
            return;
        }
        let first = || {
            let scale = across / dot(y, y);
            let mut first = Symmetric::identity(s.len());
            first.elements.iter_mut().for_each(|element| *element *= scale);
            first
        };
        let inverse = self.inverse.get_or_insert_with(first);
        let hy = inverse.times(y);
        let factor = (1.0 + dot(y, &hy) / across) / across;
        for (row, elements) in inverse.elements.chunks_exact_mut(s.len()).enumerate() {
            for (column, element) in elements.iter_mut().enumerate() {
                *element +=
                    factor * s[row] * s[column] - (hy[row] * s[column] + s[row] * hy[column]) / across;
            }
        }
    }
}

impl Direction for Bfgs {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        let layout = here.problem.layout().clone();
        let order = check_dense(layout.elements())?;
        let Some(last) = here.last else {
            return here.space.scale_add(here.direction, ZERO, here.gradient, MINUS_ONE, ONE);
        };
        let rows = here.space.rows(3)?;
        for (row, vector) in [here.gradient, &last.step, &last.change].into_iter().enumerate() {
            here.space.copy_to_row(&rows, row, vector);
        }
        let read = here.space.read_rows(&rows, 3, &layout)?;
        let (gradient, rest) = read.split_at(order);
        let (step, change) = rest.split_at(order);
        self.learn(step, change);
        let Some(inverse) = &self.inverse else {
            return here.space.scale_add(here.direction, ZERO, here.gradient, MINUS_ONE, ONE);
        };
        let descent: Vec<f64> = inverse.times(gradient).into_iter().map(|d| -d).collect();
        here.space.write_vector(here.direction, &layout, &descent)
    }

    fn first_step(&self) -> FirstStep {
        FirstStep::NewtonLater
    }

    fn restart(&mut self) {
        self.inverse = None;
    }

    fn remember(&self, _: &Space, _: &ThetaLayout, memory: &mut MethodMemory) -> Result<()> {
        if let Some(inverse) = &self.inverse {
            memory.put(INVERSE, &*inverse.elements);
        }
        Ok(())
    }

    fn recall(&mut self, _: &mut Space, layout: &ThetaLayout, memory: &MethodMemory) -> Result<()> {
        if memory.has(INVERSE) {
            let order = check_dense(layout.elements())?;
            let elements = memory.list(INVERSE, order * order)?.to_vec();
            self.inverse = Some(Symmetric { order, elements });
        }
        Ok(())
    }
}
