//! An equation between columns of a table and unknowns, with the derivatives of its residuals.

use std::collections::HashMap;

use super::FitData;
use crate::expression::{Builder, Fault, Start, column_input};
use crate::graph::{Dim, Graph, StepContext, Var};
use crate::minimize::{Number, Program, Written, write_graph};
use crate::{Error, Precision, Result, Shape};

/// Numbers of all unknowns together that a kernel keeps a triangle of.
pub(super) const MOST_UNKNOWNS: usize = 24;

/// An equation such as `y = b1*(1-exp(-b2*x))`, of which the two sides are to differ as little as can be.
///
/// ```
/// use downhill::FitModel;
///
/// let model = FitModel::parse("y = b1*exp(-b2*x)", "b1=1; b2=0.5", &["x", "y"], None)?;
/// assert_eq!(model.unknowns(), ["b1", "b2"]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FitModel {
    graph: Graph,
    /// The right side less the left, times the root of the weight: `[batch]`, as all that follows.
    residual: Var,
    /// By each unknown.
    jacobian: Vec<Var>,
    left: Var,
    right: Var,
    /// The left side times the root of the weight.
    weighted_left: Var,
    tables: HashMap<String, Vec<f64>>,
    columns: Vec<String>,
    weights: Option<String>,
    unknowns: Vec<String>,
    /// How many numbers each unknown of the start is.
    lengths: Vec<usize>,
    start: Vec<f64>,
}

impl FitModel {
    /// Reads `LEFT = RIGHT`, definitions before it, in the language of [`Objective`](crate::Objective): names are columns
    /// or the unknowns of `start`. `weights` names a column w; the sum of w·r² is what is minimised.
    ///
    /// # Errors
    /// [`Error::Expression`] with the place: text that is none of the language, no `=`, a name that is neither a column
    /// nor an unknown, an unknown that is a column too or does not occur. [`Error::Setting`] for a column of weights that
    /// does not exist, and for more than 24 unknowns.
    pub fn parse(equation: &str, start: &str, columns: &[&str], weights: Option<&str>) -> Result<Self> {
        let starts = Builder::starts(start).map_err(|fault| fault.in_text("start", start))?;
        let mut builder = Builder::default();
        for column in columns {
            builder.column(column)?;
        }
        if let Some(twice) = starts.iter().find(|start| columns.contains(&start.name.as_str())) {
            let message =
                format!("`{}` is a column of the data too; call the unknown something else", twice.name);
            return Err(Fault::new(twice.at, message).in_text("start", start));
        }
        let vars = starts.iter().map(|start| builder.unknown(start)).collect::<Result<Vec<Var>>>()?;
        let [left, right] =
            sides(&mut builder, equation).map_err(|fault| fault.in_text("equation", equation))?;
        if let Some(idle) = starts.iter().find(|start| !builder.has_read(&start.name)) {
            let message = format!("`{}` does not occur in the equation", idle.name);
            return Err(Fault::new(idle.at, message).in_text("start", start));
        }
        let mut read: Vec<String> =
            columns.iter().filter(|name| builder.has_read(name)).map(|name| (*name).to_owned()).collect();
        if read.is_empty() {
            let message = format!("the equation reads no column; known are {}", columns.join(", "));
            return Err(Fault::new(0, message).in_text("equation", equation));
        }
        if let Some(weights) = weights {
            if !columns.contains(&weights) {
                return Err(Error::setting("weights", crate::error::did_you_mean(weights, columns)));
            }
            if !read.iter().any(|name| name == weights) {
                read.push(weights.to_owned());
            }
        }
        let (graph, tables) = builder.finish();
        let unknowns = names(&starts);
        if unknowns.len() > MOST_UNKNOWNS {
            let message = format!("{} unknowns, where a fit has at most {MOST_UNKNOWNS}", unknowns.len());
            return Err(Error::setting("start", message));
        }
        let lengths = starts.iter().map(|start| start.value.data.len()).collect();
        let start = starts.into_iter().flat_map(|start| start.value.data).collect();
        let mut model = FitModel {
            graph,
            residual: left,
            jacobian: Vec::new(),
            left,
            right,
            weighted_left: left,
            tables,
            columns: read,
            weights: weights.map(str::to_owned),
            unknowns,
            lengths,
            start,
        };
        model.differentiate(&vars)?;
        Ok(model)
    }

    /// Appends the residual and its derivatives to the graph.
    fn differentiate(&mut self, unknowns: &[Var]) -> Result<()> {
        let graph = &mut self.graph;
        let rows = Shape(vec![Dim::BATCH]);
        self.left = graph.broadcast_to(self.left, rows.clone())?;
        self.right = graph.broadcast_to(self.right, rows.clone())?;
        self.residual = graph.sub(self.right, self.left)?;
        self.weighted_left = self.left;
        if let Some(weights) = &self.weights {
            let weights = graph.input(&column_input(weights), rows)?;
            let root = graph.sqrt(weights)?;
            self.residual = graph.mul(root, self.residual)?;
            self.weighted_left = graph.mul(root, self.left)?;
        }
        for &unknown in unknowns {
            let elements = graph.shape(unknown).elements(1);
            let is_vector = graph.shape(unknown).rank() > 0;
            for element in 0..elements {
                let mut along = graph.constant(1.0)?;
                if is_vector {
                    along = graph.reshape(along, [1])?;
                    along = graph.pad(along, 0, element, elements - 1 - element)?;
                }
                self.jacobian.extend(graph.jvp(&[self.residual], &[(unknown, along)])?);
            }
        }
        Ok(())
    }

