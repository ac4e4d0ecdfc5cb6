//! One kernel for a run of groups: a workgroup takes a block of rows through all of them.
//!
//! Tensors [rows, width] of the block lie in the workgroup's `floats` and `integers`; parameters and what has been
//! computed before are read from their buffers, of which the block's rows begin at `row0`. A phase ends in a barrier.
//! Sums over the block's rows go to the workgroup's line of the result [workgroups, stride].

mod line;
mod product;

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{FIRST_READ, entry, output, prologue, store};
use crate::graph::ops::ReduceKind;
use crate::graph::{Element, Var};
use crate::plan::by_rows::{Block, Member, Part, Work};
use crate::plan::expression::{Expression, IndexFact, Load, Scope, Width, memory_name};
use product::Tiled;

/// A kernel's text, and what it reads in the order of its bindings.
pub(crate) struct Generated {
    pub source: String,
    pub loads: Vec<Load>,
    /// Sums that its products keep in registers, each its own lines of text.
    pub sums: usize,
}

/// The kernel of a run; `scope` is that of a block, whose batch are its rows. Fields of its uniform: the rows of the
/// micro-batch.
pub(crate) fn run(scope: Scope, members: &[Member], block: &Block) -> Option<Generated> {
    let mut writer = Writer { scope, block, loads: Vec::new(), functions: BTreeSet::new(), sums: 0 };
    let mut body = String::new();
    for (number, phase) in block.phases.iter().enumerate() {
        if number > 0 {
            body.push_str("    workgroupBarrier();\n");
        }
        for &member in phase {
            body.push_str(&writer.member(&members[member])?);
        }
    }
    let declarations = writer.begin(None);
    let mut source = prologue(Width::One, &["batch"]);
    source.push_str(&declarations.declarations());
    source.push_str(&output(FIRST_READ + declarations.loads.len(), "f32", false));
    for (element, length) in [Element::F32, Element::U32].into_iter().zip(block.lengths) {
        if length > 0 {
            let ty = if element == Element::F32 { "f32" } else { "u32" };
            let _ = writeln!(source, "var<workgroup> {}: array<{ty}, {length}>;", memory_name(element));
        }
    }
    let _ = write!(
        source,
        "@compute @workgroup_size({lanes})\n\
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32{own}) {{\n    \
             let block = group.x + group.y * p.fold;\n    \
             if (block >= p.count) {{ return; }}\n    \
             let row0 = block * {rows}u;\n    \
             let rows = min({rows}u, p.batch - row0);\n    \
             let parts = block * {stride}u;\n{body}}}\n",
        lanes = block.lanes,
        own = if block.broadcast { ", @builtin(subgroup_invocation_id) own: u32" } else { "" },
        rows = block.rows,
        stride = block.stride(),
    );
    Some(Generated { source, loads: declarations.loads, sums: writer.sums })
}

/// Adds up the parts that the workgroups have left, and lays the sums where they belong: `parts`, which lie next to each
/// other. Fields: the floats before them in a workgroup's line, its length, the workgroups.
pub(crate) fn sum_of_parts(scope: Scope, parts: &[Part], accumulate: bool) -> Option<Generated> {
    let (mut loads, mut functions) = (Vec::new(), BTreeSet::new());
    let mut body = String::new();
    let first = parts.first()?.start;
    for part in parts {
        let mut expression = Expression::new(scope, Width::One, FIRST_READ + 1)
            .storing(part.root)
            .with_anchor(part.anchor, "total");
        (expression.loads, expression.functions) = (loads, functions);
        let value = expression.value(part.root, "index")?;
        let (before, offset) = (part.start - first, part.shard.map_or(0, |(_, offset)| offset));
        let _ = write!(
            body,
            "    if (i >= {before}u && i < {}u) {{\n        let index = i - {before}u;\n{}        {}\n    }}\n",
            before + part.elements,
            expression.take_statements(),
            store(&format!("index + {offset}u"), &value, accumulate)
        );
        (loads, functions) = (expression.loads, expression.functions);
    }
    let mut declarations = Expression::new(scope, Width::One, FIRST_READ + 1);
    (declarations.loads, declarations.functions) = (loads, functions);
    let mut source = prologue(Width::One, &["first", "stride", "parts"]);
    let _ = writeln!(source, "@group(0) @binding({FIRST_READ}) var<storage, read> parts: array<f32>;");
    source.push_str(&declarations.declarations());
    source.push_str(&output(FIRST_READ + 1 + declarations.loads.len(), "f32", accumulate));
    source.push_str(&entry());
    let _ = write!(
        source,
        "    var total = 0.0;\n    \
             for (var part = 0u; part < p.parts; part++) {{ total += parts[part * p.stride + p.first + i]; }}\n\
         {body}}}\n"
    );
    Some(Generated { source, loads: declarations.loads, sums: 0 })
}

/// Writes the text of one kernel.
struct Writer<'a> {
    scope: Scope<'a>,
    block: &'a Block,
    loads: Vec<Load>,
    functions: BTreeSet<&'static str>,
    sums: usize,
}

