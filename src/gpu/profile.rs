//! What the planner knows of an adapter: plain data, no device.

use wgpu::{DeviceType, Features, Limits};

use super::device::DOUBLE;
use super::tuning::Tuning;

/// What kind of processor an adapter is, as far as kernels are chosen by it.
///
/// ```
/// use downhill::{AdapterClass, Profile};
///
/// let profile = Profile::desktop();
/// match profile.class {
///     AdapterClass::Software => println!("kernels run on the processor"),
///     class => println!("{class:?}"),
/// }
/// assert_eq!(profile.class, AdapterClass::Discrete);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterClass {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// Not a GPU: kernels run on the CPU (Mesa's llvmpipe, Microsoft's WARP).
    Software,
    /// Virtual or unknown.
    Other,
}

impl AdapterClass {
    pub(crate) fn of(device_type: DeviceType) -> Self {
        match device_type {
            DeviceType::DiscreteGpu => Self::Discrete,
            DeviceType::IntegratedGpu => Self::Integrated,
            DeviceType::Cpu => Self::Software,
            DeviceType::VirtualGpu | DeviceType::Other => Self::Other,
        }
    }
}

/// Whether a plan joins the kernels of a narrow network into one that works on blocks of rows.
///
/// ```
/// use downhill::{GpuOptions, RowRuns};
///
/// let options = GpuOptions { row_runs: RowRuns::Never, ..GpuOptions::default() };
/// assert_eq!(RowRuns::default(), RowRuns::Chosen);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RowRuns {
    /// Where it is expected to be faster on that class of adapters.
    #[default]
    Chosen,
    /// Wherever it can be done.
    Always,
    /// Nowhere.
    Never,
}

/// The limits and features of an adapter that a plan depends on.
///
/// ```
/// use downhill::Profile;
///
/// let (portable, desktop) = (Profile::portable(), Profile::desktop());
/// assert!(portable.max_binding_size < desktop.max_binding_size);
/// assert!(!portable.f16 && desktop.f16);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What kind of processor it is.
    pub class: AdapterClass,
    /// Bytes that one buffer may have, a multiple of `storage_alignment`.
    pub max_buffer_size: u64,
    /// Bytes that one storage binding may span, a multiple of `storage_alignment` so that the end of one
    /// shard is a legal start of the next (drivers say 2³¹ − 1 or 2³² − 1).
    pub max_binding_size: u64,
    /// Bytes that one uniform binding may span.
    pub max_uniform_size: u64,
    /// Storage buffers that one dispatch may bind.
    pub max_storage_buffers: u32,
    /// Workgroups along one axis of a dispatch.
    pub max_workgroups_per_dimension: u32,
    /// Invocations of one workgroup.
    pub max_workgroup_invocations: u32,
    /// Bytes of workgroup memory.
    pub max_workgroup_memory: u32,
    /// Multiple at which a storage binding starts, in bytes.
    pub storage_alignment: u32,
    /// Multiple at which a uniform binding starts, in bytes.
    pub uniform_alignment: u32,
    /// Least invocations of a subgroup.
    pub min_subgroup_size: u32,
    /// Most invocations of a subgroup.
    pub max_subgroup_size: u32,
    /// `f16` in kernels.
    pub f16: bool,
    /// `f64` in kernels, with the 64-bit integers that its functions take.
    pub f64: bool,
    /// Subgroup operations in kernels.
    pub subgroups: bool,
    /// Timestamps at the borders of a compute pass.
    pub timestamps: bool,
    /// Matrix units that multiply 16 × 16 numbers of 16 bits and sum them in 32, by subgroups of 32.
    pub matrix_units: bool,
    /// What was measured to be fast on it.
    pub tuning: Tuning,
    /// Whether narrow networks run block of rows by block of rows.
    pub row_runs: RowRuns,
}

