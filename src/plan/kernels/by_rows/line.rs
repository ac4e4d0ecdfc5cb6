//! Kernels that walk lines of classes, for a block of rows.

use std::fmt::Write;

use super::Writer;
use crate::graph::Var;
use crate::graph::ops::RowKind;
use crate::plan::fuse::storage;

impl Writer<'_> {
    /// One invocation walks a line of `classes` alone.
    pub fn line(&mut self, kind: RowKind, root: Var, classes: usize) -> Option<String> {
        let inputs = &self.scope.graph.node(root).inputs;
        let stored = |i: usize| storage(self.scope.graph, inputs[i]);
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
