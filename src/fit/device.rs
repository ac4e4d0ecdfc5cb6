//! Fits on a device: a submit of some turns after the other, until no fit goes on.

use std::time::{Duration, Instant};

use super::kernel::{Place, RECORD_FIELDS, Share, kernel_text, part_numbers, state_fields};
use super::{FitData, FitModel, FitOptions};
use crate::gpu::{BindingKind, Buffer, BufferUse, KernelSource, Kernels};
use crate::minimize::{Program, Status};
use crate::plan::replay::{Launch, part, record};
use crate::{Error, Gpu, Precision, Result};

/// Points from which on those of a single fit are cut into blocks.
const MANY_POINTS: usize = 8192;
/// Points of a block, at least; and blocks, at most, for one invocation joins them.
const BLOCK: usize = 256;
const MOST_BLOCKS: usize = 1024;
/// Points that the first dispatch goes over, times turns; more follow by the host's clock.
const FIRST_WORK: usize = 4096;
/// Turns of a dispatch at most; a submit that took less than `SHORT` is followed by one of twice its turns.
const MOST_TURNS: usize = 256;
const SHORT: Duration = Duration::from_millis(10);

/// Invocations of a workgroup, as the kernels have it.
const GROUP: usize = 64;

/// What the kernels are told; the twin is `Control` in `shaders/fit/frame.wgsl`.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Control {
    fits: u32,
    points: u32,
    turns: u32,
    most: u32,
    block: u32,
    blocks: u32,
    padding: [u32; 2],
}

/// By the kernel's number of how a fit ended; 0 is one that goes on.
pub(super) const STATUSES: [Status; 4] =
    [Status::Converged, Status::MaxSteps, Status::Diverged, Status::Stalled];

/// What is to be fitted, all of it checked.
pub(super) struct Problem<'a> {
    pub model: &'a FitModel,
    pub data: &'a FitData,
    /// For all, `[unknowns]`, or `[fits, unknowns]`.
    pub starts: &'a [f64],
    pub limits: &'a [(f64, f64)],
    pub options: &'a FitOptions,
}

/// How the fits ended.
#[derive(Default)]
pub(super) struct Ended {
    /// `[fits, unknowns]`
    pub estimates: Vec<f64>,
    /// R at the estimates, `[fits, unknowns, unknowns]`, by the unknowns themselves.
    pub triangles: Vec<f64>,
    /// Whether no bound holds an unknown, `[fits, unknowns]`.
    pub free: Vec<bool>,
    pub objectives: Vec<f64>,
    pub statuses: Vec<Status>,
    pub steps: Vec<u32>,
    pub readbacks: u32,
}

/// Numbers as kernels take them; what is larger than they have becomes their largest.
fn bytes(precision: Precision, numbers: impl Iterator<Item = f64>) -> Vec<u8> {
    let most = if precision == Precision::F64 { f64::MAX } else { f64::from(f32::MAX) };
    precision.encode(&numbers.map(|number| number.clamp(-most, most)).collect::<Vec<_>>())
}

/// The kernels of a problem, compiled for a device.
struct Fitter<'a> {
    gpu: &'a Gpu,
    problem: &'a Problem<'a>,
    precision: Precision,
    kernels: Vec<crate::gpu::Kernel>,
    /// Points of a block and blocks; none where an invocation does a whole fit.
    blocks: Option<(usize, usize)>,
    /// The columns in the order of their places: shared ones, then own.
    columns: Vec<&'a str>,
    unknowns: usize,
    turns: usize,
    readbacks: u32,
}

/// The buffers of a batch of fits.
struct Memory {
    control: Buffer,
    settings: Buffer,
    columns: Buffer,
    state: Buffer,
    record: Buffer,
    unfinished: Buffer,
    parts: Buffer,
}

impl Problem<'_> {
    /// Fits all, as many at once as bindings hold.
    pub fn run(&self, gpu: &Gpu) -> Result<Ended> {
        let mut fitter = Fitter::new(gpu, self)?;
        let batch = fitter.batch()?;
        let mut ended = Ended::default();
        for first in (0..self.data.fits()).step_by(batch) {
            fitter.fit(first, batch.min(self.data.fits() - first), &mut ended)?;
        }
        ended.readbacks = fitter.readbacks;
        Ok(ended)
    }

    /// The starts of fit `fit`.
    fn start(&self, fit: usize) -> &[f64] {
        let unknowns = self.model.unknowns().len();
        let first = if self.starts.len() == unknowns { 0 } else { fit * unknowns };
        &self.starts[first..first + unknowns]
    }

    /// A unit for every unknown, so that what the kernel squares is of the size of the data: its largest start.
    fn units(&self) -> Vec<f64> {
        let unknowns = self.model.unknowns().len();
        let largest =
            |j: usize| self.starts.iter().skip(j).step_by(unknowns).fold(0.0, |a: f64, x| a.max(x.abs()));
        (0..unknowns).map(largest).map(|unit| if (unit as f32) > 0.0 { unit } else { 1.0 }).collect()
    }
}

