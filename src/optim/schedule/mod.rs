//! Learning-rate schedules: the rate of every step as a function of the step, in f64 on the host.
//!
//! A schedule is a list of pieces, each a row of the table in `shapes` with its arguments; `text` reads and writes
//! them as people do.

mod plateau;
mod shapes;
mod text;

use crate::{Error, Result};

pub use plateau::PlateauState;
pub use text::schedule_help;

use shapes::{At, SHAPES, Shape};

/// How the learning rate goes over a run, as a factor of the optimizer's own.
///
/// It is written in words: pieces with `then` between them, each the name of a shape, its arguments, and for how long
/// it lasts; `downhill train --schedule help` and [`schedule_help`] list them. Lengths are in steps, epochs or percent
/// of the run. Formulas are PyTorch's where PyTorch has the schedule.
///
/// ```
/// use downhill::Schedule;
///
/// let schedule: Schedule = "warmup 5% then cosine to 0.01".parse()?;
/// assert_eq!(schedule.to_string(), "warmup 5% then cosine to 0.01");
/// // Step 10 of 1,000, 100 of them an epoch: a fifth of the warm-up.
/// assert!((schedule.rate(0.5, 10, 1000, 100) - 0.1).abs() < 1e-15);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    /// At least one; only the last may last to the end of the run.
    pieces: Vec<Piece>,
}

/// A shape with its arguments.
#[derive(Clone, Debug)]
struct Piece {
    shape: &'static Shape,
    /// One for each of the shape's parameters.
    arguments: Vec<Argument>,
    /// What `for` says.
    lasts: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Argument {
    Number(f64),
    Span(Span),
}

/// A length of time in a run.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Span {
    Steps(u64),
    Epochs(f64),
    /// Of the run's steps.
    Percent(f64),
}

impl Span {
    /// Whole steps, the nearest; as f64, which holds them exactly up to 2⁵³.
    fn steps(self, total_steps: u64, steps_per_epoch: u64) -> f64 {
        match self {
            Span::Steps(steps) => steps as f64,
            Span::Epochs(epochs) => (epochs * steps_per_epoch as f64).round(),
            Span::Percent(percent) => (percent / 100.0 * total_steps as f64).round(),
        }
    }
}

impl Piece {
    /// How long it lasts; `None`: to the end of the run.
    fn span(&self) -> Option<Span> {
        match (self.shape.lasts_its_first, self.arguments.first()) {
            (true, Some(Argument::Span(span))) => Some(*span),
            _ => self.lasts,
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        let arguments = self.shape.parameters.iter().zip(&self.arguments);
        arguments.filter(|(parameter, _)| parameter.name == name).find_map(|(_, argument)| match argument {
            Argument::Number(number) => Some(*number),
            Argument::Span(_) => None,
        })
    }

    /// The factor at the piece's step `step` from 0, if it lasts `length` steps.
    fn factor(&self, step: f64, length: f64, total_steps: u64, steps_per_epoch: u64) -> f64 {
        let value = |argument: &Argument| match argument {
            Argument::Number(number) => *number,
            // A period of no steps cannot be repeated.
            Argument::Span(span) => span.steps(total_steps, steps_per_epoch).max(1.0),
        };
        let values: Vec<f64> = self.arguments.iter().map(value).collect();
        (self.shape.factor)(&At { step, length, parameters: self.shape.parameters, values: &values })
    }
}

/// Shapes are rows of one table, known by their names.
impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        (self.shape.name, &self.arguments, self.lasts) == (other.shape.name, &other.arguments, other.lasts)
    }
}

impl Schedule {
    /// This schedule, and after its end `next`, whose steps are counted from there.
    ///
    /// # Errors
    /// [`Error::Setting`] where this one has no end before the run's.
    pub fn then(mut self, next: Schedule) -> Result<Self> {
        if let Some(endless) = self.pieces.last().filter(|last| last.span().is_none()) {
            let name = endless.shape.name;
            let message = if endless.shape.watches {
                format!("`{name}` goes on to the end of the run, so nothing can come after it")
            } else {
                format!(
                    "`{name}` has no end before the run's; say one before `then`, as `{name} … for 10 epochs`"
                )
            };
            return Err(Error::setting("schedule", message));
        }
        self.pieces.extend(next.pieces);
        Ok(self)
    }

    /// The learning rate of step `step`, counted from 1, of a run of `total_steps` with `steps_per_epoch`, where the
    /// optimizer's own is `base`. After the end of the last piece the rate stays where that ended. What `plateau` does
    /// comes on top: see [`PlateauState::factor`].
    pub fn rate(&self, base: f64, step: u64, total_steps: u64, steps_per_epoch: u64) -> f64 {
        let step = step.saturating_sub(1) as f64;
        let Some((piece, began, length)) = self.piece_at(step, total_steps, steps_per_epoch) else {
            return base;
        };
        base * piece.factor((step - began).min(length), length, total_steps, steps_per_epoch)
    }

    /// Whether a longer run would have other rates from its first steps on.
    pub fn depends_on_length(&self) -> bool {
        let is_percent = |span: &Span| matches!(span, Span::Percent(_));
        self.pieces.iter().any(|piece| {
            let to_the_end = piece.shape.needs_length && piece.span().is_none();
            let spans = piece.arguments.iter().filter_map(|argument| match argument {
                Argument::Span(span) => Some(span),
                Argument::Number(_) => None,
            });
            to_the_end || spans.chain(&piece.lasts).any(is_percent)
        })
    }

    /// Whether it watches the losses of epochs.
    pub(crate) fn watches(&self) -> bool {
        self.pieces.iter().any(|piece| piece.shape.watches)
    }

    /// Takes note of the loss after the epoch that ended with step `step`: where a `plateau` is in force then, it may
    /// lower the rate of the steps to come.
    pub(crate) fn observe(
        &self,
        state: &mut PlateauState,
        loss: f64,
        step: u64,
        total_steps: u64,
        steps_per_epoch: u64,
    ) {
        let step = step.saturating_sub(1) as f64;
        let Some((piece, ..)) = self.piece_at(step, total_steps, steps_per_epoch) else { return };
        if piece.shape.watches {
            state.observe(loss, |name| piece.number(name));
        }
    }

    /// The piece of step `step` from 0, the step that it began with, and its length in steps.
    fn piece_at(&self, step: f64, total_steps: u64, steps_per_epoch: u64) -> Option<(&Piece, f64, f64)> {
        let mut began = 0.0;
        for (place, piece) in self.pieces.iter().enumerate() {
            let left = (total_steps as f64 - began).max(0.0);
            let length = piece.span().map_or(left, |span| span.steps(total_steps, steps_per_epoch));
            if step < began + length || place + 1 == self.pieces.len() {
                return Some((piece, began, length));
            }
            began += length;
        }
        None
    }
}

/// The optimizer's own rate at every step.
impl Default for Schedule {
    fn default() -> Self {
        let arguments =
            shapes::CONSTANT.parameters.iter().filter_map(|parameter| parameter.default).collect();
        Schedule { pieces: vec![Piece { shape: &SHAPES[0], arguments, lasts: None }] }
    }
}

#[cfg(test)]
mod tests;