impl<'a> Writer<'a> {
    /// An expression that goes on with the bindings so far.
    fn begin(&mut self, root: Option<Var>) -> Expression<'a> {
        let mut expression = Expression::new(self.scope, Width::One, FIRST_READ);
        if let Some(root) = root {
            expression = expression.storing(root);
        }
        expression.loads = std::mem::take(&mut self.loads);
        expression.functions = std::mem::take(&mut self.functions);
        expression
    }

    fn end(&mut self, expression: Expression<'a>) {
        self.loads = expression.loads;
        self.functions = expression.functions;
    }

    /// The array and place of an element of a tensor of the block.
    fn local(&self, var: Var, index: &str) -> Option<String> {
        let offset = self.block.places.get(&var)?;
        Some(format!("{}[{offset}u + {index}]", memory_name(self.scope.graph.element(var))))
    }

    fn each(&self, name: &str, count: &str, body: &str) -> String {
        let lanes = self.block.lanes;
        format!("    for (var {name} = lane; {name} < {count}; {name} += {lanes}u) {{\n{body}    }}\n")
    }

    /// Elements of one row of the result.
    fn row(&self, var: Var) -> usize {
        self.scope.graph.shape(var).elements(1)
    }

    fn member(&mut self, member: &Member) -> Option<String> {
        let root = member.group.root;
        let anchor = member.group.anchor.unwrap_or(root);
        match member.work {
            Work::Map => self.map(root),
            Work::Reduce { kind, extent, inner } => self.reduce(kind, [anchor, root], extent, inner),
            Work::Product { a, b, transposed, lines, n, k } => {
                self.product(&Tiled::rows([a, b], transposed, [lines, n, k], self.block.rows), anchor, root)
            }
            Work::Line { kind, classes } => self.line(kind, root, classes),
            Work::Sum { extent, inner } => self.sum(anchor, root, extent, inner),
            Work::ProductSum { a, b, lines, m, n } => {
                let start = self.start(root)?;
                let target = |place: &str| format!("result[parts + {start}u + {place}]");
                Some(self.tiles(&Tiled::sum([a, b], [lines, m, n], self.block.rows), target, ""))
            }
        }
    }

    /// Floats before a sum in the workgroup's parts.
    fn start(&self, root: Var) -> Option<usize> {
        self.block.parts.iter().find(|part| part.root == root).map(|part| part.start)
    }

    fn map(&mut self, root: Var) -> Option<String> {
        let mut expression = self.begin(Some(root));
        if self.scope.graph.element(root) == Element::U32 {
            expression = expression.raw();
        }
        let value = expression.value(root, "index")?;
        let body =
            format!("{}        {} = {value};\n", expression.take_statements(), self.local(root, "index")?);
        self.end(expression);
        Some(self.each("index", &format!("rows * {}u", self.row(root)), &body))
    }

    /// A loop that leaves in `total` what `kind` makes of `extent` elements, `inner` apart; the first is the element
    /// `line` · `inner` + `column`.
    fn total(
        &mut self,
        kind: ReduceKind,
        input: Var,
        extent: &str,
        inner: usize,
        line: &str,
    ) -> Option<String> {
        let mut expression = self.begin(None).with_facts(vec![IndexFact {
            name: "index",
            size: inner,
            quotient: "line",
            remainder: "column",
        }]);
        let element = expression.value(input, "index")?;
        let statements = expression.take_statements();
        self.end(expression);
        let (start, step) = match kind {
            ReduceKind::Sum => ("0.0", format!("total + {element}")),
            ReduceKind::Max => ("-3.4028234663852886e38", format!("max(total, {element})")),
        };
        Some(format!(
            "        var total = {start};\n        \
                 for (var r = 0u; r < {extent}; r++) {{\n        let line = {line} + r;\n        \
                 let index = line * {inner}u + column;\n{statements}        total = {step};\n        }}\n"
        ))
    }

    fn reduce(
        &mut self,
        kind: ReduceKind,
        [anchor, root]: [Var; 2],
        extent: usize,
        inner: usize,
    ) -> Option<String> {
        let input = self.scope.graph.node(anchor).inputs[0];
        let line = format!("i / {inner}u * {extent}u");
        let total = self.total(kind, input, &format!("{extent}u"), inner, &line)?;
        let mut expression = self.begin(Some(root)).with_anchor(anchor, "total");
        let value = expression.value(root, "i")?;
        let statements = expression.take_statements();
        self.end(expression);
        let body = format!(
            "        let column = i % {inner}u;\n{total}{statements}        {} = {value};\n",
            self.local(root, "i")?
        );
        Some(self.each("i", &format!("rows * {}u", self.row(anchor)), &body))
    }

    /// A sum over the batch. Long ones are first taken along each row, by as many lanes as there are rows.
    fn sum(&mut self, anchor: Var, root: Var, extent: usize, inner: usize) -> Option<String> {
        let input = self.scope.graph.node(anchor).inputs[0];
        let part = format!("result[parts + {}u + column] = total;\n", self.start(root)?);
        if extent == 1 {
            let total = self.total(ReduceKind::Sum, input, "rows", inner, "0u")?;
            return Some(self.each("column", &format!("{inner}u"), &format!("{total}        {part}")));
        }
        let line = format!("i / {inner}u * {extent}u");
        let total = self.total(ReduceKind::Sum, input, &format!("{extent}u"), inner, &line)?;
        let body = format!(
            "        let column = i % {inner}u;\n{total}        {} = total;\n",
            self.local(root, "i")?
        );
        let along_rows = self.each("i", &format!("rows * {inner}u"), &body);
        let element = self.local(root, &format!("row * {inner}u + column"))?;
        let body = format!(
            "        var total = 0.0;\n        \
                 for (var row = 0u; row < rows; row++) {{ total += {element}; }}\n        {part}"
        );
        let down = self.each("column", &format!("{inner}u"), &body);
        Some(format!("{along_rows}    workgroupBarrier();\n{down}"))
    }
}