impl<'a> Fitter<'a> {
    fn new(gpu: &'a Gpu, problem: &'a Problem<'a>) -> Result<Self> {
        let (model, data, options) = (problem.model, problem.data, problem.options);
        let precision = options.precision;
        let program = model.program(precision)?;
        log::info!("{} operations a point", program.operations);
        let (own, shared): (Vec<&str>, Vec<&str>) =
            model.columns().iter().map(String::as_str).partition(|name| data.is_own(name));
        let place = |name: &String| {
            let (own, list) = if data.is_own(name) { (true, &own) } else { (false, &shared) };
            Place { number: list.iter().position(|known| known == name).unwrap_or(0), own }
        };
        let places: Vec<Place> = model.columns().iter().map(place).collect();
        let blocks = (data.fits() == 1 && data.points() > MANY_POINTS).then(|| {
            let block = BLOCK.max(data.points().div_ceil(MOST_BLOCKS));
            (block, data.points().div_ceil(block))
        });
        let shares: &[Share] = if blocks.is_some() { &[Share::Block, Share::Join] } else { &[Share::Whole] };
        let kernels = compile(gpu, &program, &places, options, precision, shares)?;
        Ok(Fitter {
            gpu,
            problem,
            precision,
            kernels,
            blocks,
            columns: shared.into_iter().chain(own).collect(),
            unknowns: model.unknowns().len(),
            turns: (FIRST_WORK / data.points().max(1)).clamp(1, MOST_TURNS),
            readbacks: 0,
        })
    }

    /// Fits that one binding holds the columns and the state of.
    fn batch(&self) -> Result<usize> {
        let data = self.problem.data;
        let width = self.precision.float_bytes() as usize;
        let most = self.gpu.profile().max_binding_size.min(u64::from(u32::MAX)) as usize / width;
        let own = self.columns.iter().filter(|name| data.is_own(name)).count();
        let shared = (self.columns.len() - own) * data.points();
        let by_columns = most.saturating_sub(shared).checked_div(own * data.points()).unwrap_or(usize::MAX);
        let batch = by_columns.min(most / state_fields(self.unknowns));
        let groups = self.gpu.profile().max_workgroups_per_dimension as usize;
        match batch.min(groups * GROUP) {
            0 => Err(self.does_not_fit(shared, most)),
            _ if shared > most => Err(self.does_not_fit(shared, most)),
            batch => Ok(batch),
        }
    }

    fn does_not_fit(&self, numbers: usize, most: usize) -> Error {
        Error::DoesNotFit(format!(
            "the columns of a fit are {numbers} numbers or more, and a binding of this adapter holds {most}"
        ))
    }

