//! From WGSL text to compute pipelines, each compiled once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use wgpu::{
    BindGroupLayout, BufferBindingType, CompilationMessageType, ComputePipeline, ShaderRuntimeChecks,
};

use super::device::Gpu;
use super::fault::{device_error, one_line};
use crate::Result;

/// What a kernel does with a binding. Bindings are numbered from 0 in group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BindingKind {
    /// `var<uniform>`
    Uniform,
    /// `var<storage, read>`
    ReadStorage,
    /// `var<storage, read_write>`
    ReadWriteStorage,
}

impl BindingKind {
    fn buffer_type(self) -> BufferBindingType {
        match self {
            Self::Uniform => BufferBindingType::Uniform,
            Self::ReadStorage => BufferBindingType::Storage { read_only: true },
            Self::ReadWriteStorage => BufferBindingType::Storage { read_only: false },
        }
    }
}

/// A kernel to compile: WGSL with exactly one compute entry point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelSource<'a> {
    /// Names the kernel in errors.
    pub(crate) label: &'a str,
    /// The WGSL text.
    pub(crate) wgsl: &'a str,
    /// The kinds of bindings 0, 1, 2 …
    pub(crate) bindings: &'a [BindingKind],
}

/// A compiled kernel. Clones share the pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// The pipeline to set in a pass.
    pub(crate) pipeline: ComputePipeline,
    /// The layout to make bind groups with.
    pub(crate) layout: BindGroupLayout,
}

type Cache<K, V> = Mutex<HashMap<K, V>>;

/// The kernels of one device, by source text and bindings.
#[derive(Debug)]
pub(crate) struct Kernels {
    gpu: Gpu,
    layouts: Cache<Vec<BindingKind>, BindGroupLayout>,
    kernels: Cache<(String, Vec<BindingKind>), Kernel>,
}

impl Kernels {
    pub(crate) fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), layouts: Mutex::default(), kernels: Mutex::default() }
    }

    /// How many pipelines there are; grows by one for each source that was new.
    pub(crate) fn count(&self) -> usize {
        lock(&self.kernels).len()
    }

    /// The kernel of `source`, compiled unless it is known.
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) naming the kernel, and the line where WGSL is wrong.
    pub(crate) fn compile(&self, source: &KernelSource<'_>) -> Result<Kernel> {
        let key = (source.wgsl.to_owned(), source.bindings.to_owned());
        if let Some(kernel) = lock(&self.kernels).get(&key) {
            return Ok(kernel.clone());
        }
        // The lock is not held meanwhile, so that several threads can compile. Two that compile the same
        // source at once agree on whose pipeline stays.
        let kernel = self.build(source)?;
        Ok(lock(&self.kernels).entry(key).or_insert(kernel).clone())
    }

    /// The kernels of `sources`, in their order, compiled on all cores.
    ///
    /// Errors: as [`Kernels::compile`], for the first source that fails.
    pub(crate) fn compile_all(&self, sources: &[KernelSource<'_>]) -> Result<Vec<Kernel>> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = sources.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let workers: Vec<_> = sources
                .chunks(share)
                .map(|chunk| {
                    scope.spawn(|| chunk.iter().map(|source| self.compile(source)).collect::<Vec<_>>())
                })
                .collect();
            let crashed = || vec![Err(device_error("compiling kernels", "the shader compiler crashed"))];
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|_| crashed())).collect()
        })
    }

    fn build(&self, source: &KernelSource<'_>) -> Result<Kernel> {
        let device = self.gpu.device();
        let doing = format!("compiling the kernel `{}`", source.label);
        let layout = self.layout(source.bindings)?;
        let checks = match self.gpu.checked() {
            true => ShaderRuntimeChecks::checked(),
            false => ShaderRuntimeChecks::unchecked(),
        };
        let mut module = None;
        let compiled = self.gpu.scoped(&doing, || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(source.label),
                source: wgpu::ShaderSource::Wgsl(source.wgsl.into()),
            };
            // SAFETY: every source is this crate's own; its plan keeps indices inside the bindings, its
            // loops are bounded and its divisors are not zero. Checked twins of the kernels are tested.
            module.insert(unsafe { device.create_shader_module_trusted(descriptor, checks) }).clone()
        });
        let module = compiled.map_err(|error| match module.as_ref().and_then(complaint) {
            Some(complaint) => device_error(&doing, complaint),
            None => error,
        })?;
        let pipeline = self.gpu.scoped(&doing, || {
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(source.label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(source.label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.gpu.pipelines.as_ref().map(|file| &file.cache),
            })
        })?;
        Ok(Kernel { pipeline, layout })
    }

    fn layout(&self, bindings: &[BindingKind]) -> Result<BindGroupLayout> {
        if let Some(layout) = lock(&self.layouts).get(bindings) {
            return Ok(layout.clone());
        }
        let entries: Vec<_> = (0u32..)
            .zip(bindings)
            .map(|(binding, kind)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: kind.buffer_type(),
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        let doing = format!("making a layout of {} bindings", bindings.len());
        let layout = self.gpu.scoped(&doing, || self.gpu.device().create_bind_group_layout(&descriptor))?;
        Ok(lock(&self.layouts).entry(bindings.to_owned()).or_insert(layout).clone())
    }
}

/// The first error in the text of `module`, with its line.
fn complaint(module: &wgpu::ShaderModule) -> Option<String> {
    let messages = pollster::block_on(module.get_compilation_info()).messages;
    let error = messages.into_iter().find(|message| message.message_type == CompilationMessageType::Error)?;
    let text = one_line(&error.message);
    Some(match error.location {
        Some(place) => format!("line {}: {text}", place.line_number),
        None => text,
    })
}

fn lock<T>(cache: &Mutex<T>) -> MutexGuard<'_, T> {
    // A cache only grows, by one whole entry at a time: a panic elsewhere cannot spoil it.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// A bind group of `kernel` over `ranges`: (buffer, offset, size) in bytes for bindings 0, 1, 2 …
    ///
    /// Errors: [`Error::Device`](crate::Error::Device) when a range does not suit its binding.
    pub(crate) fn bind_group(
        &self,
        kernel: &Kernel,
        label: &str,
        ranges: &[wgpu::BufferBinding<'_>],
    ) -> Result<wgpu::BindGroup> {
        let entries: Vec<_> = (0u32..)
            .zip(ranges)
            .map(|(binding, range)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(range.clone()),
            })
            .collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(label), layout: &kernel.layout, entries: &entries };
        self.scoped(&format!("binding the buffers of `{label}`"), || {
            self.device().create_bind_group(&descriptor)
        })
    }
}
