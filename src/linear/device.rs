//! What all methods do on a device: vectors of numbers there and back, kernels from their text, and lists of launches.

use std::cell::Cell;

use super::number::Number;
use crate::gpu::{BindingKind, Buffer, BufferUse, Gpu, KernelSource, Kernels};
use crate::plan::replay::{Launch, binding_kinds, part, record};
use crate::plan::{Precision, fold_groups};
use crate::{Error, Result};

/// Invocations of a workgroup of kernels that take elements or rows one by one.
const WORKGROUP: usize = 64;

/// Bytes between the parameters of two launches: no adapter aligns uniforms more coarsely.
const PARAMETERS: u64 = 256;

/// A kernel of `shaders/linear/`: its own text, what must stand before it, and its bindings after the parameters.
pub(super) struct Shader {
    pub label: &'static str,
    pub before: &'static [&'static str],
    pub text: &'static str,
    pub reads: usize,
    pub writes: usize,
}

/// A device, in which numbers a method computes there, and how often it was waited for.
pub(super) struct Device<'a> {
    pub gpu: &'a Gpu,
    pub number: Number,
    kernels: Kernels,
    readbacks: Cell<u64>,
}

impl<'a> Device<'a> {
    /// # Errors
    /// [`crate::Error::Setting`] where the adapter has no numbers of 64 bits and they are asked for.
    pub fn new(gpu: &'a Gpu, number: Number) -> Result<Self> {
        if number == Number::Double {
            Precision::F64.check(gpu.profile())?;
        }
        Ok(Device { gpu, number, kernels: Kernels::new(gpu), readbacks: Cell::new(0) })
    }

    /// How often something was read back, each time waiting for all work before.
    pub fn readbacks(&self) -> u64 {
        self.readbacks.get()
    }

    /// A vector with these numbers.
    pub fn vector(&self, values: &[f64]) -> Result<Buffer> {
        let buffer = self.zeros(values.len())?;
        self.write(&buffer, values)?;
        Ok(buffer)
    }

    /// A vector of `count` zeros.
    pub fn zeros(&self, count: usize) -> Result<Buffer> {
        self.storage(self.number.bytes() * count.max(1) as u64)
    }

    /// A vector of indices.
    pub fn indices(&self, values: &[u32]) -> Result<Buffer> {
        let buffer = self.storage(4 * values.len().max(1) as u64)?;
        self.gpu.write_buffer(buffer.raw(), 0, bytemuck::cast_slice(values))?;
        Ok(buffer)
    }

    /// Bytes that kernels read and write, zero at first.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] where the adapter binds less at once.
    pub fn storage(&self, bytes: u64) -> Result<Buffer> {
        let most = self.gpu.profile().max_binding_size;
        if bytes > most {
            let message =
                format!("the system takes {bytes} bytes in one binding, and this adapter allows {most}");
            return Err(Error::DoesNotFit(message));
        }
        self.gpu.buffer("linear system", bytes, BufferUse::Storage)
    }

    /// Puts numbers at the head of a vector.
    pub fn write(&self, buffer: &Buffer, values: &[f64]) -> Result<()> {
        self.gpu.write_buffer(buffer.raw(), 0, &self.number.encode(values))
    }

    /// The first `count` numbers of a vector.
    pub fn read(&self, buffer: &Buffer, count: usize) -> Result<Vec<f64>> {
        Ok(self.number.decode(&self.read_bytes(buffer, self.number.bytes() * count as u64)?))
    }

    /// The first bytes of a buffer.
    pub fn read_bytes(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>> {
        self.readbacks.set(self.readbacks.get() + 1);
        self.gpu.read_buffer(buffer.raw(), 0..bytes)
    }

    /// An empty list of launches.
    pub fn launches(&self) -> LaunchList<'_> {
        LaunchList { device: self, pending: Vec::new() }
    }
}

/// Launches that are being put together.
pub(super) struct LaunchList<'a> {
    device: &'a Device<'a>,
    pending: Vec<Pending<'a>>,
}

struct Pending<'a> {
    label: &'static str,
    wgsl: String,
    kinds: Vec<BindingKind>,
    /// Bindings at the head that are all of the parameters.
    uniforms: usize,
    parameters: Vec<u32>,
    buffers: Vec<&'a Buffer>,
    groups: [u32; 2],
}

