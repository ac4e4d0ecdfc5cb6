//! The columns that fits go by, in f64: some that all fits share, some of which each fit has its own.

use crate::{Error, Result};

/// A table of named columns, or many of them with the same number of points.
///
/// ```
/// use downhill::FitData;
///
/// let data = FitData::new(3).shared("x", vec![0.0, 1.0, 2.0])?.own("y", vec![1.0, 2.0, 4.0, 1.0, 3.0, 9.0])?;
/// assert_eq!((data.points(), data.fits()), (3, 2));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FitData {
    points: usize,
    fits: Option<usize>,
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// `[points]`, or `[fits, points]` where each fit has its own.
    values: Vec<f64>,
    own: bool,
}

impl FitData {
    /// No columns yet, of so many points.
    pub fn new(points: usize) -> Self {
        FitData { points, fits: None, columns: Vec::new() }
    }

    /// With a column that all fits share: `[points]`.
    ///
    /// # Errors
    /// [`Error::Setting`] for another number of values, one that is not finite, and a name that is there.
    pub fn shared(self, name: &str, values: Vec<f64>) -> Result<Self> {
        if values.len() != self.points {
            let message = format!("`{name}` has {} values for {} points", values.len(), self.points);
            return Err(Error::setting("data", message));
        }
        self.with(name, values, false)
    }

    /// With a column of which each fit has its own: `[fits, points]`, the points of the first fit first.
    ///
    /// # Errors
    /// As [`shared`](Self::shared); and for another number of fits than a column before has.
    pub fn own(mut self, name: &str, values: Vec<f64>) -> Result<Self> {
        let fits = values.len() / self.points.max(1);
        if values.is_empty() || fits * self.points != values.len() {
            let message =
                format!("`{name}` has {} values, no multiple of {} points", values.len(), self.points);
            return Err(Error::setting("data", message));
        }
        if let Some(known) = self.fits.filter(|known| *known != fits) {
            return Err(Error::setting("data", format!("`{name}` is of {fits} fits, not of {known}")));
        }
        self.fits = Some(fits);
        self.with(name, values, true)
    }

    fn with(mut self, name: &str, values: Vec<f64>, own: bool) -> Result<Self> {
        if self.columns.iter().any(|column| column.name == name) {
            return Err(Error::setting("data", format!("two columns have the name `{name}`")));
        }
        if let Some(at) = values.iter().position(|value| !(*value as f32).is_finite()) {
            let (fit, point) = (at / self.points, at % self.points);
            let place = if own { format!("fit {fit}, point {point}") } else { format!("row {point}") };
            let message = format!("`{name}`, {place}: {} is not a finite 32-bit number", values[at]);
            return Err(Error::setting("data", message));
        }
        self.columns.push(Column { name: name.to_owned(), values, own });
        Ok(self)
    }

    /// The same as f32 has it.
    pub(super) fn rounded(&self) -> Self {
        let mut rounded = self.clone();
        let values = rounded.columns.iter_mut().flat_map(|column| &mut column.values);
        values.for_each(|value| *value = f64::from(*value as f32));
        rounded
    }

    /// Points of a fit.
    pub fn points(&self) -> usize {
        self.points
    }

    /// How many fits there are: 1 where all columns are shared.
    pub fn fits(&self) -> usize {
        self.fits.unwrap_or(1)
    }

    /// The names of the columns.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// The values of a column for a fit.
    pub fn values(&self, name: &str, fit: usize) -> Option<&[f64]> {
        let column = self.columns.iter().find(|column| column.name == name)?;
        let first = if column.own { fit * self.points } else { 0 };
        column.values.get(first..first + self.points)
    }

    /// Whether each fit has a column of this name of its own.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name && column.own)
    }
}
