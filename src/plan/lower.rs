//! From fused groups to dispatches: which kernel, over what, how many workgroups.

use std::collections::{BTreeMap, HashMap};

use super::expression::{Expression, Load, Scope, Width};
use super::fuse::{Group, storage};
use super::kernels::matmul::{Epilogue, MatmulSpec, Tilings};
use super::kernels::reduce::ReduceKernel;
use super::kernels::{FIRST_READ, WORKGROUP, map, rows, scatter, with_extensions};
use super::{Binding, Dispatch, Gradients, Home, InputSlot, KernelText, Plan, Precision, Tensor};
use crate::gpu::{AdapterClass, Profile, format_bytes, in_double};
use crate::graph::ops::{Lowering, Reduce, ReduceKind, RowKind, Source};
use crate::graph::{Dim, Element, Graph, Var};
use crate::{Error, Result};

/// Rows longer than this are shared by a workgroup on a GPU; on a software adapter, where workgroup memory and
/// barriers cost more than they save, never.
const LONG_ROW: usize = 128;

/// Elements that one invocation (or lane) adds up alone; more would leave processors idle.
const LONGEST_SUM: usize = 4096;

/// Invocations that keep an adapter busy; a reduction to fewer elements is cut into parts.
const BUSY: usize = 8192;

/// What to do where a node is too large: only what has the batch in its shape shrinks with it.
pub(super) fn advice(graph: &Graph, var: Var) -> &'static str {
    let has_batch = graph.shape(var).dims().iter().any(|dim| matches!(dim, Dim::Batch(_)));
    let is_input = matches!(graph.node(var).op.lower(), Lowering::Source(Source::Input(_)));
    match (has_batch, is_input) {
        (true, _) => "use a smaller batch",
        (false, true) => "use --resident no (rows are then uploaded)",
        (false, false) => "use a smaller model",
    }
}

/// Workgroups along x and y for `groups` of them, and how many lie along x.
pub(crate) fn fold_groups(groups: usize, profile: &Profile) -> ([u32; 2], u32) {
    let most = profile.max_workgroups_per_dimension as usize;
    let along_x = groups.clamp(1, most);
    ([along_x as u32, groups.div_ceil(along_x) as u32], along_x as u32)
}

pub(super) struct Lowerer<'a> {
    pub scope: Scope<'a>,
    pub profile: &'a Profile,
    /// What is chosen for products of some shapes.
    pub tilings: &'a Tilings,
    /// Where the outputs lie.
    pub homes: &'a BTreeMap<Var, Home>,
    pub matmul_kernels: HashMap<(MatmulSpec, Epilogue, u32), usize>,
    /// The tensor of every stored node met so far.
    known: BTreeMap<Var, usize>,
    /// The copy in 16 bits of every parameter met so far that has one.
    copies: BTreeMap<Var, usize>,
    pub plan: Plan,
}

impl<'a> Lowerer<'a> {
    /// Continues `plan`, which has no dispatches yet.
    pub fn new(
        scope: Scope<'a>,
        profile: &'a Profile,
        tilings: &'a Tilings,
        homes: &'a BTreeMap<Var, Home>,
        plan: Plan,
    ) -> Self {
        let (matmul_kernels, known, copies) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        Lowerer { scope, profile, tilings, homes, matmul_kernels, known, copies, plan }
    }

    /// Appends what computes one group.
    pub fn group(&mut self, group: &Group) -> Result<()> {
        let graph = self.scope.graph;
        let Some(anchor) = group.anchor else { return self.map(group.root) };
        match graph.node(anchor).op.lower() {
            Lowering::MatMul(matmul) => self.matmul(matmul, anchor, group.root),
            Lowering::Reduce(reduce) => self.reduce(reduce, anchor, group.root),
            Lowering::Row(kind) => self.rows(kind, anchor),
            _ => self.scatter_add(anchor),
        }
    }

