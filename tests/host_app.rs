//! downhill as a guest: an app with its own device, handlers, compute passes and pictures trains on that device, and finds it
//! as it was when the guest is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use downhill::wgpu::{self, util::DeviceExt as _};
use downhill::{
    BatchSize, Choice, Error, Event, Gpu, GpuOptions, Inference, Length, LimitOverrides, Loss, MemoryLimit,
    Optimizer, Predictions, Predictor, TrainOptions, Trainer, data,
};

static NEVER: AtomicBool = AtomicBool::new(false);

/// A pass that makes rows: two features on a grid, and whether the first is the larger one, or with FLIPPED the smaller.
const ROWS: &str = "
@group(0) @binding(0) var<storage, read_write> features: array<f32>;
@group(0) @binding(1) var<storage, read_write> labels: array<u32>;
override FLIPPED: bool;
fn feature(i: u32) -> f32 { return f32(i * 7919u % 1013u) / 512.0 - 1.0; }
@compute @workgroup_size(64) fn make(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if row >= arrayLength(&labels) { return; }
    features[2u * row] = feature(2u * row);
    features[2u * row + 1u] = feature(2u * row + 1u);
    labels[row] = u32((feature(2u * row) > feature(2u * row + 1u)) != FLIPPED);
}";

/// A picture of 64 × 64 that a fragment shader draws, and a list of numbers that a compute pass doubles.
const SHADERS: &str = "
@vertex fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
    return vec4(f32(i % 2u) * 4.0 - 1.0, f32(i / 2u) * 4.0 - 1.0, 0.0, 1.0);
}
@fragment fn colour(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
    return vec4(at.x / 64.0, at.y / 64.0, 0.25, 1.0);
}
@group(0) @binding(0) var<storage, read_write> numbers: array<f32>;
@compute @workgroup_size(64) fn double(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&numbers) { numbers[id.x] *= 2.0; }
}";

struct App {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// What its own handlers heard.
    errors: mpsc::Receiver<String>,
    lost: Arc<Mutex<Option<String>>>,
    draw: wgpu::RenderPipeline,
    double: wgpu::ComputePipeline,
}

