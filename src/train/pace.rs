//! How much work fits the time that an app grants: what every launch costs, learnt from timestamps while it trains.
//!
//! A launch that was never timed is first submitted in a stretch of its own, for as long as it is expected to take by what it
//! computes and moves, and by how much longer than that others took. From then on each stretch that was timed corrects the
//! costs of the launches in it (as Kaczmarz' method solves for unknowns of which only sums are measured): the ends of
//! stretches move from call to call, so the sums tell the launches apart.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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

/// Without timestamps: what the factor of the estimates comes down by at a time, to 1, and within what it is.
const FASTER: f64 = 0.98;
const FACTORS: Range<f64> = 1e-2..1e4;

/// Seconds that a call may be granted, and that the calls to come may be shortened by: what nobody draws for is no frame.
const MOST: f64 = 1.0;

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
    /// Stretches of the call under way that are timed, and the seconds that are expected of them and of all.
    stretches: Vec<Stretch>,
    timed: f64,
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
    /// Seconds that are expected of the stretches that are timed, and of all.
    timed: f64,
    expected: f64,
    /// Without timestamps: when it was submitted, and when it was seen to be done.
    watch: Option<Watch>,
}

/// What is known of the time of work without timestamps.
struct Watch {
    submitted: Instant,
    done: Arc<OnceLock<Instant>>,
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
            timed: 0.0,
            expected: 0.0,
            balance: 0.0,
            reserve: 0.0,
            spread: 0.0,
            took: None,
        }
    }

    /// Begins a call: learns from what has come back since the last one.
    pub fn begin(&mut self, engine: &mut Engine, granted: Duration) -> Result<()> {
        (self.took, self.timed, self.expected) = (None, 0.0, 0.0);
        match &mut engine.spans {
            Some(spans) => spans.collect(|tag, times| self.learn(tag, times))?,
            None => {
                self.gpu.poll()?;
                self.adapt_at(Instant::now());
            }
        }
        self.grant(granted);
        Ok(())
    }

    fn grant(&mut self, granted: Duration) {
        let granted = granted.as_secs_f64().min(MOST);
        self.balance = self.balance.clamp(-MOST, 0.0) + granted;
        self.reserve = granted * (SPREADS * self.spread).min(MOST_RESERVE);
    }

    /// Whether the device is so far behind that more would only queue up.
    pub fn is_behind(&self) -> bool {
        self.rounds.len() >= MOST_ROUNDS
    }

    /// How many of the `left` launches of `plan` from the number `first` on are to be recorded as one pass; none where the time
    /// granted is used up. The last of them may reach beyond it; the calls to come are shortened by as much. With `timed` the
    /// pass is.
    pub fn take(&mut self, plan: usize, first: usize, left: usize, timed: bool) -> usize {
        let (mut count, before) = (0, self.expected);
        for cost in &self.costs[plan][first..first + left] {
            let is_alone = self.has_timestamps && cost.learnt.is_none();
            if self.balance <= self.reserve || (is_alone && (count > 0 || !timed)) {
                break;
            }
            // What nothing is known of takes all that is left.
            let seconds = self.seconds(cost).unwrap_or(self.balance);
            self.balance -= seconds;
            self.expected += seconds;
            count += 1;
            if is_alone {
                break;
            }
        }
        if count > 0 && timed {
            self.timed += self.expected - before;
            self.stretches.push(Stretch { plan, launches: first..first + count });
        }
        count
    }

    /// Has the calls to come pay for launches that were submitted out of turn.
    pub fn charge(&mut self, plan: usize, first: usize, left: usize) {
        let seconds = self.costs[plan][first..first + left].iter().filter_map(|cost| self.seconds(cost));
        let seconds: f64 = seconds.sum();
        self.balance -= seconds;
    }

    fn seconds(&self, cost: &Cost) -> Option<f64> {
        cost.learnt.or(self.factor.map(|factor| factor * cost.estimate))
    }

    /// Ends a call: submits what was recorded.
    pub fn end(&mut self, engine: &mut Engine) -> Result<()> {
        let stretches = std::mem::take(&mut self.stretches);
        if stretches.is_empty() && self.expected == 0.0 {
            engine.flush();
            return Ok(());
        }
        let tag = self.next;
        self.next += 1;
        engine.end_round(tag)?;
        let watch = (!self.has_timestamps).then(|| {
            let done = Arc::new(OnceLock::new());
            let told = Arc::clone(&done);
            // Called by whoever polls the device next, the app or the next call.
            self.gpu.queue().on_submitted_work_done(move || {
                // Set once: nobody else does.
                let _ = told.set(Instant::now());
            });
            Watch { submitted: Instant::now(), done }
        });
        let (timed, expected) = (self.timed, self.expected);
        self.rounds.push_back(Round { tag, stretches, timed, expected, watch });
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
        if self.rounds.front().is_none_or(|round| round.tag != tag) {
            return;
        }
        let Some(round) = self.rounds.pop_front() else { return };
        let took = times.iter().sum::<f64>();
        // What was not timed took as much longer, or less.
        let ratio = took / round.timed;
        self.balance += round.expected * (1.0 - ratio.min(TRUSTED));
        self.took = Some(Duration::from_secs_f64(round.expected * ratio));
        self.spread += ((ratio - 1.0).clamp(0.0, 1.0) - self.spread) / REMEMBERED;
        for (Stretch { plan, launches }, seconds) in round.stretches.into_iter().zip(times) {
            correct(&mut self.costs[plan][launches], seconds.max(LEAST), &mut self.factor);
        }
    }

    /// Without timestamps: what is known of a round's time is that it ended before it was seen to be done, and after the last
    /// look that saw it under way. Estimates that contradict that are corrected; those that were raised come down again slowly,
    /// since it may have been the app's own work that was waited for.
    fn adapt_at(&mut self, now: Instant) {
        while let Some(round) = self.rounds.front_mut() {
            let Some(Watch { submitted, done }) = &round.watch else { return };
            let (ended, expected) = (done.get().copied(), round.expected);
            let seconds = (ended.unwrap_or(now) - *submitted).as_secs_f64();
            let factor = self.factor.unwrap_or(1.0);
            let ratio = match ended {
                None => (seconds / expected).max(1.0),
                Some(_) if seconds < expected => seconds / expected,
                Some(_) => (1.0 / factor).clamp(FASTER, 1.0),
            };
            self.factor = Some((factor * ratio).clamp(FACTORS.start, FACTORS.end));
            if ended.is_none() {
                // The next look compares with what is expected now.
                round.expected *= ratio;
                return;
            }
            if seconds < expected {
                // It was charged too much.
                self.balance += expected - seconds;
            }
            self.rounds.pop_front();
        }
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
    use crate::GpuOptions;

    /// 600 frames of 16 ms without timestamps that grant 4 ms each; work is seen to be done at the first frame behind it. The
    /// launches and the milliseconds that the device worked.
    fn without_timestamps(estimate: f64, truth: f64) -> (usize, f64) {
        let mut pace = Pace {
            gpu: Gpu::new(&GpuOptions::default()).unwrap(),
            costs: vec![vec![Cost { estimate, learnt: None }]],
            has_timestamps: false,
            factor: Some(1.0),
            rounds: VecDeque::new(),
            next: 0,
            stretches: Vec::new(),
            timed: 0.0,
            expected: 0.0,
            balance: 0.0,
            reserve: 0.0,
            spread: 0.0,
            took: None,
        };
        let (mut launches, mut free_at) = (0, 0.0);
        // The device's own time runs in frames, not on this machine's clock.
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let mut under_way: VecDeque<f64> = VecDeque::new();
        for frame in 0..600 {
            let now = f64::from(frame) * 0.016;
            while under_way.front().is_some_and(|end| *end <= now) {
                under_way.pop_front();
                let done = pace.rounds.iter().filter_map(|round| round.watch.as_ref());
                if let Some(watch) = done.into_iter().find(|watch| watch.done.get().is_none()) {
                    watch.done.set(at(now)).unwrap();
                }
            }
            pace.adapt_at(at(now));
            pace.grant(Duration::from_millis(4));
            let mut count = 0;
            while !pace.is_behind() && pace.take(0, 0, 1, true) > 0 {
                count += 1;
            }
            if count > 0 {
                let expected = std::mem::take(&mut pace.expected);
                let watch = Some(Watch { submitted: at(now), done: Arc::default() });
                let stretches = std::mem::take(&mut pace.stretches);
                pace.rounds.push_back(Round { tag: 0, stretches, timed: expected, expected, watch });
                free_at = f64::max(free_at, now) + truth * count as f64;
                under_way.push_back(free_at);
                launches += count;
            }
        }
        (launches, 1e3 * truth * launches as f64)
    }

    /// 9.6 s of frames grant 2.4 s.
    #[test]
    fn without_timestamps_work_neither_stalls_nor_fills_the_frames() {
        // Seconds of a launch, estimated and true; the milliseconds of work that are too few and too many.
        let rows = [
            (1e-4, 1e-4, 2200.0, 2500.0),
            (5e-3, 17e-3, 1500.0, 9600.0),
            (50e-3, 100e-3, 1200.0, 9600.0),
            // Cheaper than thought: less is done, not more.
            (1e-3, 1e-4, 200.0, 2500.0),
            // Dearer than thought: what is seen of that are frames that work fills.
            (1e-4, 4e-4, 2200.0, 9600.0),
        ];
        for (estimate, truth, least, most) in rows {
            let (launches, worked) = without_timestamps(estimate, truth);
            assert!((least..most).contains(&worked), "{estimate} {truth}: {launches} launches, {worked} ms");
        }
    }

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
