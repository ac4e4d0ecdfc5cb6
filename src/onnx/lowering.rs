//! Which ONNX operators compute what a node does.

use std::collections::BTreeSet;

use super::nodes::{Attribute, Writer, fixed};
use super::proto::tensor_proto::DataType;
use super::refused;
use crate::Result;
use crate::graph::ops::{Generated, Lowering, MatMul, Reduce, ReduceKind, RowKind, Source, View};
use crate::graph::{Dim, Graph, Node, Shape, Var};

/// Elementwise operations of the graph and of ONNX; those that give 0 or 1 give truth values there.
pub(super) const ELEMENTWISE: &[(&str, &str)] = &[
    ("negate", "Neg"),
    ("exp", "Exp"),
    ("log", "Log"),
    ("sqrt", "Sqrt"),
    ("reciprocal", "Reciprocal"),
    ("abs", "Abs"),
    ("sign", "Sign"),
    ("floor", "Floor"),
    ("sin", "Sin"),
    ("cos", "Cos"),
    ("tan", "Tan"),
    ("atan", "Atan"),
    ("tanh", "Tanh"),
    ("sigmoid", "Sigmoid"),
    ("relu", "Relu"),
    ("erf", "Erf"),
    ("copy", "Identity"),
    ("add", "Add"),
    ("sub", "Sub"),
    ("mul", "Mul"),
    ("div", "Div"),
    ("pow", "Pow"),
    ("max", "Max"),
    ("min", "Min"),
    ("lt", "Less"),
    ("ge", "GreaterOrEqual"),
    ("eq", "Equal"),
];

/// Those of them that compare.
const COMPARISONS: [&str; 3] = ["Less", "GreaterOrEqual", "Equal"];

/// Writes all that `outputs` need, and the outputs.
pub(super) fn write(writer: &mut Writer, graph: &Graph, outputs: &[(Var, &str)]) -> Result<()> {
    let needed = needed(graph, outputs);
    // The batch is a dimension of one of them.
    for var in &needed {
        if let Lowering::Source(Source::Input(name)) = graph.node(*var).op.lower() {
            writer.input(*var, name);
        }
    }
    for var in needed {
        if !writer.has(var) {
            let name = node(writer, graph, var)?;
            writer.set(var, name);
        }
    }
    for (var, name) in outputs {
        // A constant or an expansion is of its whole shape here.
        let whole = whole(writer, graph, *var);
        writer.set(*var, whole);
        writer.output(*var, name);
    }
    Ok(())
}

/// The nodes that `outputs` are computed from, each after those that it reads.
fn needed(graph: &Graph, outputs: &[(Var, &str)]) -> BTreeSet<Var> {
    let mut needed = BTreeSet::new();
    let mut left: Vec<Var> = outputs.iter().map(|(var, _)| *var).collect();
    while let Some(var) = left.pop() {
        if needed.insert(var) {
            left.extend(&graph.node(var).inputs);
        }
    }
    needed
}

