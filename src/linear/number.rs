//! In which numbers a device computes, how they lie in memory, and the arithmetic that kernels are written in.

use super::device::Shader;
use crate::gpu::in_double;
use crate::plan::Precision;

/// The numbers of a method on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    /// f32: factorisations, whose solutions are refined.
    Single,
    /// The sum of two f32, 48 bits: iterations, which in f32 alone neither reach a small residual nor keep to as few steps.
    Pair,
    /// f64.
    Double,
}

pub(crate) const SINGLE: &str = include_str!("../../shaders/linear/single.wgsl");
pub(crate) const PAIR: &str = include_str!("../../shaders/linear/pair.wgsl");

impl Number {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        if self == Number::Single { 4 } else { 8 }
    }

    /// The distance from 1 to the next number.
    pub fn epsilon(self) -> f64 {
        match self {
            Number::Single => f64::from(f32::EPSILON),
            // Products of pairs lose a few of the last bits.
            Number::Pair => 2f64.powi(-44),
            Number::Double => f64::EPSILON,
        }
    }

    /// Numbers as they lie in memory.
    pub fn encode(self, values: &[f64]) -> Vec<u8> {
        match self {
            Number::Single => Precision::F32.encode(values),
            Number::Double => Precision::F64.encode(values),
            Number::Pair => {
                let words = |value: f64| {
                    let high = value as f32;
                    let low = (value - f64::from(high)) as f32;
                    [high.to_le_bytes(), low.to_le_bytes()].concat()
                };
                values.iter().flat_map(|&value| words(value)).collect()
            }
        }
    }

    /// The numbers of bytes.
    pub fn decode(self, bytes: &[u8]) -> Vec<f64> {
        match self {
            Number::Single => Precision::F32.decode(bytes),
            Number::Double => Precision::F64.decode(bytes),
            Number::Pair => {
                Precision::F32.decode(bytes).chunks_exact(2).map(|words| words[0] + words[1]).collect()
            }
        }
    }

    /// The whole text of a kernel.
    pub fn kernel_text(self, shader: &Shader) -> String {
        let arithmetic = if self == Number::Pair { PAIR } else { SINGLE };
        let text = [&[arithmetic], shader.before, &[shader.text]].concat().join("\n");
        self.typed(text)
    }

    /// A text written for f32, in the numbers of this kind.
    pub fn typed(self, text: String) -> String {
        if self == Number::Double { in_double(&text) } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::device::Device;
    use crate::linear::tests::Random;
    use crate::{Gpu, GpuOptions};

    #[test]
    fn numbers_come_back_as_far_as_they_have_bits() {
        let values = [0.0, 1.0 / 3.0, -1e-7, 12_345.678];
        // Half a unit in the last of 24, 48 and 53 bits.
        for (number, within) in
            [(Number::Single, 2f64.powi(-24)), (Number::Pair, 2f64.powi(-48)), (Number::Double, 0.0)]
        {
            let bytes = number.encode(&values);
            assert_eq!(bytes.len() as u64, number.bytes() * values.len() as u64);
            for (found, value) in number.decode(&bytes).into_iter().zip(values) {
                assert!((found - value).abs() <= within * value.abs(), "{number:?}: {found} {value}");
            }
        }
    }

    /// Every function of the arithmetic on a device, against f64.
    #[test]
    fn arithmetic_on_the_device_keeps_the_bits_of_its_numbers() {
        let gpu = Gpu::new(&GpuOptions::default()).unwrap();
        type Exact = fn(f64, f64) -> f64;
        let rows: [(&str, &str, Exact); 5] = [
            ("sum", "add(x[i], y[i])", |x, y| x + y),
            ("difference", "subtract(x[i], y[i])", |x, y| x - y),
            ("product", "multiply(x[i], y[i])", |x, y| x * y),
            ("quotient", "divide(x[i], y[i])", |x, y| x / y),
            ("root", "square_root(multiply(x[i], x[i]))", |x, _| x.abs()),
        ];
        let mut random = Random(1);
        let count = 257;
        let [a, b] = [0, 1].map(|_| {
            let sizes = (0..count).map(|_| (10.0_f64 * random.next()).exp2() * random.next().signum());
            sizes.collect::<Vec<_>>()
        });
        for number in [Number::Single, Number::Pair, Number::Double] {
            let device = Device::new(&gpu, number).unwrap();
            // What the device has of them.
            let [a, b] = [&a, &b].map(|values| number.decode(&number.encode(values)));
            let [x, y, result] =
                [device.vector(&a).unwrap(), device.vector(&b).unwrap(), device.zeros(count).unwrap()];
            for (label, call, exact) in rows {
                let text = format!(
                    "struct Params {{ fold: u32, count: u32 }}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Real>;
@group(0) @binding(2) var<storage, read> y: array<Real>;
@group(0) @binding(3) var<storage, read_write> result: array<Real>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
    begin(groups);
    let i = id.x + id.y * p.fold;
    if (i < p.count) {{
        result[i] = {call};
    }}
}}"
                );
                let shader = Shader { label, before: &[], text: text.leak(), reads: 2, writes: 1 };
                let mut list = device.launches();
                list.each(&shader, count, &[count as u32], &[&x, &y, &result]);
                list.finish().unwrap().submit(&gpu, 1);
                let mut worst = 0.0_f64;
                for (found, (&a, &b)) in
                    device.read(&result, count).unwrap().into_iter().zip(a.iter().zip(&b))
                {
                    // Of sums relative to what is added, for the rest may cancel.
                    let size = if call.starts_with("add") || call.starts_with("sub") {
                        a.abs() + b.abs()
                    } else {
                        exact(a, b).abs()
                    };
                    worst = worst.max((found - exact(a, b)).abs() / size);
                }
                assert!(worst <= number.epsilon(), "{number:?} {label}: {worst:e}");
            }
        }
    }
}
