//! What `--optimizer help` and `--method help` tell: every update rule, the state it keeps, and what may be set; then the
//! methods that search their steps, which train on all rows at once.

use serde_json::{Value, json};

use super::output::{Ended, Output};
use crate::{Hyper, HyperKind, METHODS, Optimizer, UPDATE_RULES};

pub(super) fn list_methods(output: &Output) -> Ended {
    rules(output)?;
    for method in METHODS {
        let takes = if method.of_residuals { "; works on residuals, or a model's outputs" } else { "" };
        output.result(&format!("{}: {}{takes}", method.name, method.doc))?;
        settings(method.hyper, output)?;
        let line = json!({
            "name": method.name, "meaning": method.doc, "of_residuals": method.of_residuals,
            "hyper": in_json(method.hyper),
        });
        output.event("method", &line)?;
    }
    output.event("done", &json!({}))
}

fn rules(output: &Output) -> Ended {
    for rule in UPDATE_RULES {
        let optimizer = Optimizer::new(rule.name)?;
        let state_bytes = 4 * optimizer.state_slots().len();
        let state_per = state_per(&optimizer);
        output.result(&format!("{}: {}; state: {state_bytes} bytes a {state_per}", rule.name, rule.doc))?;
        settings(rule.hyper, output)?;
        let line = json!({
            "name": rule.name, "meaning": rule.doc, "state_bytes": state_bytes, "state_per": state_per,
            "hyper": in_json(rule.hyper),
        });
        output.event("optimizer", &line)?;
    }
    Ok(())
}

fn settings(hyper: &[Hyper], output: &Output) -> Ended {
    hyper.iter().try_for_each(|hyper| output.result(&format!("    {:34} {}", setting(hyper), hyper.doc)))
}

fn in_json(hyper: &[Hyper]) -> Vec<Value> {
    let one = |hyper: &Hyper| json!({ "name": hyper.name, "default": hyper.default(), "meaning": hyper.doc });
    hyper.iter().map(one).collect()
}

/// What of a matrix the state's bytes are counted by.
fn state_per(optimizer: &Optimizer) -> &'static str {
    let matrix = [3, 5];
    if optimizer.state_shape(&matrix) == matrix { "parameter" } else { "row and column" }
}

/// The name with its default, or with all words that it may be, the default first.
fn setting(hyper: &Hyper) -> String {
    match hyper.kind {
        HyperKind::Word(words) => format!("{}={}", hyper.name, words.join("|")),
        HyperKind::Number { .. } | HyperKind::Flag { .. } => format!("{}={}", hyper.name, hyper.default()),
    }
}