    fn map(&mut self, root: Var) -> Result<()> {
        let kernel =
            map::map(self.scope, root, self.max_reads(), self.accumulates(root)).ok_or_else(|| {
                Error::shape(self.scope.graph.node(root).op.name(), "the result cannot be stored")
            })?;
        let invocations = self.elements(root) / kernel.width.lanes();
        let reads = self.bind_loads(&kernel.loads)?;
        let write = self.bind_result(root)?;
        self.dispatch("map", kernel.source, reads, write, Grid::Invocations(invocations), &[])
    }

    fn reduce(&mut self, reduce: &Reduce, anchor: Var, root: Var) -> Result<()> {
        let graph = self.scope.graph;
        let input = graph.node(anchor).inputs[0];
        let (outer, extent, inner) = reduce.extents(&graph.shape(input).resolve(self.scope.batch));
        let cut = Cut::of(outer, extent, inner, self.profile.class);
        let label = format!("{:?}", reduce.kind).to_lowercase();
        let whole = cut.parts == 1;
        let stage = ReduceKernel {
            scope: self.scope,
            kind: reduce.kind,
            input: Some(input),
            epilogue: whole.then_some((anchor, root)),
            inner,
            cooperative: cut.cooperative,
            max_reads: self.max_reads(),
            accumulate: whole && self.accumulates(root),
        };
        let kernel = stage.generate().ok_or_else(|| not_in_kernel(reduce_name(reduce)))?;
        let outputs = outer * cut.parts * inner;
        let reads = self.bind_loads(&kernel.loads)?;
        let write = match whole {
            true => self.bind_result(root)?,
            false => self.scratch(format!("{label} of parts"), outputs)?,
        };
        let fields = [extent, inner, cut.parts, cut.chunk];
        let grid = cut.grid(outputs / kernel.width.lanes());
        self.dispatch(&label, kernel.source, reads, write, grid, &fields)?;
        if cut.cooperative {
            self.hold(self.float_bytes() as u32 * WORKGROUP as u32);
        }
        match whole {
            true => Ok(()),
            false => self.join_parts(reduce.kind, write, [outer, cut.parts, inner], (anchor, root)),
        }
    }

    /// Reduces results [outer, parts, inner] of parts of what `anchor` computes, and stores `root` of them.
    pub fn join_parts(
        &mut self,
        kind: ReduceKind,
        of_parts: Binding,
        [outer, parts, inner]: [usize; 3],
        (anchor, root): (Var, Var),
    ) -> Result<()> {
        let stage = ReduceKernel {
            scope: self.scope,
            kind,
            input: None,
            epilogue: Some((anchor, root)),
            inner,
            cooperative: false,
            max_reads: self.max_reads(),
            accumulate: self.accumulates(root),
        };
        let name = self.scope.graph.node(anchor).op.name();
        let kernel = stage.generate().ok_or_else(|| not_in_kernel(name))?;
        let mut reads = vec![of_parts];
        reads.extend(self.bind_loads(&kernel.loads)?);
        let write = self.bind_result(root)?;
        let grid = Grid::Invocations(outer * inner / kernel.width.lanes());
        let label = format!("{kind:?}").to_lowercase();
        self.dispatch(&label, kernel.source, reads, write, grid, &[parts, inner, 1, parts])
    }

