//! What an adapter does at best: bytes that a copy moves, multiplications and additions in registers, and those of its
//! matrix units.

use super::timing::{copies, timed};
use crate::Result;
use crate::gpu::{AdapterClass, BindingKind, Buffer, BufferUse, Gpu, KernelSource, Kernels};
use crate::plan::fold_groups;
use crate::plan::replay::{Launch, part, record};

/// Bytes of each of the two buffers of a copy: several times the caches of any adapter, where it binds so much.
const COPY_BYTES: u64 = 256 << 20;

/// Invocations of a workgroup of multiply-adds.
const WORKGROUP: usize = 64;

/// Multiply-adds of vec4s that an invocation has under way at once, each on an accumulator of its own: enough that none
/// waits for another's result, and no more than the 16 vector registers of x86-64 hold.
const CHAINS: usize = 3;

/// The ceilings of an adapter at one moment.
///
/// ```no_run
/// use downhill::{Ceilings, Yardstick};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let ceilings: Ceilings = Yardstick::new(&gpu)?.measure()?;
/// println!("{:.0} GB/s, {:.0} Gflop/s", ceilings.bytes_per_second / 1e9, ceilings.operations_per_second / 1e9);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Ceilings {
    /// Bytes a second that a copy between two buffers reads and writes.
    pub bytes_per_second: f64,
    /// Multiplications and additions of f32 a second, without any memory: a multiply-add is two.
    pub operations_per_second: f64,
    /// The same of matrix units that multiply f16 and sum in f32, on a device that has them.
    pub matrix_operations_per_second: Option<f64>,
}

/// Measures [`Ceilings`]; what it needs is made once.
///
/// ```no_run
/// use downhill::{KernelBench, Yardstick, kernel_cases};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let yardstick = Yardstick::new(&gpu)?;
/// for case in kernel_cases(gpu.profile())? {
///     let timing = KernelBench::new(&gpu, &case)?.measure()?;
///     println!("{}: {:.0} %", case.kernel, 100.0 * timing.fraction_of(&yardstick.measure()?));
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Yardstick {
    gpu: Gpu,
    copies: Vec<Launch>,
    bytes: u64,
    multiplications: Launch,
    operations: f64,
    /// The launch for matrix units, and its operations.
    matrices: Option<(Launch, f64)>,
    /// Alive as long as the launches.
    _buffers: [Buffer; 3],
}

impl Yardstick {
    /// Allocates two buffers of at most 256 MiB and compiles two kernels, or three where there are matrix units.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::Device`](crate::Error::Device) where the device fails.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let bytes = COPY_BYTES.min(gpu.profile().max_binding_size);
        let buffer = |bytes| gpu.buffer("yardstick", bytes, BufferUse::Storage);
        let [source, target] = [buffer(bytes)?, buffer(bytes)?];
        let copies = copies(gpu, std::slice::from_ref(&source), std::slice::from_ref(&target))?;
        let (workgroups, rounds) = work(gpu.profile().class);
        let sums = buffer((4 * workgroups * WORKGROUP) as u64)?;
        let launch = |label, wgsl: &str| {
            let bindings = [BindingKind::ReadWriteStorage];
            let kernel = Kernels::new(gpu).compile(&KernelSource { label, wgsl, bindings: &bindings })?;
            let bind_group = gpu.bind_group(&kernel, label, &[part(&sums, 0, sums.bytes())])?;
            Ok(Launch { kernel, bind_group, groups: fold_groups(workgroups, gpu.profile()).0 })
        };
        let matrices = gpu.profile().matrix_units.then(|| {
            let operations = workgroups * rounds * MATRIX_CHAINS * 2 * FRAGMENT.pow(3);
            Ok((launch("matrix units", &matrices_wgsl(rounds))?, operations as f64))
        });
        let yardstick = Yardstick {
            gpu: gpu.clone(),
            copies,
            bytes: 2 * bytes,
            multiplications: launch("multiply-adds", &multiplications_wgsl(rounds))?,
            operations: (workgroups * WORKGROUP * rounds * UNROLLED * CHAINS * 4 * 2) as f64,
            matrices: matrices.transpose()?,
            _buffers: [source, target, sums],
        };
        // The first launch compiles on some drivers, and the first touch of memory is slow.
        yardstick.measure()?;
        Ok(yardstick)
    }

    /// The ceilings now.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device fails.
    pub fn measure(&self) -> Result<Ceilings> {
        let copy = timed(&self.gpu, |pass| record(&self.copies, pass))?;
        let launched = |launch: &Launch| timed(&self.gpu, |pass| record(std::slice::from_ref(launch), pass));
        let arithmetic = launched(&self.multiplications)?;
        let matrices = self.matrices.as_ref();
        let matrices = matrices.map(|(launch, operations)| Ok(operations / launched(launch)?));
        Ok(Ceilings {
            bytes_per_second: self.bytes as f64 / copy,
            operations_per_second: self.operations / arithmetic,
            matrix_operations_per_second: matrices.transpose()?,
        })
    }
}

