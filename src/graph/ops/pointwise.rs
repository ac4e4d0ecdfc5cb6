//! Elementwise operations: two tables, unary and binary, of a name, its WGSL, its f64 value and its derivative,
//! and `select`.
//!
//! The WGSL is written for a type `T` that is `f32` or `vec4<f32>`, so that one text serves both.

use super::{Lowering, Op, Site};
use crate::graph::reference::{Array, StepContext};
use crate::graph::{Element, Graph, TensorType, Var};
use crate::{Error, Result};

/// dy/dx as nodes, from x and y; `None` where it is zero wherever it exists.
type Derivative = Option<fn(&mut Graph, Var, Var) -> Result<Var>>;

/// A function of one number.
#[derive(Debug)]
pub(crate) struct UnaryRule {
    pub name: &'static str,
    /// The value in WGSL, of `{a}`.
    pub wgsl: &'static str,
    /// Functions that the expression calls.
    pub functions: &'static str,
    pub reference: fn(f64) -> f64,
    pub derivative: Derivative,
}

const fn unary(
    name: &'static str,
    wgsl: &'static str,
    reference: fn(f64) -> f64,
    derivative: Derivative,
) -> UnaryRule {
    UnaryRule { name, wgsl, functions: "", reference, derivative }
}

/// Abramowitz and Stegun 7.1.26 has an error of 1.5e-7, which near 0 is more than f32 should lose; the odd
/// series takes over below 0.5. In f64 the exchange has its own.
const ERF: &str = "
fn erf(x: T) -> T {
    let square = x * x;
    let series = x * (T(1.1283791671) + square * (T(-0.3761263890) + square * (T(0.1128379167)
        + square * (T(-0.0268661706) + square * (T(0.0052239776) + square * T(-0.0008548327))))));
    let t = T(1.0) / (T(1.0) + T(0.3275911) * abs(x));
    let tail = t * (T(0.254829592) + t * (T(-0.284496736) + t * (T(1.421413741) + t * (T(-1.453152027)
        + t * T(1.061405429)))));
    return select(sign(x) * (T(1.0) - tail * exp(-square)), series, abs(x) < T(0.5));
}
";

/// Every unary function; a new one is a row.
pub(crate) static UNARY: &[UnaryRule] = &[
    unary("negate", "(-{a})", |x| -x, Some(|g, _, _| g.constant(-1.0))),
    unary("exp", "exp({a})", f64::exp, Some(|_, _, y| Ok(y))),
    unary("log", "log({a})", f64::ln, Some(|g, x, _| g.reciprocal(x))),
    unary(
        "sqrt",
        "sqrt({a})",
        f64::sqrt,
        Some(|g, _, y| {
            let half = g.constant(0.5)?;
            g.div(half, y)
        }),
    ),
    unary(
        "reciprocal",
        "(T(1.0) / {a})",
        f64::recip,
        Some(|g, _, y| {
            let square = g.mul(y, y)?;
            g.negate(square)
        }),
    ),
    unary("abs", "abs({a})", f64::abs, Some(|g, x, _| g.sign(x))),
    unary("sign", "sign({a})", |x| if x == 0.0 { 0.0 } else { x.signum() }, None),
    unary("floor", "floor({a})", f64::floor, None),
    unary("sin", "sin({a})", f64::sin, Some(|g, x, _| g.cos(x))),
    unary(
        "cos",
        "cos({a})",
        f64::cos,
        Some(|g, x, _| {
            let sine = g.sin(x)?;
            g.negate(sine)
        }),
    ),
    unary(
        "tan",
        "tan({a})",
        f64::tan,
        Some(|g, _, y| {
            let square = g.mul(y, y)?;
            let one = g.constant(1.0)?;
            g.add(square, one)
        }),
    ),
    unary(
        "atan",
        "atan({a})",
        f64::atan,
        Some(|g, x, _| {
            let square = g.mul(x, x)?;
            let one = g.constant(1.0)?;
            let sum = g.add(square, one)?;
            g.reciprocal(sum)
        }),
    ),
    // Some drivers compute tanh from exp(2x), which overflows; beyond 20 it is 1 in f64 anyway.
    unary(
        "tanh",
        "tanh(clamp({a}, T(-20.0), T(20.0)))",
        f64::tanh,
        Some(|g, _, y| {
            let square = g.mul(y, y)?;
            let one = g.constant(1.0)?;
            g.sub(one, square)
        }),
    ),
    unary(
        "sigmoid",
        "(T(1.0) / (T(1.0) + exp(-{a})))",
        |x| 1.0 / (1.0 + (-x).exp()),
        Some(|g, _, y| {
            let square = g.mul(y, y)?;
            g.sub(y, square)
        }),
    ),
    // From the output, so that the input need not be kept for the backward pass.
    unary("relu", "max({a}, T(0.0))", |x| x.max(0.0), Some(|g, _, y| g.sign(y))),
    UnaryRule {
        name: "erf",
        wgsl: "erf({a})",
        functions: ERF,
        reference: libm::erf,
        derivative: Some(|g, x, _| {
            let square = g.mul(x, x)?;
            let negative = g.negate(square)?;
            let bell = g.exp(negative)?;
            g.scale(bell, std::f64::consts::FRAC_2_SQRT_PI)
        }),
    },
    // A copy gives an output memory of its own where its value is another node's.
    unary("copy", "{a}", |x| x, Some(|g, _, _| g.constant(1.0))),
    // Bytes and integers become floats; the load converts, so nothing is left to do.
    unary("to_f32", "{a}", |x| x, None),
];

