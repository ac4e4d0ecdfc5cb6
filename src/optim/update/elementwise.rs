//! Rules that look at one element at a time: one launch a range of θ.

use super::super::{Modifiers, Optimizer};
use super::planner::{Planner, Range};
use super::text::{Access, FOUR, Frame, UpdateKernel, Vector};
use super::{Place, ReadOut};

/// The loop's head: one invocation a vec4, `launch.count` of them.
const ENTRY: &str = "@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * launch.fold;
    if (i >= launch.count) {
        return;
    }
";

/// The kernel of one update, for the vectors that follow θ: gradient (read), θ, each state vector and those (read and
/// written).
pub(in crate::optim) fn update(
    optimizer: &Optimizer,
    modifiers: &Modifiers,
    shadows: &[&str],
) -> UpdateKernel {
    let slots = optimizer.state_slots();
    let mut vectors =
        vec![Vector::new("gradient", Access::Read, FOUR), Vector::new("theta", Access::ReadWrite, FOUR)];
    let others = slots.iter().chain(shadows);
    vectors.extend(others.map(|name| Vector::new(name, Access::ReadWrite, FOUR)));
    let frame = Frame { optimizer, modifiers, element: FOUR, vectors };
    // The mean is that of θ itself, where the theta vector holds another point.
    let reported = match optimizer.readout_rule() {
        Some(_) => "    put_theta(i, after.theta);\n    put_average(i, readout(after));\n",
        None => "    put_average(i, put_theta(i, after.theta));\n",
    };
    let skip = if modifiers.skips() { "    if (is_skipped()) {\n        return;\n    }\n" } else { "" };
    let body = format!(
        "{ENTRY}{skip}{}    let after = update(before, gradient_at(i));\n{}{reported}}}\n",
        Frame::loads(&slots),
        Frame::stores(&slots),
    );
    frame.kernel("update", &body)
}

/// The readout kernel: the reported θ (written), the theta vector and each state vector (read).
pub(in crate::optim) fn readout(optimizer: &Optimizer, modifiers: &Modifiers) -> UpdateKernel {
    let slots = optimizer.state_slots();
    let mut vectors =
        vec![Vector::new("readout", Access::ReadWrite, FOUR), Vector::new("theta", Access::Read, FOUR)];
    vectors.extend(slots.iter().map(|name| Vector::new(name, Access::Read, FOUR)));
    let frame = Frame { optimizer, modifiers, element: FOUR, vectors };
    let body = format!("{ENTRY}{}    readout_vector[i] = readout(before);\n}}\n", Frame::loads(&slots));
    frame.kernel("readout", &body)
}

impl Planner<'_> {
    /// One launch a range of the group.
    pub(super) fn elementwise(&mut self, group: usize) {
        let optimizer = self.plan.optimizers[group].clone();
        let state: Vec<Vec<usize>> =
            optimizer.state_slots().into_iter().map(|slot| self.full_state(group, slot)).collect();
        for (number, range) in self.ranges_of(group).iter().enumerate() {
            let shadows = self.shadow_places(range);
            let names: Vec<&str> = shadows.iter().map(|(name, _)| *name).collect();
            let kernel = self.kernel(update(&optimizer, &self.plan.modifiers, &names));
            let mut places = vec![self.gradient(range), self.theta(range)];
            places.extend(state.iter().map(|buffers| self.whole(buffers[number])));
            places.extend(shadows.into_iter().map(|(_, place)| place));
            let launch = self.over_elements(group, kernel, places, range);
            self.then(launch);
        }
    }

    /// A launch with one invocation a vec4 of `range`.
    pub(super) fn over_elements(
        &self,
        group: usize,
        kernel: usize,
        places: Vec<Place>,
        range: &Range,
    ) -> super::UpdateLaunch {
        let count = range.floats / 4;
        let workgroups = count.div_ceil(Optimizer::WORKGROUP_SIZE as usize);
        let mut launch = self.launch(group, kernel, places, workgroups);
        launch.words = [count as u32, launch.words[1] * Optimizer::WORKGROUP_SIZE, 0, 0];
        launch
    }

    /// θ where the theta vector of some group holds another point: a vector of its own, computed for those groups and
    /// copied for the others.
    pub(super) fn computed_readout(&mut self) {
        if self.plan.optimizers.iter().all(|optimizer| optimizer.readout_rule().is_none()) {
            return;
        }
        let shards = self.layout.shards.clone();
        let buffers: Vec<usize> = shards.into_iter().map(|floats| self.own("state", floats)).collect();
        let (mut launches, mut copies) = (Vec::new(), Vec::new());
        for group in 0..self.plan.optimizers.len() {
            let optimizer = self.plan.optimizers[group].clone();
            for range in self.ranges_of(group) {
                let theta = self.theta(&range);
                if optimizer.readout_rule().is_none() {
                    copies.push((range.shard, theta.offset, theta.bytes));
                    continue;
                }
                let kernel = self.kernel(readout(&optimizer, &self.plan.modifiers));
                let mut places = vec![self.within(&buffers, &range), theta];
                places.extend(self.state_places(&optimizer, &range));
                launches.push(self.over_elements(group, kernel, places, &range));
            }
        }
        self.plan.readout = Some(ReadOut { buffers, launches, copies });
    }

    /// The state of a range, whose buffers hold nothing else.
    fn state_places(&self, optimizer: &Optimizer, range: &Range) -> Vec<Place> {
        let first = range.pieces.first().map_or(0, |(parameter, _)| *parameter);
        let buffer = |slot: &str| {
            let vector = self.plan.state.iter().find(|vector| vector.slot == slot)?;
            let tensor = vector.tensors.iter().find(|tensor| tensor.parameter == first)?;
            let piece = range.pieces.first().map_or(0, |(_, piece)| *piece);
            tensor.pieces.get(piece).map(|piece| piece.buffer)
        };
        optimizer
            .state_slots()
            .iter()
            .filter_map(|slot| buffer(slot))
            .map(|buffer| self.whole(buffer))
            .collect()
    }
}
