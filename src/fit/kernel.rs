//! The generator of the kernels that fit, around `shaders/fit/frame.wgsl`: every number that is needed at every point has
//! a name of its own, so that it stays in a register.
//!
//! The triangle R of the Jacobian's QR is made row by row by rotations without square roots (Gentleman, "Least squares
//! computations by Givens transformations without square roots", 1973): R = √D·R̄ with a unit triangle R̄. It costs a few
//! operations more than sums of squares and products, and does not square the condition number, which f32 could not bear.

use std::fmt::Write;

use super::FitOptions;
use crate::Precision;
use crate::minimize::Program;

/// What a fit takes of `state`, in numbers: its twin is the list of fields in `shaders/fit/frame.wgsl`.
pub(super) fn state_fields(unknowns: usize) -> usize {
    5 * unknowns + unknowns * (unknowns + 1) + 7
}

/// Counts of a fit in `record`.
pub(super) const RECORD_FIELDS: usize = 3;

/// Numbers that a block leaves for the next kernel.
pub(super) fn part_numbers(unknowns: usize) -> usize {
    unknowns * (unknowns + 1) + 2
}

/// What tells a number from none, by the exponent's bits, for compilers may assume that comparisons see no NaN.
fn is_finite(precision: Precision) -> &'static str {
    match precision {
        Precision::F64 => "    return (bitcast<u64>(x) & 0x7ff0000000000000lu) != 0x7ff0000000000000lu;",
        Precision::F32 | Precision::F16 => "    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;",
    }
}

/// How the invocations of a kernel share the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Share {
    /// An invocation does turns of a fit.
    Whole,
    /// An invocation goes over a block of the points of the only fit.
    Block,
    /// One invocation joins the blocks, and judges.
    Join,
}

/// Where a column that the model reads lies.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Counted among those that are alike in this.
    pub number: usize,
    /// Whether each fit has its own.
    pub own: bool,
}

/// A kernel as WGSL, in f32; [`in_double`](crate::gpu::in_double) makes f64 of it.
pub(super) fn kernel_text(
    program: &Program,
    columns: &[Place],
    options: &FitOptions,
    precision: Precision,
    share: Share,
) -> String {
    let unknowns = program.gradient.len() - 1;
    let method = options.method;
    let rho = options.robust.map_or(String::new(), |loss| loss.wgsl());
    let common = [
        constants(unknowns, method.scaled, precision),
        include_str!("../../shaders/fit/frame.wgsl").to_owned(),
        format!("fn is_finite(x: T) -> bool {{\n{}\n}}\n", is_finite(precision)),
        scale_of(method.scaled).to_owned(),
        registers(unknowns),
        fold(unknowns),
        keep_rows(unknowns),
        solve(unknowns),
        method.wgsl.join("\n"),
        program.functions.clone(),
        rho,
    ];
    let entry = match share {
        Share::Whole => accumulate(program, columns, options) + WHOLE,
        Share::Block => accumulate(program, columns, options) + &block(unknowns),
        Share::Join => join(unknowns),
    };
    common.join("\n") + &entry
}

fn constants(unknowns: usize, scaled: bool, precision: Precision) -> String {
    let epsilon = precision.epsilon();
    // Beyond the largest damping a step is below rounding. The rank is judged by what rotations leave of a column that
    // others make up. Squares below the least have no finite inverse, and are none.
    format!(
        "const N: u32 = {unknowns}u;
const SCALED: bool = {scaled};
const EPSILON: T = {epsilon:e};
const FIRST_DAMPING: T = {FIRST_DAMPING:e};
const LARGEST_DAMPING: T = {:e};
const RANK: T = {:e};
const LEAST: T = {};
",
        (epsilon * epsilon).recip(),
        (16.0 * epsilon).powi(2),
        if precision == Precision::F64 { "1e-300" } else { "1e-36" }
    )
}

/// λ at the start, over diag(JᵀJ): of 1e-3 to 1, what solves most of NIST's problems from both of their starts.
const FIRST_DAMPING: f64 = 0.1;

/// MINPACK measures steps by the largest norms that columns ever had, which from a far start is too much for good.
/// Here that fades: of 0 to 1, seven tenths solve most of NIST's problems.
fn scale_of(scaled: bool) -> &'static str {
    match scaled {
        true => {
            "
fn scale_of(norm: T, before: T) -> T {
    let scale = max(norm, 0.7 * before);
    return select(T(1.0), scale, scale > 0.0);
}
"
        }
        false => {
            "
fn scale_of(norm: T, before: T) -> T {
    return 1.0;
}
"
        }
    }
}

/// Places above R's diagonal.
fn above(unknowns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..unknowns).flat_map(move |i| (i + 1..unknowns).map(move |k| (i, k)))
}

/// Text of a line for every unknown.
fn each(unknowns: usize, line: impl Fn(usize) -> String) -> String {
    (0..unknowns).map(line).collect()
}

