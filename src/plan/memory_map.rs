//! Who holds which bytes of the arenas when: a plan's dispatches and places as plain data, to be drawn or read.

use serde::Serialize;

use super::{Home, Plan, Tensor};

/// The arenas over a step: every tensor that lies in one, with its place and its life.
///
/// ```
/// use downhill::MemoryMap;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let map: MemoryMap = trainer.memory_map()?;
/// println!("{} dispatches in {} bytes", map.steps.len(), map.arenas.iter().sum::<u64>());
/// for tensor in &map.tensors {
///     assert!(tensor.last < map.steps.len() && tensor.offset + tensor.bytes <= map.arenas[tensor.arena]);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct MemoryMap {
    /// The label of each dispatch, in their order.
    pub steps: Vec<String>,
    /// Bytes of each arena.
    pub arenas: Vec<u64>,
    /// The tensors, in the order in which they are first touched.
    pub tensors: Vec<PlacedTensor>,
}

/// A tensor in an arena.
///
/// ```
/// use downhill::PlacedTensor;
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// for PlacedTensor { label, bytes, first, last, .. } in trainer.memory_map()?.tensors {
///     println!("{label}: {bytes} bytes from dispatch {first} to {last}");
/// #     assert!(first <= last);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct PlacedTensor {
    /// The operation that makes it, and its shape.
    pub label: String,
    /// The number of its arena.
    pub arena: usize,
    /// Bytes before it in the arena.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The dispatch that writes it first.
    pub first: usize,
    /// The last dispatch that touches it, included.
    pub last: usize,
}

impl Plan {
    /// The arenas over a step.
    pub fn memory_map(&self) -> MemoryMap {
        let mut tensors: Vec<PlacedTensor> = Vec::new();
        let mut numbers: Vec<Option<usize>> = vec![None; self.tensors.len()];
        for (time, dispatch) in self.dispatches.iter().enumerate() {
            for binding in dispatch.bindings() {
                let Some(slot) = self.arena_slots[binding.tensor] else { continue };
                let number = *numbers[binding.tensor].get_or_insert_with(|| {
                    let tensor = &self.tensors[binding.tensor];
                    tensors.push(PlacedTensor {
                        label: tensor.label.clone(),
                        arena: slot.arena,
                        offset: slot.offset,
                        bytes: tensor.bytes,
                        first: time,
                        last: time,
                    });
                    tensors.len() - 1
                });
                tensors[number].last = time;
            }
        }
        let steps = self.dispatches.iter().map(|dispatch| self.kernels[dispatch.kernel].label.clone());
        MemoryMap { steps: steps.collect(), arenas: self.arenas.clone(), tensors }
    }

    /// The `count` largest tensors wherever they lie, the largest first: what each is with its role, and its bytes.
    pub fn largest_tensors(&self, count: usize) -> Vec<(String, u64)> {
        let named = |tensor: &Tensor| {
            let role = match tensor.home {
                Home::Parameter(_) | Home::ThetaShard(_) => "parameter",
                Home::Gradient(_) | Home::GradientShard(_) => "gradient",
                Home::Input(_) => "input",
                Home::Result(_) => "result",
                Home::Arena => "activation",
            };
            (format!("{role} {}", tensor.label), tensor.bytes)
        };
        let mut found: Vec<(String, u64)> = self.tensors.iter().map(named).collect();
        found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        found.truncate(count);
        found
    }
}
