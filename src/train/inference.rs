//! A model inside an app's own commands: rows and answers are buffers on the app's device, and nothing goes over the host.

use super::fit::over_budget;
use super::program::{FEATURES, Recipe};
use super::tensors::{NamedTensor, check, write_vector};
use super::trainer::{TRAIN, Trainer};
use crate::data::{Encoding, Schema};
use crate::gpu::{Buffer, Gpu, Kernels, TRANSFER_BYTES};
use crate::graph::ParameterInfo;
use crate::nn::{Loss, ModelSpec};
use crate::plan::memory::{ByteCounts, Needs};
use crate::plan::replay::{Memory, Replay, part, record};
use crate::plan::{Piece, Plan, Precision, Program, StepUniform};
use crate::{Error, Result};

/// A model for so many rows at once, whose work an app records among its own:
///
/// ```no_run
/// # use downhill::{Gpu, GpuOptions, Inference, Loss, ModelSpec, NamedTensor, data::Schema, wgpu};
/// # fn example(gpu: Gpu, model: ModelSpec, schema: Schema, parameters: Vec<NamedTensor>) -> downhill::Result<()> {
/// let network = Inference::new(&gpu, &model, &schema, Loss::CrossEntropy, &parameters, 64)?;
/// let mut encoder = gpu.device().create_command_encoder(&Default::default());
/// // … a pass of the app writes 64 rows to `network.features()` …
/// network.encode(&mut encoder);
/// // … and another draws what `network.outputs()` then holds.
/// gpu.queue().submit([encoder.finish()]);
/// # Ok(())
/// # }
/// ```
pub struct Inference {
    gpu: Gpu,
    plan: Plan,
    memory: Memory,
    replay: Replay,
    parameters: Vec<ParameterInfo>,
    schema: Schema,
    bytes: ByteCounts,
}

impl Inference {
    /// Allocates the model for `rows` rows, with these parameters, and compiles its kernels. Waits until the
    /// parameters are on the device.
    ///
    /// # Errors
    /// [`Error::Shape`] where the parameters are another model's, or for no rows; [`Error::DoesNotFit`] where it is more than
    /// the budget; [`Error::OutOfMemory`] and [`Error::Device`] as the device has it.
    pub fn new(
        gpu: &Gpu,
        model: &ModelSpec,
        schema: &Schema,
        loss: Loss,
        parameters: &[NamedTensor],
        rows: usize,
    ) -> Result<Self> {
        if rows == 0 {
            return Err(Error::shape("inference", "a model works on one row at least, not on none"));
        }
        let program: Program = Recipe::at_work(model, schema, loss).prediction()?;
        let infos: &[ParameterInfo] = program.graph.parameters();
        check(infos, parameters)?;
        let plan = Plan::new(&program, gpu.profile(), rows)?;
        let needs = Needs { staging: TRANSFER_BYTES, ..Needs::of(&[&plan]) };
        let (bytes, budget) = (needs.bytes(), gpu.budget().bytes);
        if bytes.total > budget {
            return Err(over_budget("the model", &bytes, rows, budget, "use a smaller model or fewer rows"));
        }
        gpu.prepare_transfers()?;
        let memory = Memory::new(gpu, &needs)?;
        let theta: Vec<&Buffer> = memory.theta.iter().collect();
        let replay = Replay::new(gpu, &Kernels::new(gpu), &plan, &memory, &theta)?;
        gpu.keep_pipelines();
        write_vector(gpu, &plan.theta, infos, &theta, parameters)?;
        let step = StepUniform::new(0, 0, rows, 1.0).bytes(Precision::F32);
        gpu.write_buffer(memory.uniforms.raw(), 0, &step)?;
        let (parameters, schema) = (infos.to_vec(), schema.clone());
        Ok(Inference { gpu: gpu.clone(), plan, memory, replay, parameters, schema, bytes })
    }

    /// The model of a training, with the parameters that it has now, for `rows` rows. Waits for the steps under way.
    ///
    /// # Errors
    /// As [`Inference::new`].
    pub fn of(trainer: &mut Trainer, rows: usize) -> Result<Self> {
        let parameters = trainer.parameters()?;
        let schema = trainer.data.train.schema();
        Inference::new(&trainer.gpu, &trainer.options().model, schema, trainer.loss(), &parameters, rows)
    }

    /// Features of a row.
    pub fn features_per_row(&self) -> usize {
        self.schema.features()
    }

    /// Rows at once.
    pub fn rows(&self) -> usize {
        self.plan.batch
    }

    /// Outputs of a row: its classes' probabilities, or values.
    pub fn width(&self) -> usize {
        self.schema.task.outputs()
    }

    /// Bytes that it takes, by role.
    pub fn bytes(&self) -> &ByteCounts {
        &self.bytes
    }

    /// Where rows go, one after another: f32, or bytes where the data that the model was trained on have bytes. A storage buffer
    /// that is copied from and to as well; none where the model looks at no features.
    pub fn features(&self) -> Option<&wgpu::Buffer> {
        self.memory.inputs.get(FEATURES).map(Buffer::raw)
    }

