//! Random programs: operations of every family composed over small shapes, from a list of genes that shrinks well.

use proptest::prelude::*;

use super::random;
use crate::Result;
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::{Destination, Program};

/// One operation: which, on what, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gene {
    operation: usize,
    picks: [usize; 3],
}

/// What a random program is made from.
#[derive(Clone, Debug)]
pub(super) struct Genes {
    pub batch: usize,
    /// Rows that only fill up the micro-batch.
    pub missing: usize,
    /// Only operations with a derivative, and the gradient of every parameter as a further output.
    pub differentiate: bool,
    pub genes: Vec<Gene>,
    /// Nodes to be outputs, equal ones and inputs included.
    pub outputs: Vec<usize>,
}

/// A program and what it runs on.
pub(super) struct Sample {
    pub program: Program,
    pub batch: usize,
    pub step: StepContext,
}

pub(super) fn genes() -> impl Strategy<Value = Genes> {
    let gene = (0..1000usize, [0..1000usize, 0..1000usize, 0..1000usize])
        .prop_map(|(operation, picks)| Gene { operation, picks });
    let parts = (
        prop::sample::select(vec![1usize, 2, 3, 4, 8, 65]),
        0..3usize,
        any::<bool>(),
        prop::collection::vec(gene, 4..20),
        prop::collection::vec(0..1000usize, 0..3),
    );
    parts.prop_map(|(batch, missing, differentiate, genes, outputs)| Genes {
        batch,
        missing: missing.min(batch - 1),
        differentiate,
        genes,
        outputs,
    })
}

impl Genes {
    pub fn sample(&self) -> Result<Sample> {
        let valid_rows = self.batch - self.missing;
        let step = StepContext {
            seed: 9,
            step: 4,
            valid_rows,
            row_weight: 1.0 / valid_rows as f64,
            ..StepContext::default()
        };
        let mut builder = Builder {
            graph: Graph::new(),
            batch: self.batch,
            step,
            nodes: Vec::new(),
            parameters: Vec::new(),
        };
        builder.leaves()?;
        let choices: Vec<&Choice> =
            CHOICES.iter().filter(|choice| choice.smooth || !self.differentiate).collect();
        for gene in &self.genes {
            let choice = choices[gene.operation % choices.len()];
            // Shapes that do not go together give no node; such a gene is mute.
            if let Ok(var) = (choice.append)(&mut builder, gene.picks) {
                builder.keep(var)?;
            }
        }
        let nodes = builder.nodes.clone();
        let mut outputs: Vec<(Var, Destination)> = Vec::new();
        let last = nodes.len() - 1;
        for pick in std::iter::once(last).chain(self.outputs.iter().copied()) {
            outputs.push((nodes[pick % nodes.len()], Destination::Result(outputs.len())));
        }
        if self.differentiate {
            let loss = builder.loss(nodes[last])?;
            let parameters = builder.parameters.clone();
            let gradients = builder.graph.gradient(loss, &parameters)?.into_iter().enumerate();
            outputs.extend(gradients.map(|(i, gradient)| (gradient, Destination::Gradient(i))));
        }
        let Builder { graph, step, batch, .. } = builder;
        Ok(Sample { program: Program { graph, outputs }, batch, step })
    }
}

struct Builder {
    graph: Graph,
    batch: usize,
    step: StepContext,
    /// All nodes of floats so far.
    nodes: Vec<Var>,
    parameters: Vec<Var>,
}

/// A way to append an operation.
struct Choice {
    /// Continuous, with a derivative that is so but at single points.
    smooth: bool,
    append: fn(&mut Builder, [usize; 3]) -> Result<Var>,
}

const fn smooth(append: fn(&mut Builder, [usize; 3]) -> Result<Var>) -> Choice {
    Choice { smooth: true, append }
}

const fn rough(append: fn(&mut Builder, [usize; 3]) -> Result<Var>) -> Choice {
    Choice { smooth: false, append }
}