    fn rows(&mut self, kind: RowKind, root: Var) -> Result<()> {
        let graph = self.scope.graph;
        let inputs = &graph.node(root).inputs;
        let shape = graph.shape(inputs[0]).resolve(self.scope.batch);
        let classes = *shape.last().unwrap_or(&1);
        let count = self.elements(inputs[0]) / classes;
        let cooperative = classes > LONG_ROW && self.profile.class != AdapterClass::Software;
        let form = [cooperative, self.scope.half.contains(&root)];
        let accumulate = self.accumulates(root);
        let mut reads = Vec::new();
        for &input in inputs.iter().take(2) {
            reads.push(self.bind_read(storage(graph, input))?);
        }
        let source = match inputs.get(2) {
            None => rows::rows(kind, form, None, accumulate),
            Some(&upstream) => {
                let mut expression = Expression::new(self.scope, Width::One, FIRST_READ + 2);
                let value = expression
                    .value(upstream, "i")
                    .ok_or_else(|| Error::shape("cross-entropy gradient", "its factor cannot be computed"))?;
                let statements = expression.take_statements();
                reads.extend(self.bind_loads(&expression.loads)?);
                rows::rows(kind, form, Some((&expression, &statements, &value)), accumulate)
            }
        };
        let write = self.bind_result(root)?;
        let grid = if cooperative { Grid::Workgroups(count) } else { Grid::Invocations(count) };
        self.dispatch(graph.node(root).op.name(), source, reads, write, grid, &[classes])?;
        if cooperative {
            // Values and places.
            self.hold((self.float_bytes() as u32 + 4) * WORKGROUP as u32);
        }
        Ok(())
    }

    fn scatter_add(&mut self, root: Var) -> Result<()> {
        let graph = self.scope.graph;
        let [indices, updates] = [0, 1].map(|i| storage(graph, graph.node(root).inputs[i]));
        let count = self.elements(indices);
        let width = self.elements(updates) / count.max(1);
        let reads = vec![self.bind_read(indices)?, self.bind_read(updates)?];
        let write = self.bind_result(root)?;
        let grid = Grid::Invocations(self.elements(root));
        self.dispatch(
            "scatter-add",
            scatter::scatter_add(self.accumulates(root)),
            reads,
            write,
            grid,
            &[width, count],
        )
    }

    /// Whether the kernel that stores `root` adds to what is there where the step says so: gradients accumulate,
    /// activations overwrite.
    pub fn accumulates(&self, root: Var) -> bool {
        self.scope.gradients == Gradients::Accumulate
            && matches!(self.homes.get(&root), Some(Home::Gradient(_)))
    }

    /// Storage buffers that a kernel can read beside the one that it writes.
    pub fn max_reads(&self) -> usize {
        self.profile.max_storage_buffers as usize - 1
    }

    pub fn elements(&self, var: Var) -> usize {
        self.scope.graph.shape(var).elements(self.scope.batch)
    }

    pub fn bind_loads(&mut self, loads: &[Load]) -> Result<Vec<Binding>> {
        loads.iter().map(|load| self.bind_read(load.var)).collect()
    }

    /// A stored node as a kernel reads it, whole.
    pub fn bind_read(&mut self, var: Var) -> Result<Binding> {
        let tensor = self.tensor(var)?;
        if self.pieces(tensor) > 1 {
            return Err(Error::DoesNotFit(format!(
                "{} is larger than the {} that this adapter binds at once, and only a matmul reads it in pieces",
                self.plan.tensors[tensor].label,
                format_bytes(self.profile.max_binding_size)
            )));
        }
        Ok(Binding { tensor, piece: 0 })
    }

    /// The memory of a result, whole.
    pub fn bind_result(&mut self, root: Var) -> Result<Binding> {
        self.bind_read(root)
    }

    /// Into how many pieces a tensor is cut.
    pub fn pieces(&self, tensor: usize) -> usize {
        match self.plan.tensors[tensor].home {
            Home::Parameter(number) | Home::Gradient(number) => self.plan.theta.pieces[number].len(),
            _ => 1,
        }
    }

