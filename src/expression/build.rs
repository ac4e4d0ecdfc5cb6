//! The stack machine: instructions to values, and values that depend on an unknown to nodes of a graph.

use std::collections::{BTreeSet, HashMap};

use super::Fault;
use super::function::{CONSTANTS, FUNCTIONS, Function, Meaning, function_of};
use super::parse::{Action, Code, Instruction, parse};
use super::value::{MOST_ELEMENTS, Said, Value, table_name};
use crate::error::did_you_mean;
use crate::graph::ops::{BINARY, unary_rule};
use crate::graph::{Array, Dim, Graph, Initial, Var};
use crate::{Error, Result};

/// A graph under construction, and the names that stand for its values.
#[derive(Default)]
pub(crate) struct Builder {
    pub(super) graph: Graph,
    /// Known vectors, each an input of the graph that is filled once.
    pub(super) tables: Vec<Vec<f64>>,
    names: HashMap<String, Value>,
    /// The names that were read.
    read: BTreeSet<String>,
}

/// The name of an unknown, where it stands, and where it starts: a scalar (shape []) or a vector ([n]).
pub(crate) struct Start {
    pub name: String,
    pub at: usize,
    pub value: Array,
}

impl Builder {
    /// Reads `x=[-1.2,1]; y=0`: the unknowns and where they start.
    pub fn starts(text: &str) -> Result<Vec<Start>, Fault> {
        let code = parse(text)?;
        if let Some(at) = code.value {
            return Err(Fault::new(at, "a start is of the form NAME=VALUE"));
        }
        let mut builder = Builder::default();
        builder.run(&code)?;
        let mut starts = Vec::new();
        for instruction in &code.instructions {
            if let Action::Define(name) = instruction.action
                && let Some(Value::Known(value)) = builder.names.remove(name)
            {
                let wrong = value.data.iter().find(|x| !(**x as f32).is_finite());
                if let Some(wrong) = wrong {
                    let message = format!("`{name}` cannot start at {wrong}, which is no number of the GPU");
                    return Err(Fault::new(instruction.at, message));
                }
                starts.push(Start { name: name.to_owned(), at: instruction.at, value });
            }
        }
        match starts.is_empty() {
            true => Err(Fault::new(0, "there is no unknown; name them with their start, as in `x=[-1.2,1]`")),
            false => Ok(starts),
        }
    }

    /// Makes an unknown of the name and shape of `start`.
    pub fn unknown(&mut self, start: &Start) -> Result<Var> {
        let var = self.graph.parameter(&start.name, &start.value.shape, Initial::Constant(0.0))?;
        self.names.insert(start.name.clone(), Value::Node(var));
        Ok(var)
    }

    /// Makes a column of a table of the name: one number for each row of a batch, in the input called as [`column_input`]
    /// says.
    pub fn column(&mut self, name: &str) -> Result<Var> {
        let var = self.graph.input(&column_input(name), [Dim::BATCH])?;
        self.names.insert(name.to_owned(), Value::Node(var));
        Ok(var)
    }

    /// Reads definitions and the scalar that they lead to.
    pub fn scalar(&mut self, text: &str) -> Result<Var, Fault> {
        let (value, at) = self.value(text)?;
        if self.length(&value).is_some() {
            let message = format!(
                "the value is {}, not a scalar; reduce it with `sum` or `mean`",
                self.describe(&value)
            );
            return Err(Fault::new(at, message));
        }
        self.node(value).map_err(|message| Fault::new(at, message))
    }

    /// Reads definitions and the vector that they lead to: the sum of its squares, and itself.
    pub fn sum_of_squares(&mut self, text: &str) -> Result<(Var, Var), Fault> {
        let (value, at) = self.value(text)?;
        if self.length(&value).is_none() {
            let message = "the value is a scalar, and this method sums the squares of residuals itself: give them as a vector, \
                           as in `[1-x, 10*(y-x^2)]`";
            return Err(Fault::new(at, message));
        }
        let residuals = self.node(value).map_err(|message| Fault::new(at, message))?;
        let axes: Vec<usize> = (0..self.graph.shape(residuals).rank()).collect();
        let squares = self.graph.mul(residuals, residuals);
        let sum = squares.and_then(|squares| self.graph.sum(squares, &axes));
        Ok((sum.map_err(|error| Fault::new(at, said(error)))?, residuals))
    }

