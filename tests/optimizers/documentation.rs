//! The tables of `docs/optimizers.md` say what the table of rules says.

use downhill::{Optimizer, UPDATE_RULES};

const DOCUMENT: &str = include_str!("../../docs/optimizers.md");

/// Where the table of accuracies begins.
const MEASURED: &str = "## On Fashion-MNIST";

/// The rows of a table whose first column is the name of a rule.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_rule_was_measured_on_fashion_mnist() {
    let (_, measured) = DOCUMENT.split_once(MEASURED).unwrap();
    let measured = rows(measured);
    assert_eq!(measured.len(), UPDATE_RULES.len());
    for (rule, row) in UPDATE_RULES.iter().zip(measured) {
        assert!(row[0].starts_with(&format!("`{}`", rule.name)), "{}: {row:?}", rule.name);
        assert!(row[2].ends_with(" %"), "{}: {row:?}", rule.name);
    }
}

#[test]
fn the_document_has_every_rule_with_its_state_and_its_defaults() {
    let rows = rows(DOCUMENT.split_once(MEASURED).unwrap().0);
    assert_eq!(rows.len(), UPDATE_RULES.len());
    for (rule, row) in UPDATE_RULES.iter().zip(rows) {
        let optimizer = Optimizer::new(rule.name).unwrap();
        let defaults = optimizer.to_string().replacen(&format!("{} ", rule.name), "", 1);
        let slots = optimizer.state_slots().len();
        let state_bytes = match optimizer.state_shape(&[30, 20]) == [30, 20] {
            true => (4 * slots).to_string(),
            false => {
                assert_eq!(optimizer.state_shape(&[30, 20]), [30 + 20], "{}", rule.name);
                format!("{} (rows + columns)", 4 * slots)
            }
        };
        assert_eq!(row.len(), 5, "{}", rule.name);
        assert_eq!(row[0], format!("`{}`", rule.name));
        assert_eq!(
            (row[2], row[3]),
            (state_bytes.as_str(), format!("`{defaults}`").as_str()),
            "{}",
            rule.name
        );
    }
}
