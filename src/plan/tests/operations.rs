//! Every operation as a row of one table, and for every row the same checks: the device against the f64 reference,
//! vjp against finite differences, ⟨u, Jv⟩ = ⟨Jᵀu, v⟩, and the jvp of the vjp against differences of the vjp.

use super::{data, gpu, random, relative_error, results_program, run, run_in};
use crate::Result;
use crate::graph::reference::StepContext;
use crate::graph::{Dim, Element, Graph, Initial, Shape, TensorType, Var};
use crate::plan::{Destination, Precision, Program};

/// The operation's result from its float operands and its integer one.
type Build = Box<dyn Fn(&mut Graph, &[Var], Option<Var>) -> Result<Var>>;

/// One operation at one size.
struct Row {
    name: String,
    /// The shapes of its float operands, which are parameters here so that everything can be differentiated.
    operands: Vec<Vec<usize>>,
    /// Integer operands: their number and what they stay below.
    integers: Option<(usize, usize)>,
    /// The interval of the operands' values.
    interval: (f64, f64),
    build: Build,
}

fn row(
    name: &str,
    operands: &[&[usize]],
    interval: (f64, f64),
    build: impl Fn(&mut Graph, &[Var]) -> Result<Var> + 'static,
) -> Row {
    Row {
        name: format!("{name} {operands:?}"),
        operands: operands.iter().map(|shape| shape.to_vec()).collect(),
        integers: None,
        interval,
        build: Box::new(move |graph, operands, _| build(graph, operands)),
    }
}

fn indexed(
    name: &str,
    operands: &[&[usize]],
    integers: (usize, usize),
    build: impl Fn(&mut Graph, &[Var], Var) -> Result<Var> + 'static,
) -> Row {
    Row {
        name: format!("{name} {operands:?} {integers:?}"),
        operands: operands.iter().map(|shape| shape.to_vec()).collect(),
        integers: Some(integers),
        interval: (-2.0, 2.0),
        build: Box::new(move |graph, operands, labels| {
            let labels = labels.ok_or_else(|| crate::Error::shape("test", "no labels"))?;
            build(graph, operands, labels)
        }),
    }
}

const ANY: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.3, 2.5);

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let unary: [(&str, (f64, f64)); 17] = [
        ("negate", ANY),
        ("exp", ANY),
        ("log", POSITIVE),
        ("sqrt", POSITIVE),
        ("reciprocal", POSITIVE),
        ("abs", ANY),
        ("sign", ANY),
        ("floor", ANY),
        ("sin", ANY),
        ("cos", ANY),
        ("tan", (-1.2, 1.2)),
        ("atan", ANY),
        ("tanh", ANY),
        ("sigmoid", ANY),
        ("relu", ANY),
        ("erf", ANY),
        ("copy", ANY),
    ];
    for (name, interval) in unary {
        for shape in [[1, 1], [3, 65], [64, 4]] {
            rows.push(row(name, &[&shape], interval, move |g, x| g.unary(name, x[0])));
        }
    }
    for name in ["add", "sub", "mul", "div", "pow", "max", "min", "lt", "ge", "eq"] {
        for shapes in
            [[&[3, 65][..], &[65][..]], [&[8, 1], &[8, 12]], [&[257], &[1]], [&[4, 1, 3], &[1, 5, 3]]]
        {
            rows.push(row(name, &shapes, POSITIVE, move |g, x| g.binary(name, x[0], x[1])));
        }
    }
    rows.push(row("select", &[&[3, 5], &[3, 5], &[5]], ANY, |g, x| {
        let zero = g.constant(0.0)?;
        let negative = g.less(x[0], zero)?;
        g.select(negative, x[1], x[2])
    }));
    rows.extend(movements());
    rows.extend(reductions());
    rows.extend(products());
    rows.extend(indexed_rows());
    rows
}

