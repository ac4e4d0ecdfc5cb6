//! Writes the operators of a file: names, constants, attributes.

use std::collections::HashMap;

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::Dimension;
use super::proto::tensor_shape_proto::dimension::Value;
use super::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use crate::graph::{Dim, Element, Graph, TensorType, Var};
use crate::train::NamedTensor;

/// An attribute of an operator.
pub(super) enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, Vec<i64>),
    Text(&'a str, &'a str),
}

/// A file's graph under way.
pub(super) struct Writer<'a> {
    graph: &'a Graph,
    file: GraphProto,
    /// The nodes of the inputs that are declared.
    inputs: Vec<Var>,
    /// The names of nodes' values that are written.
    names: HashMap<Var, String>,
    /// Names of constants by what they hold.
    constants: HashMap<Vec<u8>, String>,
    values: usize,
    /// The batch size as a list of one int64, once something asked for it.
    batch: Option<String>,
}

impl<'a> Writer<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        let file = GraphProto { name: Some("downhill".to_owned()), ..Default::default() };
        Writer {
            graph,
            file,
            inputs: Vec::new(),
            names: HashMap::new(),
            constants: HashMap::new(),
            values: 0,
            batch: None,
        }
    }

    pub fn finish(self) -> GraphProto {
        self.file
    }

    /// The name of a node's value, which must be written.
    pub fn name(&self, var: Var) -> String {
        self.names.get(&var).cloned().unwrap_or_default()
    }

    pub fn has(&self, var: Var) -> bool {
        self.names.contains_key(&var)
    }

    pub fn set(&mut self, var: Var, name: String) {
        self.names.insert(var, name);
    }

    pub fn parameter(&mut self, var: Var, tensor: &NamedTensor) {
        let dims = tensor.shape.iter().map(|size| *size as i64).collect();
        let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.initializer.push(raw(&tensor.name, DataType::Float, dims, bytes));
        self.set(var, tensor.name.clone());
    }

    /// Declares an input; a slot that several nodes read is declared once.
    pub fn input(&mut self, var: Var, name: &str) {
        if !self.inputs.iter().any(|known| self.name(*known) == name) {
            self.file.input.push(value(name, &self.graph.node(var).ty));
            self.inputs.push(var);
        }
        self.set(var, name.to_owned());
    }

    pub fn output(&mut self, var: Var, name: &str) {
        let from = self.name(var);
        let node = NodeProto {
            op_type: Some("Identity".to_owned()),
            input: vec![from],
            output: vec![name.to_owned()],
            ..Default::default()
        };
        self.file.node.push(node);
        self.file.output.push(value(name, &self.graph.node(var).ty));
    }

    /// An operator of one result, whose name it returns.
    pub fn operator(&mut self, kind: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        // No parameter or input has a name like this.
        let name = format!("%{}", self.values);
        self.values += 1;
        self.file.node.push(NodeProto {
            op_type: Some(kind.to_owned()),
            name: Some(name.clone()),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.clone()],
            attribute: attributes.into_iter().map(Attribute::proto).collect(),
            ..Default::default()
        });
        name
    }

    /// A list of whole numbers.
    pub fn integers(&mut self, numbers: &[i64]) -> String {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(DataType::Int64, vec![numbers.len() as i64], bytes)
    }

    /// Numbers of a shape.
    pub fn floats(&mut self, shape: Vec<i64>, numbers: &[f32]) -> String {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(DataType::Float, shape, bytes)
    }

    fn constant(&mut self, kind: DataType, dims: Vec<i64>, bytes: Vec<u8>) -> String {
        let mut key = vec![kind as u8];
        key.extend(dims.iter().flat_map(|size| size.to_le_bytes()));
        key.extend(&bytes);
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        let name = format!("%constant{}", self.constants.len());
        self.file.initializer.push(raw(&name, kind, dims, bytes));
        self.constants.insert(key, name.clone());
        name
    }

    pub fn cast(&mut self, from: &str, to: DataType) -> String {
        self.operator("Cast", &[from], vec![Attribute::Int("to", to as i64)])
    }

    /// A shape as a list of int64, with the batch as it is when the model runs.
    pub fn shape(&mut self, dims: &[Dim]) -> String {
        let fixed: Option<Vec<i64>> = dims.iter().map(|dim| fixed(*dim)).collect();
        if let Some(fixed) = fixed {
            return self.integers(&fixed);
        }
        let mut parts = Vec::with_capacity(dims.len());
        for dim in dims {
            parts.push(match *dim {
                Dim::Fixed(size) => self.integers(&[size as i64]),
                Dim::Batch(1) => self.batch(),
                Dim::Batch(each) => {
                    let (batch, each) = (self.batch(), self.integers(&[each as i64]));
                    self.operator("Mul", &[&batch, &each], Vec::new())
                }
            });
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.operator("Concat", &parts, vec![Attribute::Int("axis", 0)])
    }

    /// The batch size, a list of one int64: a dimension of the first input that has it.
    pub fn batch(&mut self) -> String {
        if let Some(known) = &self.batch {
            return known.clone();
        }
        let of_input = self.inputs.iter().find_map(|var| {
            let dims = self.graph.shape(*var).dims();
            let axis = dims.iter().position(|dim| matches!(dim, Dim::Batch(_)))?;
            Some((self.name(*var), axis, dims[axis]))
        });
        // A graph that knows a batch has an input that brings it, or it is 1.
        let name = match of_input {
            None => self.integers(&[1]),
            Some((name, axis, dim)) => {
                let shape = self.operator("Shape", &[&name], Vec::new());
                let axis = self.integers(&[axis as i64]);
                let size = self.operator("Gather", &[&shape, &axis], Vec::new());
                match dim {
                    Dim::Batch(each) if each > 1 => {
                        let each = self.integers(&[each as i64]);
                        self.operator("Div", &[&size, &each], Vec::new())
                    }
                    _ => size,
                }
            }
        };
        self.batch = Some(name.clone());
        name
    }
}

