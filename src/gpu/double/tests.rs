//! Our functions of f64 on the device against the host's, and what the exchange leaves alone.

use super::*;
use crate::gpu::{BindingKind, BufferUse, Gpu, GpuOptions, KernelSource, Kernels};
use crate::graph::reference::philox_uniform;

/// A function of one or two numbers: the host's, and the intervals of its arguments.
struct Case {
    name: &'static str,
    host: fn(f64, f64) -> f64,
    intervals: [(f64, f64); 2],
}

const fn case(name: &'static str, host: fn(f64, f64) -> f64, intervals: [(f64, f64); 2]) -> Case {
    Case { name, host, intervals }
}

const ALL: (f64, f64) = (-f64::MAX, f64::MAX);
/// As far as π/2 can be taken off exactly.
const CIRCLES: (f64, f64) = (-1e8, 1e8);

const CASES: [Case; FUNCTIONS.len()] = [
    case("exp", |x, _| x.exp(), [(-745.0, 709.7), ALL]),
    case("exp2", |x, _| x.exp2(), [(-1074.0, 1023.9), ALL]),
    case("log", |x, _| x.ln(), [(0.0, f64::MAX), ALL]),
    case("log2", |x, _| x.log2(), [(0.0, f64::MAX), ALL]),
    case("pow", f64::powf, [(0.0, f64::MAX), (-30.0, 30.0)]),
    case("sin", |x, _| x.sin(), [CIRCLES, ALL]),
    case("cos", |x, _| x.cos(), [CIRCLES, ALL]),
    case("tan", |x, _| x.tan(), [CIRCLES, ALL]),
    case("asin", |x, _| x.asin(), [(-1.0, 1.0), ALL]),
    case("acos", |x, _| x.acos(), [(-1.0, 1.0), ALL]),
    case("atan", |x, _| x.atan(), [ALL, ALL]),
    case("atan2", f64::atan2, [(-1e9, 1e9), (-1e9, 1e9)]),
    case("sinh", |x, _| x.sinh(), [(-710.0, 710.0), ALL]),
    case("cosh", |x, _| x.cosh(), [(-710.0, 710.0), ALL]),
    case("tanh", |x, _| x.tanh(), [ALL, ALL]),
    case("inverseSqrt", |x, _| 1.0 / x.sqrt(), [(0.0, f64::MAX), ALL]),
    case("erf", |x, _| libm::erf(x), [ALL, ALL]),
];

/// What every function meets besides: neighbours of 0 and of 1, whole and half numbers, and what is no number.
const AWKWARD: [f64; 26] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1.0 + f64::EPSILON,
    1.0 - f64::EPSILON,
    0.5,
    -0.5,
    2.0,
    -3.0,
    10.0,
    1e-9,
    -1e-9,
    1e-300,
    f64::MIN_POSITIVE,
    1e-310,
    -5e-324,
    std::f64::consts::FRAC_PI_2,
    std::f64::consts::PI,
    -1e5,
    700.0,
    -700.0,
    f64::MAX,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

/// On (0, 1), in 48 bits, a function of its arguments alone.
fn uniform(stream: u32, index: u32) -> f64 {
    let half = |part| philox_uniform(7, part, stream, index);
    half(0) + half(1) / f64::from(1u32 << 24) + f64::MIN_POSITIVE
}

/// Numbers of an interval, half of them evenly over it and half over all sizes.
fn spread((low, high): (f64, f64), stream: u32, count: u32) -> Vec<f64> {
    let evenly = |i| {
        let at = uniform(stream, i);
        low * (1.0 - at) + high * at
    };
    let by_size = |i| {
        let largest = high.log2().min(1023.0);
        let size = (largest - (largest + 60.0) * uniform(stream + 1, i)).exp2();
        if low < 0.0 && i % 2 == 0 { -size } else { size }
    };
    (0..count / 2).map(evenly).chain((0..count / 2).map(by_size)).collect()
}

/// The kernel's results for arguments `a` and `b`, four elements a vector where it is of `vectors`.
fn on_device(gpu: &Gpu, call: &str, vectors: bool, [a, b]: [&[f64]; 2]) -> Vec<f64> {
    let element = if vectors { "vec4<f32>" } else { "f32" };
    let wgsl = format!(
        "alias T = {element};
@group(0) @binding(0) var<storage, read> a: array<T>;
@group(0) @binding(1) var<storage, read> b: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<T>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    if (id.x >= arrayLength(&result)) {{ return; }}
    result[id.x] = {call};
}}"
    );
    let kinds = [BindingKind::ReadStorage, BindingKind::ReadStorage, BindingKind::ReadWriteStorage];
    let source = KernelSource { label: call, wgsl: &in_double(&wgsl), bindings: &kinds };
    let kernel =
        Kernels::new(gpu).compile(&source).unwrap_or_else(|error| panic!("{error}\n{}", source.wgsl));
    let bytes = size_of_val(a) as u64;
    let [x, y, result] =
        ["a", "b", "result"].map(|role| gpu.buffer(role, bytes, BufferUse::Storage).unwrap());
    gpu.write_buffer(x.raw(), 0, bytemuck::cast_slice(a)).unwrap();
    gpu.write_buffer(y.raw(), 0, bytemuck::cast_slice(b)).unwrap();
    let whole = [&x, &y, &result].map(|buffer| buffer.raw().as_entire_buffer_binding());
    let group = gpu.bind_group(&kernel, call, &whole).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&kernel.pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(a.len().div_ceil(64) as u32, 1, 1);
    drop(pass);
    gpu.submit(encoder);
    bytemuck::pod_collect_to_vec(&gpu.read_buffer(result.raw(), 0..bytes).unwrap())
}