fn movements() -> Vec<Row> {
    vec![
        row("reshape", &[&[6, 35]], ANY, |g, x| g.reshape(x[0], [14, 15])),
        row("permute", &[&[3, 5, 7]], ANY, |g, x| g.permute(x[0], &[2, 0, 1])),
        row("permute keeping the last", &[&[3, 5, 8]], ANY, |g, x| {
            let permuted = g.permute(x[0], &[1, 0, 2])?;
            g.sin(permuted)
        }),
        row("expand", &[&[3, 1, 4]], ANY, |g, x| g.expand(x[0], [3, 63, 4])),
        row("expand outer", &[&[1, 4]], ANY, |g, x| g.expand(x[0], [65, 4])),
        row("expand inner", &[&[65, 1]], ANY, |g, x| g.expand(x[0], [65, 4])),
        row("slice", &[&[65, 3]], ANY, |g, x| g.slice(x[0], 0, 7..40)),
        row("slice inner", &[&[5, 16]], ANY, |g, x| g.slice(x[0], 1, 4..12)),
        row("pad", &[&[5, 3]], ANY, |g, x| g.pad(x[0], 1, 2, 4)),
        row("pad outer", &[&[5, 4]], ANY, |g, x| g.pad(x[0], 0, 1, 0)),
        row("views of views", &[&[4, 6]], ANY, |g, x| {
            let turned = g.permute(x[0], &[1, 0])?;
            let cut = g.slice(turned, 0, 1..5)?;
            let padded = g.pad(cut, 1, 0, 3)?;
            g.reshape(padded, [2, 14])
        }),
    ]
}

fn reductions() -> Vec<Row> {
    let mut rows = Vec::new();
    let cases: [(&[usize], &[usize]); 11] = [
        (&[1], &[0]),
        (&[257], &[0]),
        (&[63, 65], &[0]),
        (&[63, 65], &[1]),
        (&[130, 8], &[0]),
        (&[3, 5, 7], &[0, 2]),
        (&[3, 5, 8], &[1]),
        (&[70_000], &[0]),
        (&[9000, 4], &[0]),
        (&[5, 300], &[1]),
        (&[2, 9000], &[1]),
    ];
    for (shape, axes) in cases {
        rows.push(row(&format!("sum over {axes:?} of"), &[shape], ANY, move |g, x| g.sum(x[0], axes)));
        if shape.iter().product::<usize>() < 10_000 {
            rows.push(row(&format!("max over {axes:?} of"), &[shape], ANY, move |g, x| g.max(x[0], axes)));
            rows.push(row(
                &format!("mean with prologue and epilogue {axes:?}"),
                &[shape],
                ANY,
                move |g, x| {
                    let square = g.mul(x[0], x[0])?;
                    let mean = g.mean(square, axes)?;
                    g.tanh(mean)
                },
            ));
        }
    }
    rows
}

fn products() -> Vec<Row> {
    let mut rows = Vec::new();
    let sizes = [[1, 1, 1], [3, 65, 63], [8, 12, 16], [64, 1, 10], [63, 257, 3], [1, 64, 65], [68, 36, 44]];
    for [m, n, k] in sizes {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            let name = format!("matmul{}{}", if ta { " Aᵀ" } else { "" }, if tb { " Bᵀ" } else { "" });
            rows.push(row(&name, &[&a, &b], ANY, move |g, x| g.matmul_with(x[0], x[1], ta, tb)));
        }
    }
    rows.push(row("batched matmul", &[&[3, 5, 7], &[3, 7, 9]], ANY, |g, x| g.matmul(x[0], x[1])));
    rows.push(row("matmul with one right side", &[&[3, 5, 7], &[7, 8]], ANY, |g, x| g.matmul(x[0], x[1])));
    rows.push(row("batched matmul with epilogue", &[&[2, 8, 4], &[2, 4, 8], &[8]], ANY, |g, x| {
        let product = g.matmul(x[0], x[1])?;
        let shifted = g.add(product, x[2])?;
        g.tanh(shifted)
    }));
    for [rows_, inputs, outputs] in [[65, 12, 8], [3, 5, 10], [64, 16, 64]] {
        rows.push(row(
            "linear with relu",
            &[&[rows_, inputs], &[outputs, inputs], &[outputs]],
            ANY,
            |g, x| {
                let product = g.matmul_with(x[0], x[1], false, true)?;
                let shifted = g.add(product, x[2])?;
                g.relu(shifted)
            },
        ));
    }
    rows.push(row("product of a permuted operand", &[&[6, 4, 5], &[4, 7, 5]], ANY, |g, x| {
        let turned = g.permute(x[0], &[1, 0, 2])?;
        let other = g.permute(x[1], &[0, 2, 1])?;
        g.matmul(turned, other)
    }));
    rows
}

