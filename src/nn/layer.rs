//! Layers and the initial values of their parameters.

use crate::error::did_you_mean;
use crate::graph::{Dim, Graph, Initial, Shape, Var};
use crate::{Error, Result};

/// Whether a model is being trained: only then does dropout drop.
///
/// ```
/// use downhill::{Dim, Graph, Mode, ModelSpec};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [Dim::BATCH, Dim::Fixed(4)])?;
/// let model: ModelSpec = "linear 8, dropout 0.5, linear 2".parse()?;
/// let y = model.build(&mut graph, x, 2, Mode::Evaluate)?;
/// assert_eq!(graph.shape(y).to_string(), "[batch, 2]");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// In a training step.
    Train,
    /// In evaluation and prediction.
    Evaluate,
}

/// How the weights of a linear layer begin; fans are the layer's inputs and outputs.
///
/// ```
/// use downhill::{Dim, Graph, Initial, Initialisation, Mode, ModelSpec};
///
/// let model = "mlp:64:tanh".parse::<ModelSpec>()?.with_initialisation(Initialisation::XavierUniform);
/// let mut graph = Graph::new();
/// let x = graph.input("x", [Dim::BATCH, Dim::Fixed(2)])?;
/// model.build(&mut graph, x, 3, Mode::Train)?;
/// assert_eq!(graph.parameters()[0].initial, Initial::Uniform { bound: (6.0_f64 / 66.0).sqrt() });
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Initialisation {
    /// What `torch.nn.Linear` does: weights and bias uniform on ±1/√inputs.
    PyTorch,
    /// He et al. (2015) for ReLU: uniform on ±√(6/inputs), bias 0. The default, as networks with ReLU are.
    #[default]
    KaimingUniform,
    /// He et al. (2015) for ReLU: normal with deviation √(2/inputs), bias 0.
    KaimingNormal,
    /// Glorot and Bengio (2010): uniform on ±√(6/(inputs + outputs)), bias 0.
    XavierUniform,
    /// Glorot and Bengio (2010): normal with deviation √(2/(inputs + outputs)), bias 0.
    XavierNormal,
}

impl Initialisation {
    /// The initial values of the weight and of the bias.
    fn values(self, inputs: usize, outputs: usize) -> (Initial, Initial) {
        let (fan_in, fans) = (inputs as f64, (inputs + outputs) as f64);
        let zero = Initial::Constant(0.0);
        match self {
            Initialisation::PyTorch => {
                let uniform = Initial::Uniform { bound: fan_in.sqrt().recip() };
                (uniform, uniform)
            }
            Initialisation::KaimingUniform => (Initial::Uniform { bound: (6.0 / fan_in).sqrt() }, zero),
            Initialisation::KaimingNormal => (Initial::Normal { deviation: (2.0 / fan_in).sqrt() }, zero),
            Initialisation::XavierUniform => (Initial::Uniform { bound: (6.0 / fans).sqrt() }, zero),
            Initialisation::XavierNormal => (Initial::Normal { deviation: (2.0 / fans).sqrt() }, zero),
        }
    }
}

/// x·Wᵀ + b for x `[.., inputs]`: parameters `{name}.weight` `[outputs, inputs]` and `{name}.bias` `[outputs]`.
///
/// ```
/// use downhill::{Dim, Graph, Initialisation, linear};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [Dim::BATCH, Dim::Fixed(4)])?;
/// let y = linear(&mut graph, x, "last", 3, Initialisation::default())?;
/// assert_eq!(graph.shape(y).to_string(), "[batch, 3]");
/// assert_eq!(graph.parameters()[0].name, "last.weight");
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where x has no last axis of fixed size, or a parameter of that name is there.
pub fn linear(
    graph: &mut Graph,
    x: Var,
    name: &str,
    outputs: usize,
    initialisation: Initialisation,
) -> Result<Var> {
    let shape = graph.shape(x).clone();
    let Some((&Dim::Fixed(inputs), outer)) = shape.dims().split_last() else {
        return Err(Error::shape("linear", format!("the last axis of {shape} has no fixed size")));
    };
    let (weight, bias) = initialisation.values(inputs, outputs);
    let weight = graph.parameter(&format!("{name}.weight"), &[outputs, inputs], weight)?;
    let bias = graph.parameter(&format!("{name}.bias"), &[outputs], bias)?;
    let rows = graph.reshape(x, Shape(vec![merged(outer), Dim::Fixed(inputs)]))?;
    let product = graph.matmul_with(rows, weight, false, true)?;
    let shifted = graph.add(product, bias)?;
    let mut dims = outer.to_vec();
    dims.push(Dim::Fixed(outputs));
    graph.reshape(shifted, Shape(dims))
}

