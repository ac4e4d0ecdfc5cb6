//! Files against ONNX Runtime, where Python has it: every operation with its derivatives, and whole models at several batches.
//! Without it what is written is read back and looked at.

use std::path::Path;
use std::process::Command;

use prost::Message;
use serde_json::{Value, json};

use super::*;
use crate::data::{Encoding, Schema, Task};
use crate::graph::ops::{BINARY, Lowering, Source, UNARY};
use crate::graph::reference::StepContext;
use crate::graph::{Element, Initial};
use crate::plan::tests::operations::{DEVICE_TOLERANCE, programs};
use crate::plan::tests::random;

/// Names of Python in which onnxruntime is looked for.
const PYTHON: [&str; 2] = ["DOWNHILL_PYTHON", "python3"];

fn tensors(graph: &Graph, theta: &[Vec<f64>]) -> Vec<NamedTensor> {
    let tensor = |(info, values): (&crate::graph::ParameterInfo, &Vec<f64>)| NamedTensor {
        name: info.name.clone(),
        shape: info.shape.clone(),
        values: values.iter().map(|value| *value as f32).collect(),
    };
    graph.parameters().iter().zip(theta).map(tensor).collect()
}

/// A case for `check.py`, whose model is written to `folder`.
fn case(
    folder: &Path,
    (number, name): (usize, &str),
    (graph, outputs): (&Graph, &[Var]),
    (batch, step): (usize, &StepContext),
) -> Result<Value> {
    let names: Vec<String> = (0..outputs.len()).map(|number| format!("y{number}")).collect();
    let named: Vec<(Var, &str)> = outputs.iter().copied().zip(names.iter().map(String::as_str)).collect();
    let model = format!("{number}.onnx");
    let bytes = onnx_graph(graph, &named, &tensors(graph, &step.theta))?;
    std::fs::write(folder.join(&model), &bytes).unwrap();
    let file = proto::ModelProto::decode(&bytes[..]).unwrap().graph.unwrap();
    let inputs = file.input.iter().map(|input| input.name.clone().unwrap());
    let inputs = inputs.map(|name| {
        let is_it = |var: &Var| matches!(graph.node(*var).op.lower(), Lowering::Source(Source::Input(known)) if known == name);
        let ty = graph.vars().find(is_it).map(|var| graph.node(var).ty.clone()).unwrap();
        let dtype = match ty.element {
            Element::F32 => "float32",
            Element::U8 => "uint8",
            Element::U32 => "int64",
        };
        let given = json!({ "dtype": dtype, "shape": ty.shape.resolve(batch), "data": step.inputs[&name] });
        (name, given)
    });
    let values = graph.evaluate(outputs, batch, step);
    let expected = values.iter().map(|array| json!({ "shape": array.shape, "data": array.data }));
    Ok(json!({
        "name": name,
        "model": model,
        "inputs": inputs.collect::<serde_json::Map<_, _>>(),
        "outputs": expected.collect::<Vec<_>>(),
        "tolerance": DEVICE_TOLERANCE,
    }))
}

/// Python with ONNX Runtime, if there is one.
fn python() -> Option<String> {
    let [variable, usual] = PYTHON;
    let python = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let has = Command::new(&python).args(["-c", "import onnx, onnxruntime, numpy"]).output();
    has.is_ok_and(|ended| ended.status.success()).then_some(python)
}

