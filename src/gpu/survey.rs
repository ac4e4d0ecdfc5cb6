//! An adapter as the planner sees it, without opening a device; or, where there is none, what stands in for one.

use super::adapter::{self, AdapterChoice};
use super::device::{GpuOptions, USEFUL};
use super::memory::{Budget, MemoryLimit};
use super::profile::Profile;
use super::tuning::Tuning;
use crate::{Error, Result};

/// What is planned for.
///
/// ```
/// use downhill::{GpuOptions, Survey};
///
/// // With a limit in bytes this holds on a machine without any adapter too.
/// let options = GpuOptions { memory_limit: Some("1GiB".parse()?), ..GpuOptions::default() };
/// let survey = Survey::of(&options)?;
/// assert_eq!(survey.budget.bytes, 1 << 30);
/// println!("{}: {:?}", survey.adapter, survey.profile.class);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survey {
    /// The adapter's name.
    pub adapter: String,
    /// What it can do.
    pub profile: Profile,
    /// What a run may take of its memory.
    pub budget: Budget,
}

impl Survey {
    /// The adapter that [`Gpu::new`](crate::Gpu::new) would open with these options. Where there is none at all and
    /// a limit in bytes is given, [`Survey::without_adapter`].
    ///
    /// # Errors
    /// As [`Gpu::new`](crate::Gpu::new), but for a device that does not open.
    pub fn of(options: &GpuOptions) -> Result<Self> {
        let adapter = match (adapter::choose(&options.adapter), &options.adapter, options.memory_limit) {
            (Err(Error::Adapter(_)), AdapterChoice::Best, Some(MemoryLimit::Bytes(bytes))) => {
                return Ok(Self::without_adapter(bytes));
            }
            (adapter, ..) => adapter?,
        };
        let info = adapter.get_info();
        let limits = options.overrides.lower(adapter.limits());
        let mut profile = Profile::of(&info, &limits, adapter.features() & USEFUL);
        profile.tuning = Tuning::load_or_log(options.cache.as_ref(), &info);
        profile.matrix_units = profile.tuning.on_units() && adapter::has_matrix_units(&adapter);
        profile.row_runs = options.row_runs;
        Ok(Survey { adapter: info.name, profile, budget: Budget::of(&adapter, options.memory_limit)? })
    }

    /// A desktop GPU with `bytes` of memory for the run.
    pub fn without_adapter(bytes: u64) -> Self {
        Survey {
            adapter: "none; the limits of common desktop GPUs".to_owned(),
            profile: Profile::desktop(),
            budget: Budget { bytes, total: None, source: "the memory limit asked for".to_owned() },
        }
    }
}
