//! Tensors of a file under the names that a model has for them.

use std::fmt;
use std::str::FromStr;

use super::tensors::NamedTensor;
use crate::{Error, Result};

/// Names that a message lists at most.
const LISTED: usize = 12;

/// Tensors of one name, or of many, and what a model calls them: `OLD=NEW`. A `*` in both stands for the same text; with
/// nothing behind the `=`, the tensors are left out.
///
/// ```
/// use downhill::{NamedTensor, Renaming, rename};
///
/// let tensor = |name: &str| NamedTensor { name: name.to_owned(), shape: vec![1], values: vec![0.5] };
/// let rules: Vec<Renaming> = vec!["fc1.*=0.*".parse()?, "head.*=".parse()?];
/// let renamed = rename(vec![tensor("fc1.weight"), tensor("head.weight")], &rules)?;
/// assert_eq!(renamed, [tensor("0.weight")]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renaming {
    old: String,
    new: String,
}

impl Renaming {
    /// What it makes of a name that it fits: none to leave it out.
    fn of(&self, name: &str) -> Option<Option<String>> {
        let stands_for = match self.old.split_once('*') {
            None if self.old == name => "",
            None => return None,
            Some((before, behind)) => name.strip_prefix(before)?.strip_suffix(behind)?,
        };
        Some(Some(self.new.replace('*', stands_for)).filter(|new| !new.is_empty()))
    }
}

impl FromStr for Renaming {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |message: String| Err(Error::setting("init-rename", message));
        let Some((old, new)) = text.split_once('=') else {
            return wrong(format!("`{text}` is not of the form OLD=NEW, such as `fc1.*=0.*`"));
        };
        let (old, new) = (old.trim().to_owned(), new.trim().to_owned());
        let stars = |text: &str| text.matches('*').count();
        if old.is_empty() || stars(&old) > 1 || stars(&new) > stars(&old) {
            return wrong(format!(
                "`{text}` is to have one `*` on the left at most, and on the right only if there"
            ));
        }
        Ok(Renaming { old, new })
    }
}

impl fmt::Display for Renaming {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.old, self.new)
    }
}

/// `tensors` under the names that the first rule that fits each gives it; those that none fits keep their own.
///
/// ```
/// use downhill::{NamedTensor, rename};
///
/// let weight = NamedTensor { name: "fc1.weight".to_owned(), shape: vec![1], values: vec![0.5] };
/// let renamed = rename(vec![weight], &["fc1.*=0.*".parse()?])?;
/// assert_eq!(renamed[0].name, "0.weight");
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for a rule that fits no tensor, and where two tensors end with one name.
pub fn rename(tensors: Vec<NamedTensor>, rules: &[Renaming]) -> Result<Vec<NamedTensor>> {
    let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let new = new_names(&names, rules)?;
    let named = tensors.into_iter().zip(new);
    Ok(named.filter_map(|(tensor, name)| name.map(|name| NamedTensor { name, ..tensor })).collect())
}

/// The new name of each tensor, none to leave it out.
pub(crate) fn new_names(names: &[&str], rules: &[Renaming]) -> Result<Vec<Option<String>>> {
    let wrong = |message: String| Err(Error::setting("init-rename", message));
    for rule in rules {
        if !names.iter().any(|name| rule.of(name).is_some()) {
            return wrong(format!("`{rule}` fits none of {}", listed(names)));
        }
    }
    let new = names.iter().map(|name| {
        let renamed = rules.iter().find_map(|rule| rule.of(name));
        renamed.unwrap_or_else(|| Some((*name).to_owned()))
    });
    let new: Vec<Option<String>> = new.collect();
    let mut sorted: Vec<&String> = new.iter().flatten().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => wrong(format!("two tensors would be `{}`", pair[0])),
        None => Ok(new),
    }
}

/// The names of tensors, as a message gives them.
fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let names = names[..names.len().min(LISTED)].join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// Puts `tensors` in the place of those of `parameters` with their names.
///
/// # Errors
/// [`Error::Shape`] for a name that is not there, and another shape.
pub(super) fn overlay(parameters: &mut [NamedTensor], tensors: &[NamedTensor]) -> Result<()> {
    let refused = |message: String| Err(Error::shape("setting parameters", message));
    let known: Vec<&str> = parameters.iter().map(|own| own.name.as_str()).collect();
    let known = listed(&known);
    for tensor in tensors {
        let Some(own) = parameters.iter_mut().find(|own| own.name == tensor.name) else {
            return refused(format!("there is no `{}`; the parameters are {known}", tensor.name));
        };
        if own.shape != tensor.shape || tensor.values.len() != own.values.len() {
            return refused(format!("`{}` is {:?}, not {:?}", own.name, own.shape, tensor.shape));
        }
        own.values.clone_from(&tensor.values);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(names: &[&str]) -> Vec<NamedTensor> {
        let tensor =
            |name: &&str| NamedTensor { name: (*name).to_owned(), shape: vec![1], values: vec![0.5] };
        names.iter().map(tensor).collect()
    }

    /// Rules, the names of tensors, and those that come of them, or a part of what is said.
    type Row =
        (&'static [&'static str], &'static [&'static str], Result<&'static [&'static str], &'static str>);

    #[test]
    fn tensors_are_renamed_by_the_first_rule_that_fits() {
        let rows: [Row; 9] = [
            (&[], &["a", "b"], Ok(&["a", "b"])),
            (&["a=c"], &["a", "b"], Ok(&["c", "b"])),
            (
                &["fc1.*=0.*"],
                &["fc1.weight", "fc1.bias", "fc2.bias"],
                Ok(&["0.weight", "0.bias", "fc2.bias"]),
            ),
            (&["model.*=*"], &["model.0.weight"], Ok(&["0.weight"])),
            (&["head.*="], &["head.weight", "0.bias"], Ok(&["0.bias"])),
            (&["*.bias=", "0.*=1.*"], &["0.bias", "0.weight"], Ok(&["1.weight"])),
            (&["a=b"], &["a", "b"], Err("two tensors would be `b`")),
            (&["x.*=y.*"], &["a", "b"], Err("fits none of a, b")),
            (&["a"], &["a"], Err("OLD=NEW")),
        ];
        for (rules, names, expected) in rows {
            let rules: Result<Vec<Renaming>> = rules.iter().map(|rule| rule.parse()).collect();
            let found = rules.and_then(|rules| rename(tensors(names), &rules));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, tensors(expected)),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, expected) => panic!("{found:?}, {expected:?}"),
            }
        }
        for wrong in ["=a", "*.*=a", "a=*"] {
            assert!(wrong.parse::<Renaming>().is_err(), "{wrong}");
        }
    }
}
