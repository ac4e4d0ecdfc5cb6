//! The model and its loss as a static list of operations on shapes with a symbolic batch; no device in it.
//!
//! A [`Graph`] only grows: every node reads nodes before it, so the list is its own topological order, and the
//! transforms [`Graph::vjp`] and [`Graph::jvp`] append to the graph that they differentiate. Equal nodes are one.

mod build;
mod differentiate;
pub(crate) mod ops;
mod parameter;
pub(crate) mod reference;
mod shape;

pub use parameter::{Initial, ParameterInfo};
pub use reference::{Array, StepContext};
pub use shape::{Dim, Element, Shape, TensorType};

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::{Error, Result};
use ops::{Generate, Generated, Input, Lowering, Op, Parameter};

/// A node of a graph: the value of one operation.
///
/// ```
/// use downhill::{Dim, Graph, Var};
///
/// let mut graph = Graph::new();
/// let x: Var = graph.input("x", [Dim::BATCH, Dim::Fixed(2)])?;
/// let y = graph.exp(x)?;
/// // Equal nodes are one.
/// assert_eq!(graph.exp(x)?, y);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Var(pub(crate) u32);

impl Var {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operation, what it reads and what it gives.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub op: Arc<dyn Op>,
    pub inputs: Vec<Var>,
    pub ty: TensorType,
}

/// A static graph of operations.
///
/// ```
/// use downhill::{Dim, Graph};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [Dim::BATCH, Dim::Fixed(3)])?;
/// let y = graph.tanh(x)?;
/// let loss = graph.mean(y, &[0, 1])?;
/// assert_eq!(graph.shape(loss).rank(), 0);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    parameters: Vec<ParameterInfo>,
    parameter_vars: Vec<Var>,
    /// Nodes by what they compute, so that an equal one is made once.
    known: HashMap<(String, Vec<Var>), Var>,
    random_streams: u32,
    /// Nodes that are stored whatever the planner would make of them.
    stored: BTreeSet<Var>,
}

impl Graph {
    /// A graph without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The shape of a node's value.
    pub fn shape(&self, var: Var) -> &Shape {
        &self.node(var).ty.shape
    }

    /// How a node's elements are stored.
    pub fn element(&self, var: Var) -> Element {
        self.node(var).ty.element
    }

    /// The parameters, in the order in which they were made; that is their order in θ.
    pub fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    /// The nodes of the parameters, in the same order.
    pub fn parameter_vars(&self) -> &[Var] {
        &self.parameter_vars
    }

    pub(crate) fn node(&self, var: Var) -> &Node {
        &self.nodes[var.index()]
    }

    /// The name of the input slot that a node reads, if it does.
    #[cfg(feature = "onnx")]
    pub(crate) fn input_name(&self, var: Var) -> Option<&str> {
        match self.node(var).op.lower() {
            Lowering::Source(ops::Source::Input(name)) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes, each after those that it reads.
    pub(crate) fn vars(&self) -> impl Iterator<Item = Var> + use<> {
        (0..self.nodes.len() as u32).map(Var)
    }

    /// A slot of floats that is filled before every step.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>) -> Result<Var> {
        self.input_of(name, TensorType::f32(shape.into()))
    }

    /// A slot of any element type that is filled before every step.
    ///
    /// Errors: [`Error::Shape`] where there is one of this name and another type.
    pub fn input_of(&mut self, name: &str, ty: TensorType) -> Result<Var> {
        let same_name = |node: &&Node| matches!(node.op.lower(), Lowering::Source(ops::Source::Input(known)) if known == name);
        if let Some(known) =
            self.nodes.iter().find(same_name).map(|node| &node.ty).filter(|known| **known != ty)
        {
            let message = format!(
                "`{name}` is {:?} {} and cannot be {:?} {} too",
                known.element, known.shape, ty.element, ty.shape
            );
            return Err(Error::shape("input", message));
        }
        self.push(Input { name: name.to_owned(), ty }, &[])
    }

    /// A named range of θ with its value at the start.
    pub fn parameter(&mut self, name: &str, shape: &[usize], initial: Initial) -> Result<Var> {
        if self.parameters.iter().any(|parameter| parameter.name == name) {
            return Err(Error::shape("parameter", format!("there are two of the name `{name}`")));
        }
        let number = self.parameters.len();
        let var = self.push(Parameter { number, shape: shape.to_vec() }, &[])?;
        self.parameters.push(ParameterInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            initial,
            group: 0,
        });
        self.parameter_vars.push(var);
        Ok(var)
    }

