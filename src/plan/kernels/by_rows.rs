//! One kernel for a run of groups: a workgroup takes a block of rows through all of them.
//!
//! Tensors [rows, width] of the block lie in the workgroup's `floats` and `integers`; parameters and what has been
//! computed before are read from their buffers, of which the block's rows begin at `row0`. A phase ends in a barrier.
//! Sums over the block's rows go to the workgroup's line of the result [workgroups, stride].

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{FIRST_READ, entry, output, prologue, store};
use crate::graph::ops::{ReduceKind, RowKind};
use crate::graph::{Element, Var};
use crate::plan::by_rows::{Block, Member, Part, Work};
use crate::plan::expression::{Expression, IndexFact, Load, Scope, Width, memory_name};

/// A kernel's text, and what it reads in the order of its bindings.
pub(crate) struct Generated {
    pub source: String,
    pub loads: Vec<Load>,
}

/// Rows and columns of a product that one invocation keeps in registers, from the most to the least.
const TILES: [[usize; 2]; 4] = [[4, 4], [4, 1], [2, 1], [1, 1]];

/// The kernel of a run; `scope` is that of a block, whose batch are its rows. Fields of its uniform: the rows of the
/// micro-batch.
pub(crate) fn run(scope: Scope, members: &[Member], block: &Block) -> Option<Generated> {
    let mut writer = Writer { scope, block, loads: Vec::new(), functions: BTreeSet::new() };
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
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{\n    \
             let block = group.x + group.y * p.fold;\n    \
             if (block >= p.count) {{ return; }}\n    \
             let row0 = block * {rows}u;\n    \
             let rows = min({rows}u, p.batch - row0);\n    \
             let parts = block * {stride}u;\n{body}}}\n",
        lanes = block.lanes,
        rows = block.rows,
        stride = block.stride(),
    );
    Some(Generated { source, loads: declarations.loads })
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
    Some(Generated { source, loads: declarations.loads })
}

/// A product of the block as its tiles see it. Element (row, column) of the result is Σ a(row, s)·b(column, s).
struct Tiled<'t> {
    rows: &'t str,
    most_rows: usize,
    columns: usize,
    /// The summed length as WGSL.
    summed: String,
    a: Var,
    b: Var,
    /// What an index of A or B adds for each row or column, and for each position of the summed axis.
    a_strides: [usize; 2],
    b_strides: [usize; 2],
}