/// A list of expressions, one for every unknown.
fn list(unknowns: usize, expression: impl Fn(usize) -> String) -> String {
    (0..unknowns).map(expression).collect::<Vec<_>>().join(", ")
}

/// D, R̄ and R̄⁻ᵀJᵀr as private variables.
fn registers(unknowns: usize) -> String {
    let triangle: String = above(unknowns).map(|(i, k)| format!("var<private> r{i}_{k}: T;\n")).collect();
    let cleared: String = above(unknowns).map(|(i, k)| format!("    r{i}_{k} = 0.0;\n")).collect();
    let sum = (0..unknowns).map(|i| format!("d{i} * (1.0 + q{i} * q{i})")).collect::<Vec<_>>().join(" + ");
    format!(
        "{}{triangle}
fn clear() {{
{}{cleared}}}

// Finite where all of them are.
fn size() -> T {{
    return {sum};
}}
",
        each(unknowns, |i| format!("var<private> d{i}: T;\nvar<private> q{i}: T;\n")),
        each(unknowns, |i| format!("    d{i} = 0.0;\n    q{i} = 0.0;\n")),
    )
}

/// Rotates a row of the Jacobian and its residual into the triangle. Of two forms that are equal on paper, one keeps equal
/// columns equal, the other forgets what a row that is far larger than those before it makes void.
fn fold(unknowns: usize) -> String {
    let mut text = format!(
        "fn fold({}, residual: T) {{\n    var y = residual;\n    var weight = T(1.0);\n",
        list(unknowns, |j| format!("row{j}: T"))
    );
    text += &each(unknowns, |j| format!("    var a{j} = row{j};\n"));
    text += "    var sum: T;\n    var inverse: T;\n    var old: T;\n    var fresh: T;\n    var before: T;\n";
    for i in 0..unknowns {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "    sum = d{i} + weight * a{i} * a{i};
    sum = select(d{i}, sum, sum > LEAST);
    inverse = select(T(0.0), 1.0 / sum, sum > LEAST);
    old = select(T(1.0), d{i} * inverse, sum > LEAST);
    fresh = weight * a{i} * inverse;
    weight *= old;
    d{i} = sum;
"
        );
        for (element, kept) in (i + 1..unknowns)
            .map(|k| (format!("a{k}"), format!("r{i}_{k}")))
            .chain([("y".to_owned(), format!("q{i}"))])
        {
            let _ = write!(
                text,
                "    before = {element};
    {element} = before - a{i} * {kept};
    {kept} = select({kept} + fresh * {element}, old * {kept} + fresh * before, old < 0.1);
"
            );
        }
    }
    text + "}\n"
}

/// Where an element of the kept rows lies.
fn kept(i: usize, k: usize, unknowns: usize) -> String {
    format!("state[field(ROWS + {}u, fit)]", i * (unknowns + 1) + k)
}

/// Rows √D·(R̄, q), as `assign` has them go somewhere.
fn rows(unknowns: usize, assign: impl Fn(usize, usize, &str) -> String) -> String {
    each(unknowns, |i| {
        let above = (i + 1..unknowns).map(|k| assign(i, k, &format!("root{i} * r{i}_{k}")));
        format!(
            "    let root{i} = sqrt(d{i});\n{}{}{}",
            assign(i, i, &format!("root{i}")),
            above.collect::<String>(),
            assign(i, unknowns, &format!("root{i} * q{i}"))
        )
    })
}

fn keep_rows(unknowns: usize) -> String {
    let lines = rows(unknowns, |i, k, value| format!("    {} = {value};\n", kept(i, k, unknowns)));
    format!("fn keep_rows(fit: u32) {{\n{lines}}}\n")
}

/// The step that solves the damped linear model over the free unknowns, and by how much the undamped one could lessen
/// the objective.
fn solve(unknowns: usize) -> String {
    let row = list(unknowns, |j| {
        let damped = format!("select(T(0.0), extra, row == N + {j}u)");
        format!("free{j} * select({damped}, state[field(first + {j}u, fit)], row < N)")
    });
    // Whether a column has a part of its own that is not rounding.
    let own = |i: usize| {
        let others: String = (0..i).map(|k| format!(" + d{k} * r{k}_{i} * r{k}_{i}")).collect();
        format!("d{i} > RANK * (d{i}{others})")
    };
    let attained: String = each(unknowns, |i| {
        format!("            attainable += select(T(0.0), d{i} * q{i} * q{i}, {});\n", own(i))
    });
    let back = |i: usize| {
        let known: String = (i + 1..unknowns).map(|k| format!(" - r{i}_{k} * step{k}")).collect();
        format!(
            "    let step{i} = select(T(0.0), -q{i}{known}, {});
    state[field(STEP + {i}u, fit)] = step{i};
",
            own(i)
        )
    };
    format!(
        "fn solve(fit: u32) -> T {{
    clear();
{}    var attainable = T(0.0);
    // The rows of R, then those of the damping.
    for (var row = 0u; row < 2u * N; row++) {{
        if (row == N) {{
{attained}        }}
        let first = ROWS + min(row, N - 1u) * (N + 1u);
        let extra = damping(fit, max(row, N) - N);
        fold({row}, select(T(0.0), state[field(first + N, fit)], row < N));
    }}
{}    return attainable;
}}
",
        each(unknowns, |j| format!("    let free{j} = state[field(FREE + {j}u, fit)];\n")),
        (0..unknowns).rev().map(back).collect::<String>(),
    )
}