/// Writes one node and returns the name of its value. Of a constant, and of an expansion, that has 1 where the node repeats it.
fn node(writer: &mut Writer, graph: &Graph, var: Var) -> Result<String> {
    let Node { op, inputs, ty } = graph.node(var);
    let first = |writer: &mut Writer| whole(writer, graph, inputs[0]);
    Ok(match op.lower() {
        Lowering::Source(Source::Input(name)) => name.to_owned(),
        Lowering::Source(Source::Parameter(number)) => {
            return Err(refused(format!("the graph's parameter {number} has no value")));
        }
        Lowering::Pointwise { .. } => return elementwise(writer, graph, var),
        Lowering::Generated(generated) => return generate(writer, generated, &ty.shape),
        Lowering::View(View::Expand) => writer.name(inputs[0]),
        Lowering::View(View::Reshape) => {
            let (from, shape) = (first(writer), writer.shape(ty.shape.dims()));
            writer.operator("Reshape", &[&from, &shape], Vec::new())
        }
        Lowering::View(View::Permute(axes)) => {
            let (from, axes) = (first(writer), axes.iter().map(|axis| *axis as i64).collect());
            writer.operator("Transpose", &[&from], vec![Attribute::Ints("perm", axes)])
        }
        Lowering::View(View::Slice { axis, start }) => {
            let length = ty.shape.dims()[axis].resolve(0);
            let numbers = [start, start + length, axis].map(|number| number as i64);
            let from = first(writer);
            let [starts, ends, axes] = numbers.map(|number| writer.integers(&[number]));
            writer.operator("Slice", &[&from, &starts, &ends, &axes], Vec::new())
        }
        Lowering::View(View::Pad { axis, before }) => {
            let (rank, inner) = (ty.shape.rank(), graph.shape(inputs[0]).dims()[axis].resolve(0));
            let mut pads = vec![0; 2 * rank];
            pads[axis] = before as i64;
            pads[rank + axis] = (ty.shape.dims()[axis].resolve(0) - inner - before) as i64;
            let (from, pads) = (first(writer), writer.integers(&pads));
            writer.operator("Pad", &[&from, &pads], Vec::new())
        }
        Lowering::Gather => {
            let (rows, picked) = (first(writer), whole(writer, graph, inputs[1]));
            writer.operator("Gather", &[&rows, &picked], vec![Attribute::Int("axis", 0)])
        }
        Lowering::Reduce(Reduce { kind, axes }) => {
            let axes: Vec<i64> = axes.clone().map(|axis| axis as i64).collect();
            let (from, axes) = (first(writer), writer.integers(&axes));
            let kind = match kind {
                ReduceKind::Sum => "ReduceSum",
                ReduceKind::Max => "ReduceMax",
            };
            writer.operator(kind, &[&from, &axes], vec![Attribute::Int("keepdims", 1)])
        }
        Lowering::MatMul(matmul) => {
            let operands = [whole(writer, graph, inputs[0]), whole(writer, graph, inputs[1])];
            product(writer, matmul, operands, ty.shape.rank())
        }
        Lowering::Row(kind) => {
            let inputs: Vec<String> = inputs.iter().map(|input| whole(writer, graph, *input)).collect();
            row(writer, kind, &inputs, graph.shape(graph.node(var).inputs[0]))
        }
        Lowering::ScatterAdd => {
            let (index, rows) = (first(writer), whole(writer, graph, inputs[1]));
            let shape = writer.shape(ty.shape.dims());
            // Zeros of f32, where nothing else is said.
            let zeros = writer.operator("ConstantOfShape", &[&shape], Vec::new());
            let last = writer.integers(&[-1]);
            let index = writer.operator("Unsqueeze", &[&index, &last], Vec::new());
            let add = vec![Attribute::Text("reduction", "add")];
            writer.operator("ScatterND", &[&zeros, &index, &rows], add)
        }
    })
}

/// A value of its node's whole shape: what was left to broadcasting is written out.
fn whole(writer: &mut Writer, graph: &Graph, var: Var) -> String {
    let (name, shape) = (writer.name(var), graph.shape(var));
    if written(graph, var) == shape.dims() {
        return name;
    }
    let shape = writer.shape(shape.dims());
    writer.operator("Expand", &[&name, &shape], Vec::new())
}

/// The shape of a value as it is written: with 1 where an expansion or a constant repeats.
fn written(graph: &Graph, var: Var) -> Vec<Dim> {
    let Node { op, inputs, ty } = graph.node(var);
    match op.lower() {
        Lowering::View(View::Expand) => written(graph, inputs[0]),
        Lowering::Generated(Generated::Iota { .. } | Generated::Random { .. }) => ty.shape.dims().to_vec(),
        Lowering::Generated(_) => vec![Dim::Fixed(1); ty.shape.rank()],
        _ => ty.shape.dims().to_vec(),
    }
}

