//! A function of some unknowns, read from text, with its gradient.

use std::collections::HashMap;

use crate::Result;
use crate::expression::{Builder, Fault, Start};
use crate::graph::{Graph, StepContext, Var};

/// A scalar function of named unknowns, each a scalar or a vector, and where they start.
///
/// ```
/// use downhill::Objective;
///
/// let valley = Objective::parse("(1-x)^2 + 100*(y-x^2)^2", "x=-1.2; y=1")?;
/// assert_eq!(valley.evaluate(&[1.0, 1.0]), 0.0);
/// assert_eq!(valley.gradient(&[0.0, 0.0]), [-2.0, 0.0]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Objective {
    pub(super) graph: Graph,
    pub(super) loss: Var,
    /// The vector whose squares are summed to the loss, where it was given.
    pub(super) residuals: Option<Var>,
    /// One for each unknown.
    pub(super) gradient: Vec<Var>,
    /// What the graph's inputs hold by name.
    pub(super) tables: HashMap<String, Vec<f64>>,
    start: Vec<f64>,
}

impl Objective {
    /// Reads an expression such as `c = 10^iota(3); sum(c*(x-1)^2)` and a start such as `x=[0,0,2]` or
    /// `x=zeros(3); y=1`, whose names are the unknowns.
    ///
    /// # Errors
    /// [`Error::Expression`](crate::Error::Expression) with the place: text that is none of the language, a name that nothing stands for, an
    /// unknown that the expression does not read, vectors of different lengths, a value that is not a scalar.
    pub fn parse(expression: &str, start: &str) -> Result<Self> {
        Self::read(expression, start, |builder| Ok((builder.scalar(expression)?, None)))
    }

    /// The same for the sum of the squares of a vector of residuals, such as `[10*(y-x^2), 1-x]`, which is what Gauss-Newton
    /// and its relatives work on.
    ///
    /// # Errors
    /// As [`Objective::parse`], but for the value, which is a vector.
    pub fn parse_residuals(expression: &str, start: &str) -> Result<Self> {
        Self::read(expression, start, |builder| {
            let (squares, residuals) = builder.sum_of_squares(expression)?;
            Ok((squares, Some(residuals)))
        })
    }

    fn read(
        expression: &str,
        start: &str,
        value: impl FnOnce(&mut Builder) -> Result<(Var, Option<Var>), Fault>,
    ) -> Result<Self> {
        let starts = Builder::starts(start).map_err(|fault| fault.in_text("start", start))?;
        let mut builder = Builder::default();
        let unknowns = starts.iter().map(|start| builder.unknown(start)).collect::<Result<Vec<Var>>>()?;
        let (loss, residuals) =
            value(&mut builder).map_err(|fault| fault.in_text("expression", expression))?;
        if let Some(idle) = starts.iter().find(|start| !builder.has_read(&start.name)) {
            let message = format!("`{}` does not occur in the expression", idle.name);
            return Err(Fault::new(idle.at, message).in_text("start", start));
        }
        let (mut graph, tables) = builder.finish();
        let gradient = graph.gradient(loss, &unknowns)?;
        let start = starts.into_iter().flat_map(|start: Start| start.value.data).collect();
        Ok(Objective { graph, loss, residuals, gradient, tables, start })
    }

    /// The unknowns by name, in the order of the start and of θ, and how many numbers each of them is.
    pub fn unknowns(&self) -> impl Iterator<Item = (&str, usize)> {
        self.graph.parameters().iter().map(|unknown| (unknown.name.as_str(), unknown.elements()))
    }

    /// Whether f32 holds the value at θ, and its gradient is finite.
    pub(super) fn is_finite(&self, theta: &[f64]) -> bool {
        (self.evaluate(theta) as f32).is_finite() && self.gradient(theta).iter().all(|x| x.is_finite())
    }

    /// Where θ starts.
    pub fn start(&self) -> &[f64] {
        &self.start
    }

    /// The value at θ in f64; NaN where θ has another length than the start.
    pub fn evaluate(&self, theta: &[f64]) -> f64 {
        let values = self.values(&[self.loss], theta);
        values.first().copied().unwrap_or(f64::NAN)
    }

    /// The gradient at θ in f64, in θ's order; NaN where θ has another length than the start.
    pub fn gradient(&self, theta: &[f64]) -> Vec<f64> {
        self.values(&self.gradient, theta)
    }

    /// The values of `vars`, one after the other.
    fn values(&self, vars: &[Var], theta: &[f64]) -> Vec<f64> {
        let mut rest = theta;
        let mut parameters = Vec::with_capacity(self.graph.parameters().len());
        for (_, length) in self.unknowns() {
            // The reference reads NaN where a parameter has not its length.
            let (own, others) = rest.split_at(if theta.len() == self.start.len() { length } else { 0 });
            parameters.push(own.to_vec());
            rest = others;
        }
        let context =
            StepContext { inputs: self.tables.clone(), theta: parameters, ..StepContext::default() };
        // There is no batch in these graphs, so its size is idle.
        self.graph.evaluate(vars, 1, &context).into_iter().flat_map(|array| array.data).collect()
    }
}