    /// The unknown numbers by name, in the order of the start: `b`, and `b[0]`, `b[1]` where it is a vector.
    pub fn unknowns(&self) -> &[String] {
        &self.unknowns
    }

    /// Where the unknowns start.
    pub fn start(&self) -> &[f64] {
        &self.start
    }

    /// The columns that are read, weights included.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The column of weights.
    pub(super) fn weights(&self) -> Option<&str> {
        self.weights.as_deref()
    }

    /// The columns that the equation's right side reads.
    pub fn right_columns(&self) -> Vec<&str> {
        let live = self.graph.live(&[self.right]);
        let is_read = |name: &&str| {
            let mut graph = self.graph.clone();
            let column = graph.input(&column_input(name), [Dim::BATCH]);
            column.is_ok_and(|var| live.get(var.index()).copied().unwrap_or(false))
        };
        self.columns.iter().map(String::as_str).filter(is_read).collect()
    }

    /// Residual, its derivatives and the left side in WGSL: unknowns are x0, x1, …, columns in their order follow.
    ///
    /// # Errors
    /// [`Error::Setting`] for an equation of too many operations, or with one that is not written out.
    pub(super) fn program(&self, precision: Precision) -> Result<Program> {
        let outputs: Vec<Var> = [self.residual]
            .into_iter()
            .chain(self.jacobian.iter().copied())
            .chain([self.weighted_left])
            .collect();
        let input = |name: &str| {
            if let Some(table) = self.tables.get(name) {
                return Some(table.iter().map(|&value| Number::Literal(value)).collect());
            }
            let place = self.columns.iter().position(|column| column_input(column) == name)?;
            Some(vec![Number::Unknown(self.unknowns.len() + place)])
        };
        let written = Written { graph: &self.graph, outputs: &outputs, input: &input, precision };
        write_graph(&written).ok_or_else(|| Error::setting("equation", "is too long for one kernel"))
    }

    /// Residuals and, for each unknown, their derivatives, in f64.
    pub(super) fn linearised(&self, theta: &[f64], data: &FitData, fit: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
        let vars: Vec<Var> = [self.residual].into_iter().chain(self.jacobian.iter().copied()).collect();
        let mut values = self.values(&vars, theta, data, fit).into_iter();
        (values.next().unwrap_or_default(), values.collect())
    }

    /// The left and the right side at `theta` for each point of a fit, in f64; NaN where a column is missing.
    pub fn sides(&self, theta: &[f64], data: &FitData, fit: usize) -> [Vec<f64>; 2] {
        let mut values = self.values(&[self.left, self.right], theta, data, fit).into_iter();
        [values.next().unwrap_or_default(), values.next().unwrap_or_default()]
    }

    fn values(&self, vars: &[Var], theta: &[f64], data: &FitData, fit: usize) -> Vec<Vec<f64>> {
        let mut rest = theta;
        let mut parameters = Vec::new();
        for length in &self.lengths {
            let (own, others) = rest.split_at((*length).min(rest.len()));
            parameters.push(own.to_vec());
            rest = others;
        }
        let mut inputs = self.tables.clone();
        for column in &self.columns {
            inputs.insert(column_input(column), data.values(column, fit).unwrap_or_default().to_vec());
        }
        let context = StepContext { inputs, theta: parameters, ..StepContext::default() };
        self.graph.evaluate(vars, data.points(), &context).into_iter().map(|array| array.data).collect()
    }
}

/// The two sides of the equation, which is the last statement.
fn sides(builder: &mut Builder, equation: &str) -> Result<[Var; 2], Fault> {
    let last = equation.rfind(';').map_or(0, |at| at + 1);
    let Some(at) = equation[last..].find('=').map(|at| last + at) else {
        let message = "there is no `=`; say what is fitted, as in `y = b1*exp(-b2*x)`";
        return Err(Fault::new(equation.len(), message));
    };
    if equation[last..at].trim().is_empty() {
        return Err(Fault::new(at, "there is nothing before `=`; say what is fitted, as in `y = b1*x`"));
    }
    let left = builder.scalar(&equation[..at])?;
    let right = builder
        .scalar(&equation[at + 1..])
        .map_err(|fault| Fault { at: fault.at + at + 1, message: fault.message })?;
    Ok([left, right])
}

/// A name for each number.
fn names(starts: &[Start]) -> Vec<String> {
    let named = |start: &Start| -> Vec<String> {
        match start.value.shape.is_empty() {
            true => vec![start.name.clone()],
            false => (0..start.value.data.len()).map(|i| format!("{}[{i}]", start.name)).collect(),
        }
    };
    starts.iter().flat_map(named).collect()
}
