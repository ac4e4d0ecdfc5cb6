//! An optimizer's kernels on an adapter, bound as their documentation says, with plain wgpu.

use downhill::Optimizer;
use downhill::wgpu::{self, BufferUsages};

/// A device on the default adapter.
pub struct Machine {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// θ, gradient and state of one shard and the pipelines that change them.
pub struct Shard<'a> {
    machine: &'a Machine,
    optimizer: Optimizer,
    /// Numbers in θ, and bytes of a vector with its padding.
    length: usize,
    size: u64,
    /// Workgroups in x and y, so few in x that rows must follow one another.
    grid: (u32, u32),
    scalars: wgpu::Buffer,
    gradient: wgpu::Buffer,
    theta: wgpu::Buffer,
    reported: wgpu::Buffer,
    update: (wgpu::ComputePipeline, wgpu::BindGroup),
    readout: Option<(wgpu::ComputePipeline, wgpu::BindGroup)>,
}

impl Machine {
    pub fn new() -> Self {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(descriptor);
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
            .expect(
                "no Vulkan, Metal or DX12 adapter; on Debian: apt install mesa-vulkan-drivers libvulkan1",
            );
        let request = adapter.request_device(&wgpu::DeviceDescriptor::default());
        let (device, queue) = pollster::block_on(request).unwrap();
        Machine { device, queue }
    }

    /// A shard that starts at `theta`.
    pub fn shard(&self, optimizer: &Optimizer, theta: &[f64]) -> Shard<'_> {
        let padded = padded(theta);
        let size = 4 * padded.len() as u64;
        let count = padded.len() as u32 / 4;
        let workgroups = count.div_ceil(Optimizer::WORKGROUP_SIZE);
        let grid = (2, workgroups.div_ceil(2));
        let vector = || self.buffer(size, BufferUsages::STORAGE);
        let state: Vec<wgpu::Buffer> = optimizer.state_slots().iter().map(|_| vector()).collect();
        let (gradient, theta_vector, reported) = (vector(), vector(), vector());
        let scalars = self.buffer(4 * Optimizer::SCALARS as u64, BufferUsages::UNIFORM);
        let shape = self.buffer(16, BufferUsages::UNIFORM);
        self.queue.write_buffer(
            &shape,
            0,
            bytemuck::cast_slice(&[count, grid.0 * Optimizer::WORKGROUP_SIZE]),
        );
        self.queue.write_buffer(&theta_vector, 0, bytemuck::cast_slice(&padded));
        let bind = |source: &str, first: &wgpu::Buffer| {
            let fixed = [&scalars, &shape, first, &theta_vector];
            self.kernel(source, fixed.into_iter().chain(&state))
        };
        Shard {
            update: bind(&optimizer.wgsl(), &gradient),
            readout: optimizer.readout_wgsl().map(|source| bind(&source, &reported)),
            machine: self,
            optimizer: optimizer.clone(),
            length: theta.len(),
            size,
            grid,
            scalars,
            gradient,
            theta: theta_vector,
            reported,
        }
    }

    fn buffer(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: usage | BufferUsages::COPY_DST | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    fn kernel<'b>(
        &self,
        source: &str,
        buffers: impl Iterator<Item = &'b wgpu::Buffer>,
    ) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        (pipeline, bind_group)
    }
}

impl Shard<'_> {
    /// Step `number` = 1, 2, … at this learning rate.
    pub fn step(&self, number: u64, learning_rate: f64, gradient: &[f64]) {
        let queue = &self.machine.queue;
        let scalars = self.optimizer.scalars(number, learning_rate);
        queue.write_buffer(&self.scalars, 0, bytemuck::cast_slice(&scalars));
        queue.write_buffer(&self.gradient, 0, bytemuck::cast_slice(&padded(gradient)));
        self.dispatch(&self.update);
    }

    /// The vector at which the next gradient is wanted.
    pub fn theta(&self) -> Vec<f64> {
        let mut theta = self.read(&self.theta);
        theta.truncate(self.length);
        theta
    }

    /// θ as users see it, and the padding behind it.
    pub fn reported(&self) -> (Vec<f64>, Vec<f64>) {
        let mut theta = match &self.readout {
            Some(readout) => {
                self.dispatch(readout);
                self.read(&self.reported)
            }
            None => self.read(&self.theta),
        };
        let padding = theta.split_off(self.length);
        (theta, padding)
    }

    fn dispatch(&self, (pipeline, bind_group): &(wgpu::ComputePipeline, wgpu::BindGroup)) {
        let mut encoder = self.machine.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
        }
        self.machine.queue.submit([encoder.finish()]);
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<f64> {
        let device = &self.machine.device;
        let readback = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: self.size,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &readback, 0, self.size);
        self.machine.queue.submit([encoder.finish()]);
        readback.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let floats: Vec<f32> = bytemuck::pod_collect_to_vec(&readback.get_mapped_range(..).unwrap());
        floats.into_iter().map(f64::from).collect()
    }
}

/// In f32, with zeros up to a multiple of 64.
fn padded(vector: &[f64]) -> Vec<f32> {
    let mut floats: Vec<f32> = vector.iter().map(|x| *x as f32).collect();
    floats.resize(vector.len().next_multiple_of(64), 0.0);
    floats
}