const CHOICES: &[Choice] = &[
    smooth(|b, p| b.unary(&["sin", "tanh", "sigmoid", "relu", "negate", "erf"], p)),
    smooth(|b, p| b.unary(&["cos", "copy", "tanh", "relu"], p)),
    smooth(|b, p| b.binary(&["add", "sub", "mul"], p)),
    smooth(|b, p| b.binary(&["add", "mul"], p)),
    rough(|b, p| b.unary(&["abs", "copy"], p)),
    rough(|b, p| b.binary(&["max", "min"], p)),
    rough(Builder::select),
    smooth(Builder::wide),
    smooth(Builder::matmul),
    smooth(Builder::matmul),
    smooth(Builder::linear),
    smooth(Builder::linear),
    smooth(Builder::linear),
    smooth(|b, p| {
        let (x, axes) = b.axes(p);
        b.graph.sum(x, &axes)
    }),
    smooth(|b, p| {
        let (x, axes) = b.axes(p);
        b.graph.mean(x, &axes)
    }),
    rough(|b, p| {
        let (x, axes) = b.axes(p);
        b.graph.max(x, &axes)
    }),
    smooth(Builder::permute),
    smooth(Builder::merge),
    smooth(Builder::expand),
    smooth(Builder::slice),
    smooth(|b, [x, axis, width]| {
        let x = b.pick(x);
        let axis = axis % b.graph.shape(x).rank().max(1);
        b.graph.pad(x, axis, width % 3, width % 5)
    }),
    smooth(Builder::gather),
    smooth(Builder::scatter_add),
    smooth(|b, [x, ..]| {
        let x = b.pick(x);
        b.graph.softmax(x)
    }),
    smooth(Builder::cross_entropy),
    smooth(|b, [x, rate, _]| {
        let x = b.pick(x);
        b.graph.dropout(x, [0.25, 0.5][rate % 2])
    }),
    smooth(|b, [x, axis, _]| {
        let shape = b.graph.shape(b.pick(x)).clone();
        let axis = axis % shape.rank().max(1);
        let coordinates = b.graph.iota(shape, axis)?;
        b.graph.scale(coordinates, 0.1)
    }),
    smooth(|b, [x, ..]| {
        let x = b.pick(x);
        let [one, half] = [b.graph.constant(1.0)?, b.graph.constant(0.5)?];
        let square = b.graph.mul(x, x)?;
        let positive = b.graph.add(square, one)?;
        b.graph.pow(positive, half)
    }),
];

impl Builder {
    fn leaves(&mut self) -> Result<()> {
        let batch = Dim::BATCH;
        for (name, shape) in [
            ("rows", Shape::from([batch, Dim::Fixed(12)])),
            ("boxes", Shape::from([batch, Dim::Fixed(3), Dim::Fixed(4)])),
            ("column", Shape::from([batch])),
        ] {
            let input = self.input(name, TensorType::f32(shape), (-2.0, 2.0))?;
            self.nodes.push(input);
        }
        for shape in [&[12][..], &[8, 12], &[12, 5], &[4], &[1, 3, 1], &[]] {
            let parameter = self.parameter(shape)?;
            self.nodes.push(parameter);
        }
        let shape = Shape::from([batch, Dim::Fixed(5)]);
        let bytes = self.input("bytes", TensorType { shape, element: Element::U8 }, (0.0, 256.0))?;
        let floats = self.graph.to_f32(bytes)?;
        let pixels = self.graph.scale(floats, 1.0 / 255.0)?;
        self.nodes.push(pixels);
        Ok(())
    }

    fn input(&mut self, name: &str, ty: TensorType, (low, high): (f64, f64)) -> Result<Var> {
        let count = ty.shape.elements(self.batch);
        let mut values = random(self.step.inputs.len() as u64 + 40, count, low, high);
        if ty.element != Element::F32 {
            values.iter_mut().for_each(|value| *value = value.floor());
        }
        self.step.inputs.insert(name.to_owned(), values);
        self.graph.input_of(name, ty)
    }

    /// Integers below `limit`.
    fn integers(&mut self, shape: Shape, limit: usize) -> Result<Var> {
        let name = format!("integers {}", self.step.inputs.len());
        self.input(&name, TensorType { shape, element: Element::U32 }, (0.0, limit as f64))
    }

    fn parameter(&mut self, shape: &[usize]) -> Result<Var> {
        let number = self.parameters.len();
        let values = random(number as u64 + 70, shape.iter().product(), -2.0, 2.0);
        self.step.theta.push(values);
        let parameter = self.graph.parameter(&number.to_string(), shape, Initial::Constant(0.0))?;
        self.parameters.push(parameter);
        Ok(parameter)
    }