fn elementwise(writer: &mut Writer, graph: &Graph, var: Var) -> Result<String> {
    let Node { op, inputs, ty } = graph.node(var);
    // Broadcasting gives each axis the largest size; where no operand has the node's own, one is written out.
    let operands: Vec<Vec<Dim>> = inputs.iter().map(|input| written(graph, *input)).collect();
    let spans =
        (0..ty.shape.rank()).all(|axis| operands.iter().any(|dims| dims[axis] == ty.shape.dims()[axis]));
    let mut names: Vec<String> = inputs.iter().map(|input| writer.name(*input)).collect();
    if !spans {
        names[0] = whole(writer, graph, inputs[0]);
    }
    if op.name() == "to_f32" {
        return Ok(writer.cast(&names[0], DataType::Float));
    }
    if op.name() == "select" {
        let zero = writer.floats(vec![1; ty.shape.rank()], &[0.0]);
        let is_zero = writer.operator("Equal", &[&names[0], &zero], Vec::new());
        return Ok(writer.operator("Where", &[&is_zero, &names[2], &names[1]], Vec::new()));
    }
    let known = ELEMENTWISE.iter().find(|(name, _)| *name == op.name());
    let Some((_, operator)) = known else {
        return Err(refused(format!("there is no operator for {}", op.name())));
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let result = writer.operator(operator, &names, Vec::new());
    Ok(if COMPARISONS.contains(operator) { writer.cast(&result, DataType::Float) } else { result })
}

fn generate(writer: &mut Writer, generated: Generated, shape: &Shape) -> Result<String> {
    let ones = vec![1; shape.rank()];
    let number = match generated {
        Generated::Constant(number) => number as f32,
        // All rows are there.
        Generated::RowMask | Generated::LossScale => 1.0,
        Generated::RowWeight => {
            let batch = writer.batch();
            let batch = writer.cast(&batch, DataType::Float);
            return Ok(writer.operator("Reciprocal", &[&batch], Vec::new()));
        }
        Generated::Random { .. } => {
            return Err(refused(
                "random numbers cannot be written; take the graph of a model at work, not in training",
            ));
        }
        Generated::Iota { axis } => {
            let mut dims: Vec<i64> = ones;
            let line = match fixed(shape.dims()[axis]) {
                Some(size) => {
                    dims[axis] = size;
                    let numbers: Vec<f32> = (0..size).map(|number| number as f32).collect();
                    writer.floats(dims, &numbers)
                }
                None => return Err(refused("coordinates along the batch cannot be written")),
            };
            let whole = writer.shape(shape.dims());
            return Ok(writer.operator("Expand", &[&line, &whole], Vec::new()));
        }
    };
    Ok(writer.floats(ones, &[number]))
}

fn product(writer: &mut Writer, matmul: &MatMul, [a, b]: [String; 2], rank: usize) -> String {
    let MatMul { transpose_a, transpose_b } = *matmul;
    if rank == 2 && (transpose_a || transpose_b) {
        let flags = [("transA", transpose_a), ("transB", transpose_b)];
        let flags = flags.into_iter().map(|(name, flag)| Attribute::Int(name, i64::from(flag)));
        return writer.operator("Gemm", &[&a, &b], flags.collect());
    }
    let [a, b] = [(a, transpose_a), (b, transpose_b)].map(|(name, transposed)| {
        let mut axes: Vec<i64> = (0..rank as i64).collect();
        axes.swap(rank - 2, rank - 1);
        match transposed {
            true => writer.operator("Transpose", &[&name], vec![Attribute::Ints("perm", axes)]),
            false => name,
        }
    });
    writer.operator("MatMul", &[&a, &b], Vec::new())
}

/// What walks the last axis of logits [.., C].
fn row(writer: &mut Writer, kind: RowKind, inputs: &[String], logits: &Shape) -> String {
    let along_last = || vec![Attribute::Int("axis", -1)];
    match kind {
        RowKind::Softmax => writer.operator("Softmax", &[&inputs[0]], along_last()),
        RowKind::ArgMax => {
            let attributes = vec![Attribute::Int("axis", -1), Attribute::Int("keepdims", 0)];
            writer.operator("ArgMax", &[&inputs[0]], attributes)
        }
        RowKind::CrossEntropy => {
            let last = writer.integers(&[-1]);
            let logs = writer.operator("LogSoftmax", &[&inputs[0]], along_last());
            let label = writer.operator("Unsqueeze", &[&inputs[1], &last], Vec::new());
            let picked = writer.operator("GatherElements", &[&logs, &label], along_last());
            let picked = writer.operator("Squeeze", &[&picked, &last], Vec::new());
            writer.operator("Neg", &[&picked], Vec::new())
        }
        RowKind::CrossEntropyGradient => {
            let last = writer.integers(&[-1]);
            let probabilities = writer.operator("Softmax", &[&inputs[0]], along_last());
            let classes = logits.dims().last().map_or(1, |dim| dim.resolve(1) as i64);
            let (depth, values) = (writer.integers(&[classes]), writer.floats(vec![2], &[0.0, 1.0]));
            let right = writer.operator("OneHot", &[&inputs[1], &depth, &values], along_last());
            let apart = writer.operator("Sub", &[&probabilities, &right], Vec::new());
            let factor = writer.operator("Unsqueeze", &[&inputs[2], &last], Vec::new());
            writer.operator("Mul", &[&apart, &factor], Vec::new())
        }
    }
}
