//! Differentiation as transforms of the graph: `vjp` walks it backwards, `jvp` forwards, and both append ordinary
//! nodes, so they compose: a Hessian-vector product is the jvp of a vjp.

use super::ops::Site;
use super::{Graph, Var};
use crate::{Error, Result};

impl Graph {
    /// The derivative of the scalar `loss` by each of `wrt`, each with the shape of its variable.
    pub fn gradient(&mut self, loss: Var, wrt: &[Var]) -> Result<Vec<Var>> {
        if self.shape(loss).rank() != 0 {
            let message =
                format!("the loss is {}, not a scalar; reduce it with `mean` or `sum`", self.shape(loss));
            return Err(Error::shape("gradient", message));
        }
        let one = self.constant(1.0)?;
        self.vjp(&[(loss, one)], wrt)
    }

    /// Reverse mode: Σ (∂output/∂x)ᵀ·cotangent for each x of `wrt`, over pairs (output, cotangent).
    pub fn vjp(&mut self, outputs: &[(Var, Var)], wrt: &[Var]) -> Result<Vec<Var>> {
        let depends = self.depends_on(wrt);
        let mut cotangents: Vec<Option<Var>> = vec![None; depends.len()];
        for &(output, cotangent) in outputs {
            if self.shape(output) != self.shape(cotangent) {
                let (a, b) = (self.shape(output), self.shape(cotangent));
                return Err(Error::shape("vjp", format!("output {a} with a cotangent {b}")));
            }
            cotangents[output.index()] = self.add_optional(cotangents[output.index()], Some(cotangent))?;
        }
        for index in (0..depends.len()).rev() {
            let (true, Some(cotangent)) = (depends[index], cotangents[index]) else { continue };
            let node = self.nodes[index].clone();
            let site = Site { inputs: &node.inputs, output: Var(index as u32) };
            let flows = node.inputs.iter().any(|input| depends[input.index()]);
            if !flows {
                continue;
            }
            let contributions = node.op.vjp(self, &site, cotangent)?;
            for (input, contribution) in node.inputs.iter().zip(contributions) {
                if depends[input.index()] {
                    let sum = self.add_optional(cotangents[input.index()], contribution)?;
                    cotangents[input.index()] = sum;
                }
            }
        }
        wrt.iter().map(|&var| cotangents[var.index()].map_or_else(|| self.zeros_like(var), Ok)).collect()
    }

    /// Forward mode: the change of each of `outputs` when each variable moves along its tangent.
    pub fn jvp(&mut self, outputs: &[Var], tangents: &[(Var, Var)]) -> Result<Vec<Var>> {
        let live = self.live(outputs);
        let mut moved: Vec<Option<Var>> = vec![None; live.len()];
        for &(var, tangent) in tangents {
            if self.shape(var) != self.shape(tangent) {
                let (a, b) = (self.shape(var), self.shape(tangent));
                return Err(Error::shape("jvp", format!("variable {a} with a tangent {b}")));
            }
            moved[var.index()] = Some(tangent);
        }
        for index in 0..live.len() {
            let node = &self.nodes[index];
            let tangents: Vec<_> = node.inputs.iter().map(|input| moved[input.index()]).collect();
            if !live[index] || moved[index].is_some() || tangents.iter().all(Option::is_none) {
                continue;
            }
            let node = node.clone();
            let site = Site { inputs: &node.inputs, output: Var(index as u32) };
            moved[index] = node.op.jvp(self, &site, &tangents)?;
        }
        outputs.iter().map(|&var| moved[var.index()].map_or_else(|| self.zeros_like(var), Ok)).collect()
    }

    /// For every node whether it depends on some of `vars`.
    fn depends_on(&self, vars: &[Var]) -> Vec<bool> {
        let mut depends = vec![false; self.len()];
        for var in vars {
            depends[var.index()] = true;
        }
        for index in 0..self.len() {
            depends[index] |= self.nodes[index].inputs.iter().any(|input| depends[input.index()]);
        }
        depends
    }

    fn zeros_like(&mut self, var: Var) -> Result<Var> {
        let zero = self.constant(0.0)?;
        let shape = self.shape(var).clone();
        self.broadcast_to(zero, shape)
    }
}
