//! Graphs as ONNX files, for programs that run models elsewhere: ONNX Runtime, mobile phones, browsers.
//!
//! Every node becomes the few ONNX operators that compute the same, at operator set [`OPSET`]; the batch stays symbolic.
//! Expansions before elementwise operators are left to ONNX's broadcasting. `nodes` writes operators, `lowering` knows
//! which.

mod lowering;
mod nodes;
#[allow(clippy::all, missing_docs, unreachable_pub)]
mod proto;

use std::collections::BTreeSet;

use prost::Message;

use crate::data::Schema;
use crate::graph::{Graph, Var};
use crate::nn::{Loss, ModelSpec};
use crate::train::{NamedTensor, prediction};
use crate::{Error, Result};
use nodes::Writer;

/// The operator set that files state: of December 2022, the first in which every reduction takes its axes as an input.
///
/// ```
/// // What a program needs that reads our files.
/// assert_eq!(downhill::OPSET, 18);
/// ```
pub const OPSET: i64 = 18;

/// The version of the format itself that goes with it.
const IR_VERSION: i64 = 8;

/// `outputs` of `graph` by name as an ONNX model, `parameters` being the values of the graph's, in their order. Inputs keep
/// their names; labels and indices are int64 there, and a batch of rows is the dimension `batch`.
///
/// ```
/// use downhill::{Dim, Graph, Initial, NamedTensor, onnx_graph};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [Dim::BATCH, Dim::Fixed(2)])?;
/// let weight = graph.parameter("weight", &[2, 1], Initial::Constant(0.0))?;
/// let y = graph.matmul(x, weight)?;
/// let trained = [NamedTensor { name: "weight".to_owned(), shape: vec![2, 1], values: vec![0.5, -1.0] }];
/// let file = onnx_graph(&graph, &[(y, "y")], &trained)?;
/// assert!(file.windows(6).any(|bytes| bytes == b"weight"));
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for other parameters than the graph's, names that two values have, and what no file can hold: random numbers,
/// which a dropout of training draws, and coordinates along the batch.
pub fn onnx_graph(graph: &Graph, outputs: &[(Var, &str)], parameters: &[NamedTensor]) -> Result<Vec<u8>> {
    crate::train::check_parameters(graph.parameters(), parameters)?;
    distinct(graph, outputs, parameters)?;
    let mut writer = Writer::new(graph);
    for (tensor, var) in parameters.iter().zip(graph.parameter_vars()) {
        writer.parameter(*var, tensor);
    }
    lowering::write(&mut writer, graph, outputs)?;
    let model = proto::ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("downhill".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: vec![proto::OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        graph: Some(writer.finish()),
        ..Default::default()
    };
    Ok(model.encode_to_vec())
}

/// What a trained model says of rows as an ONNX model: from `features` [batch, n], as the data has them, to `output`, the
/// probabilities of the classes or the values.
///
/// ```
/// use downhill::{Loss, ModelSpec, NamedTensor, data, onnx_model};
///
/// let rows = data::load(&"random:10x2:2".parse()?, None, None, 0)?.train;
/// let model: ModelSpec = "linear".parse()?;
/// // In an application read by `read_model`, or from a trainer.
/// let parameters = [
///     NamedTensor { name: "0.weight".to_owned(), shape: vec![2, 2], values: vec![1.0, 0.0, 0.0, 1.0] },
///     NamedTensor { name: "0.bias".to_owned(), shape: vec![2], values: vec![0.0, 0.0] },
/// ];
/// let file = onnx_model(&model, rows.schema(), Loss::CrossEntropy, &parameters)?;
/// assert!(file.windows(8).any(|bytes| bytes == b"features"));
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`onnx_graph`].
pub fn onnx_model(
    model: &ModelSpec,
    schema: &Schema,
    loss: Loss,
    parameters: &[NamedTensor],
) -> Result<Vec<u8>> {
    let (graph, output) = prediction(model, schema, loss)?;
    onnx_graph(&graph, &[(output, "output")], parameters)
}

/// Whether inputs, parameters and outputs have names of their own; those of what lies between begin with `%`.
fn distinct(graph: &Graph, outputs: &[(Var, &str)], parameters: &[NamedTensor]) -> Result<()> {
    let inputs: BTreeSet<&str> = graph.vars().filter_map(|var| graph.input_name(var)).collect();
    let parameters = parameters.iter().map(|tensor| tensor.name.as_str());
    let mut known = BTreeSet::new();
    for name in inputs.into_iter().chain(parameters).chain(outputs.iter().map(|(_, name)| *name)) {
        if name.starts_with('%') || !known.insert(name) {
            return Err(refused(format!("`{name}` cannot name a value, or names two; give it another name")));
        }
    }
    Ok(())
}

fn refused(message: impl Into<String>) -> Error {
    Error::shape("writing ONNX", message)
}

#[cfg(test)]
mod tests;