/// The row of `name`.
pub(crate) fn unary_rule(name: &str) -> Option<&'static UnaryRule> {
    UNARY.iter().find(|rule| rule.name == name)
}

/// A unary function at work.
#[derive(Debug)]
pub(crate) struct Unary(pub &'static UnaryRule);

impl Op for Unary {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        match self.0.name {
            "copy" => return Ok(inputs[0].clone()),
            "to_f32" => {}
            name => require_f32(name, inputs)?,
        }
        Ok(TensorType::f32(inputs[0].shape.clone()))
    }

    fn reference(&self, inputs: &[&Array], _: &[usize], _: &StepContext) -> Vec<f64> {
        inputs[0].data.iter().map(|&x| (self.0.reference)(x)).collect()
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        Ok(vec![chain(g, self.0, site, cotangent)?])
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        tangents[0].map_or(Ok(None), |tangent| chain(g, self.0, site, tangent))
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Pointwise { expression: self.0.wgsl, functions: self.0.functions }
    }
}

/// dy/dx times `direction`: what both modes do with a function of one number.
fn chain(g: &mut Graph, rule: &UnaryRule, site: &Site, direction: Var) -> Result<Option<Var>> {
    let Some(derivative) = rule.derivative else { return Ok(None) };
    let slope = derivative(g, site.inputs[0], site.output)?;
    g.mul(direction, slope).map(Some)
}

/// ∂y/∂a or ∂y/∂b as a node, from a, b and y.
type Partial = Option<fn(&mut Graph, Var, Var, Var) -> Result<Var>>;

/// A function of two numbers.
#[derive(Debug)]
pub(crate) struct BinaryRule {
    pub name: &'static str,
    /// The value in WGSL, of `{a}` and `{b}`.
    pub wgsl: &'static str,
    pub reference: fn(f64, f64) -> f64,
    pub partials: [Partial; 2],
}

const fn binary(
    name: &'static str,
    wgsl: &'static str,
    reference: fn(f64, f64) -> f64,
    partials: [Partial; 2],
) -> BinaryRule {
    BinaryRule { name, wgsl, reference, partials }
}

fn one(g: &mut Graph, _: Var, _: Var, _: Var) -> Result<Var> {
    g.constant(1.0)
}

/// Every binary function; a new one is a row. Comparisons give 1 or 0.
pub(crate) static BINARY: &[BinaryRule] = &[
    binary("add", "({a} + {b})", |a, b| a + b, [Some(one), Some(one)]),
    binary("sub", "({a} - {b})", |a, b| a - b, [Some(one), Some(|g, _, _, _| g.constant(-1.0))]),
    binary("mul", "({a} * {b})", |a, b| a * b, [Some(|_, _, b, _| Ok(b)), Some(|_, a, _, _| Ok(a))]),
    binary(
        "div",
        "({a} / {b})",
        |a, b| a / b,
        [
            Some(|g, _, b, _| g.reciprocal(b)),
            Some(|g, _, b, y| {
                let quotient = g.div(y, b)?;
                g.negate(quotient)
            }),
        ],
    ),
    // WGSL's pow is exp2(b·log2 a): defined for a > 0.
    binary(
        "pow",
        "pow({a}, {b})",
        f64::powf,
        [
            Some(|g, a, b, _| {
                let one = g.constant(1.0)?;
                let less = g.sub(b, one)?;
                let power = g.pow(a, less)?;
                g.mul(b, power)
            }),
            Some(|g, a, _, y| {
                let log = g.log(a)?;
                g.mul(y, log)
            }),
        ],
    ),
    // At a tie the first argument takes the whole derivative.
    binary(
        "max",
        "max({a}, {b})",
        f64::max,
        [Some(|g, a, b, _| g.binary("ge", a, b)), Some(|g, a, b, _| g.binary("lt", a, b))],
    ),
    binary(
        "min",
        "min({a}, {b})",
        f64::min,
        [Some(|g, a, b, _| g.binary("ge", b, a)), Some(|g, a, b, _| g.binary("lt", b, a))],
    ),
    binary("lt", "select(T(0.0), T(1.0), {a} < {b})", |a, b| f64::from(a < b), [None, None]),
    binary("ge", "select(T(0.0), T(1.0), {a} >= {b})", |a, b| f64::from(a >= b), [None, None]),
    binary("eq", "select(T(0.0), T(1.0), {a} == {b})", |a, b| f64::from(a == b), [None, None]),
];

