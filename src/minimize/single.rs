//! A small objective in one invocation: loss, gradient, update and the loop over steps are one kernel.
//!
//! The host uploads the scalars of thousands of steps, records a few dispatches of hundreds of steps each and reads a
//! few numbers back; the kernel itself counts its steps and stops where there is nothing more to do.

use std::mem::offset_of;

use super::kernel::{DISPATCH_STEPS, LINE, kernel_text, vectors};
use super::layout::Layout;
use super::scalars::Program;
use super::{Advance, MinimizeOptions, Objective, Stop};
use crate::gpu::{BindingKind, Buffer, BufferUse, KernelSource, Kernels};
use crate::plan::replay::{Launch, part, record};
use crate::{Gpu, Result};

/// Steps of a submit, whose scalars are 256 KiB.
const SUBMIT_STEPS: u64 = 4096;

/// What the kernel is told for a submit; its twin is `Control` in `shaders/minimize.wgsl`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Control {
    /// Updates before the submit, and after it.
    done: u32,
    until: u32,
    /// Steps between two points of the trace; 0 for none.
    trace: u32,
    /// Whether it may stop before `until`, and the gradient's norm at which it does.
    may_stop: u32,
    tolerance: f32,
    /// Updates before which the norm is not looked at.
    looks_from: u32,
    padding: [u32; 2],
}

/// What the kernel says: the first words of its record.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Report {
    done: u32,
    /// A place in [`STOPS`], counted from 1; 0 where it goes on.
    stop: u32,
    unchanged: u32,
    evaluations: u32,
}

const STOPS: [Stop; 3] = [Stop::Converged, Stop::Diverged, Stop::Stalled];

/// A run on a device.
pub(super) struct Single<'a> {
    gpu: &'a Gpu,
    objective: &'a Objective,
    options: &'a MinimizeOptions,
    layout: Layout,
    control: Buffer,
    /// The scalars of the steps of a submit.
    schedule: Buffer,
    /// The report, θ as the user reads it, and the trace.
    record: Buffer,
    launch: Launch,
    _state: Buffer,
    done: u64,
    looks_from: u64,
}

impl<'a> Single<'a> {
    pub fn new(
        gpu: &'a Gpu,
        objective: &'a Objective,
        program: &Program,
        options: &'a MinimizeOptions,
    ) -> Result<Self> {
        let layout = Layout::new(objective, options);
        let quads = layout.quads as u64;
        let vectors = vectors(options);
        let points = SUBMIT_STEPS.checked_div(options.trace).map_or(0, |points| points + 1);
        let storage = |bytes: u64| gpu.buffer("minimize", bytes, BufferUse::Storage);
        let control = gpu.buffer("minimize", size_of::<Control>() as u64, BufferUse::Uniform)?;
        let schedule = storage(SUBMIT_STEPS * 4 * LINE as u64)?;
        let state = storage(16 * quads * vectors.len() as u64)?;
        let record = storage(16 * (1 + quads * (1 + points)))?;
        let theta: Vec<f32> = objective.start().iter().map(|&x| x as f32).collect();
        let theta = layout.spread(&theta);
        // What follows θ begins as θ, the rule's state with zeros.
        for (place, _) in
            vectors.iter().enumerate().filter(|(_, name)| ["theta", "slow", "average"].contains(name))
        {
            gpu.write_buffer(state.raw(), 16 * quads * place as u64, bytemuck::cast_slice(&theta))?;
        }

        log::info!("{} operations a step in one kernel", program.operations);
        let wgsl = kernel_text(options, program, &layout);
        let bindings = [
            BindingKind::Uniform,
            BindingKind::ReadStorage,
            BindingKind::ReadWriteStorage,
            BindingKind::ReadWriteStorage,
        ];
        let source = KernelSource { label: "minimize", wgsl: &wgsl, bindings: &bindings };
        let kernel = Kernels::new(gpu).compile(&source)?;
        gpu.keep_pipelines();
        let ranges = [&control, &schedule, &state, &record].map(|buffer| part(buffer, 0, buffer.bytes()));
        let bind_group = gpu.bind_group(&kernel, "minimize", &ranges)?;
        let launch = Launch { kernel, bind_group, groups: [1, 1] };
        Ok(Single {
            gpu,
            objective,
            options,
            layout,
            control,
            schedule,
            record,
            launch,
            _state: state,
            done: 0,
            looks_from: 0,
        })
    }

    /// Makes the steps of one submit and waits for them.
    pub fn advance(&mut self) -> Result<Advance> {
        let until = self.options.steps.min(self.done + SUBMIT_STEPS);
        let scalars = self.options.scalars(self.done, until);
        self.gpu.write_buffer(self.schedule.raw(), 0, bytemuck::cast_slice(&scalars))?;
        let control = Control {
            done: self.done as u32,
            until: until as u32,
            trace: self.options.trace as u32,
            may_stop: u32::from(self.options.tolerance.is_some()),
            tolerance: self.options.tolerance.unwrap_or(0.0) as f32,
            looks_from: self.looks_from as u32,
            padding: [0; 2],
        };
        self.gpu.write_buffer(self.control.raw(), 0, bytemuck::bytes_of(&control))?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for _ in 0..(until - self.done).div_ceil(DISPATCH_STEPS) {
                record(std::slice::from_ref(&self.launch), &mut pass);
            }
        }
        self.gpu.submit(encoder);
        self.read(until)
    }

    fn read(&mut self, until: u64) -> Result<Advance> {
        let quads = self.layout.quads as u64;
        let points = trace_rows(self.options, self.done, until);
        let bytes = self.gpu.read_buffer(self.record.raw(), 0..16 * (1 + quads * (1 + points)))?;
        let (report, rows) = bytes.split_at(size_of::<Report>());
        let report: Report = bytemuck::pod_read_unaligned(report);
        let mut rows = rows
            .chunks_exact(16 * quads as usize)
            .map(|row| self.layout.gather(&bytemuck::pod_collect_to_vec::<u8, f32>(row)));
        let theta = rows.next().unwrap_or_default();
        let done = u64::from(report.done);
        // The rows of steps that a stop kept from being made hold what an earlier submit left there.
        let first = (self.done + 1).next_multiple_of(self.options.trace.max(1));
        let numbers = (0..).map(|row| first + row * self.options.trace);
        let trace = numbers.zip(rows).take_while(|(step, _)| *step <= done).collect();
        self.done = done;
        let mut stop = (report.stop as usize).checked_sub(1).and_then(|place| STOPS.get(place)).copied();
        if stop == Some(Stop::Converged) && !self.options.is_within(self.objective, &theta) {
            // The kernel's f32 saw less than there is, or the rule looks at another point than θ: at least one more.
            stop = None;
            self.looks_from = done + 1;
            self.gpu.write_buffer(self.record.raw(), offset_of!(Report, stop) as u64, &[0; 4])?;
        }
        // The device may compute what is no number as one.
        if stop.is_none() && !self.objective.is_finite(&theta) {
            stop = Some(Stop::Diverged);
        }
        let (evaluations, unchanged) = (u64::from(report.evaluations), u64::from(report.unchanged));
        Ok(Advance { done, evaluations, unchanged, stop, theta, trace })
    }
}

/// Points of the trace after step `done` up to step `until`, at most.
fn trace_rows(options: &MinimizeOptions, done: u64, until: u64) -> u64 {
    let before = |step: u64| step.checked_div(options.trace).unwrap_or(0);
    before(until) - before(done)
}
