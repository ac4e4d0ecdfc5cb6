//! Golden optimizer trajectories: a few in the repository, all where `../shared/golden` lies beside it.

use std::collections::BTreeMap;
use std::path::Path;

use downhill::Optimizer;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A file of trajectories, in f64, by PyTorch or Optax.
#[derive(Deserialize)]
pub struct Golden {
    pub problems: BTreeMap<String, Start>,
    #[serde(deserialize_with = "known_cases")]
    pub cases: Vec<Case>,
}

/// The start of a problem, and what the formula gives there.
#[derive(Deserialize)]
pub struct Start {
    pub theta0: Vec<f64>,
    pub loss0: f64,
    pub grad0: Vec<f64>,
}

/// A run of one optimizer on one problem, seen after some of its steps.
#[derive(Deserialize)]
pub struct Case {
    pub id: String,
    pub optimizer: String,
    pub problem: String,
    pub hyper: serde_json::Map<String, serde_json::Value>,
    pub step: Vec<u64>,
    pub theta: Vec<Vec<f64>>,
    pub loss: Vec<f64>,
    /// How far the library is from the formula, both in f64.
    pub formula_max_abs_diff: Vec<f64>,
    /// How far the library in f32 is from itself in f64. Unknown for trajectories derived from another.
    pub f32_max_abs_dev: Option<Vec<f64>>,
}

/// A family of cases: the rule and the variant that it is here.
struct Family {
    name: &'static str,
    rule: &'static str,
    variant: &'static [&'static str],
}

/// The families whose rules are there.
const FAMILIES: [Family; 10] = [
    Family { name: "sgd", rule: "sgd", variant: &[] },
    Family { name: "momentum", rule: "momentum", variant: &[] },
    Family { name: "nesterov", rule: "nesterov", variant: &[] },
    Family { name: "nesterov_lookahead", rule: "nesterov", variant: &["form=lecture"] },
    Family { name: "rmsprop", rule: "rmsprop", variant: &[] },
    Family { name: "rmsprop_centered", rule: "rmsprop", variant: &["centered=true"] },
    Family { name: "rmsprop_momentum", rule: "rmsprop", variant: &[] },
    Family { name: "rmsprop_eps_in_sqrt", rule: "rmsprop", variant: &["eps_in_sqrt=true"] },
    Family { name: "adam", rule: "adam", variant: &[] },
    Family { name: "adam_l2", rule: "adam", variant: &[] },
];

impl Case {
    /// The optimizer of this case.
    pub fn optimizer(&self) -> Optimizer {
        let family = FAMILIES.iter().find(|family| family.name == self.optimizer).unwrap();
        let plain = Optimizer::new(family.rule).unwrap();
        let hyper = self.hyper.iter().flat_map(|(name, value)| assignments(name, value));
        let variant = family.variant.iter().map(|text| (*text).to_owned());
        hyper
            .chain(variant)
            .try_fold(plain, |optimizer, text| optimizer.assign(&text))
            .unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }
}

/// `NAME=VALUE` for a library's argument; pairs are taken apart, and Nesterov is a rule of its own.
fn assignments(name: &str, value: &serde_json::Value) -> Vec<String> {
    match name {
        "nesterov" => vec![],
        "betas" => (0..2).map(|i| format!("beta{}={}", i + 1, value[i])).collect(),
        _ => vec![format!("{name}={value}")],
    }
}

/// The trajectories of every known family: those of the repository, then those beside it.
///
/// # Panics
/// Where a file lacks a family.
pub fn trajectories() -> Vec<Golden> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [here.join("tests/optimizers/golden.json"), here.join("../shared/golden/open.json")];
    let present = files.iter().enumerate().filter(|(index, path)| *index == 0 || path.exists());
    present.map(|(_, path)| read(path)).collect()
}

fn read(path: &Path) -> Golden {
    let text = std::fs::read_to_string(path).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    for family in &FAMILIES {
        let found = golden.cases.iter().any(|case| case.optimizer == family.name);
        assert!(found, "{} has no case of {}", path.display(), family.name);
    }
    golden
}

/// The cases of known families; others record other things.
fn known_cases<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Case>, D::Error> {
    let cases = Vec::<serde_json::Value>::deserialize(deserializer)?;
    let known = |case: &serde_json::Value| FAMILIES.iter().any(|family| case["optimizer"] == family.name);
    cases
        .into_iter()
        .filter(known)
        .map(|case| serde_json::from_value(case).map_err(D::Error::custom))
        .collect()
}
