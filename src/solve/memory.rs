//! What a method has learnt on its way, as the host keeps it: to go on elsewhere as if it had never stopped.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Where a method stands and what it learnt, bit for bit.
///
/// ```
/// use downhill::{Method, MethodMemory};
/// # use downhill::{Gpu, GpuOptions, TrainOptions, Trainer, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::by_method("linear".parse()?, Method::new("lbfgs")?)?;
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// trainer.run_steps(2)?;
/// // Part of a snapshot, from which the method goes on as if it had not stopped.
/// let memory: Option<MethodMemory> = trainer.snapshot()?.method;
/// assert!(memory.is_some());
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MethodMemory {
    /// The method with its settings.
    pub(crate) method: String,
    /// Lists of numbers by name.
    pub(crate) lists: BTreeMap<String, Vec<f64>>,
}

impl MethodMemory {
    pub(crate) fn put(&mut self, name: impl Into<String>, numbers: impl Into<Vec<f64>>) {
        self.lists.insert(name.into(), numbers.into());
    }

    /// Whether there is anything of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lists.contains_key(name)
    }

    /// # Errors
    /// [`Error::Shape`] where there are not as many numbers of this name.
    pub(crate) fn list(&self, name: &str, length: usize) -> Result<&[f64]> {
        self.lists.get(name).map(Vec::as_slice).filter(|numbers| numbers.len() == length).ok_or_else(|| {
            Error::shape("loading a snapshot", format!("its method keeps no {length} numbers as `{name}`"))
        })
    }

    /// # Errors
    /// As [`MethodMemory::list`].
    pub(crate) fn numbers<const N: usize>(&self, name: &str) -> Result<[f64; N]> {
        let mut numbers = [0.0; N];
        numbers.copy_from_slice(self.list(name, N)?);
        Ok(numbers)
    }
}
