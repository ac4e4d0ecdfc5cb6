//! Work that shares a dispatch: a sum over rows with the product that reads the same matrix, and two products side by side.
//!
//! A bias' gradient is the sum over the batch of what its weight's gradient multiplies, so the product has read all that the
//! sum needs. The gradients of a layer's weight and of its input need nothing of each other, and what one of them leaves
//! idle of a GPU the other can use. Both save a launch, and on a GPU the wait between two that write the same buffer.

use std::collections::{BTreeMap, BTreeSet};

use super::cost::filling_workgroups;
use super::fuse::{Group, matrix_operand, storage};
use super::kernels::matmul::{MatmulParams, ProductText, Tile, matmul_wgsl, pair_wgsl};
use super::lower::{LONGEST_SUM, Lowerer, fold_groups};
use super::{Binding, Dispatch, Home, Precision};
use crate::Result;
use crate::gpu::AdapterClass;
use crate::graph::Var;
use crate::graph::ops::{Lowering, ReduceKind, Source};

/// What may share a dispatch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Joins {
    /// Sums over rows with the products that read the same.
    pub sums: bool,
    /// Workgroups of a product from which on it shares a dispatch with no other.
    pub products_below: usize,
}

impl Joins {
    /// What an adapter of `class` gets: on a GPU products share where each leaves part of it idle (not measured on one); on
    /// software nothing is idle, and a longer text takes longer to compile.
    pub fn of(class: AdapterClass) -> Self {
        let products_below = match class {
            AdapterClass::Software => 0,
            _ => filling_workgroups(class),
        };
        Joins { sums: true, products_below }
    }
}

/// A product that is ready to be launched, alone or beside another.
pub(super) struct Launch {
    pub text: ProductText,
    pub params: MatmulParams,
    pub reads: Vec<Binding>,
    pub writes: Vec<Binding>,
    pub workgroups: usize,
    pub operations: u64,
}

/// A stored matrix, and how many rows and columns of it are read.
type Rows = (Var, [usize; 2]);

