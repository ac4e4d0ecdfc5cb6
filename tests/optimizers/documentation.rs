//! The table of `docs/optimizers.md` says what the table of rules says.

use downhill::{Optimizer, UPDATE_RULES};

const DOCUMENT: &str = include_str!("../../docs/optimizers.md");

#[test]
fn the_document_has_every_rule_with_its_state_and_its_defaults() {
    let rows: Vec<Vec<&str>> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
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
