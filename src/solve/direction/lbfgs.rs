//! Limited-memory BFGS: d = −H·g, H being what the last m steps and changes of the gradient tell of the inverse Hessian,
//! applied by two loops over them and never formed (Nocedal 1980; Nocedal and Wright, algorithm 7.4).
//!
//! Both loops run on the device without a word from the host: a dot product leaves its coefficient in a slot from which
//! the next sum takes it.

use super::{Direction, FirstStep, Here, StepProducts};
use crate::Result;
use crate::plan::ThetaLayout;
use crate::solve::memory::MethodMemory;
use crate::solve::space::{MINUS_ONE, ONE, Slot, Space, Vector, ZERO};

/// L-BFGS.
pub(crate) struct Lbfgs {
    /// Pairs that are kept.
    history: usize,
    /// The slots of 1/(s·y), of α and of β, as many of the first two as pairs, and of γ = s·y / y·y of the newest pair, by
    /// which H is scaled without any.
    first: usize,
    pairs: Vec<Pair>,
    /// y·y of the newest pair.
    squared: f64,
}

/// A step and the change of the gradient along it, and the slots of 1/(s·y) and α.
struct Pair {
    step: Vector,
    change: Vector,
    inverse: Slot,
    alpha: Slot,
    /// s·y.
    across: f64,
}

impl Lbfgs {
    /// With the slots from `first` on.
    pub fn new(history: usize, first: usize) -> Self {
        Lbfgs { history, first, pairs: Vec::new(), squared: 1.0 }
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
            |of: &StepProducts| of.step_change > roundoff * (of.step_squared * of.change_squared).sqrt();
        let Some(last) = here.last.filter(|last| curves(&last.products)) else { return Ok(()) };
        let StepProducts { step_change, change_squared, .. } = last.products;
        let mut pair = match self.pairs.len() < self.history {
            true => self.new_pair(here.space)?,
            false => self.pairs.remove(0),
        };
        here.space.copy(&pair.step, &last.step);
        here.space.copy(&pair.change, &last.change);
        pair.across = step_change;
        self.keep(here.space, pair, change_squared);
        Ok(())
    }

    fn new_pair(&self, space: &Space) -> Result<Pair> {
        let place = self.first + 2 * self.pairs.len();
        let (step, change) = (space.vector()?, space.vector()?);
        Ok(Pair { step, change, inverse: Slot(place), alpha: Slot(place + 1), across: 1.0 })
    }

    /// Makes `pair` the newest, whose y·y is `squared`.
    fn keep(&mut self, space: &mut Space, pair: Pair, squared: f64) {
        space.write(&[(pair.inverse, 1.0 / pair.across), (self.gamma(), pair.across / squared)]);
        self.squared = squared;
        self.pairs.push(pair);
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

    fn remember(&self, space: &Space, layout: &ThetaLayout, memory: &mut MethodMemory) -> Result<()> {
        for (number, pair) in self.pairs.iter().enumerate() {
            memory.put(format!("pair{number}.step"), space.numbers_of(&pair.step, layout)?);
            memory.put(format!("pair{number}.change"), space.numbers_of(&pair.change, layout)?);
            memory.put(format!("pair{number}.products"), [pair.across, self.squared]);
        }
        Ok(())
    }

    fn recall(&mut self, space: &mut Space, layout: &ThetaLayout, memory: &MethodMemory) -> Result<()> {
        for number in (0..self.history).take_while(|number| memory.has(&format!("pair{number}.step"))) {
            let [across, squared] = memory.numbers(&format!("pair{number}.products"))?;
            let pair = Pair { across, ..self.new_pair(space)? };
            for (vector, name) in [(&pair.step, "step"), (&pair.change, "change")] {
                let numbers = memory.list(&format!("pair{number}.{name}"), layout.elements())?;
                space.write_vector(vector, layout, numbers)?;
            }
            self.keep(space, pair, squared);
        }
        Ok(())
    }
}
