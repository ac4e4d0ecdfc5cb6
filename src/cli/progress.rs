//! How a run is going: a bar on a terminal, else a plain line now and then, on standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::output::{Output, complain};
use crate::gpu::format_bytes;
use crate::run::EpochMetrics;
use crate::train::StepRecord;

/// Between two plain lines, so that a run of short epochs does not flood a log.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// Two lines, so that neither is cut off at 80 columns.
const TEMPLATE: &str = "{bar:48} {percent:>3} %, {eta} left\n{msg}";

/// What shows how a run is going.
pub(super) struct Progress {
    form: Form,
    /// Steps of the whole run.
    total: u64,
    /// The last epoch's metrics as text.
    epoch: String,
    memory: String,
}

enum Form {
    Silent,
    Lines { began: Instant, first_step: u64, last: Option<Instant> },
    Bar(ProgressBar),
}

impl Progress {
    /// For a run that has done `done` of `total` steps and takes `bytes` of GPU memory.
    pub fn new(output: &Output, done: u64, total: u64, bytes: u64) -> Self {
        let form = if output.quiet || output.json {
            Form::Silent
        } else if stderr().is_terminal() {
            let bar = ProgressBar::new(total).with_position(done);
            // The template is a constant; if it were wrong, the bar would look plain.
            bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or(ProgressStyle::default_bar()));
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(250));
            Form::Bar(bar)
        } else {
            Form::Lines { began: Instant::now(), first_step: done, last: None }
        };
        let memory = format!("GPU {}", format_bytes(bytes));
        Progress { form, total, epoch: String::new(), memory }
    }

    /// A step was done.
    pub fn step(&mut self, step: &StepRecord) {
        let text = format!("epoch {}  loss {:.4}{}", step.epoch, step.loss, self.epoch);
        self.show(step.step, &text);
    }

    /// An epoch was done.
    pub fn epoch(&mut self, epoch: &EpochMetrics) {
        let test = epoch.test_loss.map_or(String::new(), |loss| format!(", test loss {loss:.4}"));
        let metric = metric(epoch.test_accuracy, epoch.test_rmse);
        self.epoch = format!("{test}{metric}, {:.0} samples/s", epoch.samples_per_second);
        let text = format!("epoch {}  train loss {:.4}{}", epoch.epoch, epoch.train_loss, self.epoch);
        self.show(epoch.step, &text);
    }

    fn show(&mut self, step: u64, text: &str) {
        let (total, memory) = (self.total, &self.memory);
        match &mut self.form {
            Form::Silent => {}
            Form::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(format!("{text}, {memory}"));
            }
            Form::Lines { last, .. }
                if step < total && last.is_some_and(|last| last.elapsed() < BETWEEN_LINES) => {}
            Form::Lines { began, first_step, last } => {
                *last = Some(Instant::now());
                let done = step.saturating_sub(*first_step).max(1);
                let left = began.elapsed().as_secs_f64() * total.saturating_sub(step) as f64 / done as f64;
                let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
                complain(&format!("{text}, {memory}, {left:#} left"));
            }
        }
    }

    /// Clears the bar.
    pub fn end(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// A metric to follow a loss in a line of text.
pub(super) fn metric(accuracy: Option<f64>, rmse: Option<f64>) -> String {
    match (accuracy, rmse) {
        (Some(accuracy), _) => format!(", accuracy {:.2} %", 100.0 * accuracy),
        (None, Some(rmse)) => format!(", root mean squared error {rmse:.4}"),
        (None, None) => String::new(),
    }
}
