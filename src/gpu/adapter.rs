//! Which adapters there are, what they can do, and which one is taken.

use std::convert::Infallible;
use std::env;
use std::str::FromStr;

use serde::Serialize;
use wgpu::{DeviceType, DownlevelFlags, Features, Limits};

use super::memory::{AdapterMemory, MemoryHeap};
use crate::{Error, Result};

/// Which adapter to take.
///
/// ```
/// use downhill::{AdapterChoice, GpuOptions};
///
/// let adapter = AdapterChoice::Matching("intel".to_owned());
/// assert_eq!("intel".parse::<AdapterChoice>(), Ok(adapter.clone()));
/// let options = GpuOptions { adapter, ..GpuOptions::default() };
/// assert_eq!(AdapterChoice::default(), AdapterChoice::Best);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The one that `WGPU_ADAPTER_NAME` names where that is set, else the best that can run downhill:
    /// discrete before integrated before virtual before software.
    #[default]
    Best,
    /// The one at this index of [`adapters`] where the text is a whole number, else the best whose name contains
    /// it in any case.
    Matching(String),
}

impl FromStr for AdapterChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::Matching(text.to_owned()))
    }
}

/// What an adapter is and can do, as `downhill devices` lists it.
///
/// ```
/// use downhill::{AdapterReport, adapters};
///
/// let able: Vec<AdapterReport> = adapters().into_iter().filter(|adapter| adapter.can_run).collect();
/// for adapter in &able {
///     println!("{}: {} bytes, {}", adapter.name, adapter.budget, adapter.budget_source);
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AdapterReport {
    /// Position in the list, which `--adapter` takes.
    pub index: usize,
    /// The adapter's name.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// Name of the driver.
    pub driver: String,
    /// Version of the driver, as it tells it.
    pub driver_info: String,
    /// Number of the vendor, on most backends PCI's.
    pub vendor: u32,
    /// Number of the device, on most backends PCI's.
    pub device: u32,
    /// Memory heaps; empty where the backend does not tell.
    pub heaps: Vec<MemoryHeap>,
    /// Bytes that a run may take without a memory limit.
    pub budget: u64,
    /// Where `budget` comes from.
    pub budget_source: String,
    /// Limits that matter here.
    pub limits: AdapterLimits,
    /// Features that matter here.
    pub features: AdapterFeatures,
    /// Whether downhill runs on it.
    pub can_run: bool,
    /// Why it does not.
    pub why_not: Option<String>,
}

/// Limits of an adapter, in bytes where the name says size, memory or alignment.
///
/// ```
/// use downhill::adapters;
///
/// for adapter in adapters().iter().filter(|adapter| adapter.can_run) {
///     // What WebGPU promises everywhere.
///     assert!(adapter.limits.max_storage_buffers >= 8);
///     println!("{}: {} bytes a binding", adapter.name, adapter.limits.max_binding_size);
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AdapterLimits {
    /// Bytes of one buffer.
    pub max_buffer_size: u64,
    /// Bytes of one storage binding.
    pub max_binding_size: u64,
    /// Bytes of one uniform binding.
    pub max_uniform_size: u64,
    /// Storage buffers that one dispatch may bind.
    pub max_storage_buffers: u32,
    /// Workgroups along one axis of a dispatch.
    pub max_workgroups_per_dimension: u32,
    /// Invocations of a workgroup along x, y and z.
    pub max_workgroup_size: [u32; 3],
    /// Invocations of a workgroup in all.
    pub max_workgroup_invocations: u32,
    /// Bytes of workgroup memory.
    pub max_workgroup_memory: u32,
    /// Multiple at which a storage binding starts.
    pub storage_alignment: u32,
    /// Multiple at which a uniform binding starts.
    pub uniform_alignment: u32,
    /// Least invocations of a subgroup.
    pub min_subgroup_size: u32,
    /// Most invocations of a subgroup.
    pub max_subgroup_size: u32,
}