/// All of `dims` as one.
fn merged(dims: &[Dim]) -> Dim {
    let size: usize = dims.iter().map(|dim| dim.resolve(1)).product();
    if dims.iter().any(|dim| matches!(dim, Dim::Batch(_))) { Dim::Batch(size) } else { Dim::Fixed(size) }
}

/// One layer of a sequential model.
///
/// ```
/// use downhill::{Activation, Layer, ModelSpec};
///
/// let relu = Layer::Activation(Activation::new("relu", None)?);
/// let model = ModelSpec::sequential([Layer::Linear(16), relu, Layer::Dropout(0.1), Layer::Linear(3)]);
/// assert_eq!(model.to_string(), "linear 16, relu, dropout 0.1, linear 3");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Layer {
    /// x·Wᵀ + b with so many outputs.
    Linear(usize),
    /// An activation, with its setting if it has one.
    Activation(Activation),
    /// Drops each element with this probability while training.
    Dropout(f64),
}

/// An activation: a row of the table of them, and its setting.
///
/// ```
/// use downhill::{Activation, Graph, StepContext};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [2])?;
/// let y = Activation::new("leaky_relu", Some(0.25))?.apply(&mut graph, x)?;
/// let step = StepContext { inputs: [("x".to_owned(), vec![-4.0, 4.0])].into(), ..StepContext::default() };
/// assert_eq!(graph.evaluate(&[y], 1, &step)[0].data, [-1.0, 4.0]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Activation {
    row: usize,
    setting: f64,
}

/// What an activation computes, from its input and its setting.
type Activate = fn(&mut Graph, Var, f64) -> Result<Var>;

/// Name, the setting's default where there is one, and the computation.
static ACTIVATIONS: &[(&str, Option<f64>, Activate)] = &[
    ("relu", None, |g, x, _| g.relu(x)),
    ("leaky_relu", Some(0.01), |g, x, slope| {
        let scaled = g.scale(x, slope)?;
        g.maximum(x, scaled)
    }),
    ("tanh", None, |g, x, _| g.tanh(x)),
    ("sigmoid", None, |g, x, _| g.sigmoid(x)),
    // Hendrycks and Gimpel (2016), the exact form: x·Φ(x).
    ("gelu", None, |g, x, _| {
        let scaled = g.scale(x, std::f64::consts::FRAC_1_SQRT_2)?;
        let erf = g.erf(scaled)?;
        let one = g.constant(1.0)?;
        let twice = g.add(erf, one)?;
        let product = g.mul(x, twice)?;
        g.scale(product, 0.5)
    }),
    ("silu", None, |g, x, _| {
        let gate = g.sigmoid(x)?;
        g.mul(x, gate)
    }),
];

impl Activation {
    /// The activation `name`, with its setting (leaky ReLU's slope) where one is given.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown name, or a setting where there is none or out of [0, 1).
    pub fn new(name: &str, setting: Option<f64>) -> Result<Self> {
        let Some(row) = ACTIVATIONS.iter().position(|(known, _, _)| *known == name) else {
            let known: Vec<&str> = Self::names().collect();
            return Err(Error::setting("activation", did_you_mean(name, &known)));
        };
        let default = ACTIVATIONS[row].1;
        match (setting, default) {
            (None, default) => Ok(Activation { row, setting: default.unwrap_or(0.0) }),
            (Some(setting), Some(_)) if (0.0..1.0).contains(&setting) => Ok(Activation { row, setting }),
            (Some(setting), Some(_)) => {
                Err(Error::setting(name, format!("its slope must be at least 0 and below 1, not {setting}")))
            }
            (Some(_), None) => Err(Error::setting(name, "it takes no number")),
        }
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ACTIVATIONS.iter().map(|(name, _, _)| *name)
    }

