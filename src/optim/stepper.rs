//! An optimizer at work on tensors of the caller's own, whose gradients come from wherever they are computed.

use super::modifiers::Grouping;
use super::update::{UpdatePlan, Updater};
use super::{Modifiers, Optimizer};
use crate::gpu::{Buffer, Gpu, Kernels};
use crate::graph::{Initial, ParameterInfo};
use crate::plan::ThetaLayout;
use crate::plan::memory::{ALIGNMENT, Needs};
use crate::plan::replay::Memory;
use crate::{Error, Result};

/// An optimizer at work: θ and its state live on the GPU, gradients are handed in.
///
/// ```
/// use downhill::{Gpu, GpuOptions, Modifiers, Optimizer, Stepper};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let adam = Optimizer::new("adam")?.with("lr", 0.1)?;
/// let start = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let mut stepper = Stepper::new(&gpu, &adam, &Modifiers::default(), &[("w", &[2, 3])], &start)?;
/// for _ in 0..100 {
///     // Of Σθ²/2.
///     let gradient = stepper.point()?;
///     stepper.step(adam.learning_rate(), &gradient)?;
/// }
/// println!("{:?}", stepper.theta()?);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Stepper {
    pub(super) gpu: Gpu,
    parameters: Vec<ParameterInfo>,
    layout: ThetaLayout,
    pub(super) memory: Memory,
    pub(super) updater: Updater,
    steps: u64,
    /// Steps before the first that is not known to have changed nothing: the rule counts its own from there.
    skipped_first: u64,
}

impl Stepper {
    /// θ of named tensors of these shapes, one after another, and the optimizer's state at its start.
    ///
    /// # Errors
    /// [`Error::Setting`] for modifiers that cannot be, [`Error::Shape`] for tensors without elements and where `theta`
    /// is of another length,
    /// [`Error::DoesNotFit`] where the adapter binds too little, [`Error::Device`] where the device fails.
    pub fn new(
        gpu: &Gpu,
        optimizer: &Optimizer,
        modifiers: &Modifiers,
        tensors: &[(&str, &[usize])],
        theta: &[f32],
    ) -> Result<Self> {
        modifiers.check_unscaled()?;
        check_tensors(tensors)?;
        let mut parameters: Vec<ParameterInfo> = tensors
            .iter()
            .map(|(name, shape)| ParameterInfo {
                name: (*name).to_owned(),
                shape: shape.to_vec(),
                initial: Initial::Constant(0.0),
                group: 0,
            })
            .collect();
        let grouping = Grouping::new(optimizer, modifiers, &parameters)?;
        parameters.iter_mut().zip(grouping.of).for_each(|(info, group)| info.group = group);
        let profile = gpu.profile();
        let layout = ThetaLayout::new(&parameters, profile.max_binding_size.min(profile.max_buffer_size))?;
        let plan = UpdatePlan::new(optimizer, modifiers, &parameters, &layout, profile)?;
        let mut needs = Needs::of(&plan.plans().collect::<Vec<_>>());
        needs.shards = layout.shards.iter().map(|floats| 4 * *floats as u64).collect();
        needs.has_gradient = true;
        needs.scalars = plan.scalars_bytes();
        let memory = Memory::new(gpu, &needs)?;
        let updater = Updater::new(gpu, &Kernels::new(gpu), plan, &memory)?;
        gpu.keep_pipelines();
        let stepper =
            Stepper { gpu: gpu.clone(), parameters, layout, memory, updater, steps: 0, skipped_first: 0 };
        stepper.write(&stepper.memory.theta, theta)?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        stepper.updater.record_start(&mut encoder, &stepper.memory.theta);
        gpu.submit(encoder);
        Ok(stepper)
    }

    /// One update with the gradient at [`Stepper::point`], in the layout of θ.
    ///
    /// # Errors
    /// [`Error::Shape`] where it is of another length, [`Error::Device`] where the device fails.
    pub fn step(&mut self, learning_rate: f64, gradient: &[f32]) -> Result<()> {
        self.write(&self.memory.gradient, gradient)?;
        // A rule's first step starts its state, and only the device knows which one that is.
        if self.steps == self.skipped_first + 1 {
            self.skipped_first = self.skipped()?.min(self.steps);
        }
        self.steps += 1;
        let number = self.steps - self.skipped_first;
        let scalars = self.updater.plan().scalars(number, learning_rate);
        self.gpu.write_buffer(self.memory.uniforms.raw(), ALIGNMENT, bytemuck::cast_slice(&scalars))?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.updater.record(&mut encoder.begin_compute_pass(&Default::default()), None);
        self.gpu.submit(encoder);
        Ok(())
    }