impl Attribute<'_> {
    fn proto(self) -> AttributeProto {
        let of = |name: &str, kind: AttributeType| AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(kind as i32),
            ..Default::default()
        };
        match self {
            Attribute::Int(name, i) => AttributeProto { i: Some(i), ..of(name, AttributeType::Int) },
            Attribute::Ints(name, ints) => AttributeProto { ints, ..of(name, AttributeType::Ints) },
            Attribute::Text(name, text) => {
                AttributeProto { s: Some(text.as_bytes().to_vec()), ..of(name, AttributeType::String) }
            }
        }
    }
}

/// The size of a dimension that does not depend on the batch.
pub(super) fn fixed(dim: Dim) -> Option<i64> {
    match dim {
        Dim::Fixed(size) => Some(size as i64),
        Dim::Batch(_) => None,
    }
}

fn raw(name: &str, kind: DataType, dims: Vec<i64>, bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(kind as i32),
        dims,
        raw_data: Some(bytes),
        ..Default::default()
    }
}

/// What an input or output of the file is.
fn value(name: &str, ty: &TensorType) -> ValueInfoProto {
    let kind = match ty.element {
        Element::U8 => DataType::Uint8,
        // What operators take as labels and indices.
        Element::U32 => DataType::Int64,
        Element::F32 => DataType::Float,
    };
    let dimension = |dim: &Dim| Dimension {
        value: Some(match *dim {
            Dim::Fixed(size) => Value::DimValue(size as i64),
            Dim::Batch(1) => Value::DimParam("batch".to_owned()),
            Dim::Batch(each) => Value::DimParam(format!("{each}*batch")),
        }),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: ty.shape.dims().iter().map(dimension).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(kind as i32), shape: Some(shape) };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(ty), ..Default::default() }
}
