//! Truncated Newton: B·d = −g by conjugate gradients, B being the Hessian or its Gauss-Newton part and met only in
//! products with vectors; cut short where the residual is small enough, or where B curves downwards (Dembo and Steihaug
//! 1983; Nocedal and Wright, algorithm 7.1).
//!
//! The inner iterations run in chunks on the device: α and β are computed there, and iterations behind the last one leave
//! everything as it is.

use super::{Direction, Here};
use crate::Result;
use crate::solve::problem::Curvature;
use crate::solve::space::{MINUS_ONE, ONE, Slot, Space, Vector, ZERO};

/// Inner iterations between two looks of the host.
const CHUNK: usize = 8;

/// What became of the inner iterations, as the device writes it.
const BENDS_DOWN: f64 = 2.0;

/// Newton-CG and Gauss-Newton-CG.
pub(crate) struct NewtonCg {
    pub curvature: Curvature,
    /// Inner iterations of a step at most.
    pub most: usize,
    /// The first of eight slots.
    pub first: usize,
    work: Option<Work>,
    products: u64,
}

/// The vectors of the inner iterations: residual B·d + g, direction, and B times it.
struct Work {
    residual: Vector,
    along: Vector,
    product: Vector,
}

/// The scalars of the inner iterations.
struct Scalars {
    /// ‖r‖² before and after an iteration, and at which it is done.
    before: Slot,
    after: Slot,
    enough: Slot,
    /// pᵀBp, α, β.
    curvature: Slot,
    alpha: Slot,
    beta: Slot,
    /// 0 while it goes on, then 1, or [`BENDS_DOWN`]; iterations that were made.
    stop: Slot,
    made: Slot,
}

impl NewtonCg {
    /// Vectors that it keeps.
    pub const VECTORS: usize = 3;

    pub fn new(curvature: Curvature, most: usize, first: usize) -> Self {
        NewtonCg { curvature, most, first, work: None, products: 0 }
    }

    fn scalars(&self) -> Scalars {
        let slot = |number: usize| Slot(self.first + number);
        Scalars {
            before: slot(0),
            after: slot(1),
            enough: slot(2),
            curvature: slot(3),
            alpha: slot(4),
            beta: slot(5),
            stop: slot(6),
            made: slot(7),
        }
    }
}

impl Scalars {
    /// α of an iteration, 0 where it is not to change anything.
    fn record_alpha(&self, space: &mut Space) -> Result<()> {
        let [before, curvature, alpha, stop] =
            [self.before, self.curvature, self.alpha, self.stop].map(|slot| space.place(slot));
        let text = format!(
            "    var stop = scalars[{stop}].x;
    // What is no number compares as false.
    if stop == 0.0 && !(scalars[{curvature}].x > 0.0) {{ stop = {BENDS_DOWN:?}; }}
    scalars[{stop}].x = stop;
    var alpha = 0.0 * stop;
    if stop == 0.0 {{ alpha = scalars[{before}].x / scalars[{curvature}].x; }}
    scalars[{alpha}].x = alpha;
"
        );
        space.compute("alpha of conjugate gradients", &text)
    }

    /// β of an iteration, and whether it was the last.
    fn record_beta(&self, space: &mut Space) -> Result<()> {
        let [before, after, enough, beta, stop, made] =
            [self.before, self.after, self.enough, self.beta, self.stop, self.made]
                .map(|slot| space.place(slot));
        let text = format!(
            "    if scalars[{stop}].x != 0.0 {{ return; }}
    let after = scalars[{after}].x;
    scalars[{beta}].x = after / scalars[{before}].x;
    scalars[{before}].x = after;
    scalars[{made}].x += 1.0;
    if after <= scalars[{enough}].x {{ scalars[{stop}].x = 1.0; }}
"
        );
        space.compute("beta of conjugate gradients", &text)
    }
}

impl Direction for NewtonCg {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        let scalars = self.scalars();
        let work = match self.work.take() {
            Some(work) => work,
            None => Work {
                residual: here.space.vector()?,
                along: here.space.vector()?,
                product: here.space.vector()?,
            },
        };
        let (space, d) = (&mut *here.space, here.direction);
        // Superlinear near the solution, cheap far from it.
        let forcing = here.gradient_squared.sqrt().sqrt().min(0.5);
        let enough = forcing * forcing * here.gradient_squared;
        space.write(&[
            (scalars.before, here.gradient_squared),
            (scalars.enough, enough),
            (scalars.stop, 0.0),
            (scalars.made, 0.0),
        ]);
        space.scale_add(d, ZERO, here.gradient, ZERO, ONE)?;
        space.copy(&work.residual, here.gradient);
        space.scale_add(&work.along, ZERO, here.gradient, MINUS_ONE, ONE)?;
        let mut left = self.most;
        let (mut stop, mut made) = (0.0, 0.0);
        while left > 0 && stop == 0.0 {
            for _ in 0..CHUNK.min(left) {
                here.problem.product(space, self.curvature, &work.along, &work.product)?;
                space.dot(scalars.curvature, ONE, &work.along, &work.product)?;
                scalars.record_alpha(space)?;
                space.scale_add(d, ONE, &work.along, scalars.alpha, ONE)?;
                space.scale_add(&work.residual, ONE, &work.product, scalars.alpha, ONE)?;
                space.dot(scalars.after, ONE, &work.residual, &work.residual)?;
                scalars.record_beta(space)?;
                space.scale_add(&work.along, scalars.beta, &work.residual, MINUS_ONE, ONE)?;
            }
            left = left.saturating_sub(CHUNK);
            [stop, made] = space.read([scalars.stop, scalars.made])?;
        }
        self.products += made as u64 + u64::from(stop == BENDS_DOWN);
        if made == 0.0 {
            // It curves downwards along the gradient itself, which descends all the same.
            space.scale_add(d, ZERO, here.gradient, MINUS_ONE, ONE)?;
        }
        self.work = Some(work);
        Ok(())
    }

    fn products(&self) -> u64 {
        self.products
    }
}
