//! The named columns of a table: which are features, which is the target, and whether a model takes them.

use std::collections::{HashMap, HashSet};

use super::files::{quoted, shown};
use super::schema::{Encoding, Purpose, Schema, Task};
use crate::error::did_you_mean;

/// What a column of the file is read as.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// The feature with this index.
    Feature(usize),
    Target,
    Unread,
}

/// The columns in the order of the file.
pub(super) struct Columns {
    pub names: Vec<String>,
    pub roles: Vec<Role>,
    pub features: usize,
    /// Whether the last column is the target because none was named.
    pub target_is_guessed: bool,
}

impl Columns {
    /// Columns of these names, in the order of the file; or what does not fit the purpose.
    pub fn new(names: Vec<String>, purpose: Purpose) -> Result<Self, String> {
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(format!("two columns have the name {}", quoted(twice)));
        }
        match purpose {
            Purpose::Train { target, .. } => Self::by_target(names, target),
            Purpose::Evaluate(schema) => Self::by_schema(names, schema, Some(Role::Target)),
            Purpose::Predict(schema) => Self::by_schema(names, schema, None),
        }
    }

    /// The target is the column of that name or the last, the features are the others.
    fn by_target(names: Vec<String>, target: Option<&str>) -> Result<Self, String> {
        let features = names.len() - 1;
        if features == 0 {
            return Err(format!(
                "has the single column {}; a target and a feature are needed",
                quoted(&names[0])
            ));
        }
        let guessed = target.is_none();
        let target = match target {
            None => features,
            Some(target) => names.iter().position(|name| name == target).ok_or_else(|| {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("no such target column: {}", did_you_mean(&shown(target), &known))
            })?,
        };
        let mut roles: Vec<Role> = (0..features).map(Role::Feature).collect();
        roles.insert(target, Role::Target);
        Ok(Columns { names, roles, features, target_is_guessed: guessed })
    }

    /// The columns that the schema names, in whatever order; `target` says whether its column is needed.
    fn by_schema(names: Vec<String>, schema: &Schema, target: Option<Role>) -> Result<Self, String> {
        if schema.feature_names.len() != schema.features() {
            let message = "the model was trained on data without column names; a table does not fit it";
            return Err(message.to_owned());
        }
        let mut known: HashMap<&str, Role> = schema
            .feature_names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), Role::Feature(at)))
            .collect();
        if let Some(name) = &schema.target_name {
            known.insert(name, target.unwrap_or(Role::Unread));
        }
        let roles = names.iter().map(|name| {
            let role = known.get(name.as_str()).copied();
            role.ok_or_else(|| format!("the model was trained without a column {}; remove it", quoted(name)))
        });
        let roles = roles.collect::<Result<_, _>>()?;
        let present: HashSet<&str> = names.iter().map(String::as_str).collect();
        let mut needed =
            schema.feature_names.iter().chain(schema.target_name.iter().filter(|_| target.is_some()));
        if let Some(missing) = needed.find(|name| !present.contains(name.as_str())) {
            return Err(format!(
                "the column {}, which the model was trained with, is missing",
                quoted(missing)
            ));
        }
        Ok(Columns { names, roles, features: schema.feature_names.len(), target_is_guessed: false })
    }

    /// What rows of these columns hold, with a target of this task.
    pub fn schema(&self, purpose: Purpose, task: Task) -> Schema {
        match purpose {
            Purpose::Train { .. } => Schema {
                feature_shape: vec![self.features],
                encoding: Encoding::F32,
                feature_names: self.named(|role| matches!(role, Role::Feature(_))).collect(),
                target_name: self.named(|role| matches!(role, Role::Target)).next(),
                task,
            },
            Purpose::Evaluate(schema) | Purpose::Predict(schema) => schema.clone(),
        }
    }

    fn named(&self, which: fn(&Role) -> bool) -> impl Iterator<Item = String> {
        self.names.iter().zip(&self.roles).filter(move |(_, role)| which(role)).map(|(name, _)| name.clone())
    }
}
