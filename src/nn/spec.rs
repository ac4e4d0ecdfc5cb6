//! Models by text: `mlp:256,128:tanh`, `linear`, or a list of layers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::layer::{Activation, Initialisation, Layer, Mode};
use crate::error::did_you_mean;
use crate::graph::{Dim, Graph, Var};
use crate::{Error, Result};

/// Outputs of a layer above which a number is a slip of the keyboard: a weight matrix of that side takes 4 EiB.
const WIDEST: usize = 1 << 30;

/// A sequential model, apart from the data that gives it inputs and outputs.
///
/// ```
/// use downhill::ModelSpec;
///
/// let model: ModelSpec = "linear 256, relu, dropout 0.1, linear 10".parse()?;
/// assert_eq!(model.to_string(), "linear 256, relu, dropout 0.1, linear 10");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelSpec {
    form: Form,
    initialisation: Initialisation,
}

#[derive(Clone, PartialEq, Debug)]
enum Form {
    /// Hidden layers with one activation, and a last layer with as many outputs as the data needs.
    Mlp { hidden: Vec<usize>, activation: Activation },
    /// One layer with as many outputs as the data needs.
    Linear,
    /// Every layer by itself.
    Layers(Vec<Layer>),
}

impl ModelSpec {
    /// Whether training it drops activations by chance.
    pub(crate) fn drops(&self) -> bool {
        matches!(&self.form, Form::Layers(layers) if layers.iter().any(|layer| matches!(layer, Layer::Dropout(rate) if *rate > 0.0)))
    }

    /// A model of these layers in their order.
    pub fn sequential(layers: impl Into<Vec<Layer>>) -> Self {
        ModelSpec { form: Form::Layers(layers.into()), initialisation: Initialisation::default() }
    }

    /// The same model with other initial values.
    pub fn with_initialisation(mut self, initialisation: Initialisation) -> Self {
        self.initialisation = initialisation;
        self
    }

    /// Appends the model to `graph`: x `[batch, inputs]` → `[batch, outputs]`. Parameters are named as in PyTorch's
    /// `nn.Sequential`: by the layer's place.
    ///
    /// # Errors
    /// [`Error::Setting`] where a list of layers ends with another number of outputs, or has no parameters.
    pub fn build(&self, graph: &mut Graph, x: Var, outputs: usize, mode: Mode) -> Result<Var> {
        let mut value = x;
        for (place, layer) in self.layers(outputs).into_iter().enumerate() {
            value = layer.apply(graph, value, &place.to_string(), mode, self.initialisation)?;
        }
        if graph.parameters().is_empty() {
            return Err(Error::setting(
                "model",
                format!("`{self}` has nothing to learn; add a `linear` layer"),
            ));
        }
        match graph.shape(value).dims().last() {
            Some(&Dim::Fixed(found)) if found == outputs => Ok(value),
            Some(Dim::Fixed(found)) => Err(Error::setting(
                "model",
                format!(
                    "`{self}` ends with {found} outputs, but the data needs {outputs}; end it with `linear {outputs}`"
                ),
            )),
            _ => Err(Error::setting("model", format!("`{self}` has no fixed number of outputs"))),
        }
    }

    fn layers(&self, outputs: usize) -> Vec<Layer> {
        match &self.form {
            Form::Layers(layers) => layers.clone(),
            Form::Linear => vec![Layer::Linear(outputs)],
            Form::Mlp { hidden, activation } => {
                let pair = |&width: &usize| [Layer::Linear(width), Layer::Activation(*activation)];
                hidden.iter().flat_map(pair).chain([Layer::Linear(outputs)]).collect()
            }
        }
    }
}

/// What `--model help` lists: each form with what it is.
///
/// ```
/// use downhill::model_help;
///
/// for (form, meaning) in model_help() {
///     println!("{form}: {meaning}");
/// }
/// assert!(model_help().iter().any(|(form, _)| form == "linear"));
/// ```
pub fn model_help() -> Vec<(String, &'static str)> {
    let activations: Vec<&str> = Activation::names().collect();
    vec![
        (
            "mlp:256,128".to_owned(),
            "hidden layers of these widths with ReLU, and a last layer as the data needs it",
        ),
        ("mlp:256,128:tanh".to_owned(), "the same with another activation"),
        ("linear".to_owned(), "one linear layer: softmax regression or linear regression"),
        ("linear 256, relu, dropout 0.1, linear 10".to_owned(), "every layer by itself"),
        (format!("activations: {}", activations.join(", ")), "leaky_relu takes its slope: `leaky_relu 0.1`"),
    ]
}

fn fail(text: &str, message: &str) -> Error {
    Error::setting("model", format!("`{text}`: {message}"))
}

fn width(text: &str, word: &str) -> Result<usize> {
    let number = word.trim().parse().ok().filter(|width| (1..=WIDEST).contains(width));
    number.ok_or_else(|| fail(text, &format!("`{}` is no number of outputs", word.trim())))
}

