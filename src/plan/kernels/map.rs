//! Elementwise kernels: one invocation computes one element of the result, or four neighbours.

use super::{FIRST_READ, entry, output, prologue, store};
use crate::graph::{Element, Var};
use crate::plan::expression::{Expression, Load, Scope, Width, float_type};

/// A kernel's text, and what it reads in the order of its bindings.
pub(crate) struct Generated {
    pub source: String,
    pub loads: Vec<Load>,
    pub width: Width,
}

/// The kernel that stores `root`; four elements at a time where that can be and takes no more than `max_reads`
/// bindings: a tensor that is read both by fours and one by one takes two. Where it does `accumulate`, values are added
/// to what the result holds if the step says so.
pub(crate) fn map(scope: Scope, root: Var, max_reads: usize, accumulate: bool) -> Option<Generated> {
    let Scope { graph, batch, .. } = scope;
    let elements = graph.shape(root).elements(batch);
    let integer = graph.element(root) == Element::U32;
    let by_four = if elements.is_multiple_of(4) && !integer {
        map_of_width(scope, root, Width::Four, accumulate).filter(|map| map.loads.len() <= max_reads)
    } else {
        None
    };
    by_four.or_else(|| map_of_width(scope, root, Width::One, accumulate))
}

fn map_of_width(scope: Scope, root: Var, width: Width, accumulate: bool) -> Option<Generated> {
    let graph = scope.graph;
    let mut expression = Expression::new(scope, width, FIRST_READ).storing(root);
    let integer = graph.element(root) == Element::U32;
    if integer {
        expression = expression.raw();
    }
    let value = expression.value(root, "index")?;
    let statements = expression.take_statements();
    let ty = scope.storage_type(root, width == Width::Four);
    let value = if scope.half.contains(&root) { format!("{ty}({value})") } else { value };
    let mut source = prologue(width, &[]);
    source.push_str(&expression.declarations());
    source.push_str(&output(FIRST_READ + expression.loads.len(), ty, accumulate));
    source.push_str(&entry());
    source.push_str(&format!(
        "    let index = i * {}u;\n{statements}    {store}\n}}\n",
        width.lanes(),
        store = store("i", &value, accumulate)
    ));
    Some(Generated { source, loads: expression.loads, width })
}

/// The kernel that copies f32 to f16; four elements at a time where `elements` allows. Bindings: f32, f16.
pub(crate) fn to_half(elements: usize) -> Generated {
    let width = if elements.is_multiple_of(4) { Width::Four } else { Width::One };
    let ty = float_type(true, width == Width::Four);
    let mut source = prologue(width, &[]);
    source
        .push_str(&format!("@group(0) @binding({FIRST_READ}) var<storage, read> b{FIRST_READ}: array<T>;\n"));
    source.push_str(&output(FIRST_READ + 1, ty, false));
    source.push_str(&entry());
    source.push_str(&format!("    {}\n}}\n", store("i", &format!("{ty}(b{FIRST_READ}[i])"), false)));
    Generated { source, loads: Vec::new(), width }
}
