//! The operations as calls on a graph: names, broadcasting, and the algebra that needs no kernel (x·1, x + 0,
//! a reshape to the same shape).

use std::ops::Range;

use super::ops::{
    BINARY, Binary, Expand, Gather, Generated, Lowering, MatMul, Pad, Permute, Reduce, ReduceKind, Reshape,
    Row, RowKind, ScatterAdd, Select, Slice, Unary, View, unary_rule,
};
use super::{Dim, Graph, Shape, Var};
use crate::{Error, Result};

/// Elementwise functions of one variable, by name: what `Graph::unary` takes.
macro_rules! unary_methods {
    ($($name:ident: $doc:literal),* $(,)?) => {
        impl Graph {
            $(
                #[doc = $doc]
                pub fn $name(&mut self, x: Var) -> Result<Var> {
                    self.unary(stringify!($name), x)
                }
            )*
        }
    };
}

unary_methods! {
    negate: "−x.",
    exp: "eˣ.",
    log: "The natural logarithm of x.",
    sqrt: "√x.",
    reciprocal: "1/x.",
    abs: "|x|; its derivative at 0 is 0.",
    sign: "−1, 0 or 1.",
    floor: "The largest integer that is not above x.",
    sin: "Sine.",
    cos: "Cosine.",
    tan: "Tangent.",
    atan: "The angle on (−π/2, π/2) whose tangent is x.",
    tanh: "Hyperbolic tangent.",
    sigmoid: "1/(1 + e⁻ˣ).",
    relu: "max(x, 0); its derivative at 0 is 0.",
    erf: "The error function 2/√π ∫₀ˣ e^(−t²) dt.",
    copy: "The same value in memory of its own.",
    to_f32: "Bytes or integers as floats.",
}

impl Graph {
    /// The elementwise function `name` of one variable.
    pub(crate) fn unary(&mut self, name: &str, x: Var) -> Result<Var> {
        let rule = unary_rule(name).ok_or_else(|| Error::shape(name, "there is no such function"))?;
        if let (Some(value), true) = (self.constant_value(x), rule.name != "copy") {
            let folded = self.constant((rule.reference)(value))?;
            let shape = self.shape(x).clone();
            return self.broadcast_to(folded, shape);
        }
        self.push(Unary(rule), &[x])
    }

    /// The elementwise function `name` of two variables, broadcast to one shape.
    pub(crate) fn binary(&mut self, name: &str, a: Var, b: Var) -> Result<Var> {
        let rule = BINARY.iter().find(|rule| rule.name == name);
        let rule = rule.ok_or_else(|| Error::shape(name, "there is no such function"))?;
        let Some(shape) = self.shape(a).broadcast(self.shape(b)) else {
            let message = format!("{} and {} do not broadcast", self.shape(a), self.shape(b));
            return Err(Error::shape(name, message));
        };
        let folded = match (self.constant_value(a), self.constant_value(b)) {
            (Some(a), Some(b)) => Some(self.constant((rule.reference)(a, b))?),
            (None, Some(number)) => identity_on_the_right(name, number).then_some(a),
            (Some(number), None) => (identity_on_the_right(name, number) && commutes(name)).then_some(b),
            (None, None) => None,
        };
        if let Some(value) = folded {
            return self.broadcast_to(value, shape);
        }
        let (a, b) = (self.broadcast_to(a, shape.clone())?, self.broadcast_to(b, shape)?);
        self.push(Binary(rule), &[a, b])
    }

    /// a + b, broadcast.
    pub fn add(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("add", a, b)
    }

    /// a − b, broadcast.
    pub fn sub(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("sub", a, b)
    }

    /// a·b element by element, broadcast.
    pub fn mul(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("mul", a, b)
    }

    /// a/b, broadcast.
    pub fn div(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("div", a, b)
    }

    /// aᵇ for a > 0, broadcast.
    pub fn pow(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("pow", a, b)
    }

    /// The larger of a and b, broadcast.
    pub fn maximum(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("max", a, b)
    }

    /// The smaller of a and b, broadcast.
    pub fn minimum(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("min", a, b)
    }

    /// 1 where a < b, else 0, broadcast.
    pub fn less(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("lt", a, b)
    }

    /// 1 where a = b, else 0, broadcast.
    pub fn equal(&mut self, a: Var, b: Var) -> Result<Var> {
        self.binary("eq", a, b)
    }