impl FromStr for ModelSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        let form = match trimmed.split_once(':') {
            Some((kind, rest)) if kind.trim() == "mlp" => parse_mlp(trimmed, rest)?,
            Some((kind, _)) => {
                return Err(Error::setting("model", did_you_mean(kind, &["mlp", "linear"])));
            }
            None if trimmed == "linear" => Form::Linear,
            None if trimmed == "mlp" => {
                return Err(fail(trimmed, "say the widths of its layers, as `mlp:256,128`"));
            }
            None => Form::Layers(
                trimmed.split(',').map(|layer| parse_layer(trimmed, layer)).collect::<Result<_>>()?,
            ),
        };
        Ok(ModelSpec { form, initialisation: Initialisation::default() })
    }
}

fn parse_mlp(text: &str, rest: &str) -> Result<Form> {
    let (widths, activation) = rest.split_once(':').unwrap_or((rest, "relu"));
    let hidden = widths.split(',').map(|word| width(text, word)).collect::<Result<_>>()?;
    let activation =
        Activation::new(activation.trim(), None).map_err(|error| fail(text, &error.to_string()))?;
    Ok(Form::Mlp { hidden, activation })
}

fn parse_layer(text: &str, layer: &str) -> Result<Layer> {
    let mut words = layer.split_whitespace();
    let (name, setting) = (words.next().unwrap_or(""), words.next());
    if let Some(extra) = words.next() {
        return Err(fail(text, &format!("`{extra}` is one word too many in `{}`", layer.trim())));
    }
    let number =
        |word: &str| word.parse::<f64>().map_err(|_| fail(text, &format!("`{word}` is not a number")));
    match (name, setting) {
        ("", _) => Err(fail(text, "there is a layer missing between two commas, or at an end")),
        ("linear", Some(outputs)) => Ok(Layer::Linear(width(text, outputs)?)),
        ("linear", None) => Err(fail(text, "say how many outputs a `linear` in a list has, as `linear 10`")),
        ("dropout", rate) => {
            let rate = rate.map_or(Ok(0.5), number)?;
            let valid = (0.0..1.0).contains(&rate);
            if valid {
                Ok(Layer::Dropout(rate))
            } else {
                Err(fail(text, "a dropout rate is at least 0 and below 1"))
            }
        }
        (name, setting) => {
            let known: Vec<&str> =
                ["linear", "dropout", "mlp"].into_iter().chain(Activation::names()).collect();
            if !known.contains(&name) || name == "mlp" {
                return Err(Error::setting("model", format!("`{text}`: {}", did_you_mean(name, &known))));
            }
            let activation = Activation::new(name, setting.map(number).transpose()?);
            activation.map(Layer::Activation).map_err(|error| fail(text, &error.to_string()))
        }
    }
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.form {
            Form::Linear => "linear".to_owned(),
            Form::Mlp { hidden, activation } => {
                let widths: Vec<String> = hidden.iter().map(usize::to_string).collect();
                let suffix = match activation.text().as_str() {
                    "relu" => String::new(),
                    other => format!(":{other}"),
                };
                format!("mlp:{}{suffix}", widths.join(","))
            }
            Form::Layers(layers) => {
                let texts: Vec<String> = layers
                    .iter()
                    .map(|layer| match layer {
                        Layer::Linear(outputs) => format!("linear {outputs}"),
                        Layer::Activation(activation) => activation.text(),
                        Layer::Dropout(rate) => format!("dropout {rate}"),
                    })
                    .collect();
                texts.join(", ")
            }
        };
        out.write_str(&text)
    }
}

impl TryFrom<String> for ModelSpec {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ModelSpec> for String {
    fn from(model: ModelSpec) -> Self {
        model.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_reads_as_it_is_written() {
        let texts = [
            "mlp:64",
            "mlp:256,128",
            "mlp:256,128:tanh",
            "linear",
            "linear 256, relu, dropout 0.1, linear 10",
            "linear 3, leaky_relu 0.2, linear 1",
        ];
        for text in texts {
            assert_eq!(text.parse::<ModelSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_model_is_said() {
        let rows = [
            ("mpl:64", "did you mean `mlp`"),
            ("mlp", "mlp:256,128"),
            ("mlp:", "`` is no number"),
            ("mlp:0", "`0` is no number"),
            ("mlp:64,x", "`x` is no number"),
            ("mlp:64:rleu", "did you mean `relu`"),
            ("linaer 5", "did you mean `linear`"),
            ("linear 5,, relu", "missing between two commas"),
            ("linear 5, relu 2", "takes no number"),
            ("linear 5, dropout 1", "below 1"),
            ("linear 5 6", "one word too many"),
            ("", "missing"),
        ];
        for (text, fragment) in rows {
            let message = text.parse::<ModelSpec>().unwrap_err().to_string();
            assert!(message.contains(fragment), "`{text}`: {message}");
        }
    }

    #[test]
    fn parameters_are_named_as_in_pytorch() {
        let mut graph = Graph::new();
        let x = graph.input("x", [Dim::BATCH, Dim::Fixed(784)]).unwrap();
        let model: ModelSpec = "mlp:256,128".parse().unwrap();
        model.build(&mut graph, x, 10, Mode::Train).unwrap();
        let found: Vec<_> = graph.parameters().iter().map(|p| (p.name.as_str(), p.shape.clone())).collect();
        let expected = [
            ("0.weight", vec![256, 784]),
            ("0.bias", vec![256]),
            ("2.weight", vec![128, 256]),
            ("2.bias", vec![128]),
            ("4.weight", vec![10, 128]),
            ("4.bias", vec![10]),
        ];
        assert_eq!(found, expected);
    }
}
