//! Kernels that walk the last axis: softmax, cross-entropy, its gradient, argmax. Either one invocation walks a row
//! [classes] alone, or a workgroup shares it.

use super::{FIRST_READ, combine_lanes, cooperative_entry, entry, output, prologue, store};
use crate::graph::ops::RowKind;
use crate::plan::expression::{Expression, Width, float_type};

/// The text of a row kernel. Bindings: logits, labels where it has them, what `upstream` loads, the result. Where it
/// does `accumulate`, values are added to what the result holds if the step says so; of 16 bits it is where it is `half`.
pub(crate) fn rows(
    kind: RowKind,
    [cooperative, half]: [bool; 2],
    upstream: Option<(&Expression, &str, &str)>,
    accumulate: bool,
) -> String {
    let has_labels = matches!(kind, RowKind::CrossEntropy | RowKind::CrossEntropyGradient);
    let labels = FIRST_READ + 1;
    let mut reads = 1 + usize::from(has_labels);
    let mut text = prologue(Width::One, &["classes"]);
    text.push_str(&format!("@group(0) @binding({FIRST_READ}) var<storage, read> logits: array<f32>;\n"));
    if has_labels {
        text.push_str(&format!("@group(0) @binding({labels}) var<storage, read> labels: array<u32>;\n"));
    }
    if let Some((expression, _, _)) = upstream {
        text.push_str(&expression.declarations());
        reads += expression.loads.len();
    }
    let ty = if kind == RowKind::ArgMax { "u32" } else { float_type(half, false) };
    text.push_str(&output(FIRST_READ + reads, ty, accumulate));
    if cooperative {
        text.push_str("var<workgroup> lanes: array<f32, 64>;\nvar<workgroup> places: array<u32, 64>;\n");
        text.push_str(&cooperative_entry());
    } else {
        text.push_str(&entry());
    }
    text.push_str(&Walk { cooperative, half, accumulate }.body(kind, upstream));
    text.push_str("}\n");
    text
}

/// How a row is walked.
struct Walk {
    cooperative: bool,
    half: bool,
    accumulate: bool,
}

impl Walk {
    /// A loop over the elements `j` of the row.
    fn each(&self, body: &str) -> String {
        let (first, stride) = if self.cooperative { ("lane", "64u") } else { ("0u", "1u") };
        format!("    for (var j = {first}; j < p.classes; j += {stride}) {{ {body} }}\n")
    }

    /// Joins what the lanes have found.
    fn join(&self, value: &str, memory: &str, combine: &str) -> String {
        if self.cooperative { combine_lanes(value, memory, combine) } else { String::new() }
    }

    /// What only one lane does.
    fn once(&self, statement: &str) -> String {
        if self.cooperative {
            format!("    if (lane == 0u) {{ {statement} }}\n")
        } else {
            format!("    {statement}\n")
        }
    }

    fn store(&self, place: &str, value: &str) -> String {
        match self.half {
            true => store(place, &format!("f16({value})"), self.accumulate),
            false => store(place, value, self.accumulate),
        }
    }

    fn body(&self, kind: RowKind, upstream: Option<(&Expression, &str, &str)>) -> String {
        let mut text =
            "    let first = i * p.classes;\n    var largest = -3.4028234663852886e38;\n".to_owned();
        text.push_str(&self.each("largest = max(largest, logits[first + j]);"));
        text.push_str(&self.join("largest", "lanes", "max({a}, {b})"));
        if kind == RowKind::ArgMax {
            text.push_str("    var place = p.classes - 1u;\n");
            text.push_str(&self.each("if (logits[first + j] == largest) { place = min(place, j); }"));
            text.push_str(&self.join("place", "places", "min({a}, {b})"));
            text.push_str(&self.once(&self.store("i", "place")));
            return text;
        }
        // Subtracting the largest keeps the exponentials at or below 1.
        text.push_str("    var total = 0.0;\n");
        text.push_str(&self.each("total += exp(logits[first + j] - largest);"));
        text.push_str(&self.join("total", "lanes", "{a} + {b}"));
        // A label past the last class reads the last one instead of memory that is not this row's.
        const LABEL: &str = "    let label = min(labels[i], p.classes - 1u);\n";
        const SOFTMAX: &str = "exp(logits[first + j] - largest) / total";
        match (kind, upstream) {
            (RowKind::CrossEntropy, _) => {
                text.push_str(LABEL);
                let loss = "log(total) + largest - logits[first + label]";
                text.push_str(&self.once(&self.store("i", loss)));
            }
            (RowKind::CrossEntropyGradient, Some((_, statements, value))) => {
                text.push_str(LABEL);
                text.push_str(&format!("{statements}    let upstream = {value};\n"));
                let slope = format!("{SOFTMAX} - select(0.0, 1.0, j == label)");
                text.push_str(&self.each(&self.store("first + j", &format!("({slope}) * upstream"))));
            }
            _ => text.push_str(&self.each(&self.store("first + j", SOFTMAX))),
        }
        text
    }
}
