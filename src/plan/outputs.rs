//! The nodes that a plan stores for its outputs, each with memory of its own.

use std::collections::BTreeMap;

use super::fuse::storage;
use super::{Destination, Home};
use crate::Result;
use crate::graph::ops::Lowering;
use crate::graph::{Dim, Graph, Var};

/// The nodes to store for the outputs, each with a home of its own. An output that is a source, that is wanted
/// twice or that another node reads is copied: a kernel cannot read the buffer that it writes, and outputs share one.
pub(super) fn own_outputs(graph: &mut Graph, outputs: &[(Var, Destination)]) -> Result<BTreeMap<Var, Home>> {
    let wanted: Vec<Var> = outputs.iter().map(|(var, _)| storage(graph, *var)).collect();
    let read = graph.read_by_others(&wanted);
    let mut homes = BTreeMap::new();
    for (&(_, destination), &var) in outputs.iter().zip(&wanted) {
        let is_source = matches!(graph.node(var).op.lower(), Lowering::Source(_));
        let wanted_twice = wanted.iter().filter(|&&other| other == var).count() > 1;
        let shared = is_source || wanted_twice || read.contains(&var);
        let root = if shared { new_copy(graph, var)? } else { var };
        let home = match destination {
            Destination::Gradient(parameter) => Home::Gradient(parameter),
            Destination::Result(number) => Home::Result(number),
        };
        homes.insert(root, home);
    }
    Ok(homes)
}

/// A copy of `var` that nothing else in the graph is or reads. Equal nodes are one, so a copy that is there
/// already is told from this one by leading dimensions of 1.
fn new_copy(graph: &mut Graph, var: Var) -> Result<Var> {
    let mut shape = graph.shape(var).clone();
    loop {
        let nodes = graph.len();
        let same = graph.reshape(var, shape.clone())?;
        let copy = graph.copy(same)?;
        if copy.index() >= nodes {
            return Ok(copy);
        }
        shape.0.insert(0, Dim::Fixed(1));
    }
}
