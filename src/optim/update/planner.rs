//! What the passes of an update are planned with: the ranges of its groups, buffers, tables, launches and state.

use super::super::modifiers::Grouping;
use super::super::rule::{Form, Passes};
use super::super::{Modifiers, Optimizer};
use super::text::UpdateKernel;
use super::{
    Home, OwnBuffer, Place, ReadOut, SLOT_SCALARS, Stage, StatePiece, StateTensor, StateVector, UpdateLaunch,
    UpdatePlan,
};
use crate::gpu::{AdapterClass, BufferUse, Profile};
use crate::graph::ParameterInfo;
use crate::plan::{ThetaLayout, fold_groups};
use crate::{Error, Result};

/// A group's part of a shard.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub group: usize,
    pub shard: usize,
    /// Floats before it in the shard, and in it, padding included.
    pub offset: usize,
    pub floats: usize,
    /// Its parameters' pieces: parameter, piece.
    pub pieces: Vec<(usize, usize)>,
}

/// What all passes are planned from.
pub(super) struct Planner<'a> {
    pub parameters: &'a [ParameterInfo],
    pub layout: &'a ThetaLayout,
    pub profile: &'a Profile,
    pub ranges: Vec<Range>,
    /// A buffer a shard for the mean of θ and for Lookahead's slow weights.
    pub average: Option<Vec<usize>>,
    pub slow: Option<Vec<usize>>,
    pub plan: UpdatePlan,
}

/// The groups' parts of each shard, in the order of the groups.
pub(super) fn ranges(parameters: &[ParameterInfo], layout: &ThetaLayout) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (number, (parameter, pieces)) in parameters.iter().zip(&layout.pieces).enumerate() {
        for (index, piece) in pieces.iter().enumerate() {
            let known =
                ranges.iter_mut().find(|range| range.group == parameter.group && range.shard == piece.shard);
            let end = piece.offset + ThetaLayout::padded(piece.elements);
            match known {
                // Pieces of a group come in the order of their offsets.
                Some(range) => {
                    range.floats = end - range.offset;
                    range.pieces.push((number, index));
                }
                None => ranges.push(Range {
                    group: parameter.group,
                    shard: piece.shard,
                    offset: piece.offset,
                    floats: end - piece.offset,
                    pieces: vec![(number, index)],
                }),
            }
        }
    }
    ranges
}

impl<'a> Planner<'a> {
    pub fn new(
        optimizer: &Optimizer,
        modifiers: &Modifiers,
        parameters: &'a [ParameterInfo],
        layout: &'a ThetaLayout,
        profile: &'a Profile,
    ) -> Result<Self> {
        modifiers.check()?;
        let Grouping { optimizers, .. } = Grouping::new(optimizer, modifiers, parameters)?;
        // Rates go in proportion to the run's own.
        if optimizer.learning_rate() == 0.0 && optimizers.iter().any(|one| one.learning_rate() != 0.0) {
            let message = "must be above 0 where a group has a rate of its own; to leave parameters as they are, give \
                           them a group with lr=0";
            return Err(Error::setting("lr", message));
        }
        if modifiers.lookahead.is_some() && optimizers.iter().any(|one| one.readout_rule().is_some()) {
            let message = "looks at θ, and this form of the rule keeps the look-ahead point in its place; use `form=pytorch`";
            return Err(Error::setting("lookahead", message));
        }
        let plan = UpdatePlan {
            optimizers,
            learning_rate: optimizer.learning_rate(),
            modifiers: modifiers.clone(),
            buffers: Vec::new(),
            kernels: Vec::new(),
            stages: Vec::new(),
            state: Vec::new(),
            readout: None,
            shadows: Vec::new(),
            control: None,
            search: None,
            moved: 0,
        };
        let ranges = ranges(parameters, layout);
        Ok(Planner { parameters, layout, profile, ranges, average: None, slow: None, plan })
    }

    /// The plan, once all its stages are there.
    pub fn finish(self) -> Result<UpdatePlan> {
        self.bindable()?;
        let mut plan = self.plan;
        plan.moved = plan.count_moved();
        Ok(plan)
    }
}