    /// A node, late ones more often: programs should be deep.
    fn pick(&self, pick: usize) -> Var {
        let count = self.nodes.len();
        let from_end = pick % count;
        self.nodes[count - 1 - from_end * from_end / count]
    }

    fn size(&self, dim: Dim) -> usize {
        dim.resolve(self.batch)
    }

    /// Takes a node among those to build on, scaled so that values stay near 1: an error tells the planner's
    /// mistakes then, and not how far some product amplifies rounding.
    fn keep(&mut self, var: Var) -> Result<()> {
        let values = &self.graph.evaluate(&[var], self.batch, &self.step)[0].data;
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let tame =
            if largest > 4.0 { self.graph.scale(var, 0.5f64.powi(largest.log2() as i32))? } else { var };
        self.nodes.push(tame);
        Ok(())
    }

    fn loss(&mut self, var: Var) -> Result<Var> {
        let square = self.graph.mul(var, var)?;
        let axes: Vec<usize> = (0..self.graph.shape(square).rank()).collect();
        self.graph.mean(square, &axes)
    }

    fn unary(&mut self, names: &[&str], [x, name, _]: [usize; 3]) -> Result<Var> {
        let x = self.pick(x);
        self.graph.unary(names[name % names.len()], x)
    }

    fn binary(&mut self, names: &[&str], [a, b, name]: [usize; 3]) -> Result<Var> {
        let a = self.pick(a);
        let fits = |b: &&Var| self.graph.shape(a).broadcast(self.graph.shape(**b)).is_some();
        let others: Vec<Var> = self.nodes.iter().filter(fits).copied().collect();
        self.graph.binary(names[name % names.len()], a, others[b % others.len()])
    }

    /// A sum of many nodes: more than a kernel may bind.
    fn wide(&mut self, [x, many, skip]: [usize; 3]) -> Result<Var> {
        let mut total = self.pick(x);
        let shape = self.graph.shape(total).clone();
        let fits = |var: &&Var| self.graph.shape(**var).broadcast(&shape) == Some(shape.clone());
        let others: Vec<Var> = self.nodes.iter().filter(fits).copied().collect();
        for &other in others.iter().cycle().skip(skip % others.len()).take(many % 9) {
            total = self.graph.add(total, other)?;
        }
        Ok(total)
    }

    fn select(&mut self, [condition, a, b]: [usize; 3]) -> Result<Var> {
        // A condition on an input: on a computed number f32 and f64 may differ.
        let zero = self.graph.constant(0.0)?;
        let condition = self.graph.less(self.nodes[condition % 3], zero)?;
        let (a, b) = (self.pick(a), self.pick(b));
        self.graph.select(condition, a, b)
    }

    /// A product with a node that fits, or else with a new parameter.
    fn matmul(&mut self, [a, b, flags]: [usize; 3]) -> Result<Var> {
        let a = self.pick(a);
        let (ta, tb) = (flags % 2 == 1, flags / 2 % 2 == 1);
        let mut graph = self.graph.clone();
        let others: Vec<Var> =
            self.nodes.iter().copied().filter(|&b| graph.matmul_with(a, b, ta, tb).is_ok()).collect();
        match others.get(b % (others.len() + 1)) {
            Some(&other) => self.graph.matmul_with(a, other, ta, tb),
            None => self.linear([self.nodes.len() - 1, b, flags]),
        }
    }

    /// A product with a new weight, and often what a layer does with it.
    fn linear(&mut self, [x, width, flags]: [usize; 3]) -> Result<Var> {
        let x = self.pick(x);
        let Some(&Dim::Fixed(inputs)) = self.graph.shape(x).dims().last() else {
            return self.graph.copy(x);
        };
        if self.graph.shape(x).rank() < 2 {
            return self.graph.copy(x);
        }
        let outputs = [1, 3, 4, 8, 33][width % 5];
        let transposed = flags % 2 == 0;
        let weight = self.parameter(&if transposed { [outputs, inputs] } else { [inputs, outputs] })?;
        let product = self.graph.matmul_with(x, weight, false, transposed)?;
        let product = self.graph.scale(product, 1.0 / inputs as f64)?;
        if flags / 2 % 2 == 0 {
            return Ok(product);
        }
        let bias = self.parameter(&[outputs])?;
        let shifted = self.graph.add(product, bias)?;
        self.graph.unary(["relu", "tanh", "sigmoid"][flags % 3], shifted)
    }

