//! Between which values unknowns may lie.

use super::FitModel;
use crate::error::did_you_mean;
use crate::{Error, Result};

/// The least and the greatest value of an unknown, or of each number of one that is a vector.
///
/// ```
/// use downhill::FitBound;
///
/// let bounds = FitBound::parse_all("b1=0:; b2=-1:3.5")?;
/// assert_eq!((bounds[0].unknown.as_str(), bounds[0].upper), ("b1", f64::INFINITY));
/// assert_eq!((bounds[1].lower, bounds[1].upper), (-1.0, 3.5));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct FitBound {
    /// `b`, or `b[0]` for one number of a vector.
    pub unknown: String,
    /// −∞ for none.
    pub lower: f64,
    /// ∞ for none.
    pub upper: f64,
}

impl FitBound {
    /// Reads `b1=0:; b2=-1:3.5`.
    ///
    /// # Errors
    /// [`Error::Setting`] for what is not of this form, and bounds between which nothing lies.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        text.split(';').filter(|part| !part.trim().is_empty()).map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let wrong = |why: &str| {
            let message = format!("`{text}` {why}; write NAME=LEAST:GREATEST, as in `b1=0:; b2=-1:3`");
            Error::setting("bounds", message)
        };
        let (name, range) = text.split_once('=').ok_or_else(|| wrong("has no `=`"))?;
        let (lower, upper) = range.split_once(':').ok_or_else(|| wrong("has no `:`"))?;
        let number = |text: &str, none: f64| match text.trim() {
            "" => Some(none),
            number => number.parse::<f64>().ok().filter(|number| !number.is_nan()),
        };
        let lower =
            number(lower, f64::NEG_INFINITY).ok_or_else(|| wrong("has a least value that is no number"))?;
        let upper =
            number(upper, f64::INFINITY).ok_or_else(|| wrong("has a greatest value that is no number"))?;
        if lower >= upper {
            return Err(wrong("has nothing between its values"));
        }
        Ok(FitBound { unknown: name.trim().to_owned(), lower, upper })
    }
}

/// The bounds of every number, within which `starts` must lie: `[fits, unknowns]`.
pub(super) fn limits(model: &FitModel, bounds: &[FitBound], starts: &[f64]) -> Result<Vec<(f64, f64)>> {
    let names = model.unknowns();
    let mut limits = vec![(f64::NEG_INFINITY, f64::INFINITY); names.len()];
    for bound in bounds {
        let element_of =
            |name: &String| name.strip_prefix(&bound.unknown).is_some_and(|rest| rest.starts_with('['));
        let mut found = false;
        for (name, limit) in names.iter().zip(&mut limits) {
            if *name == bound.unknown || element_of(name) {
                (*limit, found) = ((bound.lower, bound.upper), true);
            }
        }
        if !found {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(Error::setting("bounds", did_you_mean(&bound.unknown, &known)));
        }
    }
    for (at, start) in starts.iter().enumerate() {
        let number = at % names.len();
        let (lower, upper) = limits[number];
        if !(lower..=upper).contains(start) {
            let name = &names[number];
            let message = format!("`{name}` starts at {start}, outside its bounds {lower} to {upper}");
            return Err(Error::setting("start", message));
        }
    }
    Ok(limits)
}
