//! A descent to the host and back, so that it goes on bit for bit as if it had never stopped.

use super::super::direction::{Direction, LastStep};
use super::super::memory::MethodMemory;
use super::super::problem::Problem;
use super::super::space::{Space, Vector};
use super::trial::Trial;
use super::{Descended, Descent, DescentOptions};
use crate::Result;

impl Descent {
    /// Where it stands and what it has learnt. The host waits.
    ///
    /// # Errors
    /// What the device fails with.
    pub fn memory(&mut self, problem: &dyn Problem) -> Result<MethodMemory> {
        self.space.submit();
        let layout = problem.layout();
        let mut memory = MethodMemory::default();
        let descended = self.descended();
        let counts = [self.steps, self.evaluations, descended.products, descended.readbacks];
        memory.put("counts", counts.map(|count| count as f64));
        memory.put("patience", [self.idle, self.endless].map(f64::from));
        memory.put("best", [self.best.0, self.best.1]);
        memory.put("flags", [self.remembers, self.is_directed].map(|flag| f64::from(u8::from(flag))));
        memory.put("line", [self.last_alpha, self.last_slope]);
        memory.put("here", bytemuck::cast::<_, [f64; 8]>(self.here));
        memory.put("last", bytemuck::cast::<_, [f64; 8]>(self.last.products));
        if let Some(former_value) = self.former_value {
            memory.put("former", [former_value]);
        }
        for (name, vector) in self.vectors(problem) {
            memory.put(name, self.space.numbers_of(&vector, layout)?);
        }
        self.direction.remember(&self.space, layout, &mut memory)?;
        Ok(memory)
    }

    /// Goes on where another descent of the same method on the same problem, whose θ is this one's, was when it gave `memory`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where `memory` is of another problem or method; what the device fails with.
    pub fn resumed(
        space: Space,
        problem: &mut dyn Problem,
        direction: Box<dyn Direction>,
        options: DescentOptions,
        memory: &MethodMemory,
    ) -> Result<Self> {
        let mut descent = Self::at_rest(space, direction, options)?;
        let Descended { steps, evaluations, products, readbacks, .. } = Descended::remembered(memory)?;
        (descent.steps, descent.evaluations) = (steps, evaluations);
        descent.former_counts = [products, readbacks];
        [descent.idle, descent.endless] = memory.numbers("patience")?.map(|count| count as u32);
        descent.best = memory.numbers("best")?.into();
        [descent.remembers, descent.is_directed] = memory.numbers("flags")?.map(|flag| flag != 0.0);
        [descent.last_alpha, descent.last_slope] = memory.numbers("line")?;
        descent.here = bytemuck::cast(memory.numbers::<8>("here")?);
        descent.last.products = bytemuck::cast(memory.numbers::<8>("last")?);
        if memory.has("former") {
            let [former_value] = memory.numbers("former")?;
            descent.former_value = Some(former_value);
        }
        let layout = problem.layout();
        for (name, vector) in descent.vectors(problem) {
            let numbers = memory.list(name, layout.elements())?;
            descent.space.write_vector(&vector, layout, numbers)?;
        }
        descent.direction.recall(&mut descent.space, layout, memory)?;
        // What a step that was broken off begins with.
        descent.begin_line(problem);
        Ok(descent)
    }

    fn vectors(&self, problem: &dyn Problem) -> [(&'static str, Vector); 4] {
        let LastStep { step, change, .. } = &self.last;
        [("gradient", problem.gradient()), ("step", step), ("change", change), ("along", &self.along)]
            .map(|(name, vector)| (name, vector.clone()))
    }
}

impl Descended {
    /// Where the descent was that gave `memory`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where it is no descent's.
    pub fn remembered(memory: &MethodMemory) -> Result<Self> {
        let [steps, evaluations, products, readbacks] = memory.numbers("counts")?.map(|count| count as u64);
        let Trial { value, gradient_squared, .. } = bytemuck::cast(memory.numbers::<8>("here")?);
        let [step_size, _] = memory.numbers("line")?;
        let gradient_norm = gradient_squared.sqrt();
        Ok(Descended { steps, value, gradient_norm, evaluations, products, readbacks, step_size })
    }
}