impl<'a> LaunchList<'a> {
    /// Whose launches they are.
    pub fn device(&self) -> &'a Device<'a> {
        self.device
    }

    /// A launch of `shader` with an invocation for each of `count` elements: its parameters after `fold`, what it reads
    /// and what it writes.
    pub fn each(&mut self, shader: &Shader, count: usize, parameters: &[u32], buffers: &[&'a Buffer]) {
        let (groups, along_x) = fold_groups(count.div_ceil(WORKGROUP), self.device.gpu.profile());
        self.push(shader, groups, along_x * WORKGROUP as u32, parameters, buffers);
    }

    /// A launch of `shader` with `count` workgroups.
    pub fn groups(&mut self, shader: &Shader, count: usize, parameters: &[u32], buffers: &[&'a Buffer]) {
        let (groups, along_x) = fold_groups(count, self.device.gpu.profile());
        self.push(shader, groups, along_x, parameters, buffers);
    }

    fn push(
        &mut self,
        shader: &Shader,
        groups: [u32; 2],
        fold: u32,
        parameters: &[u32],
        buffers: &[&'a Buffer],
    ) {
        let reads = vec![BindingKind::ReadStorage; shader.reads];
        let writes = vec![BindingKind::ReadWriteStorage; shader.writes];
        self.pending.push(Pending {
            label: shader.label,
            wgsl: self.device.number.kernel_text(shader),
            kinds: [vec![BindingKind::Uniform], reads, writes].concat(),
            uniforms: 1,
            parameters: [&[fold], parameters].concat(),
            buffers: buffers.to_vec(),
            groups,
        });
    }

    /// A launch of the engine's matmul `wgsl` on A, B and C. Its first binding is the step of a training, which it does not look at.
    pub fn matmul(&mut self, wgsl: String, parameters: Vec<u32>, buffers: [&'a Buffer; 3], groups: [u32; 2]) {
        self.pending.push(Pending {
            label: "matmul",
            wgsl,
            kinds: binding_kinds(2, 1),
            uniforms: 2,
            parameters,
            buffers: buffers.to_vec(),
            groups,
        });
    }

    /// Compiles and binds what was put together.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails.
    pub fn finish(self) -> Result<Launches> {
        let Device { gpu, kernels, .. } = self.device;
        let sources: Vec<KernelSource> = self
            .pending
            .iter()
            .map(|pending| KernelSource {
                label: pending.label,
                wgsl: &pending.wgsl,
                bindings: &pending.kinds,
            })
            .collect();
        let compiled = kernels.compile_all(&sources)?;
        let mut contents = vec![0; (PARAMETERS as usize) * self.pending.len().max(1)];
        for (pending, place) in self.pending.iter().zip(contents.chunks_exact_mut(PARAMETERS as usize)) {
            let bytes: &[u8] = bytemuck::cast_slice(&pending.parameters);
            place[..bytes.len()].copy_from_slice(bytes);
        }
        let parameters = gpu.buffer("uniforms", contents.len() as u64, BufferUse::Uniform)?;
        gpu.write_buffer(parameters.raw(), 0, &contents)?;
        let mut launches = Vec::with_capacity(compiled.len());
        for (number, (pending, kernel)) in self.pending.iter().zip(compiled).enumerate() {
            let own = part(&parameters, PARAMETERS * number as u64, PARAMETERS);
            let mut ranges = vec![own; pending.uniforms];
            ranges.extend(pending.buffers.iter().map(|buffer| part(buffer, 0, buffer.bytes())));
            let bind_group = gpu.bind_group(&kernel, pending.label, &ranges)?;
            launches.push(Launch { kernel, bind_group, groups: pending.groups });
        }
        gpu.keep_pipelines();
        Ok(Launches { launches, _parameters: parameters })
    }
}

/// Launches in their order, ready to be recorded any number of times.
pub(super) struct Launches {
    launches: Vec<Launch>,
    _parameters: Buffer,
}

impl Launches {
    /// How many they are.
    pub fn len(&self) -> u64 {
        self.launches.len() as u64
    }

    /// Records all launches.
    pub fn record(&self, pass: &mut wgpu::ComputePass) {
        record(&self.launches, pass);
    }

    /// Submits all launches `times` times.
    pub fn submit(&self, gpu: &Gpu, times: u64) {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            (0..times).for_each(|_| self.record(&mut pass));
        }
        gpu.submit(encoder);
    }
}
