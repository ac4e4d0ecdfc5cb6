//! The generator of the kernel that does whole steps of a small objective, around `shaders/minimize.wgsl`.
//!
//! θ and the state lie in groups of four, as update rules take them; every group has variables of its own, so that all
//! stays in registers over the steps of a dispatch.

use super::MinimizeOptions;
use super::layout::{Layout, Tensor};
use super::scalars::Program;
use crate::optim::{Modifiers, Optimizer, Passes};

/// Steps of a dispatch: some milliseconds, where watchdogs end what takes seconds.
pub(super) const DISPATCH_STEPS: u64 = 512;

/// The lanes of a group.
const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// Scalars of a line of the schedule.
pub(super) const LINE: usize = Optimizer::SCALARS + Modifiers::SCALARS;

/// The vectors with the layout of θ that the kernel keeps: θ, the rule's state, and what follows θ.
pub(super) fn vectors(options: &MinimizeOptions) -> Vec<&'static str> {
    let Modifiers { lookahead, average, .. } = &options.modifiers;
    let followers = [("slow", lookahead.is_some()), ("average", average.is_some())];
    let followers = followers.into_iter().filter(|(_, kept)| *kept).map(|(name, _)| name);
    std::iter::once("theta").chain(options.optimizer.state_slots()).chain(followers).collect()
}

/// The kernel of `program` and the optimizer of `options`.
pub(super) fn kernel_text(options: &MinimizeOptions, program: &Program, layout: &Layout) -> String {
    let (optimizer, quads) = (&options.optimizer, layout.quads);
    let [loads, stores] = moves(options, quads);
    let own = optimizer.scalar_count();
    let places = (0..own).chain(Optimizer::SCALARS..LINE);
    let scalars: Vec<String> = places.map(|i| format!("schedule[first + {i}u]")).collect();
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
        width = LINE,
        scalars = scalars.join(", "),
        values = values(program, layout),
        check = check(program, quads),
        update = update(options, layout),
        point = reported(options, quads, "            ", "row + "),
        theta = reported(options, quads, "    ", "1u + "),
    )
}

/// A text for every group.
fn each(quads: usize, text: impl FnMut(usize) -> String) -> String {
    (0..quads).map(text).collect()
}

/// θ and the state into variables at the start of a dispatch, and back at its end.
fn moves(options: &MinimizeOptions, quads: usize) -> [String; 2] {
    let fields = vectors(options);
    let line = |q: usize, load: bool| -> String {
        let line = |(place, field): (usize, &&str)| {
            let variable = match *field {
                "slow" | "average" => format!("{field}{q}"),
                _ => format!("before{q}.{field}"),
            };
            let memory = format!("state[{}]", place * quads + q);
            let (to, from) = if load { (variable, memory) } else { (memory, variable) };
            format!("    {to} = {from};\n")
        };
        fields.iter().enumerate().map(line).collect()
    };
    let followers = fields.iter().filter(|field| ["slow", "average"].contains(field));
    let followers: Vec<&&str> = followers.collect();
    let loads = each(quads, |q| {
        let declare: String =
            followers.iter().map(|field| format!("    var {field}{q}: vec4<f32>;\n")).collect();
        format!("    var before{q}: Element;\n{declare}{}", line(q, true))
    });
    [loads, each(quads, |q| line(q, false))]
}

/// The unknowns by name, and the loss's and the gradient's assignments.
fn values(program: &Program, layout: &Layout) -> String {
    let name = |(i, (quad, lane)): (usize, &(usize, usize))| {
        format!("        let x{i} = before{quad}.theta.{};\n", LANES[*lane])
    };
    let names: String = layout.places.iter().enumerate().map(name).collect();
    let mut lanes = vec![["0.0"; 4]; layout.quads];
    for (&(quad, lane), value) in layout.places.iter().zip(&program.gradient) {
        lanes[quad][lane] = value;
    }
    let gradient =
        each(layout.quads, |q| format!("        let g{q} = vec4<f32>({});\n", lanes[q].join(", ")));
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

/// The update with what goes with it, and what is to be said of it.
fn update(options: &MinimizeOptions, layout: &Layout) -> String {
    let quads = layout.quads;
    let gradients = clipped(&options.modifiers, quads);
    let steps = match options.optimizer.passes() {
        Some(Passes::TrustRatio { .. }) => scaled_steps(layout),
        Some(Passes::Factored) => factored_steps(layout),
        // A rule for matrices is not minimised with in one kernel.
        None | Some(Passes::Orthogonal) => {
            each(quads, |q| format!("        var after{q} = update(before{q}, h{q});\n"))
        }
    };
    let Modifiers { lookahead, average, .. } = &options.modifiers;
    let updates = each(quads, |q| {
        let slow = format!(
            "        if (scalar.lookahead_weight > 0.0) {{
            let past = slow{q};
            slow{q} = approach(past, after{q}.theta, scalar.lookahead_weight);
            same = same && are_same(slow{q}, past);
            after{q}.theta = slow{q};
        }}\n"
        );
        let mean = format!(
            "        if (scalar.average_weight > 0.0) {{
            let past = average{q};
            average{q} = approach(past, after{q}.theta, scalar.average_weight);
            same = same && are_same(average{q}, past);
        }}\n"
        );
        format!(
            "{}{}        same = same && are_same(after{q}.theta, before{q}.theta);
        finite = finite && is_finite4(after{q}.theta);
        before{q} = after{q};
",
            if lookahead.is_some() { &slow } else { "" },
            if average.is_some() { &mean } else { "" },
        )
    });
    format!(
        "        var same = true;
        var finite = true;
{gradients}{steps}{updates}        report.x += 1u;
        report.z = select(0u, report.z + 1u, same);
        if (!finite) {{
            report.y = DIVERGED;
        }} else if (control.may_stop != 0u && report.z >= {stalled}u) {{
            report.y = STALLED;
        }}
",
        // A run has at most so many steps.
        stalled = options.stalled_after().min(u64::from(u32::MAX)),
    )
}

