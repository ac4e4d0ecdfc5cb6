//! The passes of the window's own: the page shrunk to what the network reads, and the picture of both.

use downhill::{Inference, wgpu};

use crate::Outcome;
use crate::canvas::SIDE;

/// What the shaders know besides: the window's size, and the accuracy in parts of 65,536.
const FACTS: u64 = 16;

pub struct Picture {
    page: wgpu::Buffer,
    facts: wgpu::Buffer,
    shrink: (wgpu::ComputePipeline, wgpu::BindGroup),
    draw: (wgpu::RenderPipeline, wgpu::BindGroup),
}

impl Picture {
    /// Passes that write the features of `network` and read its outputs, where they lie.
    pub fn new(device: &wgpu::Device, format: wgpu::TextureFormat, network: &Inference) -> Outcome<Self> {
        let buffer = |size, usage| {
            let usage = usage | wgpu::BufferUsages::COPY_DST;
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let page = buffer(4 * SIDE as u64, wgpu::BufferUsages::STORAGE);
        let facts = buffer(FACTS, wgpu::BufferUsages::UNIFORM);
        let module = |text: &str| {
            let source = wgpu::ShaderSource::Wgsl(text.into());
            device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source })
        };
        let group = |layout: &wgpu::BindGroupLayout, bindings: Vec<wgpu::BufferBinding>| {
            let entry = |(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(buffer),
            };
            let entries: Vec<_> = (0..).zip(bindings).map(entry).collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };

        let shrink = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("shrink"),
            layout: None,
            module: &module(include_str!("shrink.wgsl")),
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let features = network.features().ok_or("the network looks at pixels")?;
        let bindings = vec![page.as_entire_buffer_binding(), features.as_entire_buffer_binding()];
        let reads = group(&shrink.get_bind_group_layout(0), bindings);

        let shader = module(include_str!("picture.wgsl"));
        let draw = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("picture"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &shader,
                entry_point: None,
                compilation_options: Default::default(),
                buffers: &[],
            },
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module: &shader,
                entry_point: None,
                compilation_options: Default::default(),
                targets: &[Some(format.into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        let bindings =
            vec![page.as_entire_buffer_binding(), network.outputs(), facts.as_entire_buffer_binding()];
        let shows = group(&draw.get_bind_group_layout(0), bindings);
        Ok(Picture { page, facts, shrink: (shrink, reads), draw: (draw, shows) })
    }

    /// Records that the page becomes the network's features.
    pub fn shrink(
        &self,
        queue: &wgpu::Queue,
        encoder: &mut wgpu::CommandEncoder,
        rows: &[u32; SIDE],
        size: [u32; 2],
        accuracy: f64,
    ) {
        queue.write_buffer(&self.page, 0, bytemuck::cast_slice(rows));
        let facts = [size[0], size[1], (accuracy * 65536.0) as u32, 0];
        queue.write_buffer(&self.facts, 0, bytemuck::cast_slice(&facts));
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.shrink.0);
        pass.set_bind_group(0, &self.shrink.1, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }

    /// Records the picture.
    pub fn draw(&self, encoder: &mut wgpu::CommandEncoder, view: &wgpu::TextureView) {
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: None,
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations::default(),
            })],
            depth_stencil_attachment: None,
            timestamp_writes: None,
            occlusion_query_set: None,
            multiview_mask: None,
        });
        pass.set_pipeline(&self.draw.0);
        pass.set_bind_group(0, &self.draw.1, &[]);
        pass.draw(0..3, 0..1);
    }
}