    /// The value of a text, and where it stands.
    fn value(&mut self, text: &str) -> Result<(Value, usize), Fault> {
        let code = parse(text)?;
        match (self.run(&code)?, code.value) {
            (Some(value), Some(at)) => Ok((value, at)),
            _ => Err(Fault::new(code.end, "there is no value: end with what is to be minimised")),
        }
    }

    /// Whether the name was read.
    pub fn has_read(&self, name: &str) -> bool {
        self.read.contains(name)
    }

    /// The graph, and what its inputs hold by name.
    pub fn finish(self) -> (Graph, HashMap<String, Vec<f64>>) {
        let tables = self.tables.into_iter().enumerate();
        (self.graph, tables.map(|(number, table)| (table_name(number), table)).collect())
    }

    fn run(&mut self, code: &Code) -> Result<Option<Value>, Fault> {
        let mut stack = Vec::new();
        for instruction in &code.instructions {
            self.step(instruction, &mut stack).map_err(|message| Fault::new(instruction.at, message))?;
        }
        Ok(stack.pop())
    }

    fn step(&mut self, instruction: &Instruction, stack: &mut Vec<Value>) -> Said<()> {
        let mut pop = || stack.pop().ok_or("a value is missing");
        let value = match instruction.action {
            Action::Number(number) => Value::scalar(number),
            Action::Name(name) => self.named(name)?,
            Action::Negate => {
                let value = pop()?;
                self.unary("negate", value)?
            }
            Action::Operator(sign) => {
                let (b, a) = (pop()?, pop()?);
                self.operator(sign, a, b)?
            }
            Action::Call { name, arguments } => {
                let values = stack.split_off(stack.len().saturating_sub(arguments));
                self.call(name, values)?
            }
            Action::Vector(elements) => {
                let values = stack.split_off(stack.len().saturating_sub(elements));
                self.vector(values)?
            }
            Action::Index => {
                let (index, vector) = (pop()?, pop()?);
                self.index(&index, vector)?
            }
            Action::Slice { from, to } => {
                let to = if to { Some(pop()?) } else { None };
                let from = if from { Some(pop()?) } else { None };
                let vector = pop()?;
                self.slice(from.as_ref(), to.as_ref(), vector)?
            }
            Action::Define(name) => {
                let value = pop()?;
                return self.define(name, value);
            }
        };
        stack.push(value);
        Ok(())
    }

    fn named(&mut self, name: &str) -> Said<Value> {
        if let Some(value) = self.names.get(name) {
            self.read.insert(name.to_owned());
            return Ok(value.clone());
        }
        if let Some((_, number)) = CONSTANTS.iter().find(|(constant, _)| *constant == name) {
            return Ok(Value::scalar(*number));
        }
        if function_of(name).is_some() {
            return Err(format!("`{name}` is a function; call it, as in `{name}(…)`"));
        }
        let mut known: Vec<&str> = self.names.keys().map(String::as_str).collect();
        known.sort_unstable();
        known.extend(CONSTANTS.iter().map(|(name, _)| *name).filter(|name| !self.names.contains_key(*name)));
        known.extend(FUNCTIONS.iter().map(|function| function.name));
        Err(did_you_mean(name, &known))
    }

    fn define(&mut self, name: &str, value: Value) -> Said<()> {
        if function_of(name).is_some() {
            return Err(format!("`{name}` is a function and cannot be defined"));
        }
        match self.names.insert(name.to_owned(), value) {
            Some(_) => Err(format!("`{name}` has a value already")),
            None => Ok(()),
        }
    }

    fn unary(&mut self, name: &str, value: Value) -> Said<Value> {
        let rule = unary_rule(name).ok_or_else(|| format!("the graph has no `{name}`"))?;
        match value {
            Value::Node(var) => self.graph.unary(name, var).map(Value::Node).map_err(said),
            known => known.map(rule.reference).ok_or_else(|| format!("`{name}` has no value")),
        }
    }