/// Features of an adapter.
///
/// ```
/// use downhill::{AdapterFeatures, adapters};
///
/// for adapter in adapters() {
///     let AdapterFeatures { f16, f64, timestamps, .. } = adapter.features;
///     println!("{}: f16 {f16}, f64 {f64}, timestamps {timestamps}", adapter.name);
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AdapterFeatures {
    /// `f16` in kernels.
    pub f16: bool,
    /// `f64` in kernels.
    pub f64: bool,
    /// 64-bit integers in kernels.
    pub int64: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Timestamps at the borders of a pass.
    pub timestamps: bool,
    /// Timestamps between the dispatches of a pass.
    pub timestamps_inside_passes: bool,
    /// Storage buffers that the host can map (memory is shared).
    pub mappable_storage: bool,
    /// Shapes of the matrix units; empty where there are none.
    pub matrix_shapes: Vec<MatrixShape>,
}

/// Whether it has matrix units as [`Profile::matrix_units`](super::Profile::matrix_units) has them.
pub(super) fn has_matrix_units(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let fits = |shape: &wgpu::CooperativeMatrixProperties| {
        [shape.m_size, shape.n_size, shape.k_size] == [16; 3] && (shape.ab_type, shape.cr_type) == (F16, F32)
    };
    adapter.features().contains(super::device::MATRIX_UNITS | Features::SHADER_F16)
        && [info.subgroup_min_size, info.subgroup_max_size] == [32; 2]
        && adapter.cooperative_matrix_properties().iter().any(fits)
}

/// One shape of a matrix unit: C (m×n) = A (m×k) · B (k×n) + C.
///
/// ```
/// use downhill::adapters;
///
/// for shape in adapters().iter().flat_map(|adapter| &adapter.features.matrix_shapes) {
///     println!("{} × {} × {}: {} summed in {}", shape.m, shape.n, shape.k, shape.factors, shape.sum);
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct MatrixShape {
    /// Rows of A and C.
    pub m: u32,
    /// Columns of B and C.
    pub n: u32,
    /// Columns of A, rows of B.
    pub k: u32,
    /// Element type of A and B.
    pub factors: String,
    /// Element type of C.
    pub sum: String,
}

/// Every adapter that there is on the backends that `WGPU_BACKEND` allows, the unfit ones too.
///
/// ```
/// use downhill::adapters;
///
/// for (place, adapter) in adapters().iter().enumerate() {
///     assert_eq!((adapter.index, adapter.can_run), (place, adapter.why_not.is_none()));
///     println!("{place}: {} ({}), {}", adapter.name, adapter.backend, adapter.kind);
/// }
/// ```
pub fn adapters() -> Vec<AdapterReport> {
    reports(&enumerate())
}

/// The reports of all adapters, or of the one that `wish` names, whether it can run downhill or not.
///
/// Errors: [`Error::Setting`] when there is none of that name.
#[cfg(feature = "cli")]
pub(crate) fn listed(wish: Option<&str>) -> Result<Vec<AdapterReport>> {
    let mut reports = adapters();
    match wish {
        Some(wish) if !reports.is_empty() => {
            let index = matching(&reports, ADAPTER, wish)?;
            Ok(vec![reports.swap_remove(index)])
        }
        _ => Ok(reports),
    }
}

/// The setting that names an adapter.
const ADAPTER: &str = "adapter";

/// The adapter of `choice`.
///
/// Errors: [`Error::Adapter`] when there is none or it cannot run downhill, with what to install or what it
/// lacks; [`Error::Setting`] when others are there than the one asked for.
pub(crate) fn choose(choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    let mut found = enumerate();
    let wish = match choice {
        AdapterChoice::Matching(wish) => Some((ADAPTER, wish.clone())),
        AdapterChoice::Best => env::var("WGPU_ADAPTER_NAME").ok().map(|name| ("WGPU_ADAPTER_NAME", name)),
    };
    let wish = wish.as_ref().map(|(origin, text)| (*origin, text.as_str()));
    let index = select(&reports(&found), wish)?;
    Ok(found.swap_remove(index))
}

