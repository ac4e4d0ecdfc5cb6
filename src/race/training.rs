//! A race on a training task: the same data, initial parameters and order of the rows for every racer.

use std::sync::atomic::AtomicBool;

use super::{Gait, Racer};
use crate::data::Split;
use crate::minimize::Status;
use crate::optim::{Modifiers, Optimizer, Schedule};
use crate::solve::Tolerances;
use crate::train::{BatchSize, EpochRecord, Evaluation, Event, TrainOptions, Trainer};
use crate::{Error, Gpu, Result};

/// How far a racer was at the end of an epoch.
///
/// ```
/// use downhill::{Gait, Lap, Racer, race_training};
/// # use downhill::{Gpu, GpuOptions, Length, Optimizer, TrainOptions, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let options = TrainOptions { length: Length::Epochs(1), ..options };
/// # let racer = Racer { name: "sgd".to_owned(), gait: Gait::Rule(Optimizer::new("sgd")?) };
/// let tell = |lap: &Lap| println!("step {}, {:.3} s: {}", lap.step, lap.seconds, lap.train_loss);
/// let race = race_training(&gpu, &rows, &options, &racer, tell)?;
/// assert_eq!(race.laps[0].step, 1);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Lap {
    /// Updates since the start.
    pub step: u64,
    /// Seconds of training since the start: without evaluations, and without the first step's compilation of kernels.
    pub seconds: f64,
    /// The mean of the losses of the epoch's rows, each before the update that it took part in.
    pub train_loss: f64,
    /// The test set, where there is one and it was this epoch's turn.
    pub test: Option<Evaluation>,
}

/// How a racer trained.
///
/// ```
/// use downhill::{Gait, Racer, TrainingRace, race_training};
/// # use downhill::{Gpu, GpuOptions, Length, Optimizer, TrainOptions, data};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let options = TrainOptions { length: Length::Epochs(2), ..options };
/// # let racer = Racer { name: "adam".to_owned(), gait: Gait::Rule(Optimizer::new("adam")?) };
/// let race: TrainingRace = race_training(&gpu, &rows, &options, &racer, |_| ())?;
/// assert_eq!((race.laps.len(), race.steps, race.parameters), (2, 2, 10));
/// // The first lap is as good as itself.
/// assert_eq!(race.reaching_loss(race.laps[0].train_loss), Some(&race.laps[0]));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct TrainingRace {
    /// Its epochs, as far as it came.
    pub laps: Vec<Lap>,
    /// Updates that it made.
    pub steps: u64,
    /// Why it ended early, where its loss was no longer finite.
    pub diverged: Option<String>,
    /// How a method ended; none for an update rule.
    pub status: Option<Status>,
    /// Bytes of GPU memory that its state takes, beyond θ and the gradient.
    pub state_bytes: u64,
    /// Numbers in θ.
    pub parameters: usize,
}

impl TrainingRace {
    /// The first lap at whose end the training loss was no higher than `loss`.
    pub fn reaching_loss(&self, loss: f64) -> Option<&Lap> {
        self.laps.iter().find(|lap| lap.train_loss <= loss)
    }

    /// The first lap after which at least this part of the test rows got their right class.
    pub fn reaching_accuracy(&self, accuracy: f64) -> Option<&Lap> {
        let reached =
            |lap: &&Lap| lap.test.and_then(|test| test.accuracy).is_some_and(|found| found >= accuracy);
        self.laps.iter().find(reached)
    }
}

/// Trains with the racer's update rule in the place of that of `options`, and calls `on_lap` after every epoch. A method
/// trains on all rows at once, without schedule and modifiers; a step of it is an epoch, though it looks at the rows more
/// often.
///
/// A racer that diverges has run its race; that is no error.
///
/// ```
/// use downhill::{Gait, Length, Optimizer, Racer, TrainOptions, data, race_training};
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// let options = TrainOptions {
///     length: Length::Epochs(3),
///     ..TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?)
/// };
/// for name in ["sgd", "adam"] {
///     let racer = Racer { name: name.to_owned(), gait: Gait::Rule(Optimizer::new(name)?) };
///     let race = race_training(&gpu, &rows, &options, &racer, |_| ())?;
///     println!("{name}: {:?}", race.laps.last().map(|lap| lap.train_loss));
/// #     assert_eq!(race.laps.len(), 3);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// As [`Trainer::new`] and [`Trainer::next_event`], but for [`Error::Diverged`].
pub fn race_training(
    gpu: &Gpu,
    data: &Split,
    options: &TrainOptions,
    racer: &Racer,
    mut on_lap: impl FnMut(&Lap),
) -> Result<TrainingRace> {
    let options = options_of(racer, options)?;
    let modifiers = options.modifiers.clone();
    let mut trainer = Trainer::new(gpu, data.clone(), options)?;
    modifiers.check_length(trainer.total_steps())?;
    let report = trainer.report();
    let mut race = TrainingRace {
        laps: Vec::new(),
        steps: 0,
        diverged: None,
        status: None,
        state_bytes: report.bytes.state,
        parameters: report.parameters,
    };
    warm_up(&mut trainer)?;
    let ended = run(&mut trainer, &mut race.laps, &mut on_lap);
    race.steps = trainer.steps();
    race.status = trainer.method_report().and_then(|report| report.status);
    match ended {
        Ok(()) => Ok(race),
        Err(Error::Diverged(message)) => Ok(TrainingRace { diverged: Some(message), ..race }),
        Err(error) => Err(error),
    }
}

