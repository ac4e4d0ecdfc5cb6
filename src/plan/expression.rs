//! The elementwise part of a kernel as WGSL: a stored node is a load, a view changes the index, and everything
//! between is one expression.
//!
//! An index is a linear one into the node's own shape. A kernel computes one element at a time (`T` is `f32`) or
//! four neighbours (`T` is `vec4<f32>`); then an index names the first of the four and is a multiple of four.

mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Gradients, Precision};
use crate::graph::ops::{Generated, Lowering, View, random_row};
use crate::graph::{Element, Graph, Var};

/// How many elements an invocation computes at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Width {
    One,
    Four,
}

impl Width {
    pub fn lanes(self) -> usize {
        match self {
            Width::One => 1,
            Width::Four => 4,
        }
    }

    /// The WGSL type behind `T`.
    pub fn alias(self) -> &'static str {
        match self {
            Width::One => "f32",
            Width::Four => "vec4<f32>",
        }
    }
}

/// Whether the lanes of a value stand for neighbouring elements or all for the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lanes {
    Neighbours,
    Same,
}

/// A stored node as a kernel binds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    pub var: Var,
    /// Bound as vectors of four elements.
    pub vectors: bool,
}

/// What is known of an index variable: `name / size` and `name % size` exist under names of their own.
#[derive(Clone)]
pub(crate) struct IndexFact {
    pub name: &'static str,
    pub size: usize,
    pub quotient: &'static str,
    pub remainder: &'static str,
}

/// Where a kernel finds what it reads that works on some rows of the micro-batch: its indices count from the first of
/// them, `row0`.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// Tensors in workgroup memory, by how many elements lie before them in [`memory_name`].
    pub places: &'a BTreeMap<Var, usize>,
    /// Of each parameter the one that stands for its shard of θ, which is bound whole, and the floats before it there.
    pub shards: &'a BTreeMap<Var, (Var, usize)>,
}

/// The array in workgroup memory for such elements.
pub(crate) fn memory_name(element: Element) -> &'static str {
    if element == Element::U32 { "integers" } else { "floats" }
}

/// What all kernels of a plan are written from.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub graph: &'a Graph,
    /// Rows of the micro-batch, or of the block of it.
    pub batch: usize,
    pub block: Option<Block<'a>>,
    /// The nodes that kernels store.
    pub stored: &'a BTreeSet<Var>,
    /// Those of them that lie there in 16 bits.
    pub half: &'a BTreeSet<Var>,
    /// In 16 bits, matrices of θ are read from copies; in 64, constants keep their digits and functions are the exchange's.
    pub precision: Precision,
    pub gradients: Gradients,
}

/// Writes the expression of one kernel.
pub(crate) struct Expression<'a> {
    scope: Scope<'a>,
    /// The stored node that this kernel itself makes.
    own: Option<Var>,
    width: Width,
    /// Integers are loaded as they are, where the kernel's result is integer.
    raw: bool,
    facts: Vec<IndexFact>,
    /// The node that the kernel has computed already, and its name.
    anchor: Option<(Var, &'static str)>,
    first_binding: usize,
    pub loads: Vec<Load>,
    pub functions: BTreeSet<&'static str>,
    statements: String,
    /// Values by node, index and lanes, and texts that have a name.
    known: BTreeMap<(Var, String, Lanes), String>,
    named: BTreeMap<String, String>,
    names: usize,
}

impl<'a> Expression<'a> {
    pub fn new(scope: Scope<'a>, width: Width, first_binding: usize) -> Self {
        Expression {
            scope,
            own: None,
            width,
            raw: false,
            facts: Vec::new(),
            anchor: None,
            first_binding,
            loads: Vec::new(),
            functions: BTreeSet::new(),
            statements: String::new(),
            known: BTreeMap::new(),
            named: BTreeMap::new(),
            names: 0,
        }
    }

    pub fn storing(mut self, root: Var) -> Self {
        self.own = Some(root);
        self
    }

    pub fn with_facts(mut self, facts: Vec<IndexFact>) -> Self {
        self.facts = facts;
        self
    }

    pub fn with_anchor(mut self, anchor: Var, name: &'static str) -> Self {
        self.anchor = Some((anchor, name));
        self
    }

    pub fn raw(mut self) -> Self {
        self.raw = true;
        self
    }

    /// The statements so far, which are then forgotten, names included: the next value stands in another scope.
    pub fn take_statements(&mut self) -> String {
        self.known.clear();
        self.named.clear();
        std::mem::take(&mut self.statements)
    }

    /// The value of `var` at `index`; `None` where four neighbours cannot be had at once.
    pub fn value(&mut self, var: Var, index: &str) -> Option<String> {
        self.at(var, index, Lanes::Neighbours)
    }