impl Lowerer<'_> {
    /// Appends what computes `groups`, in their order but for the sums that products take with them.
    pub fn groups(&mut self, groups: &[Group]) -> Result<()> {
        if self.joins.sums {
            self.sums = self.sums_of_products(groups);
        }
        let elsewhere: BTreeSet<Var> = self.sums.values().map(|sum| sum.root).collect();
        for group in groups.iter().filter(|group| !elsewhere.contains(&group.root)) {
            self.group(group)?;
        }
        self.launch_waiting()
    }

    /// Of each product whose kernel may also add up the rows that it reads, the group of that sum. Both are gradients: no
    /// kernel reads those, so it does not matter when in the step they are made.
    fn sums_of_products(&self, groups: &[Group]) -> BTreeMap<Var, Group> {
        let gradients = || {
            let is_gradient = |root| matches!(self.homes.get(&root), Some(Home::Gradient(_)));
            groups.iter().filter(move |group| group.anchor == Some(group.root) && is_gradient(group.root))
        };
        let mut sums: BTreeMap<Rows, &Group> =
            gradients().filter_map(|group| Some((self.summed_rows(group.root)?, group))).collect();
        let of_product = |group: &Group| {
            let sum = sums.remove(&self.multiplied_rows(group.root)?)?;
            Some((group.root, sum.clone()))
        };
        gradients().filter_map(of_product).collect()
    }

    /// The matrix whose rows the node adds up, if that is what it does.
    fn summed_rows(&self, root: Var) -> Option<Rows> {
        let graph = self.scope.graph;
        let node = graph.node(root);
        let Lowering::Reduce(reduce) = node.op.lower() else { return None };
        let (outer, rows, columns) = reduce.extents(&graph.shape(node.inputs[0]).resolve(self.scope.batch));
        let fits = reduce.kind == ReduceKind::Sum && outer == 1;
        fits.then(|| (storage(graph, node.inputs[0]), [rows, columns]))
    }

    /// The matrix that the node multiplies by another from the left, transposed, if it is one product of that kind.
    fn multiplied_rows(&self, root: Var) -> Option<Rows> {
        let graph = self.scope.graph;
        let node = graph.node(root);
        let Lowering::MatMul(matmul) = node.op.lower() else { return None };
        let shape = |var: Var| graph.shape(var).resolve(self.scope.batch);
        let extents = matmul.extents(&shape(node.inputs[0]), &shape(root));
        let operand = matrix_operand(graph, node.inputs[0], matmul.transpose_a);
        // Of a parameter the product may read a copy in 16 bits.
        let is_parameter =
            matches!(graph.node(operand.stored).op.lower(), Lowering::Source(Source::Parameter(_)));
        let fits = operand.transposed && !operand.shared && extents.batches == 1 && !is_parameter;
        fits.then_some((operand.stored, [extents.k, extents.m]))
    }

    /// Whether the kernel of a product that is neither cut nor split can take the sum of its rows with it: both operands and
    /// both results have bindings, and the sum, one chain as each of C's, is no longer than an invocation's of a reduction.
    pub fn takes_sum(&self, tile: Tile, k: usize) -> bool {
        self.profile.max_storage_buffers >= 4 && k <= LONGEST_SUM && !tile.on_units()
    }

    /// Launches `product` together with the one that waits, or has it wait for another.
    pub fn launch(&mut self, product: Launch) -> Result<()> {
        if product.workgroups >= self.joins.products_below {
            return self.launch_together(vec![product]);
        }
        match self.waiting.take() {
            Some(first) if self.can_share(&first, &product) => self.launch_together(vec![first, product]),
            first => {
                first.map_or(Ok(()), |first| self.launch_together(vec![first]))?;
                self.waiting = Some(product);
                Ok(())
            }
        }
    }

    /// Launches the product that waits for another, before anything else is.
    pub fn launch_waiting(&mut self) -> Result<()> {
        self.waiting.take().map_or(Ok(()), |product| self.launch_together(vec![product]))
    }

    /// Whether one kernel can do both: of one shape, without need of each other, and in no more memory than one after the
    /// other, so that a larger batch, whose products share nothing, never takes less.
    fn can_share(&self, first: &Launch, second: &Launch) -> bool {
        let tile = first.text.spec.tile;
        let bound: usize =
            [first, second].map(|launch| launch.reads.len() + launch.writes.len()).iter().sum();
        let among = |tensor: usize, bindings: &[Binding]| bindings.iter().any(|other| other.tensor == tensor);
        let touches = |launch: &Launch, written: &[Binding]| {
            launch.reads.iter().chain(&launch.writes).any(|binding| among(binding.tensor, written))
        };
        let outlives = |read: &Binding| {
            self.plan.tensors[read.tensor].home != Home::Arena || among(read.tensor, &second.reads)
        };
        tile == second.text.spec.tile
            && !tile.on_units()
            && bound <= self.profile.max_storage_buffers as usize
            && !touches(first, &second.writes)
            && !touches(second, &first.writes)
            && first.reads.iter().all(outlives)
            // What is written lies apart from all that the other reads, which only a gradient does by itself.
            && first.writes.iter().all(|write| self.plan.tensors[write.tensor].home != Home::Arena)
            // Functions in f64 are written for one width a text.
            && self.scope.precision != Precision::F64
    }

    /// Appends one dispatch of one product or two.
    fn launch_together(&mut self, launches: Vec<Launch>) -> Result<()> {
        let workgroups = launches.iter().map(|launch| launch.workgroups).sum();
        let (groups, fold) = fold_groups(workgroups, self.profile);
        let (mut reads, mut writes, mut params): (Vec<_>, Vec<_>, Vec<u32>) = Default::default();
        let operations = launches.iter().map(|launch| launch.operations).sum();
        let mut texts = Vec::new();
        for launch in launches {
            reads.extend(launch.reads);
            writes.extend(launch.writes);
            params.resize(params.len().next_multiple_of(4), 0);
            params.extend_from_slice(bytemuck::cast_slice(&[MatmulParams { fold, ..launch.params }]));
            texts.push(launch.text);
        }
        let memory = texts.first().map_or(0, |text| text.spec.tile.workgroup_memory());
        let kernel = self.products_kernel(texts, [reads.len(), writes.len()]);
        self.push(Dispatch { kernel, reads, writes, params, groups, operations })?;
        self.hold(memory);
        Ok(())
    }

    /// The kernel of one product or two of this kind, its text written once: it is by far the longest.
    fn products_kernel(&mut self, texts: Vec<ProductText>, bound: [usize; 2]) -> usize {
        if let Some(&kernel) = self.matmul_kernels.get(&texts) {
            return kernel;
        }
        let step = include_str!("../../shaders/step.wgsl");
        let (label, wgsl) = match texts.as_slice() {
            [first, second] => ("two matmuls", pair_wgsl([first, second], step)),
            texts => ("matmul", texts.iter().map(|text| matmul_wgsl(text, step)).collect()),
        };
        let kernel = self.kernel(label, wgsl, bound);
        self.matmul_kernels.insert(texts, kernel);
        kernel
    }
}