/// A binary function at work, on inputs of one shape (the graph broadcasts before).
#[derive(Debug)]
pub(crate) struct Binary(pub &'static BinaryRule);

impl Op for Binary {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        require_f32(self.0.name, inputs)?;
        require_same_shape(self.0.name, inputs)?;
        Ok(inputs[0].clone())
    }

    fn reference(&self, inputs: &[&Array], _: &[usize], _: &StepContext) -> Vec<f64> {
        let pairs = inputs[0].data.iter().zip(&inputs[1].data);
        pairs.map(|(&a, &b)| (self.0.reference)(a, b)).collect()
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        (0..2).map(|which| partial(g, self.0, site, which, cotangent)).collect()
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        let mut total = None;
        for (which, tangent) in tangents.iter().enumerate() {
            if let Some(tangent) = *tangent {
                let term = partial(g, self.0, site, which, tangent)?;
                total = g.add_optional(total, term)?;
            }
        }
        Ok(total)
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Pointwise { expression: self.0.wgsl, functions: "" }
    }
}

/// The partial derivative by input `which` times `direction`.
fn partial(
    g: &mut Graph,
    rule: &BinaryRule,
    site: &Site,
    which: usize,
    direction: Var,
) -> Result<Option<Var>> {
    let Some(derivative) = rule.partials[which] else { return Ok(None) };
    let slope = derivative(g, site.inputs[0], site.inputs[1], site.output)?;
    g.mul(direction, slope).map(Some)
}

/// `condition != 0 ? a : b`, element by element.
#[derive(Debug)]
pub(crate) struct Select;

impl Op for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        require_f32("select", inputs)?;
        require_same_shape("select", inputs)?;
        Ok(inputs[1].clone())
    }

    fn reference(&self, inputs: &[&Array], _: &[usize], _: &StepContext) -> Vec<f64> {
        let [condition, a, b] = [0, 1, 2].map(|i| &inputs[i].data);
        (0..a.len()).map(|i| if condition[i] != 0.0 { a[i] } else { b[i] }).collect()
    }

    fn vjp(&self, g: &mut Graph, site: &Site, cotangent: Var) -> Result<Vec<Option<Var>>> {
        let zero = g.constant(0.0)?;
        let to_a = g.select(site.inputs[0], cotangent, zero)?;
        let to_b = g.select(site.inputs[0], zero, cotangent)?;
        Ok(vec![None, Some(to_a), Some(to_b)])
    }

    fn jvp(&self, g: &mut Graph, site: &Site, tangents: &[Option<Var>]) -> Result<Option<Var>> {
        if tangents[1].is_none() && tangents[2].is_none() {
            return Ok(None);
        }
        let zero = g.constant(0.0)?;
        let (a, b) = (tangents[1].unwrap_or(zero), tangents[2].unwrap_or(zero));
        g.select(site.inputs[0], a, b).map(Some)
    }

    fn lower(&self) -> Lowering<'_> {
        Lowering::Pointwise { expression: "select({c}, {b}, {a} != T(0.0))", functions: "" }
    }
}

/// All inputs are floats.
pub(super) fn require_f32(operation: &str, inputs: &[&TensorType]) -> Result<()> {
    match inputs.iter().find(|ty| ty.element != Element::F32) {
        Some(ty) => Err(Error::shape(
            operation,
            format!("takes floats, not {:?} {}; convert with `to_f32`", ty.element, ty.shape),
        )),
        None => Ok(()),
    }
}

fn require_same_shape(operation: &str, inputs: &[&TensorType]) -> Result<()> {
    match inputs.iter().find(|ty| ty.shape != inputs[0].shape) {
        Some(ty) => {
            Err(Error::shape(operation, format!("shapes {} and {} differ", inputs[0].shape, ty.shape)))
        }
        None => Ok(()),
    }
}