/// Goes over points and leaves the triangle and the sums at TRIAL in the registers.
fn accumulate(program: &Program, columns: &[Place], options: &FitOptions) -> String {
    let unknowns = program.gradient.len() - 1;
    let shared = columns.iter().filter(|place| !place.own).count();
    let column = |(number, place): (usize, &Place)| {
        let at = match *place {
            Place { number, own: false } => format!("{number}u * control.points + point"),
            Place { number, own: true } => {
                format!(
                    "({shared}u + {number}u * control.fits) * control.points + point * control.fits + fit"
                )
            }
        };
        format!("        let x{} = columns[{at}];\n", unknowns + number)
    };
    let robust = options.robust.is_some();
    let scaled = match robust {
        false => {
            "        add_to_total(residual * residual);
        observed += left * left;
        let to_residual = T(1.0);
        let to_row = T(1.0);
"
        }
        // `RobustLoss::rescaled` is its twin.
        true => {
            "        let part = residual / settings[LOSS_SCALE];
        let square = part * part;
        let loss = rho(square);
        // ρ′·r² ≤ ρ, so by Cauchy and Schwarz this times the sum bounds what roundings of the left side do to it.
        observed += loss.y * left * left;
        add_to_total(settings[LOSS_SCALE] * settings[LOSS_SCALE] * loss.x);
        let to_row = sqrt(max(loss.y + 2.0 * loss.z * square, EPSILON));
        let to_residual = loss.y / to_row;
"
        }
    };
    format!(
        "
fn accumulate(fit: u32, first: u32, until: u32) {{
    clear();
    total = 0.0;
    lost = 0.0;
    observed = 0.0;
{unknown}    for (var point = first; point < until; point++) {{
{column}{assignments}        let residual = {residual};
        let left = {left};
{scaled}        fold({row}, to_residual * residual);
    }}
}}
",
        unknown = each(unknowns, |j| {
            format!(
                "    let x{j} = state[field(TRIAL + {j}u, fit)];\n    let unit{j} = settings[UNIT + {j}u];\n"
            )
        }),
        column = columns.iter().enumerate().map(column).collect::<String>(),
        assignments = program.assignments,
        residual = program.loss,
        left = program.gradient[unknowns],
        row = list(unknowns, |j| format!("to_row * (unit{j} * {})", program.gradient[j])),
    )
}

const WHOLE: &str = "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let fit = id.y * groups.x * 64u + id.x;
    if (fit >= control.fits) {
        return;
    }
    for (var turn = 0u; turn < control.turns && record[field(STATUS, fit)] == RUNNING; turn++) {
        accumulate(fit, 0u, control.points);
        judge(fit);
    }
    if (record[field(STATUS, fit)] == RUNNING) {
        atomicAdd(&unfinished, 1u);
    }
}
";

fn block(unknowns: usize) -> String {
    let width = unknowns + 1;
    let lines = rows(unknowns, |i, k, value| format!("    parts[first + {}u] = {value};\n", i * width + k));
    format!(
        "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    if (id.x >= control.blocks || record[field(STATUS, 0u)] != RUNNING) {{
        return;
    }}
    accumulate(0u, id.x * control.block, min(control.points, (id.x + 1u) * control.block));
    let first = id.x * PART;
{lines}    parts[first + PART - 2u] = total;
    parts[first + PART - 1u] = observed;
}}
"
    )
}

fn join(unknowns: usize) -> String {
    format!(
        "
@compute @workgroup_size(1)
fn main() {{
    if (record[field(STATUS, 0u)] != RUNNING) {{
        return;
    }}
    clear();
    total = 0.0;
    lost = 0.0;
    observed = 0.0;
    for (var block = 0u; block < control.blocks; block++) {{
        let first = block * PART;
        add_to_total(parts[first + PART - 2u]);
        observed += parts[first + PART - 1u];
        for (var row = 0u; row < N; row++) {{
            let at = first + row * (N + 1u);
            fold({}, parts[at + N]);
        }}
    }}
    judge(0u);
    if (record[field(STATUS, 0u)] == RUNNING) {{
        atomicAdd(&unfinished, 1u);
    }}
}}
",
        list(unknowns, |j| format!("parts[at + {j}u]")),
    )
}