    /// x times a number.
    pub fn scale(&mut self, x: Var, factor: f64) -> Result<Var> {
        let factor = self.constant(factor)?;
        self.mul(x, factor)
    }

    /// `a` where `condition` is not 0, else `b`, broadcast.
    pub fn select(&mut self, condition: Var, a: Var, b: Var) -> Result<Var> {
        let [c, x, y] = [condition, a, b].map(|var| self.shape(var).clone());
        let Some(shape) = x.broadcast(&y).and_then(|shape| shape.broadcast(&c)) else {
            return Err(Error::shape("select", format!("{c}, {x} and {y} do not broadcast")));
        };
        let mut inputs = [condition, a, b];
        for input in &mut inputs {
            *input = self.broadcast_to(*input, shape.clone())?;
        }
        self.push(Select, &inputs)
    }

    /// The sum of those that are there.
    pub(crate) fn add_optional(&mut self, a: Option<Var>, b: Option<Var>) -> Result<Option<Var>> {
        match (a, b) {
            (Some(a), Some(b)) => self.add(a, b).map(Some),
            (one, other) => Ok(one.or(other)),
        }
    }

    /// The same elements under another shape.
    pub fn reshape(&mut self, x: Var, shape: impl Into<Shape>) -> Result<Var> {
        let shape = shape.into();
        let node = self.node(x);
        if node.ty.shape == shape {
            return Ok(x);
        }
        let through = matches!(node.op.lower(), Lowering::View(View::Reshape));
        let source = if through { node.inputs[0] } else { x };
        if *self.shape(source) == shape {
            return Ok(source);
        }
        self.push(Reshape { shape }, &[source])
    }

    /// Axis i of the result is axis `axes[i]` of x.
    pub fn permute(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        if axes.len() == self.shape(x).rank() && axes.iter().enumerate().all(|(i, &axis)| i == axis) {
            return Ok(x);
        }
        self.push(Permute { axes: axes.to_vec() }, &[x])
    }

    /// Dimensions of 1 repeated up to `shape`, which has the same rank.
    pub fn expand(&mut self, x: Var, shape: impl Into<Shape>) -> Result<Var> {
        let shape = shape.into();
        if *self.shape(x) == shape {
            return Ok(x);
        }
        self.push(Expand { shape }, &[x])
    }

    /// x stretched to `shape` by NumPy's rule.
    pub fn broadcast_to(&mut self, x: Var, shape: impl Into<Shape>) -> Result<Var> {
        let shape = shape.into();
        let missing = shape.rank().saturating_sub(self.shape(x).rank());
        let mut dims = vec![Dim::Fixed(1); missing];
        dims.extend(self.shape(x).dims());
        let aligned = self.reshape(x, Shape(dims))?;
        self.expand(aligned, shape)
    }

    /// The elements `range` of a fixed axis.
    pub fn slice(&mut self, x: Var, axis: usize, range: Range<usize>) -> Result<Var> {
        let length = range.len();
        if self.shape(x).dims().get(axis) == Some(&Dim::Fixed(length)) && range.start == 0 {
            return Ok(x);
        }
        self.push(Slice { axis, start: range.start, length }, &[x])
    }

    /// Zeros before and after on a fixed axis.
    pub fn pad(&mut self, x: Var, axis: usize, before: usize, after: usize) -> Result<Var> {
        if before + after == 0 {
            return Ok(x);
        }
        self.push(Pad { axis, before, after }, &[x])
    }

    /// The sum over `axes`, which disappear. Over the batch it takes the rows that are there.
    pub fn sum(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let zero = self.constant(0.0)?;
        let masked = self.mask_rows(x, axes, zero)?;
        let kept = self.sum_keeping_axes(masked, axes)?;
        self.drop_axes(kept, axes)
    }

    /// The mean over `axes`, which disappear. Over the batch it weighs the rows that are there equally, so a
    /// short last batch is exact.
    pub fn mean(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let mut weighted = x;
        let mut count = 1.0;
        for &axis in axes {
            match self.dim("mean", x, axis)? {
                Dim::Fixed(size) => count *= size as f64,
                Dim::Batch(_) => {
                    let weight = self.generate(Generated::RowWeight, Shape::from([Dim::BATCH]))?;
                    let weight = self.along_axis(weight, x, axis)?;
                    weighted = self.mul(weighted, weight)?;
                }
            }
        }
        let scaled = self.scale(weighted, 1.0 / count)?;
        let kept = self.sum_keeping_axes(scaled, axes)?;
        self.drop_axes(kept, axes)
    }

