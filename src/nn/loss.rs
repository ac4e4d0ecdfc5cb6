//! What is minimised.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::{Schema, TargetKind, Task};
use crate::error::did_you_mean;
use crate::graph::{Graph, Var};
use crate::{Error, Result};

/// The loss of a model on its targets.
///
/// ```
/// use downhill::{Loss, data};
///
/// assert_eq!("mse".parse::<Loss>()?, Loss::MeanSquaredError);
/// let digits = data::load(&"digits".parse()?, None, None, 0)?;
/// assert_eq!(Loss::for_task(None, digits.train.schema())?, Loss::CrossEntropy);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy with integer labels, natural logarithm, mean over the batch.
    CrossEntropy,
    /// The mean over batch and outputs of (prediction − target)²: the L2 loss.
    MeanSquaredError,
}

const NAMES: [(&str, Loss); 2] = [("cross-entropy", Loss::CrossEntropy), ("mse", Loss::MeanSquaredError)];

impl Loss {
    /// The usual loss for a task, or `wanted` where it suits it.
    ///
    /// # Errors
    /// [`Error::Setting`] where the loss does not go with the targets.
    pub fn for_task(wanted: Option<Loss>, schema: &Schema) -> Result<Loss> {
        let (usual, targets) = match schema.task {
            Task::Classes { .. } => (Loss::CrossEntropy, "classes"),
            Task::Values { .. } => (Loss::MeanSquaredError, "numbers"),
        };
        match wanted {
            Some(loss) if loss != usual => {
                Err(Error::setting("loss", format!("the targets are {targets}: use `{usual}`, not `{loss}`")))
            }
            _ => Ok(usual),
        }
    }

    /// What the targets must be for this loss.
    pub fn target_kind(self) -> TargetKind {
        match self {
            Loss::CrossEntropy => TargetKind::Classes,
            Loss::MeanSquaredError => TargetKind::Numbers,
        }
    }

    /// The loss as a scalar: outputs `[batch, n]` with labels `[batch]` or values `[batch, n]`.
    pub fn build(self, graph: &mut Graph, outputs: Var, targets: Var) -> Result<Var> {
        match self {
            Loss::CrossEntropy => {
                let rows = graph.cross_entropy(outputs, targets)?;
                graph.mean(rows, &[0])
            }
            Loss::MeanSquaredError => graph.mean_squared_error(outputs, targets),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, loss)| loss == self).map_or("", |(name, _)| name);
        out.write_str(name)
    }
}

impl FromStr for Loss {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(name, _)| *name == text).map(|(_, loss)| *loss);
        found.ok_or_else(|| Error::setting("loss", did_you_mean(text, &NAMES.map(|(name, _)| name))))
    }
}

impl TryFrom<String> for Loss {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Loss> for String {
    fn from(loss: Loss) -> Self {
        loss.to_string()
    }
}
