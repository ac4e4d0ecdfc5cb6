//! Races: several update rules, and methods that search their steps, on one task, each from the same
//! start, and how each of them fared.

mod training;

#[cfg(feature = "cli")]
pub(crate) use training::options_of;
pub use training::{Lap, TrainingRace, race_training};

use crate::{Method, Optimizer};

/// Who takes part in a race.
#[derive(Clone, PartialEq, Debug)]
pub struct Racer {
    /// What tables and pictures call it.
    pub name: String,
    /// How it goes.
    pub gait: Gait,
}

/// How a racer goes.
#[derive(Clone, PartialEq, Debug)]
pub enum Gait {
    /// By an update rule.
    Rule(Optimizer),
    /// By a method that searches its steps.
    Method(Method),
}