/// Rows and columns of the fragments that matrix units multiply, and how many products a subgroup has under way.
const FRAGMENT: usize = 16;
const MATRIX_CHAINS: usize = 4;

/// How often a round goes through the accumulators.
const UNROLLED: usize = 4;

/// Workgroups and rounds of the multiply-adds: some 10 to 100 milliseconds.
fn work(class: AdapterClass) -> (usize, usize) {
    match class {
        AdapterClass::Software => (128, 8192),
        AdapterClass::Integrated | AdapterClass::Other => (4096, 4096),
        AdapterClass::Discrete => (16384, 4096),
    }
}

/// Each invocation multiplies and adds into [`CHAINS`] accumulators and writes their sum, so that nothing is left out.
fn multiplications_wgsl(rounds: usize) -> String {
    let each = |line: &dyn Fn(usize) -> String| (0..CHAINS).map(line).collect::<String>();
    let declare = each(&|i| format!("    var a{i} = vec4<f32>(x + {i}.0);\n"));
    let multiply = each(&|i| format!("        a{i} = fma(a{i}, m, b);\n")).repeat(UNROLLED);
    let sum: Vec<String> = (0..CHAINS).map(|i| format!("a{i}")).collect();
    format!(
        "@group(0) @binding(0) var<storage, read_write> sums: array<f32>;
@compute @workgroup_size({WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
    let place = id.x + id.y * groups.x * {WORKGROUP}u;
    let x = f32(place & 7u) * 1e-3;
    // Known only here, and below 1, so that nothing overflows.
    let m = vec4<f32>(0.5 + x);
    let b = vec4<f32>(x);
{declare}    for (var i = 0u; i < {rounds}u; i++) {{
{multiply}    }}
    let sum = {};
    if (place < arrayLength(&sums)) {{
        sums[place] = sum.x + sum.y + sum.z + sum.w;
    }}
}}
",
        sum.join(" + ")
    )
}

/// Each workgroup is a subgroup, which multiplies the same two fragments into [`MATRIX_CHAINS`] sums and writes them, all
/// workgroups the same to the same place.
pub(crate) fn matrices_wgsl(rounds: usize) -> String {
    let each = |line: &dyn Fn(usize) -> String| (0..MATRIX_CHAINS).map(line).collect::<String>();
    let declare = each(&|i| format!("    var c{i} = coop_mat16x16<f32, C>();\n"));
    let multiply = each(&|i| format!("        c{i} = coopMultiplyAdd(a, b, c{i});\n"));
    let store = each(&|i| format!("    coopStoreT(c{i}, &sums[{}], 16u);\n", i * FRAGMENT * FRAGMENT));
    format!(
        "enable wgpu_cooperative_matrix;
enable f16;
@group(0) @binding(0) var<storage, read_write> sums: array<f32>;
var<workgroup> factors: array<f16, 256>;
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) lane: u32) {{
    for (var i = lane; i < 256u; i += 32u) {{
        factors[i] = f16(f32(i & 7u) * 1e-3);
    }}
    workgroupBarrier();
    let a = coopLoad<coop_mat16x16<f16, A>>(&factors[0], 16u);
    let b = coopLoadT<coop_mat16x16<f16, B>>(&factors[0], 16u);
{declare}    for (var i = 0u; i < {rounds}u; i++) {{
{multiply}    }}
{store}}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GpuOptions;

    #[test]
    fn ceilings_are_measured_on_any_adapter() {
        let gpu = Gpu::new(&GpuOptions::default()).unwrap();
        let ceilings = Yardstick::new(&gpu).unwrap().measure().unwrap();
        // No adapter is so slow, or so fast, that these would not hold.
        assert!((1e7..1e14).contains(&ceilings.bytes_per_second), "{ceilings:?}");
        assert!((1e7..1e17).contains(&ceilings.operations_per_second), "{ceilings:?}");
    }
}