    /// Has the optimizer's group `groups[i]` update parameter i.
    pub(crate) fn set_groups(&mut self, groups: &[usize]) {
        for (parameter, &group) in self.parameters.iter_mut().zip(groups) {
            parameter.group = group;
        }
    }

    /// A number, as a scalar.
    ///
    /// Errors: [`Error::Shape`] for NaN, which no kernel's text can hold.
    pub fn constant(&mut self, value: f64) -> Result<Var> {
        if value.is_nan() {
            return Err(Error::shape(
                "constant",
                "the number is NaN; is it a logarithm or root of a negative one?",
            ));
        }
        self.generate(Generated::Constant(value), Shape::scalar())
    }

    pub(crate) fn generate(&mut self, kind: Generated, shape: Shape) -> Result<Var> {
        self.push(Generate { kind, shape }, &[])
    }

    /// Appends an operation, or finds the equal one that is there.
    pub(crate) fn push(&mut self, op: impl Op + 'static, inputs: &[Var]) -> Result<Var> {
        let types: Vec<&TensorType> = inputs.iter().map(|&input| &self.node(input).ty).collect();
        let ty = op.infer(&types)?;
        let wrong = match ty.shape.checked_elements(1) {
            Some(0) => Some("has no elements"),
            Some(_) => None,
            None => Some("has more elements than can be counted"),
        };
        if let Some(wrong) = wrong {
            return Err(Error::shape(op.name(), format!("{} {wrong}", ty.shape)));
        }
        // An operation's fields are all that tells it from others of its kind, and Debug prints them all.
        let key = (format!("{op:?}"), inputs.to_vec());
        if let Some(&var) = self.known.get(&key) {
            return Ok(var);
        }
        let var = Var(self.nodes.len() as u32);
        self.nodes.push(Node { op: Arc::new(op), inputs: inputs.to_vec(), ty });
        self.known.insert(key, var);
        Ok(var)
    }

    /// A graph with the same parameters and random streams, whose nodes [`Graph::append`] is to bring.
    pub(crate) fn without_nodes(&self) -> Self {
        Graph { parameters: self.parameters.clone(), random_streams: self.random_streams, ..Graph::default() }
    }

    /// Appends the operation of a node of another graph on `inputs` of the same types, even where there is an equal
    /// one.
    pub(crate) fn append(&mut self, node: &Node, inputs: Vec<Var>) -> Var {
        let var = Var(self.nodes.len() as u32);
        if let Lowering::Source(ops::Source::Parameter(_)) = node.op.lower() {
            self.parameter_vars.push(var);
        }
        self.nodes.push(Node { op: Arc::clone(&node.op), inputs, ty: node.ty.clone() });
        var
    }

    /// Has the value of `var` stored: drivers round alike only where kernels are cut alike.
    pub(crate) fn store(&mut self, var: Var) {
        self.stored.insert(var);
    }

    /// Whether the value of `var` is to be stored even where it could be inlined.
    pub(crate) fn is_stored(&self, var: Var) -> bool {
        self.stored.contains(&var)
    }

    /// The number that every element of `var` is, where it is made of one constant.
    pub(crate) fn constant_value(&self, var: Var) -> Option<f64> {
        let node = self.node(var);
        match node.op.lower() {
            Lowering::Generated(Generated::Constant(value)) => Some(value),
            Lowering::View(ops::View::Expand | ops::View::Reshape) => self.constant_value(node.inputs[0]),
            _ => None,
        }
    }

    /// Those nodes that some of `outputs` depends on through another node.
    pub(crate) fn read_by_others(&self, outputs: &[Var]) -> BTreeSet<Var> {
        let live = self.live(outputs);
        let nodes = self.nodes.iter().zip(live).filter(|(_, live)| *live);
        nodes.flat_map(|(node, _)| node.inputs.iter().copied()).collect()
    }

    /// For every node whether some of `outputs` depends on it.
    pub(crate) fn live(&self, outputs: &[Var]) -> Vec<bool> {
        let mut live = vec![false; self.len()];
        for output in outputs {
            live[output.index()] = true;
        }
        for index in (0..self.len()).rev() {
            if live[index] {
                for input in &self.nodes[index].inputs {
                    live[input.index()] = true;
                }
            }
        }
        live
    }
}
