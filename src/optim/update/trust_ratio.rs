//! LAMB and LARS: moments and norms of all tensors at once, their ratios, and the step; three launches a range.

use super::Place;
use super::planner::Planner;
use super::text::{Access, FOUR, Frame, UpdateKernel, Vector};
use crate::optim::{Modifiers, Optimizer};

/// The passes' texts.
const MOMENTS: &str = include_str!("../../../shaders/update/trust_ratio_moments.wgsl");
const RATIOS: &str = include_str!("../../../shaders/update/trust_ratio_ratios.wgsl");
const STEPS: &str = include_str!("../../../shaders/update/trust_ratio_steps.wgsl");

/// A kernel over blocks, which reads θ and writes `changed` of the state, or both.
struct BlockKernel<'a> {
    optimizer: &'a Optimizer,
    modifiers: &'a Modifiers,
    theta: Access,
    changed: &'a [&'static str],
    shadows: &'a [&'static str],
    /// Vectors before the state: the pass's own.
    tables: Vec<Vector>,
}

impl BlockKernel<'_> {
    fn text(self, label: &str, put: &str, body: &str) -> UpdateKernel {
        let slots = self.optimizer.state_slots();
        let mut vectors =
            vec![Vector::new("gradient", Access::Read, FOUR), Vector::new("theta", self.theta, FOUR)];
        vectors.extend(self.tables);
        for slot in &slots {
            let access = if self.changed.contains(slot) { Access::ReadWrite } else { Access::Read };
            vectors.push(Vector::new(slot, access, FOUR));
        }
        vectors.extend(self.shadows.iter().map(|name| Vector::new(name, Access::ReadWrite, FOUR)));
        let frame = Frame { optimizer: self.optimizer, modifiers: self.modifiers, element: FOUR, vectors };
        let functions = format!(
            "fn element_at(i: u32) -> Element {{\n{}    return before;\n}}\nfn {put}(i: u32, after: Element) {{\n{}}}\n",
            Frame::loads(&slots),
            Frame::stores(self.changed),
        );
        frame.kernel(label, &(functions + body))
    }
}

impl Planner<'_> {
    /// `moments` are the state vectors that the first pass changes; the last one changes the others.
    pub(super) fn trust_ratio(&mut self, group: usize, moments: &'static [&'static str]) {
        let optimizer = self.plan.optimizers[group].clone();
        let slots = optimizer.state_slots();
        let state: Vec<Vec<usize>> = slots.iter().map(|slot| self.full_state(group, slot)).collect();
        let rest: Vec<&'static str> = slots.iter().copied().filter(|slot| !moments.contains(slot)).collect();
        let (jobs, spans) = self.jobs(group);
        let blocks = jobs.iter().map(Vec::len).sum::<usize>();
        let (partials, ratios) = (self.own("other", 2 * blocks), self.own("other", spans.len()));
        let [partials, ratios] = [partials, ratios].map(|buffer| self.whole(buffer));
        let tables: Vec<Place> = jobs.iter().map(|jobs| self.table(jobs)).collect();
        let modifiers = self.plan.modifiers.clone();
        let ranges = self.ranges_of(group);
        let own = |name: &str, access, element| Vector { name: name.to_owned(), access, element };
        for (number, range) in ranges.iter().enumerate() {
            let kernel = BlockKernel {
                optimizer: &optimizer,
                modifiers: &modifiers,
                theta: Access::Read,
                changed: moments,
                shadows: &[],
                tables: vec![Vector::table("jobs"), own("partials", Access::ReadWrite, "vec2<f32>")],
            };
            let kernel = self.kernel(kernel.text("moments", "put_moments", MOMENTS));
            let mut places = vec![self.gradient(range), self.theta(range), tables[number], partials];
            places.extend(state.iter().map(|buffers| self.whole(buffers[number])));
            let launch = self.launch(group, kernel, places, jobs[number].len());
            self.then(launch);
        }
        let vectors = vec![
            Vector::table("spans"),
            own("partials", Access::Read, "vec2<f32>"),
            own("ratios", Access::ReadWrite, "f32"),
        ];
        let frame = Frame { optimizer: &optimizer, modifiers: &modifiers, element: FOUR, vectors };
        let kernel = self.kernel(frame.kernel("ratios", RATIOS));
        let table = self.table(&spans);
        let launch = self.launch(group, kernel, vec![table, partials, ratios], spans.len());
        self.then(launch);
        for (number, range) in ranges.iter().enumerate() {
            let shadows = self.shadow_places(range);
            let names: Vec<&'static str> = shadows.iter().map(|(name, _)| *name).collect();
            let kernel = BlockKernel {
                optimizer: &optimizer,
                modifiers: &modifiers,
                theta: Access::ReadWrite,
                changed: &rest,
                shadows: &names,
                tables: vec![Vector::table("jobs"), own("ratios", Access::Read, "f32")],
            };
            let kernel = self.kernel(kernel.text("steps", "put_rest", STEPS));
            let mut places = vec![self.gradient(range), self.theta(range), tables[number], ratios];
            places.extend(state.iter().map(|buffers| self.whole(buffers[number])));
            places.extend(shadows.into_iter().map(|(_, place)| place));
            let launch = self.launch(group, kernel, places, jobs[number].len());
            self.then(launch);
        }
    }

    /// For each range its blocks (first vec4, vec4s, tensor, number of the block), and for each tensor its first block
    /// and their number. A tensor that is cut has blocks in several ranges, which follow one another.
    fn jobs(&self, group: usize) -> (Vec<Vec<[u32; 4]>>, Vec<[u32; 4]>) {
        let (mut jobs, mut spans): (Vec<Vec<[u32; 4]>>, Vec<[u32; 4]>) = Default::default();
        let (mut members, mut blocks): (Vec<usize>, u32) = Default::default();
        for range in self.ranges_of(group) {
            let mut of_range = Vec::new();
            for &(parameter, piece) in &range.pieces {
                if members.last() != Some(&parameter) {
                    members.push(parameter);
                    spans.push([blocks, 0, 0, 0]);
                }
                let tensor = members.len() - 1;
                for (first, elements) in self.blocks(&range, parameter, piece) {
                    // Padding is zero and may be summed.
                    let quads = elements.div_ceil(4) as u32;
                    of_range.push([(first / 4) as u32, quads, tensor as u32, blocks]);
                    spans[tensor][1] += 1;
                    blocks += 1;
                }
            }
            jobs.push(of_range);
        }
        (jobs, spans)
    }
}
