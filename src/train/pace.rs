//! How much work fits the time that an app grants: what every launch costs, learnt from timestamps while it trains.
//!
//! A launch that was never timed is first submitted in a stretch of its own, for as long as it is expected to take by what it
//! computes and moves, and by how much longer than that others took. From then on each stretch that was timed corrects the
//! costs of the launches in it (as Kaczmarz' method solves for unknowns of which only sums are measured): the ends of
//! stretches move from call to call, so the sums tell the launches apart.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::engine::Engine;
use super::trainer::TRAIN;
use crate::Result;
use crate::gpu::Gpu;

/// Calls whose work may be under way at once: one at work, and one to follow.
const MOST_ROUNDS: usize = 2;

/// How much of a difference between time and expectation the costs take over, and how far from the expectation a time
/// is taken for more than a hiccup.
const GAIN: f64 = 0.25;
const TRUSTED: f64 = 4.0;

/// Of how many calls about the spread of their times is the mean, how many times that is kept in reserve, and which part of the
/// time granted at most.
const REMEMBERED: f64 = 32.0;
const SPREADS: f64 = 2.0;
const MOST_RESERVE: f64 = 0.1;

/// Seconds below which no launch is believed to be: the counters of some drivers stand still over a short pass.
const LEAST: f64 = 1e-7;

/// Without timestamps: what the estimates are multiplied by where the work of a call was not done by the next call, and
/// where it was; and within what.
const SLOWER: f64 = 1.5;
const FASTER: f64 = 0.97;
const FACTORS: Range<f64> = 0.25..1e4;

/// What launches cost, and what may be submitted.
pub(super) struct Pace {
    gpu: Gpu,
    /// Of every plan of the engine; of the trained one with its update.
    costs: Vec<Vec<Cost>>,
    has_timestamps: bool,
    /// How many times its estimate a launch takes at most, as far as is known.
    factor: Option<f64>,
    /// The work of earlier calls that is not known to be done, oldest first.
    rounds: VecDeque<Round>,
    next: u64,
    /// Stretches of the call under way, and the seconds that are expected of them.
    stretches: Vec<Stretch>,
    expected: f64,
    /// Seconds that may still be submitted; below zero, what was submitted beyond the time granted.
    balance: f64,
    /// What is not submitted of the time granted, because times scatter: seconds.
    reserve: f64,
    /// By which part calls took longer than expected, where they did: the mean.
    spread: f64,
    took: Option<Duration>,
}

struct Cost {
    /// Seconds as they follow from what the launch is.
    estimate: f64,
    learnt: Option<f64>,
}

/// Launches of a plan that are recorded as one pass.
struct Stretch {
    plan: usize,
    launches: Range<usize>,
}

/// The work of a call, on its way.
struct Round {
    tag: u64,
    stretches: Vec<Stretch>,
    expected: f64,
    /// Set when it is done, where there are no timestamps to tell.
    done: Option<Arc<AtomicBool>>,
}

impl Pace {
    pub fn new(gpu: &Gpu, engine: &Engine) -> Self {
        let class = gpu.profile().class;
        let plan = |plan: usize| {
            let launches = engine.described(plan, plan == TRAIN);
            launches.iter().map(|work| Cost { estimate: work.seconds(class), learnt: None }).collect()
        };
        let has_timestamps = engine.spans.is_some();
        Pace {
            gpu: gpu.clone(),
            costs: (0..engine.plans()).map(plan).collect(),
            has_timestamps,
            factor: (!has_timestamps).then_some(1.0),
            rounds: VecDeque::new(),
            next: 0,
            stretches: Vec::new(),
            expected: 0.0,
            balance: 0.0,
            reserve: 0.0,
            spread: 0.0,
            took: None,
        }
    }

    /// Begins a call: learns from what has come back since the last one.
    pub fn begin(&mut self, engine: &mut Engine, granted: Duration) -> Result<()> {
        (self.took, self.expected) = (None, 0.0);
        match &mut engine.spans {
            Some(spans) => spans.collect(|tag, times| self.learn(tag, times))?,
            None => {
                self.gpu.poll()?;
                self.adapt();
            }
        }
        let granted = granted.as_secs_f64();
        self.balance = self.balance.min(0.0) + granted;
        self.reserve = granted * (SPREADS * self.spread).min(MOST_RESERVE);
        Ok(())
    }

    /// Whether the device is so far behind that more would only queue up.
    pub fn is_behind(&self, engine: &Engine) -> bool {
        self.rounds.len() >= MOST_ROUNDS || engine.spans.as_ref().is_some_and(|spans| !spans.has_room())
    }

    /// How many launches of `plan` from the number `first` on are to be recorded as one pass; none where the time granted is
    /// used up. The last of them may reach beyond it; the calls to come are shortened by as much.
    pub fn take(&mut self, plan: usize, first: usize) -> usize {
        let mut count = 0;
        for cost in &self.costs[plan][first..] {
            let is_alone = self.has_timestamps && cost.learnt.is_none();
            if self.balance <= self.reserve || (is_alone && count > 0) {
                break;
            }
            // What nothing is known of takes all that is left.
            let seconds = cost.learnt.or(self.factor.map(|factor| factor * cost.estimate));
            let seconds = seconds.unwrap_or(self.balance);
            self.balance -= seconds;
            self.expected += seconds;
            count += 1;
            if is_alone {
                break;
            }
        }
        if count > 0 {
            self.stretches.push(Stretch { plan, launches: first..first + count });
        }
        count
    }

