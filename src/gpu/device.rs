//! A device to train on: opened with the adapter's real limits, or handed over by an app.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wgpu::{Features, PollType, SubmissionIndex};

use super::adapter::{self, AdapterChoice};
use super::buffer::Account;
use super::fault::{Faults, device_error, one_line};
use super::host_time::HostClock;
use super::memory::{self, AdapterMemory, Budget, MemoryLimit};
use super::pipeline_cache::PipelineFile;
use super::profile::{AdapterClass, LimitOverrides, Profile, RowRuns};
use super::transfer::Transfers;
use super::tuning::Tuning;
use crate::{Error, Result};

/// Features that a device gets where its adapter has them; none is needed.
pub(super) const USEFUL: Features =
    Features::TIMESTAMP_QUERY.union(Features::SHADER_F16).union(Features::SUBGROUP).union(DOUBLE);

/// The features of kernels in f64: our functions take floats apart as integers of 64 bits.
pub(super) const DOUBLE: Features = Features::SHADER_F64.union(Features::SHADER_INT64);

/// The feature of matrix units, which wgpu calls experimental.
pub(super) const MATRIX_UNITS: Features = Features::EXPERIMENTAL_COOPERATIVE_MATRIX;

/// The pauses between questions where the driver is only ever asked: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_micros(10);
const LONGEST_PAUSE: Duration = Duration::from_micros(250);

/// How to open a device.
///
/// ```
/// use downhill::{Gpu, GpuOptions};
///
/// let options = GpuOptions { memory_limit: Some("256MiB".parse()?), ..GpuOptions::default() };
/// let gpu = Gpu::new(&options)?;
/// assert_eq!(gpu.budget().bytes, 256 << 20);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// What the run may take of its memory; without it, what is free now less a margin.
    pub memory_limit: Option<MemoryLimit>,
    /// Compile kernels with wgpu's runtime checks (slower; a way to tell a wrong index from a wrong sum).
    pub checked: bool,
    /// Limits lowered on purpose, for tests.
    pub overrides: LimitOverrides,
    /// The folder where compiled pipelines are kept for the next start, where the backend can (Vulkan), and where a
    /// [`Tuning`] is looked for; none, and nothing is read or written. A file of pipelines that is damaged, or of another
    /// adapter or driver, is replaced.
    pub cache: Option<PathBuf>,
    /// Ask for matrix units, for products of 16 bits. They are an experimental feature of wgpu, not used unless a tuning
    /// found them faster, and then asked for by themselves.
    pub matrix_units: bool,
    /// Whether narrow networks run block of rows by block of rows, to measure one way against the other.
    pub row_runs: RowRuns,
}

/// A device with its queue, its [`Profile`] and its memory [`Budget`]. Clones are the same device.
///
/// But for [`Gpu::new`], which waits until the driver has opened the device, nothing here waits for it.
///
/// ```
/// use downhill::{Gpu, GpuOptions};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// println!("{}, {} bytes", gpu.adapter_info().name, gpu.budget().bytes);
/// // Another program needs memory: less for this one, whichever clone asks for it.
/// gpu.clone().set_memory_limit(64 << 20);
/// assert!(gpu.budget().bytes <= 64 << 20);
/// gpu.check()?;
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pub(crate) adapter: wgpu::Adapter,
    info: wgpu::AdapterInfo,
    profile: Profile,
    /// As it was when the device was opened.
    budget: Budget,
    checked: bool,
    faults: Faults,
    pub(super) account: Arc<Account>,
    pub(super) host: HostClock,
    /// None where nobody asked for one, or the backend has none.
    pub(super) pipelines: Option<PipelineFile>,
    /// None before the first transfer.
    pub(super) transfers: Arc<Mutex<Option<Transfers>>>,
}