    /// Fits `count` of them from `first` on.
    fn fit(&mut self, first: usize, count: usize, ended: &mut Ended) -> Result<()> {
        let memory = self.memory(first, count)?;
        let launches = self.launches(&memory, count)?;
        loop {
            let began = Instant::now();
            let data = self.problem.data;
            let (block, blocks) = self.blocks.unwrap_or((0, 0));
            let control = Control {
                fits: count as u32,
                points: data.points() as u32,
                turns: self.turns as u32,
                most: self.problem.options.steps,
                block: block as u32,
                blocks: blocks as u32,
                padding: [0; 2],
            };
            self.gpu.write_buffer(memory.control.raw(), 0, bytemuck::bytes_of(&control))?;
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            encoder.clear_buffer(memory.unfinished.raw(), 0, None);
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                // Kernels of blocks do one turn a dispatch.
                for _ in 0..if self.blocks.is_some() { self.turns } else { 1 } {
                    record(&launches, &mut pass);
                }
            }
            self.gpu.submit(encoder);
            self.readbacks += 1;
            let unfinished = self.gpu.read_buffer(memory.unfinished.raw(), 0..4)?;
            if unfinished == [0; 4] {
                break;
            }
            if began.elapsed() < SHORT {
                self.turns = (2 * self.turns).min(MOST_TURNS);
            }
        }
        self.read(&memory, first, count, ended)
    }

    fn memory(&self, first: usize, count: usize) -> Result<Memory> {
        let Problem { data, limits, options, .. } = self.problem;
        let precision = self.precision;
        let made = |bytes: &[u8]| {
            let buffer = self.gpu.buffer("fit", bytes.len() as u64, BufferUse::Storage)?;
            self.gpu.write_buffer(buffer.raw(), 0, bytes).map(|()| buffer)
        };
        let scale = options.robust.map_or(1.0, |loss| loss.scale);
        let settings = [options.tolerance(), scale].into_iter().chain(self.problem.units());
        let settings =
            settings.chain(limits.iter().map(|limit| limit.0)).chain(limits.iter().map(|limit| limit.1));
        let mut columns = Vec::new();
        for name in &self.columns {
            let values = |fit: usize| data.values(name, fit).unwrap_or_default();
            if data.is_own(name) {
                let point = |point: usize| (first..first + count).map(move |fit| values(fit)[point]);
                columns.extend(bytes(precision, (0..data.points()).flat_map(point)));
            } else {
                columns.extend(bytes(precision, values(0).iter().copied()));
            }
        }
        let fields = state_fields(self.unknowns);
        let state = self.gpu.buffer(
            "fit",
            (fields * count * precision.float_bytes() as usize) as u64,
            BufferUse::Storage,
        )?;
        // The first residuals are computed at the field TRIAL, which is the second of so many numbers.
        let trial = (0..self.unknowns)
            .flat_map(|j| (first..first + count).map(move |fit| self.problem.start(fit)[j]));
        let at = self.unknowns * count * precision.float_bytes() as usize;
        self.gpu.write_buffer(state.raw(), at as u64, &bytes(precision, trial))?;
        let parts = self.blocks.map_or(1, |(_, blocks)| blocks * part_numbers(self.unknowns));
        Ok(Memory {
            control: self.gpu.buffer("fit", size_of::<Control>() as u64, BufferUse::Uniform)?,
            settings: made(&bytes(precision, settings))?,
            columns: made(&columns)?,
            state,
            record: self.gpu.buffer("fit", (4 * RECORD_FIELDS * count) as u64, BufferUse::Storage)?,
            unfinished: self.gpu.buffer("fit", 4, BufferUse::Storage)?,
            parts: self.gpu.buffer(
                "fit",
                (parts * precision.float_bytes() as usize) as u64,
                BufferUse::Storage,
            )?,
        })
    }

    fn launches(&self, memory: &Memory, count: usize) -> Result<Vec<Launch>> {
        let Memory { control, settings, columns, state, record, unfinished, parts } = memory;
        let buffers = [control, settings, columns, state, record, unfinished, parts];
        let ranges = buffers.map(|buffer| part(buffer, 0, buffer.bytes()));
        let groups = match self.blocks {
            Some((_, blocks)) => vec![blocks.div_ceil(GROUP), 1],
            None => vec![count.div_ceil(GROUP)],
        };
        let launch = |(kernel, groups): (&crate::gpu::Kernel, usize)| {
            let bind_group = self.gpu.bind_group(kernel, "fit", &ranges)?;
            Ok(Launch { kernel: kernel.clone(), bind_group, groups: [groups as u32, 1] })
        };
        self.kernels.iter().zip(groups).map(launch).collect()
    }

    /// Appends what came of a batch.
    fn read(&mut self, memory: &Memory, first: usize, count: usize, ended: &mut Ended) -> Result<()> {
        let unknowns = self.unknowns;
        let state =
            self.precision.decode(&self.gpu.read_buffer(memory.state.raw(), 0..memory.state.bytes())?);
        let record: Vec<u32> = bytemuck::pod_collect_to_vec(
            &self.gpu.read_buffer(memory.record.raw(), 0..memory.record.bytes())?,
        );
        self.readbacks += 2;
        // The fields of `shaders/fit/frame.wgsl`.
        let (free, rows) = (4 * unknowns, 5 * unknowns);
        let objective = rows + unknowns * (unknowns + 1);
        let units = self.problem.units();
        for fit in 0..count {
            let field = |field: usize| state[field * count + fit];
            let status = (record[fit] as usize).checked_sub(1).and_then(|at| STATUSES.get(at));
            let status = status.copied().unwrap_or(Status::MaxSteps);
            let limits = self.problem.limits;
            match status {
                // What never had residuals stays at its start.
                Status::Diverged => ended.estimates.extend(self.problem.start(first + fit)),
                // Bounds were rounded to the kernel's numbers.
                _ => ended.estimates.extend((0..unknowns).map(|j| field(j).clamp(limits[j].0, limits[j].1))),
            }
            for i in 0..unknowns {
                let row = (0..unknowns).map(|j| field(rows + i * (unknowns + 1) + j) / units[j]);
                ended.triangles.extend(row);
            }
            ended.free.extend((0..unknowns).map(|j| status == Status::Diverged || field(free + j) != 0.0));
            ended.objectives.push(field(objective));
            ended.statuses.push(status);
            ended.steps.push(record[count + fit].saturating_sub(1));
        }
        Ok(())
    }
}

fn compile(
    gpu: &Gpu,
    program: &Program,
    places: &[Place],
    options: &FitOptions,
    precision: Precision,
    shares: &[Share],
) -> Result<Vec<crate::gpu::Kernel>> {
    let bindings = [
        BindingKind::Uniform,
        BindingKind::ReadStorage,
        BindingKind::ReadStorage,
        BindingKind::ReadWriteStorage,
        BindingKind::ReadWriteStorage,
        BindingKind::ReadWriteStorage,
        BindingKind::ReadWriteStorage,
    ];
    let texts: Vec<String> = shares
        .iter()
        .map(|&share| {
            let text = kernel_text(program, places, options, precision, share);
            precision.kernel_text(text)
        })
        .collect();
    let sources: Vec<KernelSource> =
        texts.iter().map(|wgsl| KernelSource { label: "fit", wgsl, bindings: &bindings }).collect();
    let kernels = Kernels::new(gpu).compile_all(&sources)?;
    gpu.keep_pipelines();
    Ok(kernels)
}
