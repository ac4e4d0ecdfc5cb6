//! Golden optimizer trajectories: a few in the repository, all where `../shared/golden` lies beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use downhill::Optimizer;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
    pub hyper: serde_json::Map<String, Value>,
    pub step: Vec<u64>,
    pub theta: Vec<Vec<f64>>,
    pub loss: Vec<f64>,
    /// The average of the path, where the rule keeps one.
    pub averaged_theta: Option<Vec<Vec<f64>>>,
    /// How far the library is from the formula, both in f64. Unknown where its searches have no formula.
    pub formula_max_abs_diff: Option<Vec<f64>>,
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
const FAMILIES: [Family; 30] = [
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
    Family { name: "adamw", rule: "adamw", variant: &[] },
    Family { name: "adamax", rule: "adamax", variant: &[] },
    Family { name: "nadam", rule: "nadam", variant: &[] },
    Family { name: "nadam_dozat", rule: "nadam", variant: &["form=dozat"] },
    Family { name: "amsgrad", rule: "amsgrad", variant: &[] },
    Family { name: "amsgrad_corrected", rule: "amsgrad", variant: &["corrected=true"] },
    Family { name: "radam", rule: "radam", variant: &[] },
    Family { name: "adagrad", rule: "adagrad", variant: &[] },
    Family { name: "adagrad_eps_in_sqrt", rule: "adagrad", variant: &["eps_in_sqrt=true"] },
    Family { name: "adadelta", rule: "adadelta", variant: &[] },
    Family { name: "rprop", rule: "rprop", variant: &[] },
    Family { name: "asgd", rule: "asgd", variant: &[] },
    Family { name: "lion", rule: "lion", variant: &[] },
    Family { name: "adabelief", rule: "adabelief", variant: &[] },
    Family { name: "yogi", rule: "yogi", variant: &[] },
    Family { name: "adan", rule: "adan", variant: &[] },
    Family { name: "lamb", rule: "lamb", variant: &[] },
    Family { name: "lars", rule: "lars", variant: &[] },
    Family { name: "adafactor", rule: "adafactor", variant: &[] },
    Family { name: "muon", rule: "muon", variant: &[] },
];

impl Case {
    /// The optimizer of this case, for numbers whose rounding error is `epsilon`: PyTorch's default where it says null.
    pub fn optimizer(&self, epsilon: f64) -> Optimizer {
        let family = FAMILIES.iter().find(|family| family.name == self.optimizer).unwrap();
        let plain = Optimizer::new(family.rule).unwrap();
        let has = |name: &str| plain.value(name).is_some();
        let given = self.hyper.iter().filter(|(name, _)| has(name) || !IN_THE_NAME.contains(&name.as_str()));
        let hyper: Vec<String> = given.flat_map(|(name, value)| assignments(name, value, epsilon)).collect();
        let variant = family.variant.iter().map(|text| (*text).to_owned());
        hyper
            .into_iter()
            .chain(variant)
            .try_fold(plain, |optimizer, text| optimizer.assign(&text))
            .unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }
}

/// What a library's tuples are called when they are taken apart.
const TUPLES: [(&str, &[&str]); 5] = [
    ("betas", &["beta1", "beta2", "beta3"]),
    ("etas", &["eta_minus", "eta_plus"]),
    ("step_sizes", &["step_min", "step_max"]),
    ("eps", &["eps1", "eps2"]),
    ("ns_coefficients", &["ns_a", "ns_b", "ns_c"]),
];

/// What says which rule or variant it is, where that is a rule of its own or [`Family::variant`] here.
const IN_THE_NAME: [&str; 3] = ["nesterov", "decoupled", "amsgrad"];

/// `NAME=VALUE` for each number or word of a library's argument.
fn assignments(name: &str, value: &Value, epsilon: f64) -> Vec<String> {
    let assignment = |name: &str, value: &Value| match value {
        Value::Null => format!("{name}={epsilon:e}"),
        Value::String(word) => format!("{name}={word}"),
        value => format!("{name}={value}"),
    };
    match (TUPLES.iter().find(|(tuple, _)| *tuple == name), value) {
        (Some((_, names)), Value::Array(values)) => {
            names.iter().zip(values).map(|(name, value)| assignment(name, value)).collect()
        }
        _ => vec![assignment(name, value)],
    }
}

/// The trajectories of every known family: those of the repository, then those beside it.
///
/// # Panics
/// Where a file lacks a family.
pub fn trajectories() -> Vec<Golden> {
    files().iter().map(|path| read(path)).collect()
}

/// The cases of L-BFGS, which is no update rule: `lbfgs_fixed_step` and `lbfgs_strong_wolfe`.
pub fn lbfgs() -> Vec<Case> {
    let cases = files().into_iter().flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        file["cases"].as_array().unwrap().clone()
    });
    cases
        .filter(|case| case["optimizer"].as_str().unwrap().starts_with("lbfgs"))
        .map(|case| serde_json::from_value(case).unwrap())
        .collect()
}

/// The file of the repository, and the one beside it where there is one.
fn files() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [here.join("tests/optimizers/golden.json"), here.join("../shared/golden/open.json")];
    files
        .into_iter()
        .enumerate()
        .filter(|(index, path)| *index == 0 || path.exists())
        .map(|(_, path)| path)
        .collect()
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
    let cases = Vec::<Value>::deserialize(deserializer)?;
    let known = |case: &Value| FAMILIES.iter().any(|family| case["optimizer"] == family.name);
    cases
        .into_iter()
        .filter(known)
        .map(|case| serde_json::from_value(case).map_err(D::Error::custom))
        .collect()
}
