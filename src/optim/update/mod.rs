//! An update on paper: buffers, kernels and launches that make a new θ of a gradient, with no device in it.
//!
//! θ is laid out group by group ([`Grouping`](super::modifiers::Grouping)), so a group is a range of each shard, with
//! an optimizer, scalars and state of its own. A rule is one launch a range, or the passes of its
//! [`Passes`](super::rule::Passes); what the gradient's norm decides stays on the device, in `control`.

mod device;
mod elementwise;
mod factored;
mod host_search;
mod norm;
mod orthogonal;
mod planner;
mod search;
mod text;
mod trust_ratio;

#[cfg(test)]
mod tests;

use super::{Modifiers, Optimizer};
use crate::Result;
use crate::gpu::{AdapterClass, BufferUse, Profile};
use crate::graph::ParameterInfo;
use crate::plan::cost::{LaunchWork, update_seconds};
use crate::plan::memory::ALIGNMENT;
use crate::plan::{Plan, ThetaLayout};
use planner::Planner;
use text::UpdateKernel;

pub(crate) use device::Updater;
pub(crate) use search::SearchPlan;
pub(super) use text::rule;

/// Floats of a scalars slot: the rule's and the modifiers'.
const SLOT_SCALARS: usize = Optimizer::SCALARS + Modifiers::SCALARS;

/// A buffer that the update allocates.
#[derive(Clone, Debug)]
pub(crate) struct OwnBuffer {
    /// "state" or "other".
    pub role: &'static str,
    pub bytes: u64,
    pub uses: BufferUse,
    /// What it holds at the start; zeros behind.
    pub contents: Vec<u32>,
}

/// A range that a launch binds, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub home: Home,
    pub offset: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    /// The scalars slot of a group.
    Scalars(usize),
    /// A shard of θ or of the gradient.
    Theta(usize),
    Gradient(usize),
    /// The first result of the plan that ran last: its loss.
    Result,
    Own(usize),
}

/// One launch.
#[derive(Clone, Debug)]
pub(crate) struct UpdateLaunch {
    pub kernel: usize,
    /// Binding 0, then from binding 2 on: 1 is `words`.
    pub places: Vec<Place>,
    pub words: [u32; 4],
    pub workgroups: [u32; 2],
}

/// What an update does, in order.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Launch(UpdateLaunch),
    /// A plan whose parameters are read from, and whose gradients are written to, the gradient.
    Replay(Box<Plan>),
    /// The forward pass at the trial point of a line search.
    Trial,
}

impl Stage {
    fn launch(&self) -> Option<&UpdateLaunch> {
        match self {
            Stage::Launch(launch) => Some(launch),
            Stage::Replay(_) | Stage::Trial => None,
        }
    }
}

/// A tensor of a state vector: what of it lies in each buffer.
#[derive(Clone, Debug)]
pub(crate) struct StateTensor {
    /// The parameter that it belongs to.
    pub parameter: usize,
    pub shape: Vec<usize>,
    pub pieces: Vec<StatePiece>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StatePiece {
    pub buffer: usize,
    /// Floats before it in the buffer, and in it.
    pub offset: usize,
    pub elements: usize,
}

/// A state vector by name.
#[derive(Clone, Debug)]
pub(crate) struct StateVector {
    pub slot: &'static str,
    pub tensors: Vec<StateTensor>,
}

/// Where θ as the user reads it lies, and how it gets there.
#[derive(Clone, Debug)]
pub(crate) struct ReadOut {
    /// A buffer a shard of θ.
    pub buffers: Vec<usize>,
    /// Launches that write it, where the update itself does not.
    pub launches: Vec<UpdateLaunch>,
    /// Ranges of θ that are copied to it before: shard, first byte, bytes.
    pub copies: Vec<(usize, u64, u64)>,
}

/// An update on paper.
#[derive(Clone, Debug)]
pub(crate) struct UpdatePlan {
    pub optimizers: Vec<Optimizer>,
    /// The run's own learning rate, that of the optimizer beside the groups, whether or not it updates anything.
    learning_rate: f64,
    pub modifiers: Modifiers,
    pub buffers: Vec<OwnBuffer>,
    pub kernels: Vec<UpdateKernel>,
    pub stages: Vec<Stage>,
    pub state: Vec<StateVector>,
    pub readout: Option<ReadOut>,
    /// The vectors that follow θ and begin as θ, a buffer a shard.
    pub shadows: Vec<Vec<usize>>,
    /// The buffer of `control`, where the gradient's norm is looked at.
    pub control: Option<usize>,
    /// Where the step size is searched for, what of that the host looks at.
    pub search: Option<SearchPlan>,
    /// Bytes that all launches read and write.
    pub moved: u64,
}

impl UpdatePlan {
    /// The update of `parameters`, which lie as `layout` says, by `optimizer` and what goes with it.
    ///
    /// Errors: [`Error::Setting`] for modifiers out of range or that do not go together, [`Error::DoesNotFit`] where the
    /// adapter binds too little for a pass.
    pub fn new(
        optimizer: &Optimizer,
        modifiers: &Modifiers,
        parameters: &[ParameterInfo],
        layout: &ThetaLayout,
        profile: &Profile,
    ) -> Result<Self> {
        let mut planner = Planner::new(optimizer, modifiers, parameters, layout, profile)?;
        planner.shadows();
        if modifiers.need_norm() {
            planner.norm();
        }
        for group in 0..planner.plan.optimizers.len() {
            planner.group(group)?;
        }
        planner.readout();
        planner.finish()
    }

