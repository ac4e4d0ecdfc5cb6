//! What a graph knows of a parameter: its name, its shape and its value at the start.

use super::reference::philox_uniform4;

/// A named range of θ.
///
/// ```
/// use downhill::{Graph, Initial};
///
/// let mut graph = Graph::new();
/// graph.parameter("weight", &[2, 3], Initial::Constant(0.5))?;
/// let info = &graph.parameters()[0];
/// assert_eq!((info.name.as_str(), info.elements()), ("weight", 6));
/// assert_eq!(info.initial_values(0, 0), [0.5; 6]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct ParameterInfo {
    /// Its name, as in the model's file.
    pub name: String,
    /// Its sizes, outermost first.
    pub shape: Vec<usize>,
    /// Its value at the start.
    pub initial: Initial,
    /// Which of the optimizer's groups updates it. The parameters of a group lie together in θ.
    pub group: usize,
}

/// The value of a parameter at the start.
///
/// ```
/// use downhill::{Graph, Initial};
///
/// let mut graph = Graph::new();
/// graph.parameter("scale", &[3], Initial::Constant(1.0))?;
/// graph.parameter("weight", &[2, 3], Initial::Uniform { bound: 0.5 })?;
/// let values = graph.parameters()[1].initial_values(0, 1);
/// assert!(values.iter().all(|value| value.abs() <= 0.5));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Initial {
    /// The same number everywhere.
    Constant(f64),
    /// Uniform on (−bound, bound).
    Uniform {
        /// Half the width.
        bound: f64,
    },
    /// Normal with mean 0.
    Normal {
        /// The standard deviation.
        deviation: f64,
    },
}

/// The stream numbers of initial values start here, away from those of dropout.
const FIRST_STREAM: u32 = 0x8000_0000;

impl ParameterInfo {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The values at the start: a function of the seed, the parameter's number in the graph and the element.
    pub fn initial_values(&self, seed: u64, number: usize) -> Vec<f32> {
        let stream = FIRST_STREAM + number as u32;
        let uniform = |draw: u64, quad: usize| philox_uniform4(seed, draw, stream, quad as u32);
        let four = |quad: usize| -> [f64; 4] {
            match self.initial {
                Initial::Constant(value) => [value; 4],
                Initial::Uniform { bound } => uniform(0, quad).map(|u| bound * (2.0 * u - 1.0)),
                Initial::Normal { deviation } => {
                    let (first, second) = (uniform(0, quad), uniform(1, quad));
                    // Box and Muller (1958); 1 − u keeps the logarithm's argument above 0.
                    let normal = |(u, v): (f64, f64)| {
                        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
                    };
                    std::array::from_fn(|lane| deviation * normal((first[lane], second[lane])))
                }
            }
        };
        let quads = self.elements().div_ceil(4);
        (0..quads).flat_map(four).take(self.elements()).map(|value| value as f32).collect()
    }
}
