//! Rows added up by index: indices [count_of_updates], updates [count_of_updates, width] → result [rows, width].
//!
//! One invocation owns one element of the result and looks for its updates in order: no atomics, and the same sum
//! in every run. That costs rows × updates comparisons.

use std::fmt::Write;

use super::{FIRST_READ, entry, output, prologue, store};
use crate::plan::expression::Width;

/// The text of the kernel; where it does `accumulate`, sums are added to what the result holds if the step says so.
pub(crate) fn scatter_add(accumulate: bool) -> String {
    let mut text = prologue(Width::One, &["width", "updates"]);
    text.push_str(&format!(
        "@group(0) @binding({FIRST_READ}) var<storage, read> indices: array<u32>;\n\
         @group(0) @binding({}) var<storage, read> updates: array<f32>;\n",
        FIRST_READ + 1
    ));
    text.push_str(&output(FIRST_READ + 2, "f32", accumulate));
    text.push_str(&entry());
    text.push_str(
        "    let row = i / p.width;
    let column = i % p.width;
    var total = 0.0;
    for (var update = 0u; update < p.updates; update++) {
        if (indices[update] == row) { total += updates[update * p.width + column]; }
    }
",
    );
    let _ = writeln!(text, "    {}\n}}", store("i", "total", accumulate));
    text
}
