//! Re-indexing on the way to a stored node: views, padding and gathers as index arithmetic.

use super::{Expression, Lanes, Width};
use crate::graph::Var;
use crate::graph::ops::View;
use crate::plan::fuse::storage;

impl Expression<'_> {
    /// Expand, permute and slice: the index of the source from the coordinates of the result.
    pub(super) fn view(&mut self, var: Var, view: View, index: &str, lanes: Lanes) -> Option<String> {
        let graph = self.scope.graph;
        let input = graph.node(var).inputs[0];
        let (from, to) =
            (graph.shape(input).resolve(self.scope.batch), graph.shape(var).resolve(self.scope.batch));
        let strides = strides(&from);
        // The stride in the source of every axis of the result, and what is added to all.
        let (along, start): (Vec<usize>, usize) = match view {
            View::Expand => {
                (from.iter().zip(&strides).map(|(&n, &s)| if n == 1 { 0 } else { s }).collect(), 0)
            }
            View::Permute(axes) => (axes.iter().map(|&axis| strides[axis]).collect(), 0),
            View::Slice { axis, start } => (strides.clone(), start * strides[axis]),
            View::Reshape | View::Pad { .. } => return None,
        };
        let runs = merge_axes(&to, &along);
        let lanes = self.lanes_through(&runs, start, lanes)?;
        let source = self.strided(index, &runs, start);
        self.at(input, &source, lanes)
    }

    /// Four neighbours stay neighbours where the last run has stride 1, become one element where it has 0, and
    /// cannot be had at once otherwise.
    fn lanes_through(&self, runs: &[(usize, usize)], start: usize, lanes: Lanes) -> Option<Lanes> {
        if self.width == Width::One || lanes == Lanes::Same {
            return Some(lanes);
        }
        match runs.last() {
            None | Some((_, 0)) if runs.len() <= 1 => Some(Lanes::Same),
            Some((size, 0)) if size.is_multiple_of(4) => Some(Lanes::Same),
            Some((size, 1)) => {
                let aligned = runs[..runs.len() - 1].iter().all(|(_, stride)| stride.is_multiple_of(4));
                (size.is_multiple_of(4) && aligned && start.is_multiple_of(4)).then_some(Lanes::Neighbours)
            }
            _ => None,
        }
    }

    /// start + Σ coordinate·stride, the coordinates taken from `index` run by run.
    fn strided(&mut self, index: &str, runs: &[(usize, usize)], start: usize) -> String {
        let mut terms = Vec::new();
        let mut inner = 1;
        for (position, &(size, stride)) in runs.iter().enumerate().rev() {
            if stride != 0 {
                let mut coordinate = self.quotient(index, inner);
                if position > 0 {
                    coordinate = self.remainder(&coordinate, size);
                }
                terms.push(if stride == 1 { coordinate } else { format!("{coordinate} * {stride}u") });
            }
            inner *= size;
        }
        if start > 0 {
            terms.push(format!("{start}u"));
        }
        match terms.len() {
            0 => "0u".to_owned(),
            1 => self.name(&terms[0]),
            _ => self.name(&format!("({})", terms.join(" + "))),
        }
    }

    pub(super) fn pad(
        &mut self,
        var: Var,
        axis: usize,
        before: usize,
        index: &str,
        lanes: Lanes,
    ) -> Option<String> {
        if self.width == Width::Four && lanes == Lanes::Neighbours {
            return None;
        }
        let graph = self.scope.graph;
        let input = graph.node(var).inputs[0];
        let (from, to) =
            (graph.shape(input).resolve(self.scope.batch), graph.shape(var).resolve(self.scope.batch));
        let inner: usize = to[axis + 1..].iter().product();
        let along = self.quotient(index, inner);
        let coordinate = self.remainder(&along, to[axis]);
        let outside = self.quotient(index, inner * to[axis]);
        let within = self.remainder(index, inner);
        let inside =
            self.name(&format!("({coordinate} >= {before}u && {coordinate} < {}u)", before + from[axis]));
        // Outside the range the first element is read and thrown away.
        let moved = self.name(&format!("select(0u, {coordinate} - {before}u, {inside})"));
        let source = self.name(&format!("(({outside} * {}u + {moved}) * {inner}u + {within})", from[axis]));
        let value = self.at(input, &source, lanes)?;
        Some(format!("select(T(0.0), {value}, {inside})"))
    }

    pub(super) fn gather(&mut self, var: Var, index: &str, lanes: Lanes) -> Option<String> {
        let graph = self.scope.graph;
        let [table, indices] = [0, 1].map(|i| storage(graph, graph.node(var).inputs[i]));
        let shape = graph.shape(graph.node(var).inputs[0]).resolve(self.scope.batch);
        let width: usize = shape[1..].iter().product();
        if self.width == Width::Four && lanes == Lanes::Neighbours && !width.is_multiple_of(4) {
            return None;
        }
        let line = self.quotient(index, width);
        let within = self.remainder(index, width);
        let picked = self.stored(indices, &line);
        // An index past the end reads the last row instead of memory that is not the table's.
        let row = self.name(&format!("min({picked}, {}u)", shape[0] - 1));
        let source = self.name(&format!("({row} * {width}u + {within})"));
        Some(self.load(table, &source, lanes))
    }

    pub(super) fn quotient(&mut self, index: &str, size: usize) -> String {
        let fact = self.facts.iter().find(|fact| fact.name == index && fact.size == size);
        match (fact, size, index) {
            (_, 1, _) | (_, _, "0u") => index.to_owned(),
            (Some(fact), _, _) => fact.quotient.to_owned(),
            _ => self.name(&format!("{index} / {size}u")),
        }
    }

    pub(super) fn remainder(&mut self, index: &str, size: usize) -> String {
        let fact = self.facts.iter().find(|fact| fact.name == index && fact.size == size);
        match (fact, size, index) {
            (_, 1, _) | (_, _, "0u") => "0u".to_owned(),
            (Some(fact), _, _) => fact.remainder.to_owned(),
            _ => self.name(&format!("{index} % {size}u")),
        }
    }
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// Axes (size, stride) with neighbours merged where they walk memory as one; axes of one element vanish.
fn merge_axes(shape: &[usize], strides: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (&size, &stride) in shape.iter().zip(strides).filter(|(size, _)| **size != 1) {
        match runs.last_mut() {
            Some((outer, outer_stride)) if *outer_stride == size * stride => {
                *outer *= size;
                *outer_stride = stride;
            }
            _ => runs.push((size, stride)),
        }
    }
    runs
}
