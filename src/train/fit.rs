//! The micro-batch for a budget: the largest that fits, found by bisection over the memory model, or a smaller one
//! that is as fast; a batch that does not fit at once is divided, and where that is slow, activations are made again.

use super::memory_model::{MemoryModel, Sized, Way};
use super::options::{BatchSize, Choice};
use crate::gpu::{AdapterClass, format_bytes};
use crate::plan::Gradients;
use crate::plan::memory::ByteCounts;
use crate::{Error, Result};

/// What reaches this part of the best speed is as fast: the estimate of time knows no better, and memory that is
/// left is worth more.
const AS_FAST: f64 = 0.98;
/// The same for parts of a batch on a GPU, whose estimates are rough.
const ABOUT_AS_FAST: f64 = 0.9;

/// Tensors that a message names.
const NAMED_TENSORS: usize = 4;

/// How a run is done within a budget.
pub(super) struct Fitted {
    pub way: Way,
    /// Rows that an update averages over.
    pub batch: usize,
    pub micro_batch: usize,
    /// The largest micro-batch that fits, at most all rows.
    pub largest: usize,
    /// Bytes in all.
    bytes: u64,
    /// Rows a second by the estimate of time.
    rate: f64,
}

impl Fitted {
    /// Replays of the plan that make a batch.
    pub fn parts(&self) -> usize {
        self.batch.div_ceil(self.micro_batch)
    }

    pub fn gradients(&self) -> Gradients {
        if self.parts() > 1 { Gradients::Accumulate } else { Gradients::Overwrite }
    }
}

impl MemoryModel {
    /// The fastest way to do the run within `budget` bytes.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] where not even the smallest fits, with what is largest and what would help.
    pub(super) fn fit(&self, budget: u64) -> Result<Fitted> {
        let residencies = self.residencies();
        let mut best = None;
        if self.options.recompute != Choice::Yes {
            for &resident in residencies {
                self.consider(self.plain_way(resident)?, budget, &mut best)?;
                if self.is_whole(best.as_ref()) {
                    break;
                }
            }
        }
        let recomputes = match self.options.recompute {
            Choice::No => false,
            Choice::Yes => true,
            // Without a batch that is asked for, there is none that does not fit.
            Choice::Auto if self.wanted().is_none() => best.is_none(),
            Choice::Auto => !self.is_whole(best.as_ref()),
        };
        for &resident in residencies.iter().filter(|_| recomputes) {
            let plain = self.plain_way(resident)?;
            for way in self.recomputing_ways(&plain)? {
                self.consider(way, budget, &mut best)?;
            }
            // A model without activations has nothing to make again.
            if best.is_none() {
                self.consider(plain, budget, &mut best)?;
            }
        }
        match best {
            Some(fitted) => Ok(fitted),
            None => Err(self.why_nothing_fits(budget)?),
        }
    }

    /// Rows that are to be computed at once where memory allows it; none where that is all there is to say.
    fn wanted(&self) -> Option<usize> {
        match (self.options.micro_batch, self.options.batch) {
            (BatchSize::Rows(rows), _) | (BatchSize::Auto, BatchSize::Rows(rows)) => {
                Some(rows.min(self.rows))
            }
            (BatchSize::Auto, BatchSize::Auto) => None,
        }
    }

    /// Whether what is wanted at once fits at once: then nothing needs to be uploaded or made again for memory's sake.
    fn is_whole(&self, fitted: Option<&Fitted>) -> bool {
        fitted.is_some_and(|fitted| fitted.largest >= self.wanted().unwrap_or(self.rows))
    }

