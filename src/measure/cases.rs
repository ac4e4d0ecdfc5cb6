//! The kernels of a training step at the shapes that matter.

use crate::Result;
use crate::gpu::{AdapterClass, Profile};
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::{
    Blueprint, Destination, Gradients, Plan, Precision, ProductShape, Program, Tile, Tiling, Tilings, tiles,
};

/// A kernel at one shape.
///
/// ```
/// use downhill::{KernelCase, Profile, kernel_cases};
///
/// let cases: Vec<KernelCase> = kernel_cases(&Profile::portable())?;
/// let product = cases.iter().find(|case| case.kernel == "matmul nt").expect("a product");
/// println!("{} of {:?}", product.kernel, product.shape);
/// # assert_eq!(product.shape.len(), 3);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct KernelCase {
    /// What it is called, such as `matmul nt`.
    pub kernel: String,
    /// Its sizes; of a matmul rows and columns of the result, and the length of its sums.
    pub shape: Vec<usize>,
    pub(super) program: Program,
    pub(super) precision: Precision,
    /// Launches that make what the kernel reads and are not timed.
    pub(super) prepared: usize,
    pub(super) batch: usize,
    /// Tilings that are measured instead of those that the adapter gets.
    pub(super) tilings: Tilings,
    /// Indices and labels are below this.
    pub(super) indices: u32,
    /// The fewest bytes that can be read and written for it.
    pub(super) bytes: u64,
}

impl KernelCase {
    /// Its kernels for an adapter of `profile`.
    pub(super) fn plan(&self, profile: &Profile) -> Result<Plan> {
        let blueprint = Blueprint::new(&self.program, profile, Gradients::Overwrite, self.precision)?;
        blueprint.with_tilings(self.tilings.clone()).plan(self.batch)
    }
}

/// How the operands of a matmul lie: BLAS's letters for A and B, and whether each is read transposed.
const LAYOUTS: [(&str, bool, bool); 4] =
    [("nn", false, false), ("nt", false, true), ("tn", true, false), ("tt", true, true)];

/// All cases for an adapter of `profile`: a CPU gets a smaller square.
///
/// ```
/// use downhill::{Profile, kernel_cases};
///
/// let cases = kernel_cases(&Profile::portable())?;
/// assert!(cases.iter().any(|case| case.kernel == "matmul nn" && case.shape == [128, 512, 784]));
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// None that a caller can cause.
pub fn kernel_cases(profile: &Profile) -> Result<Vec<KernelCase>> {
    let side = if profile.class == AdapterClass::Software { 1024 } else { 4096 };
    // A layer of 784 to 512 at minibatches of 1 to 4,096; products that are square, tall, wide and long in their sums.
    let shapes = [
        [side, side, side],
        [8192, 64, 512],
        [64, 8192, 512],
        [64, 64, 16384],
        [1, 512, 784],
        [8, 512, 784],
        [128, 512, 784],
        [4096, 512, 784],
        [128, 10, 512],
        [10, 512, 128],
        [128, 512, 10],
    ];
    let mut cases = Vec::new();
    for shape in shapes {
        for layout in LAYOUTS {
            cases.push(matmul(layout, shape)?);
        }
    }
    if profile.f16 {
        for layout in LAYOUTS {
            cases.push(half_matmul(layout, side)?);
        }
    }
    for tile in tiles(profile) {
        cases.push(tiled(tile, side)?);
    }
    for batch in [128, 4096] {
        cases.push(layer(batch, 784, 512)?);
    }
    for axes in [&[0][..], &[1], &[0, 1]] {
        cases.push(sum([16384, 1024], axes)?);
    }
    for shape in [[16384, 10], [4096, 1000]] {
        cases.extend(cross_entropy(shape)?);
    }
    cases.push(gather([40000, 784], 1024)?);
    cases.push(chain([4096, 4096])?);
    for batch in [128, 4096] {
        cases.push(layer_gradients(batch, 784, 512)?);
    }
    for batch in [32, 4096] {
        cases.push(narrow_network(&[16, 64, 64, 4], batch)?);
    }
    Ok(cases)
}

/// One result of a graph, all of whose `inputs` are read once.
fn case(
    kernel: String,
    shape: &[usize],
    graph: Graph,
    (inputs, result, batch): (&[Var], Var, usize),
) -> KernelCase {
    case_of(kernel, shape, graph, (inputs, vec![(result, Destination::Result(0))], batch))
}

/// The same with several results.
fn case_of(
    kernel: String,
    shape: &[usize],
    graph: Graph,
    (inputs, outputs, batch): (&[Var], Vec<(Var, Destination)>, usize),
) -> KernelCase {
    let bytes = |var: &Var| graph.element(*var).bytes(graph.shape(*var).elements(batch));
    let bytes = inputs.iter().chain(outputs.iter().map(|(var, _)| var)).map(bytes).sum();
    let program = Program { graph, outputs };
    KernelCase {
        kernel,
        shape: shape.to_vec(),
        program,
        precision: Precision::F32,
        prepared: 0,
        batch,
        tilings: Tilings::new(),
        indices: 1,
        bytes,
    }
}

