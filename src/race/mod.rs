//! Races: several update rules on one task, each from the same start, and how each of them fared.

mod training;

pub use training::{Lap, TrainingRace, race_training};

use crate::Optimizer;

/// Who takes part in a race.
#[derive(Clone, PartialEq, Debug)]
pub struct Racer {
    /// What tables and pictures call it.
    pub name: String,
    /// Its update rule.
    pub optimizer: Optimizer,
}