    /// Takes `way` for `best` where it fits and is faster; a way that comes earlier is the better one if it is as fast.
    fn consider(&self, way: Way, budget: u64, best: &mut Option<Fitted>) -> Result<()> {
        let Some(fitted) = self.fit_way(way, budget)? else { return Ok(()) };
        let saves = |best: &Fitted| (fitted.largest, best.bytes) > (best.largest, fitted.bytes);
        let is_better = |best: &Fitted| match self.options.recompute {
            // Whoever asks for it wants memory, not speed.
            Choice::Yes => saves(best),
            Choice::Auto | Choice::No => AS_FAST * fitted.rate > best.rate,
        };
        if best.as_ref().is_none_or(is_better) {
            *best = Some(fitted);
        }
        Ok(())
    }

    fn fit_way(&self, way: Way, budget: u64) -> Result<Option<Fitted>> {
        let Some(largest) = self.largest_that_fits(&way, budget)? else { return Ok(None) };
        let choices: Vec<(usize, usize)> = match (self.options.batch, self.options.micro_batch) {
            (BatchSize::Rows(batch), BatchSize::Rows(rows)) => {
                vec![(batch.min(self.rows), rows.min(self.rows))]
            }
            (BatchSize::Auto, BatchSize::Rows(rows)) => vec![(rows.min(self.rows), rows.min(self.rows))],
            (BatchSize::Rows(batch), BatchSize::Auto) => divisions(batch.min(self.rows), largest),
            (BatchSize::Auto, BatchSize::Auto) => powers_up_to(largest).map(|rows| (rows, rows)).collect(),
        };
        let mut rated = Vec::new();
        for (batch, micro_batch) in choices.into_iter().filter(|(_, micro_batch)| *micro_batch <= largest) {
            // Fewer rows may take more: parts of products fill a GPU that more rows fill whole.
            if !self.fits(&way, micro_batch, budget)? {
                continue;
            }
            let plan = self.training_plan(&way, micro_batch)?;
            let seconds = self.seconds(&plan, batch.div_ceil(micro_batch));
            rated.push((batch, micro_batch, batch as f64 / seconds));
        }
        let fastest = rated.iter().map(|(_, _, rate)| *rate).fold(0.0, f64::max);
        let at_least = |share: f64| rated.iter().filter(move |(_, _, rate)| *rate >= share * fastest);
        let micro_batch = |rated: &&(usize, usize, f64)| rated.1;
        let on_gpu = self.profile.class != AdapterClass::Software;
        let taken = match self.options.batch {
            // What is asked for is done whole where there is memory: drivers and tuned products do better than an estimate
            // knows. A CPU's caches hold few rows.
            BatchSize::Rows(_) if on_gpu => at_least(ABOUT_AS_FAST).max_by_key(micro_batch),
            // A smaller batch learns more from a row.
            BatchSize::Rows(_) | BatchSize::Auto => at_least(AS_FAST).min_by_key(micro_batch),
        };
        let Some(&(batch, micro_batch, rate)) = taken else { return Ok(None) };
        let bytes = self.size(&way, micro_batch, Gradients::Overwrite, budget)?.bytes.total;
        Ok(Some(Fitted { way, batch, micro_batch, largest, bytes, rate }))
    }

    /// The largest micro-batch whose plan keeps to `budget` and to the adapter's limits.
    fn largest_that_fits(&self, way: &Way, budget: u64) -> Result<Option<usize>> {
        let fits = |rows| self.fits(way, rows, budget);
        if fits(self.rows)? {
            return Ok(Some(self.rows));
        }
        if !fits(1)? {
            return Ok(None);
        }
        let (mut fitting, mut too_many) = (1, self.rows);
        while too_many - fitting > 1 {
            let middle = fitting + (too_many - fitting) / 2;
            *(if fits(middle)? { &mut fitting } else { &mut too_many }) = middle;
        }
        Ok(Some(fitting))
    }