struct Writer<'a> {
    scope: Scope<'a>,
    block: &'a Block,
    loads: Vec<Load>,
    functions: BTreeSet<&'static str>,
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
                let rows = format!("rows * {lines}u");
                let tiled = Tiled {
                    rows: &rows,
                    most_rows: self.block.rows * lines,
                    columns: n,
                    summed: format!("{k}u"),
                    a,
                    b,
                    a_strides: [k, 1],
                    b_strides: if transposed { [k, 1] } else { [1, n] },
                };
                self.product(&tiled, anchor, root)
            }
            Work::Line { kind, classes } => self.line(kind, root, classes),
            Work::Sum { extent, inner } => self.sum(anchor, root, extent, inner),
            Work::ProductSum { a, b, lines, m, n } => {
                let tiled = Tiled {
                    rows: &format!("{m}u"),
                    most_rows: m,
                    columns: n,
                    summed: format!("rows * {lines}u"),
                    a,
                    b,
                    a_strides: [1, m],
                    b_strides: [1, n],
                };
                let start = self.start(root)?;
                Some(self.tiles(&tiled, |place| format!("result[parts + {start}u + {place}]"), ""))
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

    /// The product itself, and what stands behind it on each of the invocation's own elements.
    fn product(&mut self, tiled: &Tiled, anchor: Var, root: Var) -> Option<String> {
        let offset = self.block.places.get(&root)?;
        let target = |place: &str| format!("floats[{offset}u + {place}]");
        if anchor == root {
            return Some(self.tiles(tiled, target, ""));
        }
        let columns = tiled.columns;
        let mut expression =
            self.begin(Some(root)).with_anchor(anchor, "value").with_facts(vec![IndexFact {
                name: "index",
                size: columns,
                quotient: "row",
                remainder: "column",
            }]);
        let value = expression.value(root, "index")?;
        let statements = expression.take_statements();
        self.end(expression);
        let behind = format!(
            "        for (var row = row_first; row < row_end; row++) {{\n        \
             for (var column = column_first; column < column_end; column++) {{\n        \
             let index = row * {columns}u + column;\n        let value = {stored};\n{statements}        \
             {stored} = {value};\n        }}\n        }}\n",
            stored = target("index")
        );
        Some(self.tiles(tiled, target, &behind))
    }

    /// The sums of a product by tiles, stored at `target`, and `behind` run over `row_first .. row_end` and
    /// `column_first .. column_end`. Past an edge the last row or column is computed and stored again.
    fn tiles(&mut self, tiled: &Tiled, target: impl Fn(&str) -> String, behind: &str) -> String {
        let Tiled { rows, columns, summed, .. } = tiled;
        let tiles = |[r, c]: &[usize; 2]| tiled.most_rows.div_ceil(*r) * columns.div_ceil(*c);
        let enough = TILES.iter().find(|tile| tiles(tile) >= self.block.lanes);
        let [r, c] = *enough.unwrap_or(&TILES[TILES.len() - 1]);
        let mut expression = self.begin(None);
        let mut text = format!(
            "        let row_first = tile / {across}u * {r}u;\n        \
             let column_first = tile % {across}u * {c}u;\n        \
             let row_end = min(row_first + {r}u, {rows});\n        \
             let column_end = min(column_first + {c}u, {columns}u);\n",
            across = columns.div_ceil(c)
        );
        for (name, end, count, stride) in
            [("row", "row_end", r, tiled.a_strides[0]), ("column", "column_end", c, tiled.b_strides[0])]
        {
            for item in 0..count {
                let _ =
                    writeln!(text, "        let {name}_{item} = min({name}_first + {item}u, {end} - 1u);");
                let _ = writeln!(text, "        let {name}_line{item} = {name}_{item} * {stride}u;");
            }
        }
        let each = |write: &mut dyn FnMut(usize, usize)| {
            (0..r).for_each(|row| (0..c).for_each(|column| write(row, column)));
        };
        each(&mut |row, column| {
            let _ = writeln!(text, "        var sum{row}_{column} = 0.0;");
        });
        let mut inner = String::new();
        for (name, var, line, count, stride) in [
            ("of_a", tiled.a, "row_line", r, tiled.a_strides[1]),
            ("of_b", tiled.b, "column_line", c, tiled.b_strides[1]),
        ] {
            for item in 0..count {
                let value = expression.stored(var, &format!("{line}{item} + s * {stride}u"));
                let statements = expression.take_statements();
                let _ = writeln!(inner, "{statements}        let {name}{item} = {value};");
            }
        }
        self.end(expression);
        each(&mut |row, column| {
            let sum = format!("sum{row}_{column}");
            let _ = writeln!(inner, "        {sum} = fma(of_a{row}, of_b{column}, {sum});");
        });
        let _ = writeln!(text, "        for (var s = 0u; s < {summed}; s++) {{\n{inner}        }}");
        each(&mut |row, column| {
            let place = format!("row_{row} * {columns}u + column_{column}");
            let _ = writeln!(text, "        {} = sum{row}_{column};", target(&place));
        });
        text.push_str(behind);
        let count = format!("(({rows}) + {}u) / {r}u * {}u", r - 1, columns.div_ceil(c));
        self.each("tile", &count, &text)
    }

    /// One invocation walks a line of `classes` alone.
    fn line(&mut self, kind: RowKind, root: Var, classes: usize) -> Option<String> {
        let inputs = &self.scope.graph.node(root).inputs;
        let stored = |i: usize| crate::plan::fuse::storage(self.scope.graph, inputs[i]);
        let (logits, labels) = (stored(0), inputs.get(1).map(|_| stored(1)));
        let lines = self.row(inputs[0]) / classes;
        let mut expression = self.begin(None);
        let z = expression.stored(logits, "(first + j)");
        let at = expression.take_statements();
        let each = |body: &str| {
            format!("        for (var j = 0u; j < {classes}u; j++) {{\n{at}        {body}\n        }}\n")
        };
        let mut text =
            format!("        let first = i * {classes}u;\n        var largest = -3.4028234663852886e38;\n");
        text.push_str(&each(&format!("largest = max(largest, {z});")));
        if kind == RowKind::ArgMax {
            let _ = writeln!(text, "        var place = {}u;", classes - 1);
            text.push_str(&each(&format!("if ({z} == largest) {{ place = min(place, j); }}")));
            let _ = writeln!(text, "        {} = place;", self.local(root, "i")?);
            self.end(expression);
            return Some(self.each("i", &format!("rows * {lines}u"), &text));
        }
        text.push_str("        var total = 0.0;\n");
        text.push_str(&each(&format!("total += exp({z} - largest);")));
        if let Some(labels) = labels {
            let label = expression.stored(labels, "i");
            let statements = expression.take_statements();
            let _ = writeln!(text, "{statements}        let label = min({label}, {}u);", classes - 1);
        }
        let softmax = format!("exp({z} - largest) / total");
        match (kind, inputs.get(2)) {
            (RowKind::CrossEntropy, _) => {
                let right = expression.stored(logits, "(first + label)");
                let statements = expression.take_statements();
                let _ = writeln!(
                    text,
                    "{statements}        {} = log(total) + largest - {right};",
                    self.local(root, "i")?
                );
            }
            (RowKind::CrossEntropyGradient, Some(&upstream)) => {
                let value = expression.value(upstream, "i")?;
                let statements = expression.take_statements();
                let _ = writeln!(text, "{statements}        let upstream = {value};");
                let slope = format!("({softmax} - select(0.0, 1.0, j == label)) * upstream");
                text.push_str(&each(&format!("{} = {slope};", self.local(root, "(first + j)")?)));
            }
            _ => text.push_str(&each(&format!("{} = {softmax};", self.local(root, "(first + j)")?))),
        }
        self.end(expression);
        Some(self.each("i", &format!("rows * {lines}u"), &text))
    }
}