    /// Where the next gradient is wanted: θ, or Nesterov's look-ahead point in `form=lecture`. Waits for the steps so far.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails.
    pub fn point(&self) -> Result<Vec<f32>> {
        self.read(&self.memory.theta.iter().collect::<Vec<_>>())
    }

    /// θ, or where the modifiers ask for it its mean or its slow weights. Waits for the steps so far.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails.
    pub fn theta(&self) -> Result<Vec<f32>> {
        let Some(shards) = self.updater.readout() else { return self.point() };
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.updater.record_readout(&mut encoder, &self.memory.theta);
        self.gpu.submit(encoder);
        self.read(&shards)
    }

    /// Steps that changed nothing because their gradient was not finite. Waits for the steps so far.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails.
    pub fn skipped(&self) -> Result<u64> {
        let Some(control) = self.updater.control() else { return Ok(0) };
        let bytes = self.gpu.read_buffer(control.raw(), Updater::SKIPPED..Updater::SKIPPED + 4)?;
        Ok(u64::from(bytemuck::pod_read_unaligned::<u32>(&bytes)))
    }

    fn write(&self, shards: &[Buffer], values: &[f32]) -> Result<()> {
        let elements: usize = self.parameters.iter().map(ParameterInfo::elements).sum();
        if values.len() != elements {
            let message = format!("{} numbers are given for the {elements} of θ", values.len());
            return Err(Error::shape("step", message));
        }
        let mut values = values;
        for piece in self.layout.pieces.iter().flatten() {
            let (these, rest) = values.split_at(piece.elements);
            let shard = shards[piece.shard].raw();
            self.gpu.write_buffer(shard, 4 * piece.offset as u64, bytemuck::cast_slice(these))?;
            values = rest;
        }
        Ok(())
    }

    fn read(&self, shards: &[&Buffer]) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for piece in self.layout.pieces.iter().flatten() {
            let start = 4 * piece.offset as u64;
            let range = start..start + 4 * piece.elements as u64;
            let bytes = self.gpu.read_buffer(shards[piece.shard].raw(), range)?;
            values.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
        }
        Ok(values)
    }
}

/// Errors where there is no tensor, or one without elements or with more than can be counted.
fn check_tensors(tensors: &[(&str, &[usize])]) -> Result<()> {
    if tensors.is_empty() {
        return Err(Error::shape("step", "there are no tensors"));
    }
    let elements = |shape: &[usize]| shape.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
    match tensors.iter().find(|(_, shape)| elements(shape).is_none_or(|elements| elements == 0)) {
        Some((name, shape)) => {
            Err(Error::shape("step", format!("`{name}` is {shape:?}, which has no elements or too many")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GpuOptions;

    #[test]
    fn a_rule_begins_with_the_first_step_that_is_not_skipped() {
        let gpu = Gpu::new(&GpuOptions::default()).unwrap();
        let rprop = Optimizer::new("rprop").unwrap().with("lr", 0.25).unwrap();
        let modifiers = Modifiers { skip_not_finite: true, ..Modifiers::default() };
        let mut stepper = Stepper::new(&gpu, &rprop, &modifiers, &[("w", &[2])], &[1.0, -1.0]).unwrap();
        for gradient in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [3.0, -1.0], [3.0, -1.0]] {
            stepper.step(0.25, &gradient).unwrap();
        }
        // A step of 0.25 and, in the same direction, one of 1.2 times that.
        let moved = 0.25_f32 + 0.25 * 1.2;
        assert_eq!(stepper.skipped().unwrap(), 2);
        assert!(
            stepper
                .theta()
                .unwrap()
                .iter()
                .zip([1.0 - moved, moved - 1.0])
                .all(|(x, y)| (x - y).abs() < 1e-6)
        );
    }

    #[test]
    fn tensors_without_elements_are_refused() {
        let gpu = Gpu::new(&GpuOptions::default()).unwrap();
        let sgd = Optimizer::new("sgd").unwrap();
        let shapes: [&[usize]; 4] = [&[0], &[3, 0], &[0, 0], &[usize::MAX, 2]];
        for shape in shapes {
            let made = Stepper::new(&gpu, &sgd, &Modifiers::default(), &[("w", shape)], &[]);
            let error = made.err().unwrap().to_string();
            assert!(error.contains("`w`"), "{shape:?}: {error}");
        }
        assert!(Stepper::new(&gpu, &sgd, &Modifiers::default(), &[], &[]).is_err());
    }
}