fn matmul((name, transpose_a, transpose_b): (&str, bool, bool), [m, n, k]: [usize; 3]) -> Result<KernelCase> {
    let shape = ProductShape { m, n, k, transposed: [transpose_a, transpose_b], half: [false; 2] };
    product(format!("matmul {name}"), shape, None)
}

/// A product of matrices of 16 bits.
fn half_matmul((name, transpose_a, transpose_b): (&str, bool, bool), side: usize) -> Result<KernelCase> {
    let shape = square(side, [transpose_a, transpose_b], true);
    product(format!("matmul f16 {name}"), shape, None)
}

/// A square product as the forward pass has it, by a tile that is not the adapter's own.
fn tiled(tile: Tile, side: usize) -> Result<KernelCase> {
    let shape = square(side, [false, true], tile.on_units());
    product(format!("tile {tile}"), shape, Some(Tiling { tile, parts: 1 }))
}

fn square(side: usize, transposed: [bool; 2], half: bool) -> ProductShape {
    ProductShape { m: side, n: side, k: side, transposed, half: [half; 2] }
}

/// A product whose result has 32 bits, by a tiling of one's own or the adapter's. Operands of 16 bits are made before.
pub(super) fn product(kernel: String, shape: ProductShape, tiling: Option<Tiling>) -> Result<KernelCase> {
    let ProductShape { m, n, k, transposed, half } = shape;
    let mut graph = Graph::new();
    let sizes = [("a", [m, k]), ("b", [k, n])];
    let mut inputs = Vec::with_capacity(2);
    let mut operands = Vec::with_capacity(2);
    for (((name, [rows, columns]), transposed), half) in sizes.into_iter().zip(transposed).zip(half) {
        let input = graph.input(name, if transposed { [columns, rows] } else { [rows, columns] })?;
        inputs.push(input);
        operands.push(if half { graph.copy(input)? } else { input });
    }
    let result = graph.matmul_with(operands[0], operands[1], transposed[0], transposed[1])?;
    let case = case(kernel, &[m, n, k], graph, (&inputs, result, 1));
    let in_half = half.iter().filter(|half| **half).count();
    let saved =
        2 * [m * k, k * n].into_iter().zip(half).map(|(size, half)| size * usize::from(half)).sum::<usize>();
    Ok(KernelCase {
        precision: if in_half > 0 { Precision::F16 } else { Precision::F32 },
        prepared: in_half,
        tilings: tiling.into_iter().map(|tiling| (shape, tiling)).collect(),
        bytes: case.bytes - saved as u64,
        ..case
    })
}

/// A layer as the forward pass has it: product, bias and ReLU.
fn layer(batch: usize, inputs: usize, outputs: usize) -> Result<KernelCase> {
    let mut graph = Graph::new();
    let rows = graph.input("rows", [batch, inputs])?;
    let weight = graph.input("weight", [outputs, inputs])?;
    let bias = graph.input("bias", [outputs])?;
    let product = graph.matmul_with(rows, weight, false, true)?;
    let sum = graph.add(product, bias)?;
    let active = graph.relu(sum)?;
    let reads = [rows, weight, bias];
    Ok(case("linear + relu".to_owned(), &[batch, outputs, inputs], graph, (&reads, active, 1)))
}

/// What a layer hands back: the gradients of its rows, its weight and its bias, whose sum over rows is made by the kernel of
/// the weight. Where a product leaves part of the adapter idle both share a dispatch.
fn layer_gradients(batch: usize, inputs: usize, outputs: usize) -> Result<KernelCase> {
    let mut graph = Graph::new();
    let rows = graph.input("rows", [batch, inputs])?;
    let above = graph.input("above", [batch, outputs])?;
    let weight = graph.parameter("weight", &[outputs, inputs], Initial::Constant(0.0))?;
    let bias = graph.parameter("bias", &[outputs], Initial::Constant(0.0))?;
    let product = graph.matmul_with(rows, weight, false, true)?;
    let sum = graph.add(product, bias)?;
    let gradients = graph.vjp(&[(sum, above)], &[rows, weight, bias])?;
    let places = [Destination::Result(0), Destination::Gradient(0), Destination::Gradient(1)];
    let results = gradients.into_iter().zip(places).collect();
    let kernel = "linear gradients".to_owned();
    Ok(case_of(kernel, &[batch, inputs, outputs], graph, (&[rows, above, weight], results, batch)))
}