impl Profile {
    /// The profile of a device with these `limits` and `features` on the adapter of `info`.
    pub(crate) fn of(info: &wgpu::AdapterInfo, limits: &Limits, features: Features) -> Self {
        let storage_alignment = limits.min_storage_buffer_offset_alignment;
        let aligned = |bytes: u64| bytes - bytes % u64::from(storage_alignment.max(1));
        let max_buffer_size = aligned(limits.max_buffer_size);
        Self {
            class: AdapterClass::of(info.device_type),
            max_buffer_size,
            max_binding_size: aligned(limits.max_storage_buffer_binding_size).min(max_buffer_size),
            max_uniform_size: limits.max_uniform_buffer_binding_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_memory: limits.max_compute_workgroup_storage_size,
            storage_alignment,
            uniform_alignment: limits.min_uniform_buffer_offset_alignment,
            min_subgroup_size: info.subgroup_min_size,
            max_subgroup_size: info.subgroup_max_size,
            f16: features.contains(Features::SHADER_F16),
            f64: features.contains(DOUBLE),
            subgroups: features.contains(Features::SUBGROUP),
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            matrix_units: features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
            tuning: Tuning::default(),
            row_runs: RowRuns::Chosen,
        }
    }

    /// What every adapter that downhill runs on has: WebGPU's default limits and no optional feature.
    /// A plan made for it, without any device, holds everywhere.
    pub fn portable() -> Self {
        let info = wgpu::AdapterInfo::new(DeviceType::Other, wgpu::Backend::Noop);
        Self::of(&info, &Limits::defaults(), Features::empty())
    }

    /// What common desktop GPUs have, for plans on a machine without one. Where a card has more, its plan takes
    /// no more memory.
    ///
    /// wgpu-hal 30 caps bindings at 2³¹ − 1 bytes on all of them (`MAX_I32_BINDING_SIZE`) and, on DirectX 12 and
    /// Mesa, buffers too. Storage buffers are the fewest that it gives on DirectX 12 (half of one stage's half of
    /// the 64 views of resource binding tier 2). Invocations are the 1,024 and workgroup memory the 32 KiB of
    /// DirectX 12, uniforms its 64 KiB and alignments its 256 B, which Nvidia, AMD and Intel reach or exceed on
    /// Vulkan as well (vulkan.gpuinfo.org); so is the count of workgroups. Subgroups are Nvidia's 32.
    pub fn desktop() -> Self {
        const LARGEST: u64 = (1 << 31) - 256;
        Self {
            class: AdapterClass::Discrete,
            max_buffer_size: LARGEST,
            max_binding_size: LARGEST,
            max_uniform_size: 64 << 10,
            max_storage_buffers: 16,
            max_workgroups_per_dimension: 65_535,
            max_workgroup_invocations: 1024,
            max_workgroup_memory: 32 << 10,
            storage_alignment: 256,
            uniform_alignment: 256,
            min_subgroup_size: 32,
            max_subgroup_size: 32,
            f16: true,
            f64: false,
            subgroups: true,
            timestamps: true,
            matrix_units: false,
            tuning: Tuning::default(),
            row_runs: RowRuns::Chosen,
        }
    }
}

/// Limits lowered on purpose, so that sharding and folding are met with small data.
///
/// They hold in the [`Profile`] and in the device alike: a plan that oversteps one is refused by wgpu.
/// A value above what the adapter allows changes nothing.
///
/// ```
/// use downhill::{Gpu, GpuOptions, LimitOverrides};
///
/// let overrides = LimitOverrides { max_binding_size: Some(1 << 20), ..LimitOverrides::default() };
/// let gpu = Gpu::new(&GpuOptions { overrides, ..GpuOptions::default() })?;
/// assert_eq!(gpu.profile().max_binding_size, 1 << 20);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// Bytes that one buffer may have.
    pub max_buffer_size: Option<u64>,
    /// Bytes that one storage binding may span.
    pub max_binding_size: Option<u64>,
    /// Workgroups along one axis of a dispatch.
    pub max_workgroups_per_dimension: Option<u32>,
}

impl LimitOverrides {
    /// `limits` with what is given here lowered.
    pub(crate) fn lower(&self, limits: Limits) -> Limits {
        fn lowered<T: Ord>(limit: T, to: Option<T>) -> T {
            match to {
                Some(to) => limit.min(to),
                None => limit,
            }
        }
        Limits {
            max_buffer_size: lowered(limits.max_buffer_size, self.max_buffer_size),
            max_storage_buffer_binding_size: lowered(
                limits.max_storage_buffer_binding_size,
                self.max_binding_size,
            ),
            max_compute_workgroups_per_dimension: lowered(
                limits.max_compute_workgroups_per_dimension,
                self.max_workgroups_per_dimension,
            ),
            ..limits
        }
    }
}