/// The index of the adapter to take; `wish` is what was asked for and where.
fn select(reports: &[AdapterReport], wish: Option<(&str, &str)>) -> Result<usize> {
    if reports.is_empty() {
        return Err(Error::Adapter(how_to_get_one()));
    }
    let Some((origin, text)) = wish else {
        return best(reports, |report| report.can_run).ok_or_else(|| {
            let lacks = |report: &AdapterReport| {
                format!("{} ({})", report.name, report.why_not.as_deref().unwrap_or_default())
            };
            Error::Adapter(format!("no adapter can run downhill: {}", list(reports, lacks)))
        });
    };
    let index = matching(reports, origin, text)?;
    match &reports[index] {
        AdapterReport { why_not: None, .. } => Ok(index),
        AdapterReport { name, why_not: Some(why_not), .. } => {
            Err(Error::Adapter(format!("the adapter `{name}` cannot run downhill: {why_not}")))
        }
    }
}

/// The index of the adapter that `text` names: a whole number is an index and nothing else, for as a part of a
/// name it would choose some other adapter unnoticed.
fn matching(reports: &[AdapterReport], origin: &str, text: &str) -> Result<usize> {
    let part = text.trim().to_lowercase();
    let whole_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let index = match part.as_str() {
        "" => None,
        _ if whole_number => part.parse().ok().filter(|index| *index < reports.len()),
        _ => best(reports, |report| report.name.to_lowercase().contains(&part)),
    };
    index.ok_or_else(|| {
        let shown =
            |report: &AdapterReport| format!("{}: {} ({})", report.index, report.name, report.backend);
        Error::setting(origin, format!("no adapter matches `{text}`; known are {}", list(reports, shown)))
    })
}

/// The index of the best adapter among those that `fit`, one that can run downhill if there is one.
fn best(reports: &[AdapterReport], fit: impl Fn(&AdapterReport) -> bool) -> Option<usize> {
    let fitting = reports.iter().filter(|report| fit(report));
    fitting.min_by_key(|report| (!report.can_run, rank(report.kind))).map(|report| report.index)
}

fn list(reports: &[AdapterReport], show: impl Fn(&AdapterReport) -> String) -> String {
    reports.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// Kinds of adapter from best to worst, as named in reports.
const KINDS: [(DeviceType, &str); 5] = [
    (DeviceType::DiscreteGpu, "discrete"),
    (DeviceType::IntegratedGpu, "integrated"),
    (DeviceType::VirtualGpu, "virtual"),
    (DeviceType::Other, "other"),
    (DeviceType::Cpu, "cpu"),
];

fn rank(kind: &str) -> usize {
    KINDS.iter().position(|(_, name)| *name == kind).unwrap_or(KINDS.len())
}

fn how_to_get_one() -> String {
    let install = if cfg!(target_os = "linux") {
        "install the GPU vendor's Vulkan driver, or Mesa's, which needs no GPU \
         (on Debian and Ubuntu: apt install mesa-vulkan-drivers libvulkan1)"
    } else {
        "install the GPU vendor's current driver"
    };
    match env::var("WGPU_BACKEND") {
        Ok(backend) => format!("no adapter on WGPU_BACKEND={backend}; unset the variable, or {install}"),
        Err(_) => format!("no adapter that runs compute shaders; {install}"),
    }
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(backends))
}

fn reports(adapters: &[wgpu::Adapter]) -> Vec<AdapterReport> {
    adapters.iter().enumerate().map(|(index, adapter)| report(index, adapter)).collect()
}