    fn fits(&self, way: &Way, rows: usize, budget: u64) -> Result<bool> {
        match self.size(way, rows, Gradients::Overwrite, budget) {
            Ok(sized) => Ok(sized.bytes.total <= budget),
            Err(Error::DoesNotFit(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The error for a budget that is too small for every way: what the least of them takes, and what would help.
    fn why_nothing_fits(&self, budget: u64) -> Result<Error> {
        let plain = self.plain_way(self.options.resident == Choice::Yes)?;
        let mut ways = match self.options.recompute {
            Choice::No => Vec::new(),
            Choice::Auto | Choice::Yes => self.recomputing_ways(&plain)?,
        };
        ways.push(plain);
        let rows = match self.options.micro_batch {
            BatchSize::Rows(rows) => rows.min(self.rows),
            BatchSize::Auto => 1,
        };
        let sized = ways.iter().map(|way| self.size(way, rows, Gradients::Overwrite, budget));
        let sized = sized.collect::<Result<Vec<Sized>>>()?;
        let Some(least) = sized.into_iter().min_by_key(|sized| sized.bytes.total) else {
            return Ok(Error::DoesNotFit("there is nothing to run".to_owned()));
        };
        let tensors = least.plans[0].largest_tensors(NAMED_TENSORS);
        let tensors: Vec<String> =
            tensors.iter().map(|(name, bytes)| format!("{name} {}", format_bytes(*bytes))).collect();
        let help =
            format!("{}; its largest tensors are {}", self.help(rows, &least.bytes), tensors.join(", "));
        Ok(over_budget("the run", &least.bytes, rows, budget, &help))
    }

    /// What would help a run that does not fit, but more memory.
    fn help(&self, rows: usize, bytes: &ByteCounts) -> String {
        let advice = [
            (self.options.resident == Choice::Yes, "--resident no (rows are then uploaded)"),
            (rows > 1 && self.options.search.is_none(), "a smaller --micro-batch"),
            (rows > 1 && self.options.search.is_some(), "a smaller --batch (a line search takes it at once)"),
            (self.options.recompute == Choice::No, "--recompute auto"),
            (
                bytes.state > 0 && self.options.method.is_none(),
                "an optimizer that keeps less (sgd keeps nothing)",
            ),
            (self.options.method.is_some(), "a method that keeps less (lbfgs with a smaller history, or cg)"),
            (true, "a smaller model"),
        ];
        let advice: Vec<&str> =
            advice.iter().filter(|(applies, _)| *applies).map(|(_, what)| *what).collect();
        format!("use {}", advice.join(" or "))
    }
}

/// A batch in equal micro-batches of at most `largest` rows: as few parts as can be, and twice as many, and so on.
fn divisions(batch: usize, largest: usize) -> Vec<(usize, usize)> {
    let fewest = batch.div_ceil(largest);
    let parts =
        std::iter::successors(Some(fewest), |parts| Some(2 * parts)).take_while(|parts| *parts <= batch);
    parts.map(|parts| (batch, batch.div_ceil(parts))).collect()
}

/// 1, 2, 4 … and `largest`.
pub(crate) fn powers_up_to(largest: usize) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(1), |rows| Some(2 * rows));
    powers.take_while(move |rows| *rows < largest).chain([largest])
}

/// `what` takes more than the budget: which roles take how much, and what to do besides raising the limit.
pub(super) fn over_budget(what: &str, bytes: &ByteCounts, rows: usize, budget: u64, advice: &str) -> Error {
    let mut roles = [
        ("parameters, gradient and optimizer state", bytes.theta + bytes.gradient + bytes.state),
        ("activations", bytes.activations),
        ("data", bytes.data),
        ("staging", bytes.staging),
        ("uniforms, results and wgpu's own buffers", bytes.other),
    ];
    roles.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let roles: Vec<String> =
        roles.iter().map(|(name, bytes)| format!("{name} {}", format_bytes(*bytes))).collect();
    Error::DoesNotFit(format!(
        "{what} takes {} of GPU memory at a micro-batch of {rows} and the budget is {} ({}); raise the memory limit or \
         {advice}",
        format_bytes(bytes.total),
        format_bytes(budget),
        roles.join(", ")
    ))
}