fn check(folder: &Path, cases: &[Value]) {
    std::fs::write(folder.join("cases.json"), serde_json::to_string(cases).unwrap()).unwrap();
    let Some(python) = python() else {
        // CI installs it; elsewhere the files were at least made.
        eprintln!("ONNX Runtime is not at hand: {} models were written and not run", cases.len());
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/onnx/check.py");
    let ended = Command::new(python).arg(script).arg(folder).output().unwrap();
    let told = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(ended.status.success(), "{}", told.concat());
}

#[test]
fn every_elementwise_operation_has_an_operator() {
    let own = UNARY.iter().map(|rule| rule.name).chain(BINARY.iter().map(|rule| rule.name));
    for name in own.filter(|name| *name != "to_f32") {
        assert!(lowering::ELEMENTWISE.iter().any(|(known, _)| *known == name), "{name}");
    }
}

#[test]
fn every_operation_and_its_derivatives_are_what_onnx_runtime_computes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cases, mut refused) = (Vec::new(), Vec::new());
    for (number, (name, program, step)) in programs().into_iter().enumerate() {
        let outputs: Vec<Var> = program.outputs.iter().map(|(var, _)| *var).collect();
        match case(folder.path(), (number, &name), (&program.graph, &outputs), (1, &step)) {
            Ok(case) => cases.push(case),
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    assert!(refused.is_empty(), "{refused:?}");
    assert!(cases.len() > 100, "{}", cases.len());
    check(folder.path(), &cases);
}

#[test]
fn models_are_what_onnx_runtime_computes_at_every_batch() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        ("linear", Task::classes(3), Encoding::F32, Loss::CrossEntropy),
        ("mlp:8,5:tanh", Task::classes(4), Encoding::U8 { scale: 1.0 / 16.0 }, Loss::CrossEntropy),
        ("mlp:6:gelu", Task::Values { width: 2 }, Encoding::F32, Loss::MeanSquaredError),
        ("linear 6, relu, dropout 0.5, linear 3", Task::classes(3), Encoding::F32, Loss::CrossEntropy),
    ];
    let mut cases = Vec::new();
    for (model, task, encoding, loss) in rows {
        let schema = Schema { encoding, ..schema(7, task) };
        let (graph, output) = prediction(&model.parse().unwrap(), &schema, loss).unwrap();
        for batch in [1, 5, 64] {
            let mut step =
                StepContext { valid_rows: batch, row_weight: 1.0 / batch as f64, ..StepContext::default() };
            let numbers = random(3, 7 * batch, 0.0, 15.0);
            let features = match encoding {
                Encoding::U8 { .. } => numbers.iter().map(|x| x.round()).collect(),
                Encoding::F32 => numbers.iter().map(|x| x / 8.0 - 1.0).collect(),
            };
            step.inputs.insert("features".to_owned(), features);
            let parameters = graph.parameters().iter().enumerate();
            step.theta = parameters.map(|(i, info)| random(i as u64, info.elements(), -0.5, 0.5)).collect();
            let name = format!("{model}, batch {batch}");
            cases.push(
                case(folder.path(), (cases.len(), &name), (&graph, &[output]), (batch, &step)).unwrap(),
            );
        }
    }
    check(folder.path(), &cases);
}

fn schema(features: usize, task: Task) -> Schema {
    use crate::data::{Dataset, Targets};
    let targets = match &task {
        Task::Classes { .. } => Targets::Labels(vec![0, 1]),
        Task::Values { width } => Targets::Values(vec![0.0; 2 * width]),
    };
    Dataset::from_f32(vec![0.0; 2 * features], &[features], task, targets).unwrap().schema().clone()
}

#[test]
fn a_file_says_what_it_is_and_what_cannot_be_written_is_refused() {
    let model = "mlp:4".parse().unwrap();
    let (graph, output) = prediction(&model, &schema(3, Task::classes(2)), Loss::CrossEntropy).unwrap();
    let theta: Vec<Vec<f64>> = graph.parameters().iter().map(|info| vec![0.5; info.elements()]).collect();
    let tensors = tensors(&graph, &theta);
    let bytes = onnx_graph(&graph, &[(output, "output")], &tensors).unwrap();
    let file = proto::ModelProto::decode(&bytes[..]).unwrap();
    assert_eq!((file.ir_version, file.opset_import[0].version), (Some(IR_VERSION), Some(OPSET)));
    let names = |values: &[proto::ValueInfoProto]| -> Vec<String> {
        values.iter().filter_map(|value| value.name.clone()).collect()
    };
    let graph_of_file = file.graph.unwrap();
    assert_eq!(
        (names(&graph_of_file.input), names(&graph_of_file.output)),
        (vec!["features".to_owned()], vec!["output".to_owned()])
    );
    // Biases are left to broadcasting.
    let kinds: Vec<&str> = graph_of_file.node.iter().filter_map(|node| node.op_type.as_deref()).collect();
    assert!(!kinds.contains(&"Expand"), "{kinds:?}");

    let twice = onnx_graph(&graph, &[(output, "features")], &tensors).unwrap_err().to_string();
    assert!(twice.contains("`features` cannot name a value, or names two"), "{twice}");
    let short = onnx_graph(&graph, &[(output, "output")], &tensors[1..]).unwrap_err().to_string();
    assert!(short.contains("parameters"), "{short}");
    let mut graph = Graph::new();
    let w = graph.parameter("w", &[3], Initial::Constant(0.0)).unwrap();
    let noise = graph.random_uniform([3]).unwrap();
    let sum = graph.add(w, noise).unwrap();
    let tensor = NamedTensor { name: "w".to_owned(), shape: vec![3], values: vec![0.0; 3] };
    let error = onnx_graph(&graph, &[(sum, "sum")], &[tensor]).unwrap_err().to_string();
    assert!(error.contains("random numbers cannot be written"), "{error}");
}
