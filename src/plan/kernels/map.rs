//! Elementwise kernels: one invocation computes one element of the result, or four neighbours.

use super::{FIRST_READ, entry, output, prologue};
use crate::graph::{Element, Graph, Var};
use crate::plan::expression::{Expression, Load, Width, storage_type};
use std::collections::BTreeSet;

/// A kernel's text, and what it reads in the order of its bindings.
pub(crate) struct Generated {
    pub source: String,
    pub loads: Vec<Load>,
    pub width: Width,
}

/// The kernel that stores `root`; four elements at a time where that can be and takes no more than `max_reads`
/// bindings: a tensor that is read both by fours and one by one takes two.
pub(crate) fn map(
    graph: &Graph,
    batch: usize,
    stored: &BTreeSet<Var>,
    root: Var,
    max_reads: usize,
) -> Option<Generated> {
    let elements = graph.shape(root).elements(batch);
    let integer = graph.element(root) == Element::U32;
    let by_four = if elements.is_multiple_of(4) && !integer {
        map_of_width(graph, batch, stored, root, Width::Four).filter(|map| map.loads.len() <= max_reads)
    } else {
        None
    };
    by_four.or_else(|| map_of_width(graph, batch, stored, root, Width::One))
}

fn map_of_width(
    graph: &Graph,
    batch: usize,
    stored: &BTreeSet<Var>,
    root: Var,
    width: Width,
) -> Option<Generated> {
    let mut expression = Expression::new(graph, batch, stored, width, FIRST_READ).storing(root);
    let integer = graph.element(root) == Element::U32;
    if integer {
        expression = expression.raw();
    }
    let value = expression.value(root, "index")?;
    let statements = expression.take_statements();
    let ty = storage_type(graph.element(root), width == Width::Four);
    let mut source = prologue(width, &[]);
    source.push_str(&expression.declarations());
    source.push_str(&output(FIRST_READ + expression.loads.len(), ty));
    source.push_str(&entry());
    source.push_str(&format!(
        "    let index = i * {}u;\n{statements}    result[i] = {value};\n}}\n",
        width.lanes()
    ));
    Some(Generated { source, loads: expression.loads, width })
}
