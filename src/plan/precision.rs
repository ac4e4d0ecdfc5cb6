//! In how many bits a plan computes, and in how many its numbers lie in memory.

use std::fmt;
use std::str::FromStr;

use crate::error::did_you_mean;
use crate::gpu::{Profile, in_double};
use crate::graph::Element;
use crate::{Error, Result};

/// How numbers lie in memory where kernels read them, and what they are computed in.
///
/// ```
/// use downhill::{Optimizer, Precision, TrainOptions};
///
/// assert_eq!("f16".parse::<Precision>()?, Precision::F16);
/// let options = TrainOptions {
///     precision: Precision::F16,
///     ..TrainOptions::new("mlp:256".parse()?, Optimizer::new("adam")?)
/// };
/// assert_eq!(options.precision.to_string(), "f16");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// Activations and the matrices among the parameters in 16 bits, and the loss scaled so that gradients stay within them.
    /// θ, gradient and state keep their 32 bits, and so does arithmetic.
    F16,
    /// 64 bits everywhere, for methods of second order. No run is trained in it, and few adapters have it.
    F64,
}

const PRECISIONS: [(&str, Precision); 3] =
    [("f32", Precision::F32), ("f16", Precision::F16), ("f64", Precision::F64)];

impl Precision {
    /// What a run can be trained in.
    pub(crate) const TRAINED: [Precision; 2] = [Precision::F32, Precision::F16];

    /// Reads one of `among`; the error says what there is.
    pub(crate) fn parse(text: &str, among: &[Precision]) -> Result<Self, String> {
        let known = PRECISIONS.iter().filter(|(_, precision)| among.contains(precision));
        let found = known.clone().find(|(word, _)| *word == text).map(|(_, precision)| *precision);
        found.ok_or_else(|| did_you_mean(text, &known.map(|(word, _)| *word).collect::<Vec<_>>()))
    }

    /// Whether an adapter of `profile` has it.
    ///
    /// # Errors
    /// [`Error::Setting`] where it has not.
    pub(crate) fn check(self, profile: &Profile) -> Result<(), Error> {
        let missing = match self {
            Precision::F16 if !profile.f16 => "f16 in shaders",
            Precision::F64 if !profile.f64 => "f64 with 64-bit integers in shaders",
            Precision::F32 | Precision::F16 | Precision::F64 => return Ok(()),
        };
        let message =
            format!("this adapter has no {missing} (`downhill devices` lists what it has); use f32");
        Err(Error::setting("precision", message))
    }

    /// Bytes of a float of θ, the gradient, inputs and results.
    pub(crate) fn float_bytes(self) -> u64 {
        if self == Precision::F64 { 8 } else { 4 }
    }

    /// Bytes of `count` elements that do not lie in 16 bits.
    pub(crate) fn bytes(self, element: Element, count: usize) -> u64 {
        match element {
            Element::F32 => self.float_bytes() * count as u64,
            Element::U32 | Element::U8 => element.bytes(count),
        }
    }

    /// The distance from 1 to the next float.
    pub(crate) fn epsilon(self) -> f64 {
        if self == Precision::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
    }

    /// Floats as they lie in memory, in 32 bits or 64.
    pub(crate) fn encode(self, values: &[f64]) -> Vec<u8> {
        match self {
            Precision::F64 => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Precision::F32 | Precision::F16 => {
                values.iter().flat_map(|&value| (value as f32).to_ne_bytes()).collect()
            }
        }
    }

    /// The floats that lie in memory as `bytes`.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f64> {
        match self {
            Precision::F64 => bytemuck::pod_collect_to_vec(bytes),
            Precision::F32 | Precision::F16 => {
                bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter().map(f64::from).collect()
            }
        }
    }

    /// A kernel that was written for f32, for these floats.
    pub(crate) fn kernel_text(self, wgsl: String) -> String {
        if self == Precision::F64 { in_double(&wgsl) } else { wgsl }
    }

    /// A number as WGSL; infinities do not exist there and become the largest float.
    pub(crate) fn literal(self, value: f64) -> String {
        let text = match self {
            Precision::F64 => format!("{:?}", value.clamp(f64::MIN, f64::MAX)),
            Precision::F32 | Precision::F16 => format!("{:?}", (value as f32).clamp(f32::MIN, f32::MAX)),
        };
        if text.contains(['.', 'e']) { text } else { format!("{text}.0") }
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// Reads `f32`, `f16` or `f64`; the error says what there is.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, &PRECISIONS.map(|(_, precision)| precision))
            .map_err(|message| Error::setting("precision", message))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = PRECISIONS.iter().find(|(_, precision)| precision == self).map_or("", |(word, _)| word);
        out.write_str(word)
    }
}