/// Whether `found` is `expected` to 10⁻¹⁴ of it: some fifty roundings, of which the longest function has half as many. Numbers
/// below the smallest normal one may be 0.
fn agrees(found: f64, expected: f64) -> bool {
    let bound = 1e-14 * expected.abs() + f64::MIN_POSITIVE;
    found.to_bits() == expected.to_bits()
        || (found.is_nan() && expected.is_nan())
        || (expected.is_finite() && (found - expected).abs() <= bound)
}

#[test]
fn functions_in_f64_agree_with_the_hosts_for_single_numbers_and_vectors() {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap();
    assert!(gpu.profile().f64, "this adapter has no f64");
    for (number, Case { name, host, intervals }) in CASES.iter().enumerate() {
        assert_eq!(*name, FUNCTIONS[number].0);
        let stream = 4 * number as u32;
        let [mut a, mut b] = [0, 1].map(|which| spread(intervals[which], stream + 2 * which as u32, 6000));
        let is_binary = FUNCTIONS[number].1 == 2;
        for x in AWKWARD {
            let others = if is_binary { &[2.0, -1.5, 0.0, 0.3, -3.0][..] } else { &[0.0] };
            for &other in others {
                a.push(x);
                b.push(other);
            }
        }
        a.resize(a.len().next_multiple_of(4), 0.5);
        b.resize(a.len(), 0.5);
        let call = if is_binary { format!("{name}(a[id.x], b[id.x])") } else { format!("{name}(a[id.x])") };
        let results = [false, true].map(|vectors| on_device(&gpu, &call, vectors, [&a, &b]));
        for (i, (&x, &y)) in a.iter().zip(&b).enumerate() {
            // Beyond, the quarter of the circle is not known.
            if matches!(*name, "sin" | "cos" | "tan") && x.abs() > 1e8 && x.is_finite() {
                continue;
            }
            let expected = host(x, y);
            for found in [results[0][i], results[1][i]] {
                // A device may take a number below the smallest normal one for 0.
                // Near 0 nothing cancels: two roundings, and those of the host.
                if matches!(*name, "sin" | "tan") && x.abs() < 0.7 && !x.is_subnormal() {
                    let bound = 8e-16 * expected.abs();
                    assert!(
                        (found - expected).abs() <= bound,
                        "{name}({x:e}) is {found:e}, not {expected:e}"
                    );
                }
                let as_zero = x.is_subnormal() && agrees(found, host(0.0 * x, y));
                assert!(
                    as_zero || agrees(found, expected),
                    "{name}({x:e}, {y:e}) is {found:e}, not {expected:e}"
                );
            }
        }
    }
}

#[test]
fn words_are_exchanged_and_nothing_else() {
    let rows = [
        ("var x: array<vec4<f32>, 3>;", "var x: array<vec4<f64>, 3>;"),
        ("let f32_like = buf32 + 1.5;", "let f32_like = buf32 + 1.5lf;"),
        ("1.5f + 2e-3 - 1E+2f * 7f", "1.5lf + 2e-3lf - 1E+2lf * 7lf"),
        ("0x1fu + 12u - 0x3e + a.x0", "0x1fu + 12u - 0x3e + a.x0"),
        ("max(x, -3.4028234663852886e38)", "max(x, -1.7976931348623157e308lf)"),
        ("exp2_of + logits.exp // f32 1.5 exp(x)\n", "exp2_of + logits.exp // f32 1.5 exp(x)\n"),
    ];
    for (single, double) in rows {
        assert_eq!(in_double(single), double);
    }
}

#[test]
fn what_is_called_is_defined_and_nothing_else() {
    let text = in_double("let y = tanh (x) + sqrt(x);");
    assert!(text.starts_with("let y = double_tanh (x) + sqrt(x);"), "{text}");
    let defined = |name: &str| text.matches(&format!("fn double_{name}(")).count();
    assert_eq!(["tanh", "exp", "exp_of", "scaled"].map(defined), [1; 4]);
    assert_eq!(["sin", "log_of", "tanh4"].map(defined), [0; 3]);
    let four = in_double("alias T = vec4<f32>; let y = pow(x, x);");
    assert!(
        four.contains("double_pow4(x, x)") && four.contains("fn double_pow4(a: vec4<f64>, b: vec4<f64>)")
    );
}