    /// The tensor of a stored node.
    pub fn tensor(&mut self, var: Var) -> Result<usize> {
        if let Some(&tensor) = self.known.get(&var) {
            return Ok(tensor);
        }
        let node = self.scope.graph.node(var);
        let bytes = match self.scope.half.contains(&var) {
            true => half_bytes(self.elements(var)),
            false => self.scope.precision.bytes(node.ty.element, self.elements(var)),
        };
        let (home, name) = match node.op.lower() {
            Lowering::Source(Source::Parameter(number)) => {
                (Home::Parameter(number), self.scope.graph.parameters()[number].name.clone())
            }
            Lowering::Source(Source::Input(name)) => {
                let slot = InputSlot { name: name.to_owned(), ty: node.ty.clone() };
                self.plan.inputs.push(slot);
                (Home::Input(self.plan.inputs.len() - 1), name.to_owned())
            }
            _ => (self.homes.get(&var).copied().unwrap_or(Home::Arena), node.op.name().to_owned()),
        };
        if let Home::Result(number) = home {
            self.plan.results[number] = bytes;
        }
        let is_source = matches!(node.op.lower(), Lowering::Source(_));
        if node.ty.element == Element::U8 && !is_source {
            let message = "a kernel cannot store bytes, which share words; convert them with `to_f32` before";
            return Err(Error::shape(node.op.name(), message));
        }
        let label = format!("{name} {}", node.ty.shape);
        let advice = advice(self.scope.graph, var);
        let tensor = self.new_tensor(label, bytes, home, advice)?;
        self.known.insert(var, tensor);
        Ok(tensor)
    }

    /// A matrix as a product reads it, and whether it lies there in 16 bits: a parameter is copied once a replay, unless it
    /// is cut into pieces.
    pub fn matrix_tensor(&mut self, var: Var) -> Result<(usize, bool)> {
        if let Some(&copy) = self.copies.get(&var) {
            return Ok((copy, true));
        }
        let tensor = self.tensor(var)?;
        let is_parameter = matches!(self.plan.tensors[tensor].home, Home::Parameter(_));
        if self.scope.precision != Precision::F16 || !is_parameter || self.pieces(tensor) > 1 {
            return Ok((tensor, self.scope.half.contains(&var)));
        }
        let elements = self.elements(var);
        let label = format!("{} in f16", self.plan.tensors[tensor].label);
        let copy = self.new_tensor(label, half_bytes(elements), Home::Arena, "use f32")?;
        self.copies.insert(var, copy);
        let kernel = map::to_half(elements);
        let [read, write] = [tensor, copy].map(|tensor| Binding { tensor, piece: 0 });
        let grid = Grid::Invocations(elements / kernel.width.lanes());
        self.dispatch("to f16", kernel.source, vec![read], write, grid, &[])?;
        Ok((copy, true))
    }

    fn float_bytes(&self) -> u64 {
        self.scope.precision.float_bytes()
    }

    /// Floats that only the next dispatches need.
    pub fn scratch(&mut self, label: String, floats: usize) -> Result<Binding> {
        let bytes = self.float_bytes() * floats as u64;
        let tensor = self.new_tensor(label, bytes, Home::Arena, "use a smaller batch or model")?;
        Ok(Binding { tensor, piece: 0 })
    }

    pub fn new_tensor(&mut self, label: String, bytes: u64, home: Home, advice: &str) -> Result<usize> {
        let whole = !matches!(home, Home::Parameter(_) | Home::Gradient(_));
        if whole && bytes > self.profile.max_binding_size {
            return Err(Error::DoesNotFit(format!(
                "{label} takes {} at a micro-batch of {}, and this adapter binds at most {} at once; {advice}",
                format_bytes(bytes),
                self.scope.batch,
                format_bytes(self.profile.max_binding_size)
            )));
        }
        self.plan.tensors.push(Tensor { label, bytes, home });
        Ok(self.plan.tensors.len() - 1)
    }

