//! A graph of scalars and vectors written out number by number, as one list of assignments.

use std::collections::HashMap;
use std::fmt::Write;

use super::objective::Objective;
use crate::graph::ops::{Generated, Lowering, Reduce, ReduceKind, Source};
use crate::graph::{Array, Node, StepContext, Var};
use crate::plan::Precision;

/// Unknowns of a program at most: each group of four has its own copy of the update.
const MOST_UNKNOWNS: usize = 64;

/// Operations of a program at most, if the graph is one of vectors. Compilers of drivers take more than linear time
/// over them: llvmpipe's 0.3 s here.
const MOST_OPERATIONS: usize = 600;

/// The same for a graph of scalars, whose plan would have a dispatch for nearly every operation; llvmpipe's compiler
/// takes 3 s.
const MOST_SCALAR_OPERATIONS: usize = 2000;

/// Operations that stand for a node of a graph of scalars at most, on average.
const SCALAR_OPERATIONS_PER_NODE: usize = 2;

/// Numbers that are looked at, needed or not, before a graph is given up as too large.
const MOST_NUMBERS: usize = 64 * MOST_OPERATIONS;

/// A number of the program: known, or computed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Number {
    Literal(f64),
    Unknown(usize),
    Result(usize),
}

impl Number {
    fn text(self) -> String {
        match self {
            Number::Literal(value) => format!("T({})", Precision::F32.literal(value)),
            Number::Unknown(number) => format!("x{number}"),
            Number::Result(number) => format!("v{number}"),
        }
    }
}

/// An assignment: its right side, and the results that it reads.
struct Operation {
    text: String,
    reads: Vec<usize>,
}

/// Loss and gradient as assignments in WGSL, from the unknowns `x0`, `x1`, …
pub(super) struct Program {
    /// Lines `let v0 = …;`.
    pub assignments: String,
    pub operations: usize,
    /// Functions that they call.
    pub functions: String,
    /// Each a name or a literal.
    pub loss: String,
    pub gradient: Vec<String>,
}

#[derive(Default)]
struct Writer {
    operations: Vec<Operation>,
    /// Results by the text that computes them.
    known: HashMap<String, usize>,
    functions: Vec<&'static str>,
}

/// The program of `objective`; none where it is too large, or has an operation that is not written out.
pub(super) fn write_out(objective: &Objective) -> Option<Program> {
    if objective.start().len() > MOST_UNKNOWNS {
        return None;
    }
    let outputs: Vec<Var> = [objective.loss].into_iter().chain(objective.gradient.iter().copied()).collect();
    let live = objective.graph.live(&outputs);
    let mut writer = Writer::default();
    let values = writer.all(objective, &live)?;
    let loss = *values[objective.loss.index()].first()?;
    let gradient = objective.gradient.iter().flat_map(|var| values[var.index()].iter().copied());
    let program = writer.finish(loss, &gradient.collect::<Vec<_>>());
    let nodes = live.iter().filter(|live| **live).count();
    let of_scalars = program.operations <= SCALAR_OPERATIONS_PER_NODE * nodes;
    let most = if of_scalars { MOST_SCALAR_OPERATIONS } else { MOST_OPERATIONS };
    (program.operations <= most).then_some(program)
}

impl Writer {
    /// The elements of every node that is `live`.
    fn all(&mut self, objective: &Objective, live: &[bool]) -> Option<Vec<Vec<Number>>> {
        let graph = &objective.graph;
        let mut values: Vec<Vec<Number>> = vec![Vec::new(); graph.len()];
        let mut numbers = 0;
        for var in graph.vars().filter(|var| live[var.index()]) {
            let node = graph.node(var);
            let count = node.ty.shape.elements(1);
            numbers += count;
            if numbers > MOST_NUMBERS {
                return None;
            }
            values[var.index()] = match node.op.lower() {
                Lowering::Source(Source::Parameter(number)) => {
                    let first: usize = objective.unknowns().take(number).map(|(_, length)| length).sum();
                    (first..first + count).map(Number::Unknown).collect()
                }
                Lowering::Source(Source::Input(name)) => {
                    objective.tables.get(name)?.iter().map(|&value| Number::Literal(value)).collect()
                }
                _ => {
                    let inputs = node.inputs.iter();
                    let (inputs, shapes): (Vec<&[Number]>, Vec<Vec<usize>>) =
                        inputs.map(|&var| (&values[var.index()][..], graph.shape(var).resolve(1))).unzip();
                    self.computed(node, &inputs, &shapes)?
                }
            };
        }
        Some(values)
    }

