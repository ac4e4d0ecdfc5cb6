//! What plans take of the GPU's memory, by role: pure arithmetic, no device. Everything that is allocated later is
//! counted here, rounding and wgpu's own buffers included.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Home, Plan};

/// Bytes to which results and uniforms are aligned: the largest offset alignment that adapters ask for.
pub(crate) const ALIGNMENT: u64 = 256;

/// What wgpu allocates for itself with a device: the buffer of zeros that it clears others from, 512 KiB
/// (`ZERO_BUFFER_SIZE` in wgpu-core 30), and a few hundred bytes beside it, taken as 4 KiB.
pub(crate) const WGPU_BYTES: u64 = (512 << 10) + (4 << 10);

/// Bytes of every buffer that the plans of a run share.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Needs {
    /// Of each shard of θ; the gradient has the same where it is written.
    pub shards: Vec<u64>,
    pub has_gradient: bool,
    /// What the optimizer keeps, its read-out included.
    pub state: u64,
    /// The optimizer's scalars, behind the step's uniform.
    pub scalars: u64,
    /// Of each input slot.
    pub inputs: BTreeMap<String, u64>,
    /// Of each arena; plans do not run at the same time, so they share them.
    pub arenas: Vec<u64>,
    pub results: u64,
    /// The uniforms of all dispatches.
    pub params: u64,
    /// Mapped memory between host and device.
    pub staging: u64,
    /// What the run keeps besides: the optimizer's uniforms, results that wait to be read back.
    pub other: u64,
}

/// Bytes by role.
///
/// ```
/// use downhill::{ByteCounts, MemoryModel, Optimizer, Profile, TrainOptions, data};
///
/// let digits = data::load(&"digits".parse()?, None, None, 0)?;
/// let options = TrainOptions::new("mlp:256".parse()?, Optimizer::new("adam")?);
/// let bytes: ByteCounts = MemoryModel::new(&digits, &options, &Profile::portable())?.bytes(64)?;
/// assert_eq!(bytes.gradient, bytes.theta);
/// // Adam keeps two numbers for each parameter.
/// assert_eq!(bytes.state, 2 * bytes.theta);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ByteCounts {
    /// The parameters.
    pub theta: u64,
    /// The gradient.
    pub gradient: u64,
    /// The optimizer's state.
    pub state: u64,
    /// What lies between the operations of a step.
    pub activations: u64,
    /// Input slots, and the data set where it lives on the GPU.
    pub data: u64,
    /// Mapped buffers for uploads and readback.
    pub staging: u64,
    /// Uniforms and results, and what wgpu keeps for itself.
    pub other: u64,
    /// All of it.
    pub total: u64,
}

impl Needs {
    /// What `plans`, which run one at a time, need together.
    pub fn of(plans: &[&Plan]) -> Self {
        let mut needs = Needs::default();
        for plan in plans {
            needs.shards = plan
                .theta
                .shards
                .iter()
                .map(|&floats| plan.precision.float_bytes() * floats as u64)
                .collect();
            let is_gradient = |home| matches!(home, Home::Gradient(_) | Home::GradientShard(_));
            needs.has_gradient |= plan.tensors.iter().any(|tensor| is_gradient(tensor.home));
            for slot in &plan.inputs {
                let bytes = plan.precision.bytes(slot.ty.element, slot.ty.shape.elements(plan.batch));
                let known = needs.inputs.entry(slot.name.clone()).or_default();
                *known = bytes.max(*known);
            }
            for (number, &bytes) in plan.arenas.iter().enumerate() {
                if number == needs.arenas.len() {
                    needs.arenas.push(0);
                }
                needs.arenas[number] = bytes.max(needs.arenas[number]);
            }
            needs.results = needs.results.max(result_offsets(plan).1);
            needs.params += params_offsets(plan).1;
        }
        needs
    }

    /// The step's uniform and the optimizer's scalars behind it.
    pub fn uniforms(&self) -> u64 {
        ALIGNMENT + self.scalars
    }

    /// Bytes by role.
    pub fn bytes(&self) -> ByteCounts {
        let theta: u64 = self.shards.iter().sum();
        let mut counts = ByteCounts {
            theta,
            gradient: if self.has_gradient { theta } else { 0 },
            state: self.state,
            activations: self.arenas.iter().sum(),
            data: self.inputs.values().sum(),
            staging: self.staging,
            other: self.results + self.params + self.uniforms() + self.other + WGPU_BYTES,
            total: 0,
        };
        counts.total = counts.theta
            + counts.gradient
            + counts.state
            + counts.activations
            + counts.data
            + counts.staging
            + counts.other;
        counts
    }
}

/// Where each result begins, and the bytes of all.
pub(crate) fn result_offsets(plan: &Plan) -> (Vec<u64>, u64) {
    aligned_offsets(plan.results.iter().copied())
}

/// Where the uniform of each dispatch begins, and the bytes of all.
pub(crate) fn params_offsets(plan: &Plan) -> (Vec<u64>, u64) {
    // Uniform blocks are read by groups of 16 bytes.
    aligned_offsets(
        plan.dispatches.iter().map(|dispatch| (4 * dispatch.params.len() as u64).next_multiple_of(16)),
    )
}

fn aligned_offsets(sizes: impl Iterator<Item = u64>) -> (Vec<u64>, u64) {
    let mut total = 0;
    let offsets = sizes.map(|bytes| {
        let offset = total;
        total += bytes.next_multiple_of(ALIGNMENT);
        offset
    });
    (offsets.collect(), total)
}