fn report(index: usize, adapter: &wgpu::Adapter) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let memory = AdapterMemory::of(adapter);
    let budget = memory.budget();
    let why_not = why_not(&limits, adapter.get_downlevel_capabilities().flags);
    let kind = KINDS.iter().find(|(device_type, _)| *device_type == info.device_type);
    AdapterReport {
        index,
        kind: kind.map_or("other", |(_, name)| name),
        backend: info.backend.to_str(),
        vendor: info.vendor,
        device: info.device,
        heaps: memory.heaps,
        budget: budget.bytes,
        budget_source: budget.source,
        limits: adapter_limits(&limits, &info),
        features: adapter_features(adapter),
        can_run: why_not.is_none(),
        why_not,
        name: info.name,
        driver: info.driver,
        driver_info: info.driver_info,
    }
}

/// Whether downhill runs within `limits` on an adapter.
///
/// # Errors
/// [`Error::Adapter`] where it does not, with what `whose` limits lack.
pub(super) fn check(adapter: &wgpu::Adapter, limits: &Limits, whose: &str) -> Result<()> {
    match why_not(limits, adapter.get_downlevel_capabilities().flags) {
        None => Ok(()),
        Some(why_not) => Err(Error::Adapter(format!("{whose} cannot run downhill: {why_not}"))),
    }
}

/// What an adapter lacks, if anything: downhill needs compute shaders and WebGPU's default limits on
/// them, which is what [`Profile::portable`](super::Profile::portable) plans with.
fn why_not(limits: &Limits, flags: DownlevelFlags) -> Option<String> {
    if !flags.contains(DownlevelFlags::COMPUTE_SHADERS) {
        return Some("it has no compute shaders".to_owned());
    }
    let needed = Limits::defaults();
    type Of = fn(&Limits) -> u64;
    let rows: [(&str, Of); 6] = [
        ("bytes of a buffer", |limits| limits.max_buffer_size),
        ("bytes of a storage binding", |limits| limits.max_storage_buffer_binding_size),
        ("storage buffers per dispatch", |limits| limits.max_storage_buffers_per_shader_stage.into()),
        ("workgroups per dimension", |limits| limits.max_compute_workgroups_per_dimension.into()),
        ("invocations per workgroup", |limits| limits.max_compute_invocations_per_workgroup.into()),
        ("bytes of workgroup memory", |limits| limits.max_compute_workgroup_storage_size.into()),
    ];
    rows.iter()
        .map(|(what, of)| (what, of(limits), of(&needed)))
        .find(|(_, has, needs)| has < needs)
        .map(|(what, has, needs)| format!("{has} {what} are too few, {needs} are needed"))
}

fn adapter_limits(limits: &Limits, info: &wgpu::AdapterInfo) -> AdapterLimits {
    AdapterLimits {
        max_buffer_size: limits.max_buffer_size,
        max_binding_size: limits.max_storage_buffer_binding_size,
        max_uniform_size: limits.max_uniform_buffer_binding_size,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        max_workgroup_size: [
            limits.max_compute_workgroup_size_x,
            limits.max_compute_workgroup_size_y,
            limits.max_compute_workgroup_size_z,
        ],
        max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroup_memory: limits.max_compute_workgroup_storage_size,
        storage_alignment: limits.min_storage_buffer_offset_alignment,
        uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        min_subgroup_size: info.subgroup_min_size,
        max_subgroup_size: info.subgroup_max_size,
    }
}