impl Planner<'_> {
    pub fn own(&mut self, role: &'static str, floats: usize) -> usize {
        self.plan.buffers.push(OwnBuffer {
            role,
            bytes: 4 * floats.max(4) as u64,
            uses: BufferUse::Storage,
            contents: Vec::new(),
        });
        self.plan.buffers.len() - 1
    }

    /// A table of `vec4<u32>`s.
    pub fn table(&mut self, rows: &[[u32; 4]]) -> Place {
        let buffer = self.own("other", 4 * rows.len());
        self.plan.buffers[buffer].contents = rows.concat();
        self.whole(buffer)
    }

    pub fn whole(&self, buffer: usize) -> Place {
        Place { home: Home::Own(buffer), offset: 0, bytes: self.plan.buffers[buffer].bytes }
    }

    pub fn kernel(&mut self, kernel: UpdateKernel) -> usize {
        let known = self.plan.kernels.iter().position(|other| *other == kernel);
        known.unwrap_or_else(|| {
            self.plan.kernels.push(kernel);
            self.plan.kernels.len() - 1
        })
    }

    /// A launch of `workgroups`, whose kernel finds their number, or `count`, and how they are folded in `launch`.
    pub fn launch(
        &self,
        group: usize,
        kernel: usize,
        vectors: Vec<Place>,
        workgroups: usize,
    ) -> UpdateLaunch {
        let (folded, along_x) = fold_groups(workgroups, self.profile);
        let control = self.plan.control.map(|buffer| self.whole(buffer));
        let scalars = Place {
            home: Home::Scalars(group),
            offset: 0,
            bytes: 4 * SLOT_SCALARS.next_multiple_of(4) as u64,
        };
        UpdateLaunch {
            kernel,
            places: std::iter::once(scalars).chain(control).chain(vectors).collect(),
            words: [workgroups as u32, along_x, 0, 0],
            workgroups: folded,
        }
    }

    pub fn then(&mut self, launch: UpdateLaunch) {
        self.plan.stages.push(Stage::Launch(launch));
    }

    pub fn theta(&self, range: &Range) -> Place {
        Place {
            home: Home::Theta(range.shard),
            offset: 4 * range.offset as u64,
            bytes: 4 * range.floats as u64,
        }
    }

    pub fn gradient(&self, range: &Range) -> Place {
        Place { home: Home::Gradient(range.shard), ..self.theta(range) }
    }

    pub fn ranges_of(&self, group: usize) -> Vec<Range> {
        self.ranges.iter().filter(|range| range.group == group).cloned().collect()
    }

    /// A range of a vector that has a buffer a shard of θ.
    pub fn within(&self, buffers: &[usize], range: &Range) -> Place {
        Place { home: Home::Own(buffers[range.shard]), ..self.theta(range) }
    }

    /// The vectors that follow θ, which [`text::Frame`] knows by name, over `range`.
    pub fn shadow_places(&self, range: &Range) -> Vec<(&'static str, Place)> {
        let named = [("slow", &self.slow), ("average", &self.average)];
        named
            .into_iter()
            .filter_map(|(name, buffers)| buffers.as_ref().map(|buffers| (name, self.within(buffers, range))))
            .collect()
    }

    /// The vectors that follow θ: Lookahead's slow weights and the mean.
    pub fn shadows(&mut self) {
        let wanted = [
            ("slow", self.plan.modifiers.lookahead.is_some()),
            ("average", self.plan.modifiers.average.is_some()),
        ];
        for (slot, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            let shards = self.layout.shards.clone();
            let buffers: Vec<usize> = shards.into_iter().map(|floats| self.own("state", floats)).collect();
            let tensors = (0..self.parameters.len()).map(|number| StateTensor {
                parameter: number,
                shape: self.parameters[number].shape.clone(),
                pieces: self.layout.pieces[number]
                    .iter()
                    .map(|piece| StatePiece {
                        buffer: buffers[piece.shard],
                        offset: piece.offset,
                        elements: piece.elements,
                    })
                    .collect(),
            });
            let vector = StateVector { slot, tensors: tensors.collect() };
            self.plan.state.push(vector);
            self.plan.shadows.push(buffers.clone());
            match slot {
                "slow" => self.slow = Some(buffers),
                _ => self.average = Some(buffers),
            }
        }
    }

    /// A state vector with θ's layout over the ranges of `group`; its buffers, one a range.
    pub fn full_state(&mut self, group: usize, slot: &'static str) -> Vec<usize> {
        let mut buffers = Vec::new();
        for range in self.ranges_of(group) {
            let buffer = self.own("state", range.floats);
            buffers.push(buffer);
            for (parameter, piece) in range.pieces {
                let shape = self.parameters[parameter].shape.clone();
                let piece = self.layout.pieces[parameter][piece];
                let piece =
                    StatePiece { buffer, offset: piece.offset - range.offset, elements: piece.elements };
                self.remember(slot, parameter, shape, piece);
            }
        }
        buffers
    }

    pub fn remember(&mut self, slot: &'static str, parameter: usize, shape: Vec<usize>, piece: StatePiece) {
        let state = &mut self.plan.state;
        let vector = state.iter().position(|vector| vector.slot == slot).unwrap_or_else(|| {
            state.push(StateVector { slot, tensors: Vec::new() });
            state.len() - 1
        });
        let tensors = &mut state[vector].tensors;
        match tensors.iter_mut().find(|tensor| tensor.parameter == parameter) {
            Some(tensor) => tensor.pieces.push(piece),
            None => tensors.push(StateTensor { parameter, shape, pieces: vec![piece] }),
        }
    }

    pub fn group(&mut self, group: usize) -> Result<()> {
        match self.plan.optimizers[group].rule.form {
            Form::Elementwise { .. } => self.elementwise(group),
            Form::Tensorwise { passes: Passes::TrustRatio { moments }, .. } => {
                self.trust_ratio(group, moments)
            }
            Form::Tensorwise { passes: Passes::Factored, .. } => return self.factored(group),
            Form::Tensorwise { passes: Passes::Orthogonal, .. } => return self.orthogonal(group),
        }
        Ok(())
    }

    /// Elements that a workgroup of the passes over blocks takes, at most: enough that the tables stay small. Where
    /// lanes wait for one another in turns on a CPU, a workgroup costs more than its memory traffic unless it is long.
    fn block(&self) -> usize {
        if self.profile.class == AdapterClass::Software { 1 << 17 } else { 1 << 12 }
    }

    /// Workgroups that sum `floats` of one vector: enough to fill a GPU, or the cores of a CPU.
    pub fn parts(&self, floats: usize) -> usize {
        let most = if self.profile.class == AdapterClass::Software { 32 } else { 1024 };
        let most = most.min(self.profile.max_workgroups_per_dimension as usize);
        (floats / 4).div_ceil(Optimizer::WORKGROUP_SIZE as usize).min(most)
    }

    /// Blocks of a piece of a parameter: first element within the range, elements.
    pub fn blocks(
        &self,
        range: &Range,
        parameter: usize,
        piece: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let piece = self.layout.pieces[parameter][piece];
        let first = piece.offset - range.offset;
        let block = self.block();
        (0..piece.elements)
            .step_by(block)
            .map(move |start| (first + start, block.min(piece.elements - start)))
    }

    /// Errors where a parameter of the group is cut between shards, which the passes over whole tensors do not join.
    pub fn whole_parameters(&self, group: usize) -> Result<()> {
        let rule = self.plan.optimizers[group].rule.name;
        let members = self.parameters.iter().enumerate().filter(|(_, parameter)| parameter.group == group);
        for (number, parameter) in members {
            if self.layout.pieces[number].len() > 1 {
                return Err(Error::DoesNotFit(format!(
                    "{rule} needs `{}` {:?} in one piece, and this adapter binds at most {} bytes at once; give it \
                     another rule by a group, or make it smaller",
                    parameter.name,
                    parameter.shape,
                    self.profile.max_binding_size.min(self.profile.max_buffer_size)
                )));
            }
        }
        Ok(())
    }

    /// θ as the user reads it.
    pub fn readout(&mut self) {
        let shadow = self.average.clone().or_else(|| self.slow.clone());
        let (launches, copies) = match shadow {
            Some(_) => (Vec::new(), Vec::new()),
            None => return self.computed_readout(),
        };
        self.plan.readout = shadow.map(|buffers| ReadOut { buffers, launches, copies });
    }

    /// Errors where a buffer is larger, or the buffers of a kernel are more, than the adapter binds.
    pub fn bindable(&self) -> Result<()> {
        let storage = |kernel: &UpdateKernel| {
            let kinds = kernel.bindings.iter();
            kinds.filter(|kind| **kind != crate::gpu::BindingKind::Uniform).count()
        };
        let most = self.profile.max_binding_size.min(self.profile.max_buffer_size);
        if let Some(buffer) = self.plan.buffers.iter().find(|buffer| buffer.bytes > most) {
            return Err(Error::DoesNotFit(format!(
                "a vector of the update takes {} bytes, and this adapter binds at most {most} at once; give some of the \
                 parameters another rule by a group",
                buffer.bytes
            )));
        }
        for kernel in &self.plan.kernels {
            if storage(kernel) > self.profile.max_storage_buffers as usize {
                return Err(Error::DoesNotFit(format!(
                    "the update `{}` binds {} vectors at once, and this adapter binds {}; leave the mean of θ or \
                     Lookahead away",
                    kernel.label,
                    storage(kernel),
                    self.profile.max_storage_buffers
                )));
            }
        }
        Ok(())
    }
}
