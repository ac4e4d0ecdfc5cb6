//! A plan on a device: pipelines and bind groups made once, and a list of launches to record every step.

use std::collections::BTreeMap;

use super::memory::{Needs, params_offsets, result_offsets};
use super::{Binding, Home, Plan};
use crate::gpu::{BindingKind, Buffer, BufferUse, Gpu, Kernel, KernelSource, Kernels};
use crate::{Error, Result};

/// The buffers that the plans of a run share, one a role (and shard): wgpu tracks each as a whole.
#[derive(Debug)]
pub(crate) struct Memory {
    pub theta: Vec<Buffer>,
    pub gradient: Vec<Buffer>,
    pub inputs: BTreeMap<String, Buffer>,
    pub arenas: Vec<Buffer>,
    pub results: Buffer,
    /// The step's uniform, and from [`super::memory::ALIGNMENT`] on the optimizer's scalars.
    pub uniforms: Buffer,
}

impl Memory {
    /// Allocates what `needs` says but the optimizer's state and the staging, which their users allocate.
    pub fn new(gpu: &Gpu, needs: &Needs) -> Result<Self> {
        let storage = |role: &str, bytes: u64| gpu.buffer(role, bytes, BufferUse::Storage);
        let all = |role: &str, sizes: &[u64]| -> Result<Vec<Buffer>> {
            sizes.iter().map(|&bytes| storage(role, bytes)).collect()
        };
        let gradient: &[u64] = if needs.has_gradient { &needs.shards } else { &[] };
        let inputs = needs.inputs.iter().map(|(name, &bytes)| Ok((name.clone(), storage("data", bytes)?)));
        Ok(Memory {
            theta: all("theta", &needs.shards)?,
            gradient: all("gradient", gradient)?,
            inputs: inputs.collect::<Result<_>>()?,
            arenas: all("activations", &needs.arenas)?,
            results: storage("results", needs.results)?,
            uniforms: gpu.buffer("uniforms", needs.uniforms(), BufferUse::Uniform)?,
        })
    }

    /// The range of a buffer behind a binding.
    fn range<'a>(
        &'a self,
        plan: &Plan,
        theta: &[&'a Buffer],
        binding: Binding,
    ) -> Result<wgpu::BufferBinding<'a>> {
        let tensor = &plan.tensors[binding.tensor];
        let missing = || Error::shape("replay", format!("{} has no memory", tensor.label));
        let (buffer, offset, bytes) = match tensor.home {
            Home::Parameter(number) | Home::Gradient(number) => {
                let piece = plan.theta.pieces[number][binding.piece];
                let width = plan.precision.float_bytes();
                let shard = match tensor.home {
                    Home::Parameter(_) => theta.get(piece.shard).copied(),
                    _ => self.gradient.get(piece.shard),
                };
                (shard, width * piece.offset as u64, width * piece.elements as u64)
            }
            Home::ThetaShard(shard) => (theta.get(shard).copied(), 0, tensor.bytes),
            Home::GradientShard(shard) => (self.gradient.get(shard), 0, tensor.bytes),
            Home::Input(number) => (self.inputs.get(&plan.inputs[number].name), 0, tensor.bytes),
            Home::Result(number) => (Some(&self.results), result_offsets(plan).0[number], tensor.bytes),
            Home::Arena => {
                let slot = plan.arena_slots[binding.tensor].ok_or_else(missing)?;
                (self.arenas.get(slot.arena), slot.offset, tensor.bytes)
            }
        };
        Ok(part(buffer.ok_or_else(missing)?, offset, bytes))
    }
}

/// A range of a buffer as a bind group takes it.
pub(crate) fn part(buffer: &Buffer, offset: u64, bytes: u64) -> wgpu::BufferBinding<'_> {
    wgpu::BufferBinding { buffer: buffer.raw(), offset, size: wgpu::BufferSize::new(bytes) }
}

/// One launch, ready to be recorded.
#[derive(Debug)]
pub(crate) struct Launch {
    pub kernel: Kernel,
    pub bind_group: wgpu::BindGroup,
    pub groups: [u32; 2],
}

/// Launches in their order.
#[derive(Debug)]
pub(crate) struct Replay {
    launches: Vec<Launch>,
    /// The uniforms of the dispatches, alive as long as the bind groups.
    _params: Buffer,
}

impl Replay {
    /// Compiles the kernels of `plan` and binds them to `memory`, with the parameters taken from `theta`.
    pub fn new(
        gpu: &Gpu,
        kernels: &Kernels,
        plan: &Plan,
        memory: &Memory,
        theta: &[&Buffer],
    ) -> Result<Self> {
        let compiled = compile(kernels, plan)?;
        let (offsets, bytes) = params_offsets(plan);
        let params = gpu.buffer("uniforms", bytes, BufferUse::Uniform)?;
        let mut contents = vec![0u8; bytes as usize];
        for (dispatch, &offset) in plan.dispatches.iter().zip(&offsets) {
            let words: &[u8] = bytemuck::cast_slice(&dispatch.params);
            contents[offset as usize..offset as usize + words.len()].copy_from_slice(words);
        }
        gpu.write_buffer(params.raw(), 0, &contents)?;
        let mut launches = Vec::with_capacity(plan.dispatches.len());
        for (dispatch, &offset) in plan.dispatches.iter().zip(&offsets) {
            let kernel = compiled[dispatch.kernel].clone();
            let size = (4 * dispatch.params.len() as u64).next_multiple_of(16);
            let mut ranges = vec![
                part(&memory.uniforms, 0, super::StepUniform::BYTES as u64),
                part(&params, offset, size),
            ];
            for &binding in dispatch.reads.iter().chain([&dispatch.write]) {
                ranges.push(memory.range(plan, theta, binding)?);
            }
            let label = &plan.kernels[dispatch.kernel].label;
            let bind_group = gpu.bind_group(&kernel, label, &ranges)?;
            launches.push(Launch { kernel, bind_group, groups: dispatch.groups });
        }
        Ok(Replay { launches, _params: params })
    }

    /// Its launches, one for each dispatch of its plan.
    pub fn launches(&self) -> &[Launch] {
        &self.launches
    }

    /// Records all launches.
    pub fn record(&self, pass: &mut wgpu::ComputePass) {
        record(&self.launches, pass);
    }
}

/// Records `launches` in their order.
pub(crate) fn record<'a>(launches: impl IntoIterator<Item = &'a Launch>, pass: &mut wgpu::ComputePass) {
    for launch in launches {
        pass.set_pipeline(&launch.kernel.pipeline);
        pass.set_bind_group(0, &launch.bind_group, &[]);
        pass.dispatch_workgroups(launch.groups[0], launch.groups[1], 1);
    }
}

fn compile(kernels: &Kernels, plan: &Plan) -> Result<Vec<Kernel>> {
    let bindings: Vec<Vec<BindingKind>> =
        plan.kernels.iter().map(|kernel| binding_kinds(kernel.reads)).collect();
    let sources: Vec<KernelSource> = plan
        .kernels
        .iter()
        .zip(&bindings)
        .map(|(kernel, bindings)| KernelSource { label: &kernel.label, wgsl: &kernel.wgsl, bindings })
        .collect();
    kernels.compile_all(&sources)
}

/// Two uniforms, what is read, and what is written.
pub(crate) fn binding_kinds(reads: usize) -> Vec<BindingKind> {
    let mut kinds = vec![BindingKind::Uniform; 2];
    kinds.extend(vec![BindingKind::ReadStorage; reads]);
    kinds.push(BindingKind::ReadWriteStorage);
    kinds
}