    /// Its name, and its setting where that is not the default.
    pub(super) fn text(self) -> String {
        let (name, default, _) = ACTIVATIONS[self.row];
        match default {
            Some(default) if default != self.setting => format!("{name} {}", self.setting),
            _ => name.to_owned(),
        }
    }

    /// The activation of x.
    pub fn apply(self, graph: &mut Graph, x: Var) -> Result<Var> {
        ACTIVATIONS[self.row].2(graph, x, self.setting)
    }
}

impl Layer {
    /// Appends the layer, whose parameters are named after `name`.
    pub(super) fn apply(
        self,
        graph: &mut Graph,
        x: Var,
        name: &str,
        mode: Mode,
        initialisation: Initialisation,
    ) -> Result<Var> {
        match self {
            Layer::Linear(outputs) => linear(graph, x, name, outputs, initialisation),
            Layer::Activation(activation) => activation.apply(graph, x),
            Layer::Dropout(rate) if mode == Mode::Train => graph.dropout(x, rate),
            Layer::Dropout(_) => Ok(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::reference::StepContext;

    #[test]
    fn activations_are_the_functions_of_their_names() {
        let (x, normal) = (0.7_f64, |x: f64| 0.5 * (1.0 + libm::erf(x / 2.0_f64.sqrt())));
        let rows = [
            ("relu", None, -0.7, 0.0),
            ("leaky_relu", None, -0.7, -0.007),
            ("leaky_relu", Some(0.2), -0.7, -0.14),
            ("tanh", None, x, x.tanh()),
            ("sigmoid", None, x, 1.0 / (1.0 + (-x).exp())),
            ("gelu", None, -0.7, -0.7 * normal(-0.7)),
            ("silu", None, x, x / (1.0 + (-x).exp())),
        ];
        for (name, setting, input, expected) in rows {
            let mut graph = Graph::new();
            let x = graph.input("x", [1]).unwrap();
            let y = Activation::new(name, setting).unwrap().apply(&mut graph, x).unwrap();
            let inputs = [("x".to_owned(), vec![input])].into();
            let found = graph.evaluate(&[y], 1, &StepContext { inputs, ..StepContext::default() });
            assert!((found[0].data[0] - expected).abs() < 1e-12, "{name}({input}) is {}", found[0].data[0]);
        }
    }

    #[test]
    fn initial_values_have_the_spread_that_their_authors_ask_for() {
        let (inputs, outputs) = (300, 200);
        let rows = [
            (Initialisation::PyTorch, 1.0 / (3.0 * 300.0)),
            (Initialisation::KaimingUniform, 2.0 / 300.0),
            (Initialisation::KaimingNormal, 2.0 / 300.0),
            (Initialisation::XavierUniform, 2.0 / 500.0),
            (Initialisation::XavierNormal, 2.0 / 500.0),
        ];
        for (initialisation, variance) in rows {
            let mut graph = Graph::new();
            let x = graph.input("x", [Dim::BATCH, Dim::Fixed(inputs)]).unwrap();
            linear(&mut graph, x, "0", outputs, initialisation).unwrap();
            let values = graph.parameters()[0].initial_values(7, 0);
            let square: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
            let mean: f64 = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            // 60,000 draws: the variance is known to about 0.6 %, the mean to 0.4 % of the deviation.
            assert!((square / variance - 1.0).abs() < 0.03, "{initialisation:?}: {square}, not {variance}");
            assert!(mean.abs() < 0.02 * variance.sqrt(), "{initialisation:?}: mean {mean}");
            assert_ne!(values, graph.parameters()[0].initial_values(8, 0), "another seed");
        }
    }
}
