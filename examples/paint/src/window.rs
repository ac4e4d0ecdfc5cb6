//! The window and its device, which everything shares: the picture, the network and its training.

use std::sync::Arc;

use downhill::{Gpu, GpuOptions, wgpu};
use winit::window::Window;

use crate::Outcome;
use crate::canvas::{Canvas, SIDE};
use crate::learner::Learner;
use crate::picture::Picture;

/// The window's size at first; the page is the square at its left.
pub const WIDTH: u32 = 720;
pub const HEIGHT: u32 = 480;

/// Frames between two changes of the title.
const TITLED: u64 = 30;

pub struct View {
    pub window: Arc<Window>,
    pub learner: Learner,
    surface: wgpu::Surface<'static>,
    configuration: wgpu::SurfaceConfiguration,
    device: wgpu::Device,
    queue: wgpu::Queue,
    picture: Picture,
    frames: u64,
}

impl View {
    pub fn open(window: Arc<Window>) -> Outcome<Self> {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(descriptor);
        let surface = instance.create_surface(Arc::clone(&window))?;
        let request =
            wgpu::RequestAdapterOptions { compatible_surface: Some(&surface), ..Default::default() };
        let adapter = pollster::block_on(instance.request_adapter(&request))?;
        // The device is the window's own; downhill says what it would like of it, and is a guest on it.
        let (required_features, required_limits) = Gpu::required_features_and_limits(&adapter)?;
        let wanted = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&wanted))?;
        let gpu = Gpu::from_wgpu(&adapter, device.clone(), queue.clone(), &GpuOptions::default())?;
        let learner = Learner::new(&gpu)?;
        let size = window.inner_size();
        let configuration = surface.get_default_config(&adapter, size.width.max(1), size.height.max(1));
        let mut configuration = configuration.ok_or("the adapter does not draw in this window")?;
        // The picture's colours are as they are to be seen.
        configuration.format = configuration.format.remove_srgb_suffix();
        surface.configure(&device, &configuration);
        let picture = Picture::new(&device, configuration.format, &learner.network)?;
        Ok(View { window, learner, surface, configuration, device, queue, picture, frames: 0 })
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        (self.configuration.width, self.configuration.height) = (width.max(1), height.max(1));
        self.surface.configure(&self.device, &self.configuration);
    }

    /// Where a place in the window is on the page, in dots.
    pub fn cell(&self, x: f64, y: f64) -> [f64; 2] {
        let dots = SIDE as f64 / f64::from(self.configuration.height);
        [x * dots, y * dots]
    }

    /// Trains for a frame's share, has the network read the page, and draws both.
    pub fn frame(&mut self, canvas: &Canvas) -> Outcome {
        use wgpu::CurrentSurfaceTexture::{Outdated, Suboptimal, Success};
        let mut encoder = self.device.create_command_encoder(&Default::default());
        self.learner.frame(&mut encoder)?;
        let size = [self.configuration.width, self.configuration.height];
        self.picture.shrink(&self.queue, &mut encoder, canvas.rows(), size, self.learner.accuracy);
        self.learner.network.encode(&mut encoder);
        let target = match self.surface.get_current_texture() {
            Success(target) | Suboptimal(target) => Some(target),
            Outdated => {
                self.surface.configure(&self.device, &self.configuration);
                None
            }
            _ => None,
        };
        if let Some(target) = &target {
            self.picture.draw(&mut encoder, &target.texture.create_view(&Default::default()));
        }
        self.queue.submit([encoder.finish()]);
        target.into_iter().for_each(|target| self.queue.present(target));
        if self.frames.is_multiple_of(TITLED) {
            let Learner { steps, accuracy, .. } = &self.learner;
            let title =
                format!("paint: {steps} steps, {:.1} % of the test digits are right", 100.0 * accuracy);
            self.window.set_title(&title);
        }
        self.frames += 1;
        Ok(())
    }
}