/// Loss and gradients of a narrow network, which a workgroup computes for a block of rows where that is faster.
fn narrow_network(widths: &[usize], batch: usize) -> Result<KernelCase> {
    let mut graph = Graph::new();
    let rows = graph.input("rows", [Dim::BATCH, Dim::Fixed(widths[0])])?;
    let labels = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
    let labels = graph.input_of("labels", labels)?;
    let mut outputs = rows;
    for (number, pair) in widths.windows(2).enumerate() {
        let weight =
            graph.parameter(&format!("{number}.weight"), &[pair[1], pair[0]], Initial::Constant(0.0))?;
        let bias = graph.parameter(&format!("{number}.bias"), &[pair[1]], Initial::Constant(0.0))?;
        let product = graph.matmul_with(outputs, weight, false, true)?;
        let sum = graph.add(product, bias)?;
        outputs = if number + 2 < widths.len() { graph.relu(sum)? } else { sum };
    }
    let losses = graph.cross_entropy(outputs, labels)?;
    let loss = graph.mean(losses, &[0])?;
    let parameters = graph.parameter_vars().to_vec();
    let gradients = graph.gradient(loss, &parameters)?.into_iter().enumerate();
    let results = gradients.map(|(number, var)| (var, Destination::Gradient(number)));
    let results = results.chain([(loss, Destination::Result(0))]).collect();
    let reads: Vec<Var> = [rows, labels].into_iter().chain(parameters).collect();
    let shape = [&[batch], widths].concat();
    let case = case_of("narrow network".to_owned(), &shape, graph, (&reads, results, batch));
    Ok(KernelCase { indices: widths[widths.len() - 1] as u32, ..case })
}

fn sum(shape: [usize; 2], axes: &[usize]) -> Result<KernelCase> {
    let mut graph = Graph::new();
    let x = graph.input("x", shape)?;
    let sum = graph.sum(x, axes)?;
    let over = match axes {
        [0] => "columns",
        [1] => "rows",
        _ => "all",
    };
    Ok(case(format!("sum of {over}"), &shape, graph, (&[x], sum, 1)))
}

/// The losses of rows, and their gradient.
fn cross_entropy(shape: [usize; 2]) -> Result<[KernelCase; 2]> {
    let build = |gradient: bool| {
        let mut graph = Graph::new();
        let logits = graph.input("logits", [Dim::BATCH, Dim::Fixed(shape[1])])?;
        let labels = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
        let labels = graph.input_of("labels", labels)?;
        let losses = graph.cross_entropy(logits, labels)?;
        let (kernel, result) = match gradient {
            false => ("cross-entropy", losses),
            true => {
                let one = graph.constant(1.0)?;
                let ones = graph.broadcast_to(one, [Dim::BATCH])?;
                ("cross-entropy gradient", graph.vjp(&[(losses, ones)], &[logits])?[0])
            }
        };
        let case = case(kernel.to_owned(), &shape, graph, (&[logits, labels], result, shape[0]));
        Ok(KernelCase { indices: shape[1] as u32, ..case })
    };
    Ok([build(false)?, build(true)?])
}

/// Rows of a data set on the GPU, picked by their indices.
fn gather(table: [usize; 2], rows: usize) -> Result<KernelCase> {
    let mut graph = Graph::new();
    let from = graph.input("table", table)?;
    let indices = TensorType { shape: Shape::from([rows]), element: Element::U32 };
    let indices = graph.input_of("indices", indices)?;
    let picked = graph.gather(from, indices)?;
    let case = case("gather".to_owned(), &[table[0], table[1], rows], graph, (&[indices, picked], picked, 1));
    Ok(KernelCase { indices: table[0] as u32, ..case })
}

/// Elementwise operations in a row, which are one kernel.
fn chain(shape: [usize; 2]) -> Result<KernelCase> {
    let mut graph = Graph::new();
    let a = graph.input("a", shape)?;
    let b = graph.input("b", shape)?;
    let product = graph.mul(a, b)?;
    let sum = graph.add(product, a)?;
    let tanh = graph.tanh(sum)?;
    let result = graph.mul(tanh, b)?;
    Ok(case("elementwise chain".to_owned(), &shape, graph, (&[a, b], result, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_planned_and_counted() {
        for class in [AdapterClass::Software, AdapterClass::Discrete] {
            let profile = Profile {
                class,
                f16: true,
                max_binding_size: 1 << 28,
                max_buffer_size: 1 << 28,
                ..Profile::portable()
            };
            for case in kernel_cases(&profile).unwrap() {
                let plan = case.plan(&profile).unwrap();
                // Every result is written, and something is read for it.
                assert!(case.bytes > plan.results[0], "{} {:?}", case.kernel, case.shape);
                let prepared = &plan.dispatches[..case.prepared];
                assert!(prepared.iter().all(|dispatch| dispatch.operations == 0), "{}", case.kernel);
                let is_product = ["matmul", "tile"].iter().any(|name| case.kernel.starts_with(name))
                    || case.kernel == "linear + relu";
                let expected = case.shape.iter().product::<usize>() as u64 * 2;
                assert!(!is_product || plan.operations() == expected, "{} {:?}", case.kernel, case.shape);
            }
        }
    }
}