impl App {
    fn new() -> Self {
        let adapter = adapter();
        let (required_features, required_limits) = Gpu::required_features_and_limits(&adapter).unwrap();
        let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let (heard, errors) = mpsc::channel();
        device
            .on_uncaptured_error(Arc::new(move |error: wgpu::Error| heard.send(error.to_string()).unwrap()));
        let lost = Arc::new(Mutex::new(None));
        let told = Arc::clone(&lost);
        device.set_device_lost_callback(move |_, message| *told.lock().unwrap() = Some(message));
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(SHADERS.into()),
        });
        let target = wgpu::ColorTargetState {
            format: wgpu::TextureFormat::Rgba8Unorm,
            blend: None,
            write_mask: wgpu::ColorWrites::ALL,
        };
        let draw = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: None,
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("corner"),
                compilation_options: Default::default(),
                buffers: &[],
            },
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("colour"),
                compilation_options: Default::default(),
                targets: &[Some(target)],
            }),
            multiview_mask: None,
            cache: None,
        });
        let double = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("double"),
            compilation_options: Default::default(),
            cache: None,
        });
        App { adapter, device, queue, errors, lost, draw, double }
    }

    fn gpu(&self) -> Gpu {
        Gpu::from_wgpu(&self.adapter, self.device.clone(), self.queue.clone(), &GpuOptions::default())
            .unwrap()
    }

    /// Draws the picture and reads it back.
    fn picture(&self) -> Vec<u8> {
        let size = wgpu::Extent3d { width: 64, height: 64, depth_or_array_layers: 1 };
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let pixels = self.downloads(64 * 64 * 4);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: None,
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &texture.create_view(&Default::default()),
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations::default(),
                })],
                depth_stencil_attachment: None,
                timestamp_writes: None,
                occlusion_query_set: None,
                multiview_mask: None,
            });
            pass.set_pipeline(&self.draw);
            pass.draw(0..3, 0..1);
        }
        let layout =
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(64 * 4), rows_per_image: None };
        let target = wgpu::TexelCopyBufferInfo { buffer: &pixels, layout };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), target, size);
        self.queue.submit([encoder.finish()]);
        self.read(&pixels)
    }

    /// Records a pass that doubles `count` numbers where they are.
    fn record_double(&self, encoder: &mut wgpu::CommandEncoder, numbers: wgpu::BufferBinding, count: usize) {
        let entries = [wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(numbers) }];
        let layout = self.double.get_bind_group_layout(0);
        let group = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        let group = self.device.create_bind_group(&group);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.double);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(count.div_ceil(64) as u32, 1, 1);
    }

    /// Doubles numbers in a pass of its own.
    fn doubled(&self, numbers: &[f32]) -> Vec<f32> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let contents = bytemuck::cast_slice(numbers);
        let own = self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents,
            usage,
        });
        let result = self.downloads(contents.len() as u64);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        self.record_double(&mut encoder, own.as_entire_buffer_binding(), numbers.len());
        encoder.copy_buffer_to_buffer(&own, 0, &result, 0, contents.len() as u64);
        self.queue.submit([encoder.finish()]);
        bytemuck::pod_collect_to_vec(&self.read(&result))
    }

    /// Has a pass fill buffers with rows.
    fn make_rows(&self, features: &wgpu::Buffer, labels: &wgpu::Buffer, flipped: bool) {
        let source = wgpu::ShaderSource::Wgsl(ROWS.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let make = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("make"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[("FLIPPED", f64::from(u8::from(flipped)))],
                ..Default::default()
            },
            cache: None,
        });
        let entries = [(0, features), (1, labels)]
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        let layout = make.get_bind_group_layout(0);
        let group = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        let group = self.device.create_bind_group(&group);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&make);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups((labels.size() / 4).div_ceil(64) as u32, 1, 1);
        }
        self.queue.submit([encoder.finish()]);
    }

    fn downloads(&self, size: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<u8> {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |mapped| {
            mapped.unwrap();
            told.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            self.device.poll(wgpu::PollType::Poll).unwrap();
            std::thread::yield_now();
        }
        buffer.slice(..).get_mapped_range().unwrap().to_vec()
    }

    /// Makes a mistake, and says whether the app's own handler heard of it.
    fn hears_its_mistakes(&self) -> bool {
        let usage = wgpu::BufferUsages::empty();
        let wrong = wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false };
        drop(self.device.create_buffer(&wrong));
        self.errors.try_recv().is_ok()
    }

    /// Bytes that wgpu's allocator has given out on this device.
    fn bytes(&self) -> u64 {
        self.device.poll(wgpu::PollType::Poll).unwrap();
        self.device.generate_allocator_report().map_or(0, |report| report.total_allocated_bytes)
    }
}

fn adapter() -> wgpu::Adapter {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let request = wgpu::RequestAdapterOptions::default();
    pollster::block_on(wgpu::Instance::new(descriptor).request_adapter(&request)).unwrap()
}

fn options(epochs: u64) -> TrainOptions {
    let optimizer = Optimizer::new("adam").unwrap();
    TrainOptions {
        batch: BatchSize::Rows(512),
        length: Length::Epochs(epochs),
        ..TrainOptions::new("mlp:256,256".parse().unwrap(), optimizer)
    }
}

fn digits() -> data::Split {
    data::load(&"digits".parse().unwrap(), None, None, 0).unwrap()
}

