//! Sums and maxima over a block of axes, with the elementwise chain before as prologue and that behind as epilogue.
//!
//! The input is seen as [outer, extent, inner], the result as [outer, inner]. A long extent is cut into `parts`
//! of `chunk` elements, each reduced on its own into [outer, parts, inner], and those reduced by a second
//! dispatch: no atomics, always the same order. Either one invocation walks an element's part alone, or a
//! workgroup shares it and joins its lanes by a tree.
//!
//! A sum goes block by block: its error grows with the length of a block and the number of blocks, not with their product,
//! by the same additions and one more a block (Higham 1993, "The accuracy of floating point summation"). Kahan's sum would be
//! no better than a plain one wherever a compiler takes (a + b) - a for b, as Mesa's does.

use super::{FIRST_READ, WORKGROUP, combine_lanes, cooperative_entry, entry, output, prologue, store};
use crate::graph::Var;
use crate::graph::ops::ReduceKind;
use crate::plan::expression::{Expression, IndexFact, Load, Scope, Width, float_type};

/// Elements of a block.
const BLOCK: usize = 64;

/// One dispatch of a reduction.
pub(crate) struct ReduceKernel<'a> {
    pub scope: Scope<'a>,
    pub kind: ReduceKind,
    /// What is reduced; `None` for the partial results of a first dispatch, which are bound as they are.
    pub input: Option<Var>,
    /// The reduction and the node that is stored, where an epilogue leads from one to the other.
    pub epilogue: Option<(Var, Var)>,
    /// Elements behind the reduced block.
    pub inner: usize,
    /// Whether a workgroup shares an element's part.
    pub cooperative: bool,
    /// Buffers that it can bind to read.
    pub max_reads: usize,
    /// Whether the result is added to what is there if the step says so.
    pub accumulate: bool,
}

/// A kernel's text, and what it reads: partial results first, where that is its input.
pub(crate) struct Generated {
    pub source: String,
    pub loads: Vec<Load>,
    pub width: Width,
}

impl ReduceKernel<'_> {
    /// Four neighbouring columns at a time where that can be and takes no binding too many.
    pub fn generate(&self) -> Option<Generated> {
        let own = usize::from(self.input.is_none());
        let by_four =
            if self.inner.is_multiple_of(4) && !self.cooperative { self.of_width(Width::Four) } else { None };
        let by_four = by_four.filter(|kernel| own + kernel.loads.len() <= self.max_reads);
        by_four.or_else(|| self.of_width(Width::One))
    }

    fn of_width(&self, width: Width) -> Option<Generated> {
        let partial = self.input.is_none();
        let first = FIRST_READ + usize::from(partial);
        let facts =
            vec![IndexFact { name: "index", size: self.inner, quotient: "line", remainder: "column" }];
        let mut expression = Expression::new(self.scope, width, first).with_facts(facts);
        let element = match self.input {
            Some(var) => expression.value(var, "index")?,
            None => format!("b{FIRST_READ}[index / {}u]", width.lanes()),
        };
        let before = expression.take_statements();
        let (after, result) = match self.epilogue {
            None => (String::new(), "total".to_owned()),
            Some((anchor, root)) => {
                expression = expression.storing(root).with_anchor(anchor, "total");
                let value = expression.value(root, "index")?;
                (expression.take_statements(), value)
            }
        };
        let loop_text = self.loop_text(width, &element, &before);
        let mut source = prologue(width, &["extent", "inner", "parts", "chunk"]);
        if partial {
            source.push_str(&format!(
                "@group(0) @binding({FIRST_READ}) var<storage, read> b{FIRST_READ}: array<T>;\n"
            ));
        }
        source.push_str(&expression.declarations());
        // A product whose parts are joined here may be stored in 16 bits.
        let half = self.epilogue.is_some_and(|(_, root)| self.scope.half.contains(&root));
        let ty = float_type(half, width == Width::Four);
        let result = if half { format!("{ty}({result})") } else { result };
        source.push_str(&output(first + expression.loads.len(), ty, self.accumulate));
        source.push_str(&loop_text);
        let store_text = format!(
            "    {{\n        let line = i / columns;\n        let index = line * p.inner + column;\n\
             {after}        {}\n    }}\n}}\n",
            store("i", &result, self.accumulate)
        );
        source.push_str(&if self.cooperative {
            format!("    if (lane == 0u) {store_text}")
        } else {
            store_text
        });
        Some(Generated { source, loads: expression.loads, width })
    }

    fn loop_text(&self, width: Width, element: &str, statements: &str) -> String {
        let (start, combine) = match self.kind {
            ReduceKind::Sum => ("T(0.0)", "{a} + {b}"),
            ReduceKind::Max => ("T(-3.4028234663852886e38)", "max({a}, {b})"),
        };
        let (head, first, stride) = match self.cooperative {
            true => (
                format!("var<workgroup> lanes: array<T, 64>;\n{}", cooperative_entry()),
                "begin + lane",
                WORKGROUP,
            ),
            false => (entry(), "begin", 1),
        };
        let joined_with = |total: &str, value: &str| combine.replace("{a}", total).replace("{b}", value);
        let (step, join) = (joined_with("part", element), joined_with("total", "part"));
        let joined = if self.cooperative { combine_lanes("total", "lanes", combine) } else { String::new() };
        format!(
            "{head}    let columns = p.inner / {lanes}u;\n    \
             let column = (i % columns) * {lanes}u;\n    \
             let outer = i / (columns * p.parts);\n    \
             let begin = (i / columns) % p.parts * p.chunk;\n    \
             let end = min(begin + p.chunk, p.extent);\n    \
             var total = {start};\n    \
             for (var block = {first}; block < end; block += {blocks}u) {{\n        \
                 let block_end = min(block + {blocks}u, end);\n        \
                 var part = {start};\n        \
                 for (var r = block; r < block_end; r += {stride}u) {{\n        \
                     let line = outer * p.extent + r;\n        \
                     let index = line * p.inner + column;\n\
             {statements}        part = {step};\n        }}\n        \
                 total = {join};\n    }}\n{joined}",
            lanes = width.lanes(),
            blocks = BLOCK * stride,
        )
    }
}
