//! What a training run is asked to do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::did_you_mean;
use crate::nn::{Loss, ModelSpec};
use crate::optim::Optimizer;
use crate::{Error, Result};

/// How long to train.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// So many passes over the training set.
    Epochs(u64),
    /// So many optimizer updates.
    Steps(u64),
}

/// Whether the data set lives on the GPU, where a minibatch is a gather by index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Resident {
    /// If it fits.
    #[default]
    Auto,
    /// It must.
    Yes,
    /// Rows are uploaded for every step.
    No,
}

const RESIDENT: [(&str, Resident); 3] =
    [("auto", Resident::Auto), ("yes", Resident::Yes), ("no", Resident::No)];

impl fmt::Display for Resident {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = RESIDENT.iter().find(|(_, resident)| resident == self).map_or("", |(name, _)| name);
        out.write_str(name)
    }
}

impl FromStr for Resident {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = RESIDENT.iter().find(|(name, _)| *name == text).map(|(_, resident)| *resident);
        found.ok_or_else(|| Error::setting("resident", did_you_mean(text, &RESIDENT.map(|(name, _)| name))))
    }
}

impl TryFrom<String> for Resident {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Resident> for String {
    fn from(resident: Resident) -> Self {
        resident.to_string()
    }
}

/// What a [`Trainer`](crate::Trainer) is asked to do with its data.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The model; its last layer follows the data's targets.
    pub model: ModelSpec,
    /// The loss; the usual one for the targets where it is `None`.
    pub loss: Option<Loss>,
    /// The update rule and its hyper-parameters.
    pub optimizer: Optimizer,
    /// Rows that one update averages over.
    pub batch: usize,
    /// When it ends.
    pub length: Length,
    /// Of the initial parameters, the order of the rows and dropout.
    pub seed: u64,
    /// Epochs between evaluations on the test set; the last epoch is always evaluated. At least 1.
    pub eval_every: u64,
    /// Steps between [`Event::Step`](crate::Event::Step)s; 0 for none.
    pub log_every: u64,
    /// Whether the data set lives on the GPU.
    pub resident: Resident,
}

impl TrainOptions {
    /// Errors for what no run can do.
    pub(super) fn check(&self) -> Result<()> {
        let at_least_1 = [
            ("batch", self.batch as u64),
            ("eval-every", self.eval_every),
            match self.length {
                Length::Epochs(epochs) => ("epochs", epochs),
                Length::Steps(steps) => ("steps", steps),
            },
        ];
        match at_least_1.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::setting(name, "must be at least 1, not 0")),
            None => Ok(()),
        }
    }
}