    /// A node, and some of its axes.
    fn axes(&self, [x, which, _]: [usize; 3]) -> (Var, Vec<usize>) {
        let x = self.pick(x);
        let rank = self.graph.shape(x).rank();
        let some = (which % (1 << rank)).max(1);
        (x, (0..rank).filter(|axis| some >> axis & 1 == 1).collect())
    }

    fn permute(&mut self, [x, turn, swap]: [usize; 3]) -> Result<Var> {
        let x = self.pick(x);
        let mut axes: Vec<usize> = (0..self.graph.shape(x).rank()).collect();
        if let Some(last) = axes.len().checked_sub(1) {
            axes.rotate_left(turn % (last + 1));
            axes.swap(0, swap % (last + 1));
        }
        self.graph.permute(x, &axes)
    }

    /// Fixed axes folded into one, or the last one split.
    fn merge(&mut self, [x, how, _]: [usize; 3]) -> Result<Var> {
        let x = self.pick(x);
        let mut dims = self.graph.shape(x).dims().to_vec();
        match dims[..] {
            [.., Dim::Fixed(a), Dim::Fixed(b)] if how % 2 == 0 => {
                dims.truncate(dims.len() - 2);
                dims.push(Dim::Fixed(a * b));
            }
            [.., Dim::Fixed(size)] if size % 2 == 0 => {
                dims.pop();
                dims.extend([Dim::Fixed(2), Dim::Fixed(size / 2)]);
            }
            _ => dims.push(Dim::Fixed(1)),
        }
        self.graph.reshape(x, Shape(dims))
    }

    fn expand(&mut self, [x, front, size]: [usize; 3]) -> Result<Var> {
        let x = self.pick(x);
        let mut dims = self.graph.shape(x).dims().to_vec();
        if dims.len() > 2 {
            return self.graph.copy(x);
        }
        let at = if front % 2 == 0 { 0 } else { dims.len() };
        dims.insert(at, Dim::Fixed(1));
        let column = self.graph.reshape(x, Shape(dims.clone()))?;
        dims[at] = Dim::Fixed([2, 3, 4][size % 3]);
        self.graph.expand(column, Shape(dims))
    }

    fn slice(&mut self, [x, axis, range]: [usize; 3]) -> Result<Var> {
        let x = self.pick(x);
        let axis = axis % self.graph.shape(x).rank().max(1);
        let size = self.graph.shape(x).dims().get(axis).map_or(1, |dim| self.size(*dim));
        let start = range % size;
        let length = 1 + range / size % (size - start);
        self.graph.slice(x, axis, start..start + length)
    }

    fn gather(&mut self, [table, many, _]: [usize; 3]) -> Result<Var> {
        let table = self.pick(table);
        let rows = self.graph.shape(table).dims().first().map_or(1, |dim| self.size(*dim));
        let shape = [Shape::from([Dim::BATCH]), Shape::from([4]), Shape::from([2, 3])][many % 3].clone();
        let indices = self.integers(shape, rows)?;
        self.graph.gather(table, indices)
    }

    fn scatter_add(&mut self, [updates, rows, _]: [usize; 3]) -> Result<Var> {
        let updates = self.pick(updates);
        let rows = [1, 4, 7][rows % 3];
        let outer = self.graph.shape(updates).dims().iter().take(1).copied().collect();
        let indices = self.integers(Shape(outer), rows)?;
        self.graph.scatter_add(indices, updates, rows)
    }

    fn cross_entropy(&mut self, [logits, ..]: [usize; 3]) -> Result<Var> {
        let logits = self.pick(logits);
        let mut dims = self.graph.shape(logits).dims().to_vec();
        let classes = dims.pop().map_or(1, |dim| self.size(dim));
        let labels = self.integers(Shape(dims), classes)?;
        self.graph.cross_entropy(logits, labels)
    }
}