/// What a racer trains with where all train with `options`.
///
/// # Errors
/// None that a caller can cause.
pub(crate) fn options_of(racer: &Racer, options: &TrainOptions) -> Result<TrainOptions> {
    let options = TrainOptions { log_every: 0, ..options.clone() };
    Ok(match &racer.gait {
        Gait::Rule(optimizer) => TrainOptions {
            optimizer: optimizer.clone(),
            // When a method is done is nothing to a rule.
            tolerances: Tolerances::default(),
            ..options
        },
        Gait::Method(method) => TrainOptions {
            optimizer: Optimizer::new("sgd")?,
            method: Some(method.clone()),
            // What rules are given besides is nothing to a method.
            schedule: Schedule::default(),
            modifiers: Modifiers::default(),
            batch: BatchSize::Auto,
            ..options
        },
    })
}

/// Makes a step and takes it back: drivers compile kernels at their first use, which is nothing that a rule can help.
fn warm_up(trainer: &mut Trainer) -> Result<()> {
    let start = trainer.snapshot()?;
    match trainer.run_steps(1) {
        // The race itself will tell.
        Ok(()) | Err(Error::Diverged(_)) => trainer.restore(&start),
        Err(error) => Err(error),
    }
}

fn run(trainer: &mut Trainer, laps: &mut Vec<Lap>, on_lap: &mut impl FnMut(&Lap)) -> Result<()> {
    let never = AtomicBool::new(false);
    loop {
        match trainer.next_event(&never)? {
            Event::Epoch(epoch) => {
                let lap = lap(trainer, laps.last(), &epoch);
                on_lap(&lap);
                laps.push(lap);
            }
            Event::Finished => return Ok(()),
            Event::Step(_) | Event::Replanned(_) | Event::Interrupted => {}
        }
    }
}

/// `trainer` has just ended `epoch`.
fn lap(trainer: &Trainer, last: Option<&Lap>, epoch: &EpochRecord) -> Lap {
    let (step, seconds) = last.map_or((0, 0.0), |last| (last.step, last.seconds));
    let rows = trainer.samples(epoch.step - step) as f64;
    Lap {
        step: epoch.step,
        seconds: seconds + rows / epoch.samples_per_second,
        train_loss: epoch.train_loss,
        test: epoch.test,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_reached_by_the_first_lap_that_is_as_good() {
        let lap = |step: u64, train_loss: f64, accuracy: Option<f64>| {
            let test =
                accuracy.map(|part| Evaluation { loss: 1.0, accuracy: Some(part), rmse: None, rows: 10 });
            Lap { step, seconds: 0.0, train_loss, test }
        };
        let laps =
            vec![lap(1, 2.0, Some(0.1)), lap(2, 0.5, None), lap(3, 1.0, Some(0.9)), lap(4, 0.1, Some(0.8))];
        let race =
            TrainingRace { laps, steps: 4, diverged: None, status: None, state_bytes: 0, parameters: 1 };
        let step = |lap: Option<&Lap>| lap.map(|lap| lap.step);
        for (loss, expected) in [(3.0, Some(1)), (1.0, Some(2)), (0.1, Some(4)), (0.05, None)] {
            assert_eq!(step(race.reaching_loss(loss)), expected, "{loss}");
        }
        for (accuracy, expected) in [(0.0, Some(1)), (0.8, Some(3)), (0.9, Some(3)), (0.95, None)] {
            assert_eq!(step(race.reaching_accuracy(accuracy)), expected, "{accuracy}");
        }
    }
}
