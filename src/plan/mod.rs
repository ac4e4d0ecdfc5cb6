//! A graph compiled for one adapter and one micro-batch size: kernels, a list of dispatches, and a place in memory
//! for every tensor. Pure host code up to [`replay`], which is all that holds a device.

mod arena;
mod blueprint;
mod by_rows;
pub(crate) mod cost;
mod expression;
mod fuse;
mod half;
mod kernels;
mod lower;
mod matrix;
pub(crate) mod memory;
mod memory_map;
mod outputs;
mod precision;
pub(crate) mod recompute;
pub(crate) mod replay;
mod step;
mod theta;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;

use crate::Result;
use crate::gpu::Profile;
use crate::graph::{Graph, TensorType, Var};
use arena::{Arenas, Lifetime};

pub(crate) use blueprint::Blueprint;
pub(crate) use kernels::matmul::{
    Body, Epilogue, FIRST_EPILOGUE_BINDING, Former, Layout as MatmulLayout, MatmulParams, MatmulSpec,
    Operand, ProductShape, Tile, Tiling, Tilings, matmul_wgsl, tiles, tiling_for,
};
pub(crate) use lower::fold_groups;
pub use memory_map::{MemoryMap, PlacedTensor};
pub use precision::Precision;
pub(crate) use step::StepUniform;
pub(crate) use theta::{Piece, ThetaLayout};

/// A graph and what is wanted of it.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub graph: Graph,
    pub outputs: Vec<(Var, Destination)>,
}

/// How the kernels of a plan write gradients. Activations always overwrite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Gradients {
    /// Over what is there: a micro-batch is the whole batch.
    Overwrite,
    /// Added to what is there where [`StepUniform::accumulate`] says so: a batch is several micro-batches. Random
    /// numbers are then those of the undivided batch.
    Accumulate,
}

/// Where an output is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    /// The range of the gradient of this parameter.
    Gradient(usize),
    /// The result of this number, to be read by the host.
    Result(usize),
}

/// The role of the memory in which a tensor lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    Parameter(usize),
    Gradient(usize),
    /// A whole shard of θ.
    ThetaShard(usize),
    /// A whole shard of the gradient.
    GradientShard(usize),
    Input(usize),
    Result(usize),
    /// An arena, for as long as a later dispatch needs it.
    Arena,
}

/// A stored tensor of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// What it is, for errors and charts.
    pub label: String,
    pub bytes: u64,
    pub home: Home,
}

/// A tensor, or the piece of a parameter that is cut, at a binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Binding {
    pub tensor: usize,
    pub piece: usize,
}

/// A kernel's text and the number of buffers that it reads before the one that it writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KernelText {
    pub label: String,
    pub wgsl: String,
    pub reads: usize,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub kernel: usize,
    pub reads: Vec<Binding>,
    pub write: Binding,
    /// The kernel's own uniform.
    pub params: Vec<u32>,
    pub groups: [u32; 2],
    /// Floating-point operations, where they are more than what moving the bytes takes.
    pub operations: u64,
}

/// A slot that the host fills.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct InputSlot {
    pub name: String,
    pub ty: TensorType,
}

/// A graph compiled: everything that a step does, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub batch: usize,
    pub precision: Precision,
    pub kernels: Vec<KernelText>,
    pub dispatches: Vec<Dispatch>,
    pub tensors: Vec<Tensor>,
    pub inputs: Vec<InputSlot>,
    /// Bytes of each result.
    pub results: Vec<u64>,
    pub theta: ThetaLayout,
    /// The arena's slot of each tensor whose home it is, by tensor.
    pub arena_slots: Vec<Option<arena::Slot>>,
    /// Bytes of each arena.
    pub arenas: Vec<u64>,
    /// The products in it.
    pub products: BTreeSet<ProductShape>,
}

impl Plan {
    /// Compiles `program` for micro-batches of `batch` rows on an adapter of `profile`, in f32; each is a batch of its own.
    ///
    /// Errors: [`crate::Error::DoesNotFit`] where a tensor is larger than the adapter binds.
    pub fn new(program: &Program, profile: &Profile, batch: usize) -> Result<Plan> {
        Blueprint::new(program, profile, Gradients::Overwrite, Precision::F32)?.plan(batch)
    }

    fn place_activations(&mut self, max_bytes: u64) {
        let activations: Vec<usize> =
            (0..self.tensors.len()).filter(|&i| self.tensors[i].home == Home::Arena).collect();
        let number = |tensor: usize| activations.binary_search(&tensor).ok();
        let mut lives: Vec<Lifetime> = activations
            .iter()
            .map(|&tensor| Lifetime { bytes: self.tensors[tensor].bytes, first: usize::MAX, last: 0 })
            .collect();
        let mut apart = BTreeSet::new();
        for (time, dispatch) in self.dispatches.iter().enumerate() {
            let written = number(dispatch.write.tensor);
            let touched = dispatch.reads.iter().filter_map(|read| number(read.tensor)).chain(written);
            for tensor in touched {
                lives[tensor].first = lives[tensor].first.min(time);
                lives[tensor].last = lives[tensor].last.max(time);
                if let Some(written) = written.filter(|&written| written != tensor) {
                    apart.insert((tensor, written));
                }
            }
        }
        let Arenas { slots, sizes } = arena::place(&lives, &apart, max_bytes);
        self.arena_slots = vec![None; self.tensors.len()];
        for (&tensor, slot) in activations.iter().zip(slots) {
            self.arena_slots[tensor] = Some(slot);
        }
        self.arenas = sizes;
    }
}