    /// Where the answers are behind [`Inference::encode`]: [rows, width] of f32, as a binding of storage that passes of the app
    /// take; its buffer is copied from and to as well.
    pub fn outputs(&self) -> wgpu::BufferBinding<'_> {
        part(&self.memory.results, 0, 4 * (self.rows() * self.width()) as u64)
    }

    /// Records the way from the features to the outputs, as one compute pass. Waits for nothing.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        record(self.replay.launches(), &mut encoder.begin_compute_pass(&Default::default()));
    }

    /// Records that the parameters become those of a training that is under way on the same device: as its steps have left them
    /// when `encoder` is submitted, or, where it keeps an average, that average now, for which this waits where
    /// no step was made yet.
    ///
    /// # Errors
    /// [`Error::Shape`] for a trainer of another model or on another device; [`Error::OutOfMemory`] where its memory ran out for good.
    pub fn follow(&self, trainer: &mut Trainer, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let known = |infos: &[ParameterInfo]| -> Vec<(String, Vec<usize>)> {
            infos.iter().map(|info| (info.name.clone(), info.shape.clone())).collect()
        };
        if known(trainer.model.parameters()) != known(&self.parameters) {
            return Err(Error::shape("inference", "the trainer's parameters are another model's"));
        }
        if trainer.gpu.device() != self.gpu.device() {
            return Err(Error::shape("inference", "the trainer is on another device"));
        }
        trainer.make_whole()?;
        let engine = trainer.session.engine()?;
        engine.refresh_readout()?;
        let (theirs, from) = (&engine.plan(TRAIN).theta, engine.readout());
        for (theirs, own) in theirs.pieces.iter().zip(&self.plan.theta.pieces) {
            for (source, target) in theirs.iter().flat_map(|source| own.iter().map(move |own| (source, own)))
            {
                let (start, elements) = overlap(source, target);
                if elements > 0 {
                    let at = |piece: &Piece| 4 * (piece.offset + start - piece.start) as u64;
                    let [from, to] = [from[source.shard].raw(), self.memory.theta[target.shard].raw()];
                    encoder.copy_buffer_to_buffer(from, at(source), to, at(target), 4 * elements as u64);
                }
            }
        }
        Ok(())
    }
}

/// Rows that lie on the host.
impl Inference {
    /// What the model says of rows of floats, any number of them: [rows, width] of outputs. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Shape`] for what is no whole number of rows, and where the model was trained on bytes; [`Error::Device`] as the
    /// device has it.
    pub fn predict(&self, features: &[f32]) -> Result<Vec<f32>> {
        match self.schema.encoding {
            Encoding::F32 => self.predict_encoded(bytemuck::cast_slice(features)),
            Encoding::U8 { .. } => {
                Err(Error::shape("inference", "the model was trained on bytes, and takes no floats"))
            }
        }
    }

    /// As [`Inference::predict`], for a model that was trained on bytes. Waits for the device.
    ///
    /// # Errors
    /// As [`Inference::predict`], the other way round.
    pub fn predict_bytes(&self, features: &[u8]) -> Result<Vec<f32>> {
        match self.schema.encoding {
            Encoding::U8 { .. } => self.predict_encoded(features),
            Encoding::F32 => {
                Err(Error::shape("inference", "the model was trained on floats, and takes no bytes"))
            }
        }
    }

    /// Has the parameters become those of a training, as by [`Inference::follow`] in commands of its own. Waits for no
    /// more than that does.
    ///
    /// # Errors
    /// As [`Inference::follow`].
    pub fn catch_up(&self, trainer: &mut Trainer) -> Result<()> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.follow(trainer, &mut encoder)?;
        self.gpu.submit(encoder);
        Ok(())
    }

    /// Rows as they lie on the device, as many at once as there is room for.
    fn predict_encoded(&self, features: &[u8]) -> Result<Vec<f32>> {
        let row = self.schema.features() * self.schema.encoding.bytes();
        if row == 0 || !features.len().is_multiple_of(row) {
            let message = format!("{} bytes are no whole number of rows of {row}", features.len());
            return Err(Error::shape("inference", message));
        }
        let mut outputs = Vec::with_capacity(features.len() / row * self.width());
        for rows in features.chunks(self.rows() * row) {
            if let Some(buffer) = self.features() {
                self.gpu.write_buffer(buffer, 0, rows)?;
            }
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            self.encode(&mut encoder);
            self.gpu.submit(encoder);
            let bytes = 4 * (rows.len() / row * self.width()) as u64;
            let found = self.gpu.read_buffer(self.memory.results.raw(), 0..bytes)?;
            outputs.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&found));
        }
        Ok(outputs)
    }
}

/// The floats of a parameter that two of its pieces have in common: the first, and how many.
fn overlap(a: &Piece, b: &Piece) -> (usize, usize) {
    let start = a.start.max(b.start);
    let end = (a.start + a.elements).min(b.start + b.elements);
    (start, end.saturating_sub(start))
}