    /// The maximum over `axes`, which disappear. Over the batch it takes the rows that are there.
    pub fn max(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let lowest = self.constant(f64::from(f32::MIN))?;
        let masked = self.mask_rows(x, axes, lowest)?;
        let kept = self.reduce_keeping_axes(ReduceKind::Max, masked, axes)?;
        self.drop_axes(kept, axes)
    }

    pub(crate) fn sum_keeping_axes(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        self.reduce_keeping_axes(ReduceKind::Sum, x, axes)
    }

    /// One reduction for every block of adjacent axes.
    fn reduce_keeping_axes(&mut self, kind: ReduceKind, x: Var, axes: &[usize]) -> Result<Var> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut reduced = x;
        for block in sorted.chunk_by(|a, b| a + 1 == *b) {
            let axes = block[0]..block[block.len() - 1] + 1;
            let single = axes.end <= self.shape(reduced).rank()
                && self.shape(reduced).dims()[axes.clone()].iter().all(|dim| *dim == Dim::Fixed(1));
            if !single {
                reduced = self.push(Reduce { kind, axes }, &[reduced])?;
            }
        }
        Ok(reduced)
    }

    /// x with `filler` in the rows that only fill up the micro-batch, where `axes` name the batch.
    fn mask_rows(&mut self, x: Var, axes: &[usize], filler: Var) -> Result<Var> {
        let mut masked = x;
        for &axis in axes {
            if let Dim::Batch(_) = self.dim("reduction", x, axis)? {
                let mask = self.generate(Generated::RowMask, Shape::from([Dim::BATCH]))?;
                let mask = self.along_axis(mask, x, axis)?;
                masked = self.select(mask, masked, filler)?;
            }
        }
        Ok(masked)
    }

    /// A vector [batch] laid along `axis` of x.
    fn along_axis(&mut self, vector: Var, x: Var, axis: usize) -> Result<Var> {
        let shape = self.shape(x).clone();
        if shape.dims()[axis] != Dim::BATCH {
            let message =
                format!("axis {axis} of {shape} merges the batch with others; reshape it apart first");
            return Err(Error::shape("reduction", message));
        }
        let mut dims = vec![Dim::Fixed(1); shape.rank()];
        dims[axis] = Dim::BATCH;
        let vector = self.reshape(vector, Shape(dims))?;
        self.expand(vector, shape)
    }

    fn drop_axes(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let dims = self.shape(x).dims().iter().enumerate();
        let left = dims.filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| *dim).collect();
        self.reshape(x, Shape(left))
    }

    fn dim(&self, operation: &str, x: Var, axis: usize) -> Result<Dim> {
        let shape = self.shape(x);
        let dim = shape.dims().get(axis).copied();
        dim.ok_or_else(|| Error::shape(operation, format!("{shape} has no axis {axis}")))
    }

    /// A·B over the last two axes; the axes before are batches and broadcast.
    pub fn matmul(&mut self, a: Var, b: Var) -> Result<Var> {
        self.matmul_with(a, b, false, false)
    }

    /// As [`Graph::matmul`], with either side read transposed.
    pub fn matmul_with(&mut self, a: Var, b: Var, transpose_a: bool, transpose_b: bool) -> Result<Var> {
        let [a, b] = self.broadcast_batches(a, b)?;
        self.push(MatMul { transpose_a, transpose_b }, &[a, b])
    }

    /// Both with the same axes before the last two.
    fn broadcast_batches(&mut self, a: Var, b: Var) -> Result<[Var; 2]> {
        let shapes = [self.shape(a).clone(), self.shape(b).clone()];
        let split = |shape: &Shape| {
            let matrix = shape.rank().checked_sub(2)?;
            Some((Shape(shape.dims()[..matrix].to_vec()), shape.dims()[matrix..].to_vec()))
        };
        let fail = || Error::shape("matmul", format!("cannot multiply {} by {}", shapes[0], shapes[1]));
        let (Some((batch_a, _)), Some((batch_b, _))) = (split(&shapes[0]), split(&shapes[1])) else {
            return Err(fail());
        };
        let batch = batch_a.broadcast(&batch_b).ok_or_else(fail)?;
        let mut sides = [a, b];
        for (side, shape) in sides.iter_mut().zip(&shapes) {
            let mut dims = batch.dims().to_vec();
            dims.extend(split(shape).ok_or_else(fail)?.1);
            *side = self.broadcast_to(*side, Shape(dims))?;
        }
        Ok(sides)
    }

    /// Rows of `table` `[N, D…]` picked by `indices` `[I…]` (integers): `[I…, D…]`.
    pub fn gather(&mut self, table: Var, indices: Var) -> Result<Var> {
        self.push(Gather, &[table, indices])
    }

    /// `[rows, D…]`: row n is the sum of the rows of `updates` `[I…, D…]` whose entry in `indices` `[I…]` is n.
    pub fn scatter_add(&mut self, indices: Var, updates: Var, rows: impl Into<Dim>) -> Result<Var> {
        self.push(ScatterAdd { rows: rows.into() }, &[indices, updates])
    }

    /// Softmax along the last axis.
    pub fn softmax(&mut self, logits: Var) -> Result<Var> {
        self.push(Row(RowKind::Softmax), &[logits])
    }

    /// −log softmax(logits) at the label, for each row: logits `[.., C]`, labels `[..]` (integers) → `[..]`.
    pub fn cross_entropy(&mut self, logits: Var, labels: Var) -> Result<Var> {
        self.push(Row(RowKind::CrossEntropy), &[logits, labels])
    }

    pub(crate) fn cross_entropy_gradient(&mut self, logits: Var, labels: Var, upstream: Var) -> Result<Var> {
        self.push(Row(RowKind::CrossEntropyGradient), &[logits, labels, upstream])
    }

    /// The index of the first largest element along the last axis, as an integer.
    pub fn argmax(&mut self, x: Var) -> Result<Var> {
        self.push(Row(RowKind::ArgMax), &[x])
    }

    /// The coordinate along `axis`, as floats.
    pub fn iota(&mut self, shape: impl Into<Shape>, axis: usize) -> Result<Var> {
        let shape = shape.into();
        if axis >= shape.rank() {
            return Err(Error::shape("iota", format!("{shape} has no axis {axis}")));
        }
        self.generate(Generated::Iota { axis }, shape)
    }

    /// What the loss is multiplied by on the way to its gradient in this step.
    pub(crate) fn loss_scale(&mut self) -> Result<Var> {
        self.generate(Generated::LossScale, Shape::scalar())
    }

    /// Uniform random numbers on [0, 1), new in every step and for every call, the same for the same seed.
    pub fn random_uniform(&mut self, shape: impl Into<Shape>) -> Result<Var> {
        let stream = self.random_streams;
        self.random_streams += 1;
        self.generate(Generated::Random { stream }, shape.into())
    }

    /// The mean over everything of (a − b)²: the L2 loss.
    pub fn mean_squared_error(&mut self, a: Var, b: Var) -> Result<Var> {
        let difference = self.sub(a, b)?;
        let square = self.mul(difference, difference)?;
        let axes: Vec<usize> = (0..self.shape(square).rank()).collect();
        self.mean(square, &axes)
    }

    /// Each element kept with probability 1 − `rate` and then scaled by 1/(1 − rate), else 0.
    pub fn dropout(&mut self, x: Var, rate: f64) -> Result<Var> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::shape("dropout", format!("the rate {rate} is not in [0, 1)")));
        }
        if rate == 0.0 {
            return Ok(x);
        }
        let shape = self.shape(x).clone();
        let uniform = self.random_uniform(shape)?;
        let keep = self.constant(1.0 - rate)?;
        let kept = self.less(uniform, keep)?;
        let factor = self.scale(kept, 1.0 / (1.0 - rate))?;
        self.mul(x, factor)
    }
}

/// Whether `x op number` is x.
fn identity_on_the_right(operation: &str, number: f64) -> bool {
    match operation {
        "add" | "sub" => number == 0.0,
        "mul" | "div" | "pow" => number == 1.0,
        _ => false,
    }
}

fn commutes(operation: &str) -> bool {
    matches!(operation, "add" | "mul")
}