    /// Bytes of all buffers of a role.
    pub fn bytes(&self, role: &str) -> u64 {
        self.buffers.iter().filter(|buffer| buffer.role == role).map(|buffer| buffer.bytes).sum()
    }

    /// Bytes of the launches' own uniforms.
    pub fn words_bytes(&self) -> u64 {
        ALIGNMENT * self.launches().count().max(1) as u64
    }

    /// Bytes of the groups' scalars.
    pub fn scalars_bytes(&self) -> u64 {
        ALIGNMENT * self.optimizers.len() as u64
    }

    /// The plans among the stages.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.stages.iter().filter_map(|stage| match stage {
            Stage::Replay(plan) => Some(&**plan),
            Stage::Launch(_) | Stage::Trial => None,
        })
    }

    /// Seconds of one update, by estimate.
    pub fn seconds(&self, class: AdapterClass) -> f64 {
        update_seconds(self.moved, class) + self.plans().map(|plan| plan.seconds(class)).sum::<f64>()
    }

    fn launches(&self) -> impl Iterator<Item = &UpdateLaunch> {
        let evaluation = self.search.iter().flat_map(|search| &search.evaluation);
        let stages = self.stages.iter().chain(evaluation).filter_map(Stage::launch);
        stages.chain(self.readout.iter().flat_map(|readout| &readout.launches))
    }

    fn count_moved(&self) -> u64 {
        self.stages.iter().filter_map(Stage::launch).map(|launch| self.moved_by(launch)).sum()
    }

    /// Bytes that a launch reads and writes.
    fn moved_by(&self, launch: &UpdateLaunch) -> u64 {
        use crate::gpu::BindingKind::{ReadStorage, ReadWriteStorage};
        let kinds = self.kernels[launch.kernel].bindings.iter();
        // Binding 1 has no place of its own.
        let kinds = kinds.enumerate().filter(|(binding, _)| *binding != 1).map(|(_, kind)| kind);
        kinds
            .zip(&launch.places)
            .map(|(kind, place)| match kind {
                ReadStorage => place.bytes,
                ReadWriteStorage => 2 * place.bytes,
                _ => 0,
            })
            .sum()
    }

    /// What the launches of the update are, in their order; `trial` is the forward pass of a line search.
    pub fn described(&self, trial: Option<&Plan>) -> Vec<LaunchWork> {
        let stages = self.stages.iter().map(|stage| match stage {
            Stage::Launch(launch) => vec![LaunchWork {
                name: self.kernels[launch.kernel].label.clone(),
                operations: 0,
                bytes: self.moved_by(launch),
            }],
            Stage::Replay(plan) => plan.described(),
            Stage::Trial => trial.map(Plan::described).unwrap_or_default(),
        });
        stages.flatten().collect()
    }

    /// What the launches of step `number` = 1, 2, … read, a slot of [`ALIGNMENT`] bytes a group, where the run's
    /// learning rate is `learning_rate` and those of groups follow in proportion.
    pub fn scalars(&self, number: u64, learning_rate: f64) -> Vec<f32> {
        let slot_floats = ALIGNMENT as usize / 4;
        let mut scalars = vec![0.0; slot_floats * self.optimizers.len()];
        let after = self.modifiers.scalars(number);
        for (optimizer, slot) in self.optimizers.iter().zip(scalars.chunks_exact_mut(slot_floats)) {
            let rate = self.rate_of(optimizer, learning_rate);
            let own = optimizer.rule.scalars.len();
            slot[..own].copy_from_slice(&optimizer.scalars(number, rate)[..own]);
            slot[own..].iter_mut().zip(after).for_each(|(slot, value)| *slot = value);
        }
        scalars
    }

    /// A group's learning rate changes as the run's does.
    fn rate_of(&self, optimizer: &Optimizer, learning_rate: f64) -> f64 {
        let base = self.learning_rate;
        if base == 0.0 || optimizer.learning_rate() == base {
            return learning_rate;
        }
        optimizer.learning_rate() * (learning_rate / base)
    }
}