fn indexed_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (count, classes) in [(1, 1), (3, 10), (65, 63), (5, 257)] {
        rows.push(row("softmax", &[&[count, classes]], ANY, |g, x| g.softmax(x[0])));
        rows.push(indexed("cross-entropy", &[&[count, classes]], (count, classes), |g, x, labels| {
            g.cross_entropy(x[0], labels)
        }));
        rows.push(indexed(
            "cross-entropy gradient",
            &[&[count, classes], &[count]],
            (count, classes),
            |g, x, labels| g.cross_entropy_gradient(x[0], labels, x[1]),
        ));
    }
    for (table, width, count) in [(7, 3, 65), (63, 4, 10), (1, 1, 3)] {
        rows.push(indexed("gather", &[&[table, width]], (count, table), |g, x, indices| {
            g.gather(x[0], indices)
        }));
        rows.push(indexed("gather and compute", &[&[table, width]], (count, table), |g, x, indices| {
            let picked = g.gather(x[0], indices)?;
            g.sin(picked)
        }));
        rows.push(indexed("scatter-add", &[&[count, width]], (count, table), move |g, x, indices| {
            g.scatter_add(indices, x[0], table)
        }));
    }
    rows
}

/// A row's graph: operands, result y, a cotangent u and tangents v as further parameters.
struct Case {
    graph: Graph,
    operands: Vec<Var>,
    y: Var,
    u: Var,
    v: Vec<Var>,
    step: StepContext,
}

fn case(row: &Row) -> Result<Case> {
    let mut graph = Graph::new();
    let mut step = StepContext { seed: 5, step: 3, valid_rows: 1, row_weight: 1.0, ..StepContext::default() };
    let mut parameter = |graph: &mut Graph, name: String, shape: &[usize], (low, high): (f64, f64)| {
        let count = shape.iter().product();
        step.theta.push(random(step.theta.len() as u64 + 11, count, low, high));
        graph.parameter(&name, shape, Initial::Constant(0.0))
    };
    let mut operands = Vec::new();
    for (i, shape) in row.operands.iter().enumerate() {
        operands.push(parameter(&mut graph, format!("x{i}"), shape, row.interval)?);
    }
    let mut v = Vec::new();
    for (i, shape) in row.operands.iter().enumerate() {
        v.push(parameter(&mut graph, format!("v{i}"), shape, (-1.0, 1.0))?);
    }
    let integers = match row.integers {
        None => None,
        Some((count, limit)) => {
            let ty = TensorType { shape: Shape::from([count]), element: Element::U32 };
            Some((graph.input_of("integers", ty)?, random(99, count, 0.0, limit as f64)))
        }
    };
    let y = (row.build)(&mut graph, &operands, integers.as_ref().map(|(var, _)| *var))?;
    let shape = graph.shape(y).resolve(1);
    let u = parameter(&mut graph, "u".to_owned(), &shape, (-1.0, 1.0))?;
    if let Some((_, values)) = integers {
        step.inputs.insert("integers".to_owned(), values.into_iter().map(f64::floor).collect());
    }
    Ok(Case { graph, operands, y, u, v, step })
}

impl Case {
    /// θ with the operands moved by `h` along their tangents.
    fn moved(&self, h: f64) -> StepContext {
        let mut step = self.step.clone();
        let count = self.operands.len();
        for i in 0..count {
            let direction = step.theta[count + i].clone();
            step.theta[i].iter_mut().zip(direction).for_each(|(x, v)| *x += h * v);
        }
        step
    }