    /// The bindings as declarations; the kernel's own binding numbers start at `first_binding`.
    pub fn declarations(&self) -> String {
        let mut text = String::new();
        for (slot, load) in self.loads.iter().enumerate() {
            let ty = self.scope.storage_type(load.var, load.vectors);
            let binding = self.first_binding + slot;
            let _ =
                writeln!(text, "@group(0) @binding({binding}) var<storage, read> b{binding}: array<{ty}>;");
        }
        for functions in &self.functions {
            text.push_str(functions);
        }
        text
    }

    fn at(&mut self, var: Var, index: &str, lanes: Lanes) -> Option<String> {
        if let Some((_, name)) = self.anchor.filter(|(anchor, _)| *anchor == var) {
            return Some(name.to_owned());
        }
        let key = (var, index.to_owned(), lanes);
        if let Some(name) = self.known.get(&key) {
            return Some(name.clone());
        }
        let text = self.compute(var, index, lanes)?;
        let name = self.name(&text);
        self.known.insert(key, name.clone());
        Some(name)
    }

    fn compute(&mut self, var: Var, index: &str, lanes: Lanes) -> Option<String> {
        let graph = self.scope.graph;
        let node = graph.node(var);
        let lowering = node.op.lower();
        let loaded = self.scope.stored.contains(&var) && self.own != Some(var);
        if loaded || matches!(lowering, Lowering::Source(_)) {
            return Some(self.load(var, index, lanes));
        }
        match lowering {
            Lowering::Generated(kind) => self.generated(kind, var, index, lanes),
            Lowering::Pointwise { expression, functions } => {
                if !functions.is_empty() && self.scope.precision != Precision::F64 {
                    self.functions.insert(functions);
                }
                let mut text = expression.to_owned();
                for (slot, &input) in ["{a}", "{b}", "{c}"].iter().zip(&node.inputs) {
                    let value = self.at(input, index, lanes)?;
                    text = text.replace(slot, &value);
                }
                Some(text)
            }
            Lowering::View(View::Reshape) => self.at(node.inputs[0], index, lanes),
            Lowering::View(View::Pad { axis, before }) => self.pad(var, axis, before, index, lanes),
            Lowering::View(view) => self.view(var, view, index, lanes),
            Lowering::Gather => self.gather(var, index, lanes),
            // Such a node is always stored or the anchor: nothing else reaches this place.
            Lowering::Source(_)
            | Lowering::Reduce(_)
            | Lowering::MatMul(_)
            | Lowering::Row(_)
            | Lowering::ScatterAdd => None,
        }
    }

    /// A name for a computed value; short texts stand for themselves.
    fn name(&mut self, text: &str) -> String {
        let literal = text.strip_prefix("T(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
        if literal.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            return text.to_owned();
        }
        if let Some(name) = self.named.get(text) {
            return name.clone();
        }
        let name = format!("v{}", self.names);
        self.names += 1;
        let _ = writeln!(self.statements, "        let {name} = {text};");
        self.named.insert(text.to_owned(), name.clone());
        name
    }

    fn binding(&mut self, load: Load) -> String {
        let slot = self.loads.iter().position(|known| *known == load).unwrap_or_else(|| {
            self.loads.push(load);
            self.loads.len() - 1
        });
        format!("b{}", self.first_binding + slot)
    }

    /// A stored element as it lies in memory, but for 16 bits, which become 32.
    pub fn stored(&mut self, var: Var, index: &str) -> String {
        match self.scope.graph.element(var) {
            Element::F32 => self.load(var, index, Lanes::Same),
            Element::U32 | Element::U8 => {
                let (buffer, index) = self.place(Load { var, vectors: false }, index);
                format!("{buffer}[{index}]")
            }
        }
    }

    /// The array that holds a stored node, and the place in it of its element at `index`.
    fn place(&mut self, load: Load, index: &str) -> (String, String) {
        let Some(block) = self.scope.block else { return (self.binding(load), index.to_owned()) };
        if let Some(offset) = block.places.get(&load.var) {
            let memory = memory_name(self.scope.graph.element(load.var));
            return (memory.to_owned(), format!("{offset}u + {index}"));
        }
        if let Some(&(shard, offset)) = block.shards.get(&load.var) {
            return (self.binding(Load { var: shard, ..load }), format!("{offset}u + {index}"));
        }
        let place = match random_row(self.scope.graph.shape(load.var)) {
            None | Some(0) => index.to_owned(),
            Some(row) => self.name(&format!("({index} + row0 * {row}u)")),
        };
        (self.binding(load), place)
    }

