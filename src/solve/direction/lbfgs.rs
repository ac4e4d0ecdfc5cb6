//! Limited-memory BFGS: d = −H·g, H being what the last m steps and changes of the gradient tell of the inverse Hessian,
//! applied by two loops over them and never formed (Nocedal 1980; Nocedal and Wright, algorithm 7.4).
//!
//! Both loops run on the device without a word from the host: a dot product leaves its coefficient in a slot from which
//! the next sum takes it.

use super::{Direction, FirstStep, Here, LastStep};
use crate::Result;
use crate::solve::space::{MINUS_ONE, ONE, Slot, Vector, ZERO};

/// L-BFGS.
pub(crate) struct Lbfgs {
    /// Pairs that are kept.
    history: usize,
    /// The slots of 1/(s·y), of α and of β, as many of the first two as pairs, and of γ = s·y / y·y of the newest pair, by
    /// which H is scaled without any.
    first: usize,
    pairs: Vec<Pair>,
}

/// A step and the change of the gradient along it, and the slots of 1/(s·y) and α.
struct Pair {
    step: Vector,
    change: Vector,
    inverse: Slot,
    alpha: Slot,
}

impl Lbfgs {
    /// With the slots from `first` on.
    pub fn new(history: usize, first: usize) -> Self {
        Lbfgs { history, first, pairs: Vec::new() }
    }

    fn beta(&self) -> Slot {
        Slot(self.first + 2 * self.history)
    }

    fn gamma(&self) -> Slot {
        Slot(self.first + 2 * self.history + 1)
    }

    /// Keeps the last step in the place of the oldest, unless the objective is not convex along it.
    fn learn(&mut self, here: &mut Here) -> Result<()> {
        // What rounding leaves of a product has no sign to trust. Unlike a fixed bound, this knows no units.
        let roundoff = here.space.roundoff();
        let curves =
            |last: &&LastStep| last.step_change > roundoff * (last.step_squared * last.change_squared).sqrt();
        let Some(last) = here.last.filter(curves) else { return Ok(()) };
        let pair = match self.pairs.len() < self.history {
            true => {
                let place = self.first + 2 * self.pairs.len();
                Pair {
                    step: here.space.vector()?,
                    change: here.space.vector()?,
                    inverse: Slot(place),
                    alpha: Slot(place + 1),
                }
            }
            false => self.pairs.remove(0),
        };
        here.space.copy(&pair.step, &last.step);
        here.space.copy(&pair.change, &last.change);
        let scale = last.step_change / last.change_squared;
        here.space.write(&[(pair.inverse, 1.0 / last.step_change), (self.gamma(), scale)]);
        self.pairs.push(pair);
        Ok(())
    }
}

impl Direction for Lbfgs {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        self.learn(here)?;
        let (space, d) = (&mut *here.space, here.direction);
        if self.pairs.is_empty() {
            return space.scale_add(d, ZERO, here.gradient, MINUS_ONE, ONE);
        }
        // d is −q and then −r of the algorithm, so α and β change their signs with it.
        space.scale_add(d, ZERO, here.gradient, MINUS_ONE, ONE)?;
        for pair in self.pairs.iter().rev() {
            space.dot(pair.alpha, pair.inverse, &pair.step, d)?;
            space.scale_add(d, ONE, &pair.change, pair.alpha, MINUS_ONE)?;
        }
        space.scale_add(d, self.gamma(), here.gradient, ZERO, ONE)?;
        for pair in &self.pairs {
            space.dot(self.beta(), pair.inverse, &pair.change, d)?;
            space.scale_add(d, ONE, &pair.step, pair.alpha, ONE)?;
            space.scale_add(d, ONE, &pair.step, self.beta(), MINUS_ONE)?;
        }
        Ok(())
    }

    fn first_step(&self) -> FirstStep {
        FirstStep::NewtonLater
    }

    fn restart(&mut self) {
        self.pairs.clear();
    }
}
