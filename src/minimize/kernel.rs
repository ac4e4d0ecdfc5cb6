//! The generator of the kernel that does whole steps of a small objective, around `shaders/minimize.wgsl`.
//!
//! θ and the state lie in groups of four, as update rules take them; every group has variables of its own, so that all
//! stays in registers over the steps of a dispatch.

use super::STALLED;
use super::scalars::Program;
use crate::optim::Optimizer;

/// Steps of a dispatch: some milliseconds, where watchdogs end what takes seconds.
pub(super) const DISPATCH_STEPS: u64 = 512;

/// The lanes of a group.
const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// The kernel of `program` and `optimizer`.
pub(super) fn kernel_text(optimizer: &Optimizer, program: &Program) -> String {
    let quads = program.gradient.len().div_ceil(4);
    let [loads, stores] = moves(optimizer, quads);
    let scalars: Vec<String> =
        (0..optimizer.scalar_count()).map(|i| format!("schedule[first + {i}u]")).collect();
    format!(
        "{frame}
{rule}
{functions}
// Those of the step at a line of the schedule.
fn scalars_at(line: u32) -> Scalars {{
    let first = line * {width}u;
    return Scalars({scalars});
}}

@compute @workgroup_size(1)
fn main() {{
    var report = record[0];
    // For the readout, where no step is left to do.
    scalar = scalars_at(0u);
{loads}    for (var i = 0u; i < {DISPATCH_STEPS}u && report.x < control.until && report.y == 0u; i++) {{
        scalar = scalars_at(report.x - control.done);
{values}{check}{update}        if (control.trace != 0u && report.x % control.trace == 0u) {{
            let row = 1u + {quads}u * (report.x / control.trace - control.done / control.trace);
{point}        }}
    }}
{stores}{theta}    record[0] = report;
}}
",
        frame = include_str!("../../shaders/minimize.wgsl"),
        rule = optimizer.rule_wgsl(),
        functions = program.functions,
        width = Optimizer::SCALARS,
        scalars = scalars.join(", "),
        values = values(program),
        check = check(program, quads),
        update = update(quads),
        point = reported(optimizer, quads, "            ", "row + "),
        theta = reported(optimizer, quads, "    ", "1u + "),
    )
}

/// A text for every group.
fn each(quads: usize, text: impl FnMut(usize) -> String) -> String {
    (0..quads).map(text).collect()
}

/// θ and the state into variables at the start of a dispatch, and back at its end.
fn moves(optimizer: &Optimizer, quads: usize) -> [String; 2] {
    let fields: Vec<&str> = std::iter::once("theta").chain(optimizer.state_slots()).collect();
    let line = |q: usize, load: bool| -> String {
        let line = |(place, field): (usize, &&str)| {
            let (variable, memory) = (format!("before{q}.{field}"), format!("state[{}]", place * quads + q));
            let (to, from) = if load { (variable, memory) } else { (memory, variable) };
            format!("    {to} = {from};\n")
        };
        fields.iter().enumerate().map(line).collect()
    };
    let loads = each(quads, |q| format!("    var before{q}: Element;\n{}", line(q, true)));
    [loads, each(quads, |q| line(q, false))]
}

/// The unknowns by name, and the loss's and the gradient's assignments.
fn values(program: &Program) -> String {
    let unknowns = program.gradient.len();
    let name = |i: usize| format!("        let x{i} = before{}.theta.{};\n", i / 4, LANES[i % 4]);
    let names: String = (0..unknowns).map(name).collect();
    let gradient = each(unknowns.div_ceil(4), |q| {
        let lane = |lane: usize| program.gradient.get(4 * q + lane).map_or("0.0", String::as_str);
        let lanes: Vec<&str> = (0..4).map(lane).collect();
        format!("        let g{q} = vec4<f32>({});\n", lanes.join(", "))
    });
    format!("{names}{}{gradient}", program.assignments)
}

/// Stops where the loss is no number, or the gradient's norm is within the tolerance. The norm is computed from the
/// gradient over its largest part, whose square neither vanishes nor overflows.
fn check(program: &Program, quads: usize) -> String {
    let largest = each(quads, |q| format!("            largest = max(largest, max4(abs(g{q})));\n"));
    let squares =
        each(quads, |q| format!("                squares += dot(g{q} / largest, g{q} / largest);\n"));
    format!(
        "        report.w += 1u;
        if (!is_finite(T({loss}))) {{
            report.y = DIVERGED;
            break;
        }}
        if (control.may_stop != 0u && report.x >= control.looks_from) {{
            var largest = 0.0;
{largest}            var squares = 0.0;
            if (largest > 0.0) {{
{squares}            }}
            if (largest * sqrt(squares) <= control.tolerance) {{
                report.y = CONVERGED;
                break;
            }}
        }}
",
        loss = program.loss,
    )
}

/// The update, and what is to be said of it.
fn update(quads: usize) -> String {
    let updates = each(quads, |q| {
        format!(
            "        let after{q} = update(before{q}, g{q});
        same = same && all(bitcast<vec4<u32>>(after{q}.theta) == bitcast<vec4<u32>>(before{q}.theta));
        finite = finite && is_finite4(after{q}.theta);
        before{q} = after{q};
"
        )
    });
    format!(
        "        var same = true;
        var finite = true;
{updates}        report.x += 1u;
        report.z = select(0u, report.z + 1u, same);
        if (!finite) {{
            report.y = DIVERGED;
        }} else if (control.may_stop != 0u && report.z >= {STALLED}u) {{
            report.y = STALLED;
        }}
"
    )
}

/// Writes θ as the user reads it to the record, from `place` on.
fn reported(optimizer: &Optimizer, quads: usize, indent: &str, place: &str) -> String {
    each(quads, |q| {
        let theta = match optimizer.has_readout() {
            true => format!("readout(before{q})"),
            false => format!("before{q}.theta"),
        };
        format!("{indent}record[{place}{q}u] = bitcast<vec4<u32>>({theta});\n")
    })
}
