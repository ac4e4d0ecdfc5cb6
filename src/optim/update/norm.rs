//! The norm of the whole gradient, by one read of it, and what it decides: the scale of clipping, whether the step is
//! skipped, and by what the loss is multiplied in the next one. All stays on the device, in `control`.

use super::OwnBuffer;
use super::planner::{Planner, Range};
use super::text::{Access, FOUR, Frame, Vector};
use crate::gpu::BufferUse;
use crate::optim::Modifiers;

/// Floats of `Control`, and which of them is the loss scale.
const CONTROL_FLOATS: usize = 8;
const LOSS_SCALE: usize = 4;

impl Planner<'_> {
    pub(super) fn norm(&mut self) {
        let shards = self.layout.shards.clone();
        let all: usize = shards.iter().map(|floats| self.parts(*floats)).sum();
        let partials = self.own("other", all);
        let optimizer = self.plan.optimizers[0].clone();
        // Kernels here do not look at `control`, and are the same for every rule.
        let plain = Modifiers::default();
        let frame = |vectors| Frame { optimizer: &optimizer, modifiers: &plain, element: FOUR, vectors };
        let sums = |access| Vector { name: "partials".to_owned(), access, element: "f32" };
        let gradient = Vector::new("gradient", Access::Read, FOUR);
        let body = include_str!("../../../shaders/update/norm_partials.wgsl");
        let kernel = frame(vec![gradient, sums(Access::ReadWrite)]).kernel("norm", body);
        let kernel = self.kernel(kernel);
        let mut first = 0;
        for (shard, floats) in shards.iter().enumerate() {
            let range = Range { group: 0, shard, offset: 0, floats: *floats, pieces: Vec::new() };
            let count = self.parts(*floats);
            let places = vec![self.gradient(&range), self.whole(partials)];
            let mut launch = self.launch(0, kernel, places, count);
            launch.words = [count as u32, 0, (floats / 4) as u32, first as u32];
            self.then(launch);
            first += count;
        }
        let Modifiers { clip_norm, loss_scale, .. } = self.plan.modifiers;
        let mut contents = [0; CONTROL_FLOATS];
        contents[LOSS_SCALE] = (loss_scale.unwrap_or(1.0) as f32).to_bits();
        self.plan.buffers.push(OwnBuffer {
            role: "other",
            bytes: 4 * CONTROL_FLOATS as u64,
            uses: BufferUse::StorageUniform,
            contents: contents.to_vec(),
        });
        let control = self.plan.buffers.len() - 1;
        let vectors = vec![
            sums(Access::Read),
            Vector { element: "Control", ..Vector::new("control", Access::ReadWrite, FOUR) },
        ];
        let kernel =
            frame(vectors).kernel("control", include_str!("../../../shaders/update/norm_control.wgsl"));
        let kernel = self.kernel(kernel);
        let mut launch = self.launch(0, kernel, vec![self.whole(partials), self.whole(control)], 1);
        let largest = clip_norm.map_or(f32::MAX, |norm| norm as f32);
        let flags = u32::from(self.plan.modifiers.skips()) | u32::from(loss_scale.is_some()) << 1;
        launch.words = [all as u32, 0, largest.to_bits(), flags];
        self.then(launch);
        // From here on, kernels bind it.
        self.plan.control = Some(control);
    }
}
