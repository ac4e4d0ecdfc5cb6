//! Races: several update rules, and methods that search their steps, on one task, each from the same
//! start, and how each of them fared.

mod training;

#[cfg(feature = "cli")]
pub(crate) use training::options_of;
pub use training::{Lap, TrainingRace, race_training};

use crate::{Method, Optimizer};

/// Who takes part in a race.
///
/// ```
/// use downhill::{Gait, Optimizer, Racer};
///
/// let racer = Racer { name: "slow Adam".to_owned(), gait: Gait::Rule(Optimizer::new("adam")?.with("lr", 1e-4)?) };
/// assert!(matches!(racer.gait, Gait::Rule(_)));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Racer {
    /// What tables and pictures call it.
    pub name: String,
    /// How it goes.
    pub gait: Gait,
}

/// How a racer goes.
///
/// ```
/// use downhill::{Gait, Method, Optimizer};
///
/// let gaits = [Gait::Rule(Optimizer::new("adam")?), Gait::Method(Method::new("lbfgs")?)];
/// let names = gaits.map(|gait| match gait {
///     Gait::Rule(optimizer) => optimizer.rule().name,
///     Gait::Method(method) => method.name(),
/// });
/// assert_eq!(names, ["adam", "lbfgs"]);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub enum Gait {
    /// By an update rule.
    Rule(Optimizer),
    /// By a method that searches its steps.
    Method(Method),
}