fn adapter_features(adapter: &wgpu::Adapter) -> AdapterFeatures {
    let features = adapter.features();
    let shapes = adapter.cooperative_matrix_properties().into_iter().map(|shape| MatrixShape {
        m: shape.m_size,
        n: shape.n_size,
        k: shape.k_size,
        factors: format!("{:?}", shape.ab_type).to_lowercase(),
        sum: format!("{:?}", shape.cr_type).to_lowercase(),
    });
    AdapterFeatures {
        f16: features.contains(Features::SHADER_F16),
        f64: features.contains(Features::SHADER_F64),
        int64: features.contains(Features::SHADER_INT64),
        subgroups: features.contains(Features::SUBGROUP),
        timestamps: features.contains(Features::TIMESTAMP_QUERY),
        timestamps_inside_passes: features.contains(Features::TIMESTAMP_QUERY_INSIDE_PASSES),
        mappable_storage: features.contains(Features::MAPPABLE_PRIMARY_BUFFERS),
        matrix_shapes: shapes.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static str, &'static str, Option<&'static str>);

    /// Reports like a real one, with these names, kinds and lacks.
    fn made_up(rows: &[Row]) -> Vec<AdapterReport> {
        let pattern = report(0, &choose(&AdapterChoice::Best).unwrap_or_else(|error| panic!("{error}")));
        let row =
            |(index, (name, kind, why_not)): (usize, &(&str, &'static str, Option<&str>))| AdapterReport {
                index,
                name: (*name).to_owned(),
                kind,
                backend: "vulkan",
                can_run: why_not.is_none(),
                why_not: why_not.map(str::to_owned),
                ..pattern.clone()
            };
        rows.iter().enumerate().map(row).collect()
    }

    #[test]
    fn the_best_adapter_that_runs_is_taken_unless_one_is_asked_for() {
        let reports = made_up(&[
            ("llvmpipe", "cpu", None),
            ("Arc A770 4090", "integrated", None),
            ("Old Card", "discrete", Some("it has no compute shaders")),
            ("GeForce RTX 4090", "discrete", None),
            ("geforce gt", "virtual", None),
        ]);
        let rows = [
            (None, Ok(3)),
            (Some("0"), Ok(0)),
            (Some("LLVM"), Ok(0)),
            (Some("geforce"), Ok(3)),
            (Some("rtx 4090"), Ok(3)),
            (Some("arc"), Ok(1)),
            (Some("2"), Err("the adapter `Old Card` cannot run downhill: it has no compute shaders")),
            (Some("old"), Err("the adapter `Old Card` cannot run downhill: it has no compute shaders")),
            (
                Some("radeon"),
                Err("adapter: no adapter matches `radeon`; known are 0: llvmpipe (vulkan), \
                     1: Arc A770 4090 (vulkan), 2: Old Card (vulkan), 3: GeForce RTX 4090 (vulkan), \
                     4: geforce gt (vulkan)"),
            ),
        ];
        for (wish, expected) in rows {
            let taken = select(&reports, wish.map(|text| (ADAPTER, text)));
            let taken = taken.map_err(|error| error.to_string());
            assert_eq!(taken, expected.map_err(str::to_owned), "{wish:?}");
        }
        for wish in ["4090", "5", "", " "] {
            let error = select(&reports, Some((ADAPTER, wish))).unwrap_err();
            assert!(matches!(error, Error::Setting { .. }), "`{wish}`: {error}");
        }
    }

    #[test]
    fn without_a_fit_adapter_the_error_says_why() {
        let unfit = made_up(&[("Old Card", "discrete", Some("it has no compute shaders"))]);
        let rows = [(&[][..], "driver"), (&unfit[..], "Old Card (it has no compute shaders)")];
        for (reports, expected) in rows {
            let error = select(reports, None).unwrap_err();
            assert!(matches!(error, Error::Adapter(_)), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn an_adapter_below_webgpus_defaults_is_refused_with_the_number() {
        let rows = [
            (Limits::defaults(), DownlevelFlags::all(), None),
            (Limits::defaults(), DownlevelFlags::empty(), Some("it has no compute shaders")),
            (
                Limits { max_storage_buffers_per_shader_stage: 4, ..Limits::defaults() },
                DownlevelFlags::all(),
                Some("4 storage buffers per dispatch are too few, 8 are needed"),
            ),
        ];
        for (limits, flags, expected) in rows {
            assert_eq!(why_not(&limits, flags).as_deref(), expected);
        }
    }
}