#[test]
fn an_app_trains_draws_takes_memory_back_and_finds_its_device_as_before() {
    let app = App::new();
    let (picture, before) = (app.picture(), app.bytes());
    assert!(picture.chunks_exact(4).any(|pixel| pixel[0] > 200) && app.doubled(&[1.5, -2.0]) == [3.0, -4.0]);
    let gpu = app.gpu();
    let mut trainer = Trainer::new(&gpu, digits(), options(6)).unwrap();
    let planned = trainer.report().bytes.total;
    // Mesa rounds and wgpu keeps some in blocks, so only about.
    assert!(app.bytes() > before + planned / 2, "{before}, then {} for {planned}", app.bytes());
    let (mut accuracy, mut replans, mut epochs) = (0.0, 0, 0);
    loop {
        match trainer.next_event(&NEVER).unwrap() {
            Event::Epoch(epoch) => {
                epochs += 1;
                accuracy = epoch.test.unwrap().accuracy.unwrap();
                // Between two epochs the app draws and computes, and in the middle of the run it wants memory back.
                assert!(app.picture() == picture && app.doubled(&[0.5; 100]) == [1.0; 100]);
                if epochs == 2 {
                    gpu.set_memory_limit(planned / 3 * 2);
                }
            }
            Event::Replanned(_) => replans += 1,
            Event::Finished => break,
            _ => {}
        }
    }
    assert_eq!((epochs, replans), (6, 1));
    assert!(trainer.measured_bytes() <= planned / 3 * 2);
    assert!(accuracy > 0.8, "{accuracy}");
    drop((trainer, gpu));
    assert!(app.errors.try_recv().is_err(), "the guest made no error that the app hears of");
    assert!(app.hears_its_mistakes());
    assert!(app.picture() == picture && app.doubled(&[4.0]) == [8.0]);
    assert_eq!(app.bytes(), before);
    assert_eq!(*app.lost.lock().unwrap(), None);
}

/// The app makes rows on the device, has the network look at them in its own commands while it trains, and works on with what
/// it says; only the end of that comes to the host.
#[test]
fn a_network_answers_between_the_apps_own_passes() {
    let app = App::new();
    let gpu = app.gpu();
    let rows = |features: Vec<f32>, labels: Vec<u32>| {
        data::Dataset::from_f32(features, &[64], data::Task::classes(10), data::Targets::Labels(labels))
            .unwrap()
    };
    let features = (0..600 * 64u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32 / 16.0).collect();
    let train = rows(features, (0..600).map(|row| row % 10).collect());
    let (schema, options) = (train.schema().clone(), options(3));
    let model = options.model.clone();
    let mut trainer = Trainer::new(&gpu, data::Split { train, test: None }, options).unwrap();
    let start = trainer.parameters().unwrap();
    let network = Inference::new(&gpu, &model, &schema, Loss::CrossEntropy, &start, 5).unwrap();
    assert_eq!((network.rows(), network.width()), (5, 10));
    let features = network.features().unwrap();
    // Half of what the rows are to be, which the app's pass doubles in place.
    let made: Vec<f32> = (0..5 * 64).map(|i| (i % 17) as f32).collect();
    let halves: Vec<f32> = made.iter().map(|x| x / 2.0).collect();
    let answers = |trainer: &mut Trainer| -> Vec<f32> {
        app.queue.write_buffer(features, 0, bytemuck::cast_slice(&halves));
        let result = app.downloads(4 * 50);
        let mut encoder = app.device.create_command_encoder(&Default::default());
        app.record_double(&mut encoder, features.as_entire_buffer_binding(), made.len());
        network.follow(trainer, &mut encoder).unwrap();
        network.encode(&mut encoder);
        // And doubles what the network says.
        app.record_double(&mut encoder, network.outputs(), 50);
        let outputs = network.outputs();
        encoder.copy_buffer_to_buffer(outputs.buffer, outputs.offset, &result, 0, 4 * 50);
        app.queue.submit([encoder.finish()]);
        bytemuck::pod_collect_to_vec(&app.read(&result))
    };
    let at_start = answers(&mut trainer);
    trainer.run_steps(6).unwrap();
    let trained = answers(&mut trainer);
    assert!(at_start != trained);
    // The same rows by way of the host.
    let same = rows(made, vec![0; 5]);
    let mut predictor =
        Predictor::new(&gpu, &model, same.schema(), Loss::CrossEntropy, trainer.parameters().unwrap())
            .unwrap();
    let Predictions::Classes { labels, probabilities } = predictor.predict(&same).unwrap() else {
        panic!("classes");
    };
    for (row, (label, probability)) in trained.chunks(10).zip(labels.iter().zip(&probabilities)) {
        // Doubled, and both sums in the same order.
        assert!((row[*label as usize] / 2.0 - probability).abs() < 1e-6, "{row:?}: {label} {probability}");
        assert!((row.iter().sum::<f32>() - 2.0).abs() < 1e-5);
    }
    let other = "mlp:9".parse().unwrap();
    let error = Inference::new(&gpu, &other, &schema, Loss::CrossEntropy, &start, 5).err().unwrap();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    assert!(app.errors.try_recv().is_err());
}

