//! What `--optimizer help` tells: every update rule, the state it keeps, and what may be set.

use serde_json::json;

use super::output::{Ended, Output};
use crate::{Hyper, HyperKind, Optimizer, UPDATE_RULES};

pub(super) fn list_optimizers(output: &Output) -> Ended {
    for rule in UPDATE_RULES {
        let optimizer = Optimizer::new(rule.name)?;
        let state_bytes = 4 * optimizer.state_slots().len();
        let state_per = state_per(&optimizer);
        output.result(&format!("{}: {}; state: {state_bytes} bytes a {state_per}", rule.name, rule.doc))?;
        for hyper in rule.hyper {
            output.result(&format!("    {:34} {}", setting(hyper), hyper.doc))?;
        }
        let hyper: Vec<_> = rule
            .hyper
            .iter()
            .map(|hyper| json!({ "name": hyper.name, "default": hyper.default(), "meaning": hyper.doc }))
            .collect();
        let line = json!({
            "name": rule.name, "meaning": rule.doc, "state_bytes": state_bytes, "state_per": state_per,
            "hyper": hyper,
        });
        output.event("optimizer", &line)?;
    }
    output.event("done", &json!({}))
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