/// The gradient `h` as the modifiers let it pass; `shaders/update/norm_control.wgsl` and `Frame::helpers` are its twins.
fn clipped(modifiers: &Modifiers, quads: usize) -> String {
    let mut text = String::new();
    if let Some(norm) = modifiers.clip_norm {
        let squares = each(quads, |q| format!("        squares_of_all += dot(g{q}, g{q});\n"));
        text += &format!(
            "        var squares_of_all = 0.0;
{squares}        let scale = min(1.0, {:?} / (sqrt(squares_of_all) + 1e-6));\n",
            norm as f32
        );
    }
    let scale = if modifiers.clip_norm.is_some() { " * scale" } else { "" };
    text + &each(quads, |q| match modifiers.clip_value {
        Some(_) => format!(
            "        let h{q} = clamp(g{q}{scale}, vec4(-scalar.clip_value), vec4(scalar.clip_value));\n"
        ),
        None => format!("        let h{q} = g{q}{scale};\n"),
    })
}

/// Steps scaled by each unknown's norm; the passes of `src/optim/update/trust_ratio.rs` are its twins.
fn scaled_steps(layout: &Layout) -> String {
    let of_tensor = |(number, tensor): (usize, &Tensor)| {
        let directions: String = tensor
            .quads
            .clone()
            .map(|q| {
                format!(
                    "        var after{q} = prepare(before{q}, h{q});
        let u{q} = direction(after{q}, h{q});
        sums{number} += vec2(dot(after{q}.theta, after{q}.theta), dot(u{q}, u{q}));\n"
                )
            })
            .collect();
        let steps: String = tensor
            .quads
            .clone()
            .map(|q| format!("        after{q} = go(after{q}, u{q}, ratio{number});\n"))
            .collect();
        format!(
            "        var sums{number} = vec2<f32>();
{directions}        let norms{number} = sqrt(sums{number});
        let none{number} = norms{number}.x == 0.0 || norms{number}.y == 0.0;
        let ratio{number} = select(trust(norms{number}.x, norms{number}.y), 1.0, none{number});
{steps}"
        )
    };
    layout.tensors.iter().enumerate().map(of_tensor).collect()
}

/// Adafactor's steps of vectors, whose squares it keeps; the passes of `src/optim/update/factored.rs` are its twins.
fn factored_steps(layout: &Layout) -> String {
    let of_tensor = |(number, tensor): (usize, &Tensor)| {
        let by_lanes = |value: &dyn Fn(&str) -> String| LANES.map(value).join(", ");
        let directions: String = tensor
            .quads
            .clone()
            .map(|q| {
                let squares =
                    by_lanes(&|l| format!("towards(before{q}.second_moment.{l}, h{q}.{l} * h{q}.{l})"));
                let directions = by_lanes(&|l| format!("direction(h{q}.{l}, after{q}.second_moment.{l})"));
                format!(
                    "        var after{q} = before{q};
        after{q}.second_moment = vec4<f32>({squares});
        let u{q} = vec4<f32>({directions});
        sums{number} += vec2(dot(before{q}.theta, before{q}.theta), dot(u{q}, u{q}));\n"
                )
            })
            .collect();
        let steps: String = tensor
            .quads
            .clone()
            .map(|q| {
                format!("        after{q}.theta = scalar.kept * before{q}.theta - rate{number} * u{q};\n")
            })
            .collect();
        format!(
            "        var sums{number} = vec2<f32>();
{directions}        let roots{number} = sqrt(sums{number} / {}.0);
        let rate{number} = rate(roots{number}.x, roots{number}.y);
{steps}",
            tensor.elements
        )
    };
    layout.tensors.iter().enumerate().map(of_tensor).collect()
}

/// Writes θ as the user reads it to the record, from `place` on.
fn reported(options: &MinimizeOptions, quads: usize, indent: &str, place: &str) -> String {
    let Modifiers { lookahead, average, .. } = &options.modifiers;
    each(quads, |q| {
        let theta = if average.is_some() {
            format!("average{q}")
        } else if lookahead.is_some() {
            format!("slow{q}")
        } else if options.optimizer.has_readout() {
            format!("readout(before{q})")
        } else {
            format!("before{q}.theta")
        };
        format!("{indent}record[{place}{q}u] = bitcast<vec4<u32>>({theta});\n")
    })
}