/// Rows that the app's pass makes and the trainer reads where they lie: the bits of rows that came from the host, and new ones
/// as soon as the pass has made them.
#[test]
fn an_app_trains_on_what_its_own_pass_makes() {
    const COUNT: usize = 777;
    let app = App::new();
    let gpu = app.gpu();
    let storage = |words: usize| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let size = 4 * words as u64;
        app.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let (features, labels) = (storage(2 * COUNT), storage(COUNT));
    let make = |flipped: bool| app.make_rows(&features, &labels, flipped);
    let lent = |rows: usize| {
        let (features, labels) = (features.clone(), labels.clone());
        let task = data::Task::classes(2);
        data::Dataset::from_buffers(features, labels, rows, &[2], data::Encoding::F32, task)
    };
    let own = || {
        let features: Vec<f32> =
            (0..2 * COUNT as u32).map(|i| (i * 7919 % 1013) as f32 / 512.0 - 1.0).collect();
        let labels = features.chunks(2).map(|row| u32::from(row[0] > row[1])).collect();
        data::Dataset::from_f32(features, &[2], data::Task::classes(2), data::Targets::Labels(labels))
            .unwrap()
    };
    let options = || TrainOptions {
        batch: BatchSize::Rows(64),
        length: Length::Steps(10_000),
        ..TrainOptions::new(
            "mlp:16:tanh".parse().unwrap(),
            Optimizer::new("adam").unwrap().with("lr", 0.05).unwrap(),
        )
    };
    make(false);
    let split = data::Split { train: lent(COUNT).unwrap(), test: Some(lent(100).unwrap()) };
    let mut trainer = Trainer::new(&gpu, split, options()).unwrap();
    // Indices alone: the rows are the app's.
    assert!(trainer.report().resident && trainer.report().bytes.data < 4096, "{:?}", trainer.report().bytes);
    let mut same = Trainer::new(&gpu, data::Split { train: own(), test: Some(own()) }, options()).unwrap();
    for trainer in [&mut trainer, &mut same] {
        trainer.run_steps(40).unwrap();
    }
    assert_eq!(trainer.parameters().unwrap(), same.parameters().unwrap());
    let right = |trainer: &mut Trainer| {
        let network = Inference::of(trainer, 1).unwrap();
        let said = |row: [f32; 2]| network.predict(&row).unwrap();
        let (larger, smaller) = (said([0.75, -0.25]), said([-0.5, 0.5]));
        [larger[1] > 0.5, smaller[1] > 0.5]
    };
    assert_eq!(right(&mut trainer), [true, false]);
    make(true);
    trainer.run_steps(200).unwrap();
    assert_eq!(right(&mut trainer), [false, true], "the rows are new, and nobody told the trainer");

    let none = app.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 8 * COUNT as u64,
        usage: wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let task = || data::Task::classes(2);
    let (float, byte) = (data::Encoding::F32, data::Encoding::U8 { scale: 1.0 });
    let of = |features: &wgpu::Buffer, rows, shape: &[usize], encoding| {
        data::Dataset::from_buffers(features.clone(), labels.clone(), rows, shape, encoding, task())
    };
    for (refused, part) in [
        (lent(COUNT + 1), "the buffer of features has 6216 bytes"),
        (of(&features, COUNT + 1, &[2], byte), "the buffer of targets has 3108 bytes"),
        (of(&none, COUNT, &[2], float), "for STORAGE are needed"),
        (lent(0), "one or more rows"),
        (lent(COUNT).unwrap().subset(0..5), "cannot be divided"),
    ] {
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(lent(COUNT).unwrap().split(0.5, 0).is_err() && lent(COUNT).unwrap().features(0).is_none());
    let not_resident = TrainOptions { resident: Choice::No, ..options() };
    let split = data::Split { train: lent(COUNT).unwrap(), test: None };
    let error = Trainer::new(&gpu, split, not_resident).err().unwrap().to_string();
    assert!(error.starts_with("resident: rows in an app's buffers"), "{error}");
    assert!(app.errors.try_recv().is_err());
}

#[test]
fn a_device_that_is_lost_in_the_middle_is_an_error_and_no_crash() {
    let app = App::new();
    let gpu = app.gpu();
    let mut trainer = Trainer::new(&gpu, digits(), options(1000)).unwrap();
    while !matches!(trainer.next_event(&NEVER).unwrap(), Event::Epoch(_)) {}
    app.device.destroy();
    let error = loop {
        match trainer.next_event(&NEVER) {
            Ok(Event::Finished) => panic!("the run went on without a device"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Device { .. }), "{error}");
    assert!(trainer.advance(Duration::from_millis(4)).is_err() && trainer.poll().is_err());
    // What follows fails in the same way.
    assert!(
        trainer.next_event(&NEVER).is_err() && trainer.parameters().is_err() && trainer.snapshot().is_err()
    );
}

#[test]
fn a_device_that_is_lost_between_two_frames_is_an_error_and_no_crash() {
    let app = App::new();
    let gpu = app.gpu();
    let mut trainer = Trainer::new(&gpu, digits(), options(1000)).unwrap();
    let mut frame = 0;
    let error = loop {
        if frame == 30 {
            app.device.destroy();
        }
        assert!(frame < 1000, "the run went on without a device");
        frame += 1;
        match trainer.advance(Duration::from_millis(4)).and_then(|_| trainer.poll()) {
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => break error,
        }
    };
    assert!(frame > 30 && matches!(error, Error::Device { .. }), "{frame}: {error}");
    assert!(trainer.parameters().is_err());
    // Whether a device that the app opened is lost, only a wait tells; this waits for nothing.
    let _ = trainer.cancel();
}

#[test]
fn a_device_that_will_not_do_is_refused_with_the_reason() {
    let adapter = adapter();
    let open = |required_limits| {
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        pollster::block_on(adapter.request_device(&descriptor)).unwrap()
    };
    let few = wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::defaults() };
    let overrides = LimitOverrides { max_buffer_size: Some(1 << 20), ..LimitOverrides::default() };
    let rows: [(wgpu::Limits, GpuOptions, &str); 4] = [
        (
            few,
            GpuOptions::default(),
            "the app's device cannot run downhill: 4 storage buffers per dispatch are too few, 8 are needed",
        ),
        (
            wgpu::Limits::defaults(),
            GpuOptions { matrix_units: true, ..GpuOptions::default() },
            "matrix-units: is for the app to choose",
        ),
        (
            wgpu::Limits::defaults(),
            GpuOptions { adapter: "llvmpipe".parse().unwrap(), ..GpuOptions::default() },
            "adapter: is for the app to choose",
        ),
        (
            wgpu::Limits::defaults(),
            GpuOptions { overrides, ..GpuOptions::default() },
            "overrides: is for the app to choose",
        ),
    ];
    for (limits, options, fragment) in rows {
        let (device, queue) = open(limits);
        let error = Gpu::from_wgpu(&adapter, device, queue, &options).unwrap_err().to_string();
        assert!(error.contains(fragment), "{error}");
    }
    // A device with nothing but the default limits and no features will do, and plans within its memory limit.
    let (device, queue) = open(wgpu::Limits::defaults());
    let options = GpuOptions { memory_limit: Some(MemoryLimit::Bytes(3 << 20)), ..GpuOptions::default() };
    let gpu = Gpu::from_wgpu(&adapter, device, queue, &options).unwrap();
    let mut trainer = Trainer::new(&gpu, digits(), self::options(1)).unwrap();
    assert!(trainer.report().bytes.total <= 3 << 20 && trainer.report().accumulate > 1);
    trainer.run_steps(2).unwrap();
}