    fn binary(&mut self, name: &str, what: &str, a: Value, b: Value) -> Said<Value> {
        self.agree(what, &a, &b)?;
        let rule = BINARY.iter().find(|rule| rule.name == name);
        let rule = rule.ok_or_else(|| format!("the graph has no `{name}`"))?;
        if let Some(known) = a.zip(&b, rule.reference) {
            return Ok(known);
        }
        let (a, b) = (self.node(a)?, self.node(b)?);
        self.graph.binary(name, a, b).map(Value::Node).map_err(said)
    }

    fn operator(&mut self, sign: char, a: Value, b: Value) -> Said<Value> {
        let name = match sign {
            '+' => "add",
            '-' => "sub",
            '*' => "mul",
            '/' => "div",
            _ => return self.power(a, b),
        };
        self.binary(name, &format!("`{sign}`"), a, b)
    }

    fn call(&mut self, name: &str, arguments: Vec<Value>) -> Said<Value> {
        let Some(function) = function_of(name) else {
            let known: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            return Err(match self.names.contains_key(name) {
                true => format!("`{name}` is no function; an operator is missing before `(`"),
                false => did_you_mean(name, &known),
            });
        };
        let wanted = function.arguments;
        if arguments.len() != wanted {
            let plural = if wanted == 1 { "" } else { "s" };
            return Err(format!("`{name}` takes {wanted} argument{plural}, not {}", arguments.len()));
        }
        let mut arguments = arguments.into_iter();
        match (arguments.next(), arguments.next()) {
            (Some(a), None) => self.call_of_one(function, a),
            (Some(a), Some(b)) => self.call_of_two(function, a, b),
            _ => Err(format!("`{name}` takes arguments")),
        }
    }

    fn call_of_one(&mut self, function: &Function, a: Value) -> Said<Value> {
        match function.meaning {
            Meaning::Sum => self.total(a, 1.0),
            Meaning::Mean => {
                let count = self.length(&a).unwrap_or(1);
                self.total(a, 1.0 / count as f64)
            }
            Meaning::Iota => {
                let count = element_count(&a)?;
                Ok(Value::vector((0..count).map(|i| i as f64).collect()))
            }
            Meaning::Fill(number) => Ok(Value::vector(vec![number; element_count(&a)?])),
            Meaning::Unary | Meaning::Binary | Meaning::Modulo | Meaning::Dot => self.unary(function.name, a),
        }
    }

    fn call_of_two(&mut self, function: &Function, a: Value, b: Value) -> Said<Value> {
        match function.meaning {
            Meaning::Modulo => {
                let quotient = self.binary("div", "`mod`", a.clone(), b.clone())?;
                let whole = self.unary("floor", quotient)?;
                let multiple = self.binary("mul", "`mod`", b, whole)?;
                self.binary("sub", "`mod`", a, multiple)
            }
            Meaning::Dot => {
                if self.length(&a).is_none() || self.length(&a) != self.length(&b) {
                    let (a, b) = (self.describe(&a), self.describe(&b));
                    return Err(format!("`dot` takes two vectors of one length, not {a} and {b}"));
                }
                let product = self.binary("mul", "`dot`", a, b)?;
                self.total(product, 1.0)
            }
            _ => self.binary(function.name, &format!("`{}`", function.name), a, b),
        }
    }

    /// The sum of the elements times `factor`.
    fn total(&mut self, value: Value, factor: f64) -> Said<Value> {
        let axes: &[usize] = if self.length(&value).is_some() { &[0] } else { &[] };
        match value {
            Value::Known(array) => Ok(Value::scalar(array.data.iter().sum::<f64>() * factor)),
            Value::Node(var) => {
                let total = self.graph.sum(var, axes);
                total.and_then(|total| self.graph.scale(total, factor)).map(Value::Node).map_err(said)
            }
        }
    }
}

/// The input slot of a column of a table.
pub(crate) fn column_input(name: &str) -> String {
    format!("column {name}")
}

pub(super) fn said(error: Error) -> String {
    error.to_string()
}

/// The number of elements that an argument asks for.
fn element_count(value: &Value) -> Said<usize> {
    let count = value.number().filter(|x| x.fract() == 0.0 && (1.0..=MOST_ELEMENTS as f64).contains(x));
    let count = count.map(|x| x as usize);
    count.ok_or_else(|| format!("a number of elements is a known whole number from 1 to {MOST_ELEMENTS}"))
}