    /// Central differences of `vars` along the tangents.
    fn differences(&self, vars: &[Var]) -> Vec<Vec<f64>> {
        let h = 1e-5;
        let [after, before] = [h, -h].map(|h| data(self.graph.evaluate(vars, 1, &self.moved(h))));
        let slope = |(after, before): (&Vec<f64>, &Vec<f64>)| {
            after.iter().zip(before).map(|(a, b)| (a - b) / (2.0 * h)).collect()
        };
        after.iter().zip(&before).map(slope).collect()
    }
}

fn dot(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
}

/// Every row's vjp as gradients of its operands.
pub(super) fn gradient_programs() -> Vec<(String, Program, StepContext)> {
    let program = |row: Row| -> Result<(String, Program, StepContext)> {
        let mut case = case(&row)?;
        let gradients = case.graph.vjp(&[(case.y, case.u)], &case.operands)?.into_iter().enumerate();
        let outputs = gradients.map(|(i, gradient)| (gradient, Destination::Gradient(i))).collect();
        Ok((row.name, Program { graph: case.graph, outputs }, case.step))
    };
    rows().into_iter().map(program).collect::<Result<_>>().unwrap()
}

/// Every row as a program for other tests: its name, its value, its vjp and the jvp of that as results, and what it
/// runs on.
pub(crate) fn programs() -> Vec<(String, Program, StepContext)> {
    let program = |row: Row| -> Result<(String, Program, StepContext)> {
        let mut case = case(&row)?;
        let tangents: Vec<(Var, Var)> = case.operands.iter().copied().zip(case.v.iter().copied()).collect();
        let adjoint = case.graph.vjp(&[(case.y, case.u)], &case.operands)?;
        let second = case.graph.jvp(&adjoint, &tangents)?;
        let outputs: Vec<Var> = [vec![case.y], adjoint, second].concat();
        Ok((row.name, results_program(&case.graph, &outputs), case.step))
    };
    rows().into_iter().map(program).collect::<Result<_>>().unwrap()
}

/// f32 has 24 bits; the sums here have up to 7e4 terms and the functions slopes up to about 10.
pub(crate) const DEVICE_TOLERANCE: f64 = 2e-5;

#[test]
fn every_operation_agrees_with_its_reference_and_its_derivatives_with_each_other() {
    let gpu = gpu();
    for row in rows() {
        let name = &row.name;
        let mut case = case(&row).unwrap();
        let (operands, v, y, u) = (case.operands.clone(), case.v.clone(), case.y, case.u);
        let adjoint = case.graph.vjp(&[(y, u)], &operands).unwrap();
        let tangents: Vec<(Var, Var)> = operands.iter().copied().zip(v.iter().copied()).collect();
        let forward = case.graph.jvp(&[y], &tangents).unwrap();
        let second = case.graph.jvp(&adjoint, &tangents).unwrap();
        let evaluate = |vars: &[Var]| data(case.graph.evaluate(vars, 1, &case.step));

        let [jv, jtu, v_values, u_values] = [&forward[..], &adjoint, &v, &[u]].map(evaluate);
        let (left, right) = (dot(&u_values, &jv), dot(&jtu, &v_values));
        let scale = 1.0 + left.abs();
        // Both sides are f64 sums of the same terms in another order.
        assert!((left - right).abs() < 1e-10 * scale, "{name}: ⟨u, Jv⟩ = {left}, ⟨Jᵀu, v⟩ = {right}");
        let difference = dot(&u_values, &case.differences(&[y]));
        // Central differences err by h² f‴ and by rounding over h, each about 1e-9 of the value here.
        assert!((difference - right).abs() < 1e-6 * scale, "{name}: vjp {right}, differences {difference}");
        let hessian = evaluate(&second).concat();
        let expected = case.differences(&adjoint).concat();
        let size = 1.0 + expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        let error: f64 = hessian.iter().zip(&expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(error < 1e-6 * size, "{name}: jvp of vjp is off by {error}");

        for (what, vars) in [("value", vec![y]), ("vjp", adjoint), ("jvp", forward), ("second order", second)]
        {
            let expected = evaluate(&vars);
            let found = run(gpu, &case.graph, &vars, 1, &case.step);
            for (found, expected) in found.iter().zip(&expected) {
                let error = relative_error(found, expected);
                assert!(error < DEVICE_TOLERANCE, "{name}: the device's {what} is off by {error:e}");
            }
        }
    }
}

#[test]
fn reductions_over_the_batch_take_only_the_rows_that_are_there() {
    let mut graph = Graph::new();
    let x = graph.input("x", [Dim::BATCH, Dim::Fixed(5)]).unwrap();
    let outputs = [graph.sum(x, &[0]), graph.mean(x, &[0, 1]), graph.max(x, &[0])].map(Result::unwrap);
    for (batch, valid) in [(1, 1), (65, 65), (65, 3)] {
        let mut step =
            StepContext { valid_rows: valid, row_weight: 1.0 / valid as f64, ..StepContext::default() };
        let values = random(1, 5 * batch, -2.0, 2.0);
        step.inputs.insert("x".to_owned(), values.clone());
        let there = &values[..5 * valid];
        let column = |c: usize| there.iter().skip(c).step_by(5).copied();
        let expected = [
            (0..5).map(|c| column(c).sum()).collect(),
            vec![there.iter().sum::<f64>() / there.len() as f64],
            (0..5).map(|c| column(c).fold(f64::NEG_INFINITY, f64::max)).collect::<Vec<f64>>(),
        ];
        for (precision, tolerance) in [(Precision::F32, 1e-6), (Precision::F64, 1e-15)] {
            let found = run_in(precision, &graph, &outputs, batch, &step);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    relative_error(found, expected) < tolerance,
                    "{valid} of {batch} in {precision}: {found:?}, not {expected:?}"
                );
            }
        }
    }
}