    pub fn dispatch(
        &mut self,
        label: &str,
        wgsl: String,
        reads: Vec<Binding>,
        write: Binding,
        grid: Grid,
        fields: &[usize],
    ) -> Result<()> {
        let (count, groups) = match grid {
            Grid::Invocations(count) => (count, count.div_ceil(WORKGROUP)),
            Grid::Workgroups(count) => (count, count),
        };
        let (groups, along_x) = fold_groups(groups, self.profile);
        let fold = match grid {
            Grid::Invocations(_) => along_x as usize * WORKGROUP,
            Grid::Workgroups(_) => along_x as usize,
        };
        let mut params = vec![count as u32, fold as u32];
        params.extend(fields.iter().map(|&field| field as u32));
        let kernel = self.kernel(label, wgsl, reads.len());
        self.push(Dispatch { kernel, reads, write, params, groups, operations: 0 })
    }

    /// The kernel of this text: one, however often it is launched.
    pub fn kernel(&mut self, label: &str, wgsl: String, reads: usize) -> usize {
        let wgsl = with_extensions(wgsl);
        let wgsl = if self.scope.precision == Precision::F64 { in_double(&wgsl) } else { wgsl };
        let kernels = &mut self.plan.kernels;
        kernels.iter().position(|kernel| kernel.wgsl == wgsl).unwrap_or_else(|| {
            kernels.push(KernelText { label: label.to_owned(), wgsl, reads, workgroup_memory: 0 });
            kernels.len() - 1
        })
    }

    /// States the bytes of workgroup memory of the kernel launched last.
    pub fn hold(&mut self, bytes: u32) {
        if let Some(dispatch) = self.plan.dispatches.last() {
            self.plan.kernels[dispatch.kernel].workgroup_memory = bytes;
        }
    }

    /// Appends a dispatch.
    pub fn push(&mut self, dispatch: Dispatch) -> Result<()> {
        let most = self.profile.max_workgroups_per_dimension;
        if dispatch.groups.iter().any(|&groups| groups > most) {
            return Err(Error::DoesNotFit(format!(
                "a `{}` takes {} by {} workgroups at a micro-batch of {}, and this adapter takes {most} by {most}; \
                 use a smaller batch",
                self.plan.kernels[dispatch.kernel].label,
                dispatch.groups[0],
                dispatch.groups[1],
                self.scope.batch
            )));
        }
        self.plan.dispatches.push(dispatch);
        Ok(())
    }
}

/// Bytes of numbers of 16 bits; bindings are multiples of four.
fn half_bytes(elements: usize) -> u64 {
    (2 * elements as u64).next_multiple_of(4)
}

/// What the `count` of a kernel counts.
pub(super) enum Grid {
    Invocations(usize),
    Workgroups(usize),
}

/// How a reduction is shared out.
struct Cut {
    parts: usize,
    chunk: usize,
    cooperative: bool,
}

impl Cut {
    fn of(outer: usize, extent: usize, inner: usize, class: AdapterClass) -> Self {
        let outputs = (outer * inner).max(1);
        let cooperative =
            inner == 1 && extent > LONG_ROW && outputs < BUSY && class != AdapterClass::Software;
        let lanes = if cooperative { WORKGROUP } else { 1 };
        // Enough parts to keep the adapter busy, none shorter than 64 elements a lane nor longer than the longest.
        let wanted = (BUSY / (outputs * lanes)).max(1);
        let at_most = extent.div_ceil(64 * lanes).max(1);
        let at_least = extent.div_ceil(LONGEST_SUM * lanes).max(1);
        let parts = wanted.min(at_most).max(at_least);
        let chunk = extent.div_ceil(parts).max(1);
        Cut { parts: extent.div_ceil(chunk).max(1), chunk, cooperative }
    }

    fn grid(&self, outputs: usize) -> Grid {
        if self.cooperative { Grid::Workgroups(outputs) } else { Grid::Invocations(outputs) }
    }
}

fn reduce_name(reduce: &Reduce) -> &'static str {
    crate::graph::ops::Op::name(reduce)
}

fn not_in_kernel(operation: &'static str) -> Error {
    Error::shape(operation, "the operand cannot be computed in the kernel")
}