    /// The elements of a node that is computed.
    fn computed(&mut self, node: &Node, inputs: &[&[Number]], shapes: &[Vec<usize>]) -> Option<Vec<Number>> {
        let shape = node.ty.shape.resolve(1);
        match node.op.lower() {
            Lowering::Generated(Generated::Constant(_) | Generated::Iota { .. }) => {
                let data = node.op.reference(&[], &shape, &StepContext::default());
                Some(data.into_iter().map(Number::Literal).collect())
            }
            Lowering::Pointwise { expression, functions } => {
                if !functions.is_empty() && !self.functions.contains(&functions) {
                    self.functions.push(functions);
                }
                let element = |i: usize| inputs.iter().map(|input| input[i]).collect::<Vec<_>>();
                let count: usize = shape.iter().product();
                (0..count).map(|i| self.pointwise(node, expression, &element(i))).collect()
            }
            Lowering::View(_) => {
                // Where the elements go shows in where the reference puts their places, counted from 1: 0 is padding.
                let places = (1..=inputs[0].len()).map(|place| place as f64).collect();
                let input = Array { shape: shapes[0].clone(), data: places };
                let moved = node.op.reference(&[&input], &shape, &StepContext::default());
                let number = |place: f64| match place as usize {
                    0 => Number::Literal(0.0),
                    place => inputs[0][place - 1],
                };
                Some(moved.into_iter().map(number).collect())
            }
            Lowering::Reduce(reduce) if reduce.kind == ReduceKind::Sum => {
                Some(self.sums(reduce, inputs[0], &shapes[0]))
            }
            _ => None,
        }
    }

    fn sums(&mut self, reduce: &Reduce, input: &[Number], shape: &[usize]) -> Vec<Number> {
        let (outside, block, inner) = reduce.extents(shape);
        let sum = |output: usize| {
            let element = |r: usize| input[((output / inner) * block + r) * inner + output % inner];
            self.sum((0..block).map(element).collect())
        };
        (0..outside * inner).map(sum).collect()
    }

    /// By pairs, then pairs of pairs: rounding grows with the logarithm of the count.
    fn sum(&mut self, mut terms: Vec<Number>) -> Number {
        while terms.len() > 1 {
            let pair = |pair: &[Number]| match *pair {
                [a, b] => self.add(a, b),
                _ => pair[0],
            };
            terms = terms.chunks(2).map(pair).collect();
        }
        terms.first().copied().unwrap_or(Number::Literal(0.0))
    }

    fn add(&mut self, a: Number, b: Number) -> Number {
        match (a, b) {
            (Number::Literal(a), Number::Literal(b)) => Number::Literal(a + b),
            (Number::Literal(0.0), other) | (other, Number::Literal(0.0)) => other,
            _ => self.assign("({a} + {b})", &[a, b]),
        }
    }

    fn pointwise(&mut self, node: &Node, expression: &str, inputs: &[Number]) -> Option<Number> {
        let literals: Option<Vec<Array>> = inputs
            .iter()
            .map(|input| match *input {
                Number::Literal(value) => Some(Array { shape: vec![1], data: vec![value] }),
                _ => None,
            })
            .collect();
        if let Some(literals) = literals {
            let folded =
                node.op.reference(&literals.iter().collect::<Vec<_>>(), &[1], &StepContext::default());
            // A kernel's text cannot hold what is no number.
            return folded.first().filter(|value| !value.is_nan()).map(|&value| Number::Literal(value));
        }
        Some(match (node.op.name(), inputs) {
            ("add", &[a, b]) => self.add(a, b),
            ("mul", [Number::Literal(1.0), other] | [other, Number::Literal(1.0)])
            | ("sub", [other, Number::Literal(0.0)])
            | ("copy", [other]) => *other,
            _ => self.assign(expression, inputs),
        })
    }

    /// The result of `expression`, computed once however often it is asked for.
    fn assign(&mut self, expression: &str, inputs: &[Number]) -> Number {
        let mut text = expression.to_owned();
        for (slot, input) in ["{a}", "{b}", "{c}"].iter().zip(inputs) {
            text = text.replace(slot, &input.text());
        }
        if let Some(&known) = self.known.get(&text) {
            return Number::Result(known);
        }
        let reads = inputs.iter().filter_map(|input| match *input {
            Number::Result(number) => Some(number),
            _ => None,
        });
        let number = self.operations.len();
        self.operations.push(Operation { reads: reads.collect(), text: text.clone() });
        self.known.insert(text, number);
        Number::Result(number)
    }

    /// The assignments that the outputs need.
    fn finish(self, loss: Number, gradient: &[Number]) -> Program {
        let mut needed = vec![false; self.operations.len()];
        for output in gradient.iter().chain([&loss]) {
            if let Number::Result(number) = *output {
                needed[number] = true;
            }
        }
        for number in (0..needed.len()).rev() {
            if needed[number] {
                self.operations[number].reads.iter().for_each(|&read| needed[read] = true);
            }
        }
        let operations = needed.iter().filter(|needed| **needed).count();
        let mut assignments = String::new();
        for (number, operation) in self.operations.iter().enumerate().filter(|(number, _)| needed[*number]) {
            // Writing to a String cannot fail.
            let _ = writeln!(assignments, "        let v{number} = {};", operation.text);
        }
        Program {
            assignments,
            operations,
            functions: self.functions.concat(),
            loss: loss.text(),
            gradient: gradient.iter().map(|number| number.text()).collect(),
        }
    }
}