    fn load(&mut self, var: Var, index: &str, lanes: Lanes) -> String {
        let element = self.scope.graph.element(var);
        let vectors = self.width == Width::Four && lanes == Lanes::Neighbours;
        let (buffer, index) = self.place(Load { var, vectors }, index);
        let convert = |text: String| match (self.raw, self.width) {
            (true, _) => text,
            (false, Width::One) => format!("f32({text})"),
            (false, Width::Four) => format!("T({text})"),
        };
        let half = self.scope.half.contains(&var);
        match (element, vectors) {
            (Element::F32, true) if half => format!("vec4<f32>({buffer}[{index} / 4u])"),
            (Element::F32, true) => format!("{buffer}[{index} / 4u]"),
            (Element::F32, false) if half => format!("T(f32({buffer}[{index}]))"),
            (Element::F32, false) if self.width == Width::One => format!("{buffer}[{index}]"),
            (Element::F32, false) => format!("T({buffer}[{index}])"),
            (Element::U32, true) => convert(format!("{buffer}[{index} / 4u]")),
            (Element::U32, false) if self.raw || self.width == Width::One => {
                convert(format!("{buffer}[{index}]"))
            }
            (Element::U32, false) => format!("T(f32({buffer}[{index}]))"),
            (Element::U8, true) => {
                let bytes = "vec4<u32>(0u, 8u, 16u, 24u)";
                convert(format!("((vec4<u32>({buffer}[{index} / 4u]) >> {bytes}) & vec4<u32>(255u))"))
            }
            (Element::U8, false) => {
                let byte = format!("(({buffer}[{index} / 4u] >> (8u * ({index} % 4u))) & 255u)");
                if self.width == Width::Four { format!("T(f32({byte}))") } else { convert(byte) }
            }
        }
    }

    fn generated(&mut self, kind: Generated, var: Var, index: &str, lanes: Lanes) -> Option<String> {
        let neighbours = self.width == Width::Four && lanes == Lanes::Neighbours;
        let per_element = |text: String| if neighbours { None } else { Some(format!("T({text})")) };
        match kind {
            Generated::Constant(value) => Some(format!("T({})", self.scope.precision.literal(value))),
            Generated::Iota { axis } => {
                let shape = self.scope.graph.shape(var).resolve(self.scope.batch);
                let inner: usize = shape[axis + 1..].iter().product();
                let along = self.quotient(index, inner);
                let coordinate = self.remainder(&along, shape[axis]);
                per_element(format!("f32({coordinate})"))
            }
            Generated::Random { stream } => {
                self.functions.insert(include_str!("../../shaders/philox.wgsl"));
                let first = match (self.scope.gradients, self.scope.block.is_some()) {
                    (Gradients::Overwrite, false) => None,
                    (Gradients::Overwrite, true) => Some("row0"),
                    (Gradients::Accumulate, false) => Some("step.first_row"),
                    (Gradients::Accumulate, true) => Some("(step.first_row + row0)"),
                };
                let row = first.map_or(Some(0), |_| random_row(self.scope.graph.shape(var)))?;
                let counter = match first.filter(|_| row > 0) {
                    None => index.to_owned(),
                    Some(first) => self.name(&format!("({index} + {first} * {row}u)")),
                };
                // One call gives the four numbers from a multiple of four on.
                match (neighbours, row.is_multiple_of(4)) {
                    (true, true) => Some(format!("philox_uniform4({counter} / 4u, {stream}u)")),
                    (true, false) => None,
                    (false, _) => per_element(format!("philox_uniform({counter}, {stream}u)")),
                }
            }
            Generated::RowMask => {
                let row = self.row(index);
                per_element(format!("select(0.0, 1.0, {row} < step.valid_rows)"))
            }
            Generated::LossScale => Some("T(step.loss_scale)".to_owned()),
            Generated::RowWeight => {
                let row = self.row(index);
                per_element(format!("select(0.0, step.row_weight, {row} < step.valid_rows)"))
            }
        }
    }

    /// The row of the micro-batch of an index that counts rows.
    fn row(&self, index: &str) -> String {
        if self.scope.block.is_some() { format!("{index} + row0") } else { index.to_owned() }
    }
}

impl Scope<'_> {
    /// The WGSL type of a stored element, alone or by fours.
    pub fn storage_type(&self, var: Var, vectors: bool) -> &'static str {
        match (self.graph.element(var), vectors) {
            (Element::F32, vectors) => float_type(self.half.contains(&var), vectors),
            // Four bytes are one word either way.
            (Element::U8, _) | (Element::U32, false) => "u32",
            (Element::U32, true) => "vec4<u32>",
        }
    }
}

/// The WGSL type of a number in memory, of 16 bits or of 32, alone or by fours.
pub(crate) fn float_type(half: bool, vectors: bool) -> &'static str {
    match (half, vectors) {
        (false, false) => "f32",
        (false, true) => "vec4<f32>",
        (true, false) => "f16",
        (true, true) => "vec4<f16>",
    }
}