    /// Ends a call: submits what was recorded.
    pub fn end(&mut self, engine: &mut Engine) -> Result<()> {
        if self.stretches.is_empty() {
            engine.flush();
            return Ok(());
        }
        let tag = self.next;
        self.next += 1;
        let stretches = std::mem::take(&mut self.stretches);
        engine.end_round(tag)?;
        let done = (!self.has_timestamps).then(|| {
            let done = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&done);
            self.gpu.queue().on_submitted_work_done(move || told.store(true, Ordering::Release));
            done
        });
        self.rounds.push_back(Round { tag, stretches, expected: self.expected, done });
        Ok(())
    }

    /// Seconds that the work of the call under way is expected to take.
    pub fn expected(&self) -> Duration {
        Duration::from_secs_f64(self.expected)
    }

    /// What the work of the latest call took whose times came back in this one.
    pub fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Takes note of the seconds of each stretch of a round.
    fn learn(&mut self, tag: u64, times: &[f64]) {
        while self.rounds.front().is_some_and(|round| round.tag < tag) {
            self.rounds.pop_front();
        }
        if let Some(round) = self.rounds.pop_front() {
            let took = times.iter().sum::<f64>();
            self.balance += round.expected - took.min(TRUSTED * round.expected);
            self.took = Some(Duration::from_secs_f64(took));
            let beyond = (took / round.expected - 1.0).clamp(0.0, 1.0);
            self.spread += (beyond - self.spread) / REMEMBERED;
            for (Stretch { plan, launches }, seconds) in round.stretches.into_iter().zip(times) {
                correct(&mut self.costs[plan][launches], seconds.max(LEAST), &mut self.factor);
            }
        }
    }

    /// Without timestamps: whether the work of the last call was done by this one.
    fn adapt(&mut self) {
        let is_done = |round: &Round| round.done.as_ref().is_none_or(|done| done.load(Ordering::Acquire));
        let was_under_way = !self.rounds.is_empty();
        while self.rounds.front().is_some_and(is_done) {
            self.rounds.pop_front();
        }
        let change = match (was_under_way, self.rounds.is_empty()) {
            (true, true) => FASTER,
            (true, false) => SLOWER,
            (false, _) => 1.0,
        };
        self.factor = self.factor.map(|factor| (factor * change).clamp(FACTORS.start, FACTORS.end));
    }
}

/// Corrects the costs of launches that took `seconds` together.
fn correct(costs: &mut [Cost], seconds: f64, factor: &mut Option<f64>) {
    if let [cost @ Cost { learnt: None, .. }] = costs {
        cost.learnt = Some(seconds);
        let own = seconds / cost.estimate;
        *factor = Some(factor.map_or(own, |factor| factor.max(own)));
        return;
    }
    let expected: f64 = costs.iter().filter_map(|cost| cost.learnt).sum();
    let ratio = (seconds / expected).clamp(1.0 / TRUSTED, TRUSTED);
    for cost in costs.iter_mut().filter_map(|cost| cost.learnt.as_mut()) {
        *cost = (*cost * (1.0 + GAIN * (ratio - 1.0))).max(LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(seconds: &[f64]) -> Vec<Cost> {
        seconds.iter().map(|seconds| Cost { estimate: *seconds, learnt: None }).collect()
    }

    #[test]
    fn sums_of_stretches_whose_ends_move_tell_launches_apart() {
        let truth = [3e-3, 1e-4, 1e-3, 2e-4, 5e-4];
        let mut learnt = costs(&[1e-4; 5]);
        let mut factor = None;
        for number in 0..5 {
            correct(&mut learnt[number..=number], 1e-3, &mut factor);
        }
        assert!((factor.unwrap() - 10.0).abs() < 1e-9, "{factor:?}");
        let mut stretch = (0..5usize).cycle().zip((1..=3).cycle());
        for _ in 0..2000 {
            let (first, count) = stretch.next().unwrap();
            let launches = first..(first + count).min(5);
            let seconds = truth[launches.clone()].iter().sum();
            correct(&mut learnt[launches], seconds, &mut factor);
        }
        for (cost, seconds) in learnt.iter().zip(truth) {
            let ratio = cost.learnt.unwrap() / seconds;
            assert!((0.95..1.05).contains(&ratio), "{ratio} of {seconds}");
        }
    }

    #[test]
    fn a_hiccup_changes_little_and_a_counter_that_stands_still_is_no_cost_of_nothing() {
        let mut factor = None;
        let mut learnt = costs(&[1e-3]);
        correct(&mut learnt, 1e-3, &mut factor);
        correct(&mut learnt, 10.0, &mut factor);
        assert!(learnt[0].learnt.unwrap() <= 1.75e-3 + 1e-12);
        for _ in 0..200 {
            correct(&mut learnt, LEAST, &mut factor);
        }
        assert!(learnt[0].learnt.unwrap() >= LEAST);
    }
}