impl Gpu {
    /// Opens a device of its own. Waits until the driver has opened it.
    ///
    /// Errors: [`Error::Adapter`] when there is no such adapter or it does not open,
    /// [`Error::Setting`] for a memory limit in percent where the adapter does not tell its memory.
    pub fn new(options: &GpuOptions) -> Result<Self> {
        let adapter = adapter::choose(&options.adapter)?;
        let budget = Budget::of(&adapter, options.memory_limit)?;
        let info = adapter.get_info();
        let tuning = Tuning::load_or_log(options.cache.as_ref(), &info);
        let keeps = if options.cache.is_some() { Features::PIPELINE_CACHE } else { Features::empty() };
        let units = (options.matrix_units || tuning.on_units()) && adapter::has_matrix_units(&adapter);
        let experimental = if units { MATRIX_UNITS } else { Features::empty() };
        let useful = USEFUL | keeps | experimental;
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("downhill"),
            required_features: adapter.features() & useful,
            required_limits: options.overrides.lower(adapter.limits()),
            // Few, long-lived buffers: small blocks cost nothing and keep what is reserved near what is used.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            experimental_features: match units {
                // SAFETY: asked for by the user, or by a tuning that compared their results with those of the other kernels
                // on this very driver; nothing else uses them but measurements of speed.
                true => unsafe { wgpu::ExperimentalFeatures::enabled() },
                false => wgpu::ExperimentalFeatures::disabled(),
            },
            ..Default::default()
        });
        let (device, queue) = pollster::block_on(request).map_err(|error| {
            let name = &info.name;
            Error::Adapter(format!("cannot open the adapter `{name}`: {}", one_line(&error.to_string())))
        })?;
        let faults = Faults::watch(&device);
        let gpu = Self::assemble(adapter, device, queue, budget, options.checked, faults);
        Ok(gpu.with_options(options, tuning))
    }

    /// What an app asks its device for, so that downhill runs on it and runs well: the features that are of use and that
    /// `adapter` has, and WebGPU's default limits with those of compute as high as they go. An app adds what it needs
    /// itself. Without the features kernels do without; below the default limits nothing runs.
    ///
    /// ```no_run
    /// use downhill::{Gpu, GpuOptions, wgpu};
    ///
    /// # fn example(adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> downhill::Result<()> {
    /// let (required_features, required_limits) = Gpu::required_features_and_limits(&adapter)?;
    /// let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
    /// // … of which the app makes its device and queue, and draws with them.
    /// let gpu = Gpu::from_wgpu(&adapter, device, queue, &GpuOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Adapter`] for an adapter that cannot run downhill, with what it lacks.
    pub fn required_features_and_limits(adapter: &wgpu::Adapter) -> Result<(Features, wgpu::Limits)> {
        let has = adapter.limits();
        adapter::check(adapter, &has, &format!("the adapter `{}`", adapter.get_info().name))?;
        let limits = wgpu::Limits {
            max_buffer_size: has.max_buffer_size,
            max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
            max_storage_buffers_per_shader_stage: has.max_storage_buffers_per_shader_stage,
            max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: has.max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: has.max_compute_workgroup_size_x,
            max_compute_workgroup_size_y: has.max_compute_workgroup_size_y,
            max_compute_workgroups_per_dimension: has.max_compute_workgroups_per_dimension,
            min_storage_buffer_offset_alignment: has.min_storage_buffer_offset_alignment,
            min_uniform_buffer_offset_alignment: has.min_uniform_buffer_offset_alignment,
            // Of what only drawing needs, no more than there is.
            ..wgpu::Limits::defaults().or_worse_values_from(&has)
        };
        Ok((adapter.features() & (USEFUL | Features::PIPELINE_CACHE), limits))
    }

    /// Takes an app's own device, with the features and limits that the app gave it, and installs no handlers on it: errors
    /// outside of this crate's own error scopes stay the app's, and so does the device when all of this is dropped.
    ///
    /// Of `options` count the memory limit, `checked`, `cache` (for which the device needs
    /// [`wgpu::Features::PIPELINE_CACHE`]) and `row_runs`.
    ///
    /// # Errors
    /// [`Error::Adapter`] for a device without a limit that is needed; [`Error::Setting`] as for [`Gpu::new`], and for options
    /// that only opening a device can heed.
    pub fn from_wgpu(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &GpuOptions,
    ) -> Result<Self> {
        let heeded_by_opening = [
            ("adapter", options.adapter != AdapterChoice::Best),
            ("overrides", options.overrides != LimitOverrides::default()),
            ("matrix-units", options.matrix_units),
        ];
        if let Some((name, _)) = heeded_by_opening.into_iter().find(|(_, given)| *given) {
            return Err(Error::setting(
                name,
                "is for the app to choose, which opened the device; leave it away",
            ));
        }
        adapter::check(adapter, &device.limits(), "the app's device")?;
        let budget = Budget::of(adapter, options.memory_limit)?;
        let gpu = Self::assemble(adapter.clone(), device, queue, budget, options.checked, Faults::default());
        let tuning = Tuning::load_or_log(options.cache.as_ref(), &gpu.info);
        Ok(gpu.with_options(options, tuning))
    }

    /// What all devices take from the options, however they came about.
    fn with_options(mut self, options: &GpuOptions, tuning: Tuning) -> Self {
        self.profile.tuning = tuning;
        self.profile.row_runs = options.row_runs;
        let open = |folder: &PathBuf| PipelineFile::open(&self.device, &self.info, folder);
        let pipelines = options.cache.as_ref().and_then(open);
        Gpu { pipelines, ..self }
    }

    fn assemble(
        adapter: wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        budget: Budget,
        checked: bool,
        faults: Faults,
    ) -> Self {
        let info = adapter.get_info();
        let profile = Profile::of(&info, &device.limits(), device.features());
        Self {
            device,
            queue,
            adapter,
            info,
            profile,
            budget,
            checked,
            faults,
            account: Arc::default(),
            host: HostClock::default(),
            pipelines: None,
            transfers: Arc::default(),
        }
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// The adapter's name, driver and backend.
    pub fn adapter_info(&self) -> &wgpu::AdapterInfo {
        &self.info
    }

    /// What the planner knows of this device.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The memory that a run may take: what was free, or asked for, when the device was opened, or the limit of
    /// [`Gpu::set_memory_limit`] where that is smaller.
    pub fn budget(&self) -> Budget {
        self.budget.clone().within(self.account.limit())
    }

    /// The free bytes of the host, where the device computes in the host's memory and `bytes` are more than those:
    /// a system that is out of memory ends some process instead of refusing a buffer.
    pub fn host_shortage(&self, bytes: u64) -> Option<u64> {
        memory::host_free(self.info.device_type).filter(|free| bytes > *free)
    }

    /// What the driver says that this process uses of the device's own memory, other devices on the same adapter
    /// included; none where it does not tell.
    pub fn driver_bytes(&self) -> Option<u64> {
        AdapterMemory::of(&self.adapter).used()
    }

    /// Whether kernels are compiled with runtime checks.
    pub fn checked(&self) -> bool {
        self.checked
    }

    /// Whether the device is sound: the first error that it met on its own, if any.
    ///
    /// Errors: [`Error::Device`], for good; [`Error::OutOfMemory`], until [`Gpu::take_out_of_memory`]. A device
    /// that an app handed over reports to the app instead.
    pub fn check(&self) -> Result<()> {
        self.faults.check()
    }

    /// Takes note of memory that ran out while submitted work was running, if it did: the device goes on, and
    /// [`Gpu::check`] no longer tells of it. A device that was lost stays lost.
    pub fn take_out_of_memory(&self) -> Option<Error> {
        self.faults.take_out_of_memory()
    }

    /// Runs `work` under error scopes; see [`super::fault::scoped`].
    pub(crate) fn scoped<T>(&self, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
        let made = super::fault::scoped(&self.device, doing, work);
        // A lost device makes invalid objects and tells no scope, or tells one of what followed from the loss.
        self.check()?;
        made
    }

    /// Submits what `encoder` recorded; the index is what [`Gpu::wait`] takes.
    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder) -> SubmissionIndex {
        let commands = encoder.finish();
        self.host.count(|times| &mut times.submitting, || self.queue.submit([commands]))
    }

    /// Runs the callbacks of work that is done, and waits for nothing.
    pub(crate) fn poll(&self) -> Result<()> {
        self.poll_with(PollType::Poll)
    }

    /// Waits until all that was submitted so far, `submission` the last of it, is done, however long that takes.
    pub(crate) fn wait(&self, submission: &SubmissionIndex) -> Result<()> {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        self.queue.on_submitted_work_done(move || told.store(true, Ordering::Release));
        self.wait_until(submission, || done.load(Ordering::Acquire))
    }

    /// Waits until `submission` is done and its callbacks have run, which is when `is_done` says so.
    ///
    /// A software adapter is asked again and again, and slept between: Mesa's llvmpipe loses some wake-ups for good,
    /// whatever the time that it was given (llama.cpp's pull requests 20531 and 20618 met it too), and wgpu 30 panics
    /// where a wait with a time limit meets another thread's poll.
    pub(super) fn wait_until(&self, submission: &SubmissionIndex, is_done: impl Fn() -> bool) -> Result<()> {
        self.host.count(|times| &mut times.waiting, || self.wait_patiently(submission, is_done))
    }

    fn wait_patiently(&self, submission: &SubmissionIndex, is_done: impl Fn() -> bool) -> Result<()> {
        if self.profile.class != AdapterClass::Software {
            return self
                .poll_with(PollType::Wait { submission_index: Some(submission.clone()), timeout: None });
        }
        let mut pause = FIRST_PAUSE;
        loop {
            self.poll()?;
            if is_done() {
                return Ok(());
            }
            thread::sleep(pause);
            pause = LONGEST_PAUSE.min(2 * pause);
        }
    }

    fn poll_with(&self, kind: PollType) -> Result<()> {
        let doing = "waiting for submitted work";
        // wgpu 30's `Device::poll` panics when the driver reports the device lost. There is no state of
        // ours in there, and wgpu's own locks are released on the way up.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(kind)));
        self.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(device_error(doing, one_line(&error.to_string()))),
            Err(_) => Err(device_error(doing, "the device was lost")),
        }
    }
}