#[test]
fn bytes_integers_and_random_numbers_reach_kernels_as_they_are() {
    let mut graph = Graph::new();
    let bytes = TensorType { shape: Shape::from([Dim::Fixed(9), Dim::Fixed(7)]), element: Element::U8 };
    let wide = TensorType { shape: Shape::from([Dim::Fixed(9), Dim::Fixed(8)]), element: Element::U8 };
    let picks = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
    let labels = TensorType { shape: Shape::from([9]), element: Element::U32 };
    let [bytes, wide, picks, labels] =
        [("bytes", bytes), ("wide", wide), ("picks", picks), ("labels", labels)]
            .map(|(n, t)| graph.input_of(n, t).unwrap());
    let mut outputs = Vec::new();
    for table in [bytes, wide] {
        let rows = graph.gather(table, picks).unwrap();
        let floats = graph.to_f32(rows).unwrap();
        outputs.push(graph.scale(floats, 1.0 / 255.0).unwrap());
    }
    outputs.push(graph.gather(labels, picks).unwrap());
    outputs.push(graph.random_uniform([Dim::BATCH, Dim::Fixed(7)]).unwrap());
    outputs.push(graph.random_uniform([Dim::BATCH, Dim::Fixed(8)]).unwrap());
    let iota = graph.iota([Dim::BATCH, Dim::Fixed(3)], 1).unwrap();
    outputs.push(graph.sin(iota).unwrap());
    outputs.push(graph.argmax(outputs[3]).unwrap());
    let mut step = StepContext { seed: 1 << 40 | 7, step: 12, valid_rows: 5, ..StepContext::default() };
    for (name, count, limit) in
        [("bytes", 63, 256.0), ("wide", 72, 256.0), ("picks", 5, 9.0), ("labels", 9, 1e6)]
    {
        let values = random(count as u64, count, 0.0, limit).into_iter().map(f64::floor).collect();
        step.inputs.insert(name.to_owned(), values);
    }
    let expected = data(graph.evaluate(&outputs, 5, &step));
    // sin is the device's own in f32, the rest is exact.
    for (precision, of_sin, of_others) in [(Precision::F32, 1e-5, 1e-7), (Precision::F64, 1e-15, 1e-15)] {
        let found = run_in(precision, &graph, &outputs, 5, &step);
        for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = relative_error(found, expected);
            let tolerance = if number == 5 { of_sin } else { of_others };
            assert!(error < tolerance, "output {number} in {precision}: {found:?}, not {expected:?}");
        }
    }
}
