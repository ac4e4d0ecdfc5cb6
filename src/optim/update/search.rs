//! A line search that tries a whole grid of step sizes in one submit, with nothing read back: for each a trial point
//! beside θ, a forward pass there, and its objective (loss and penalty) against the least so far; then the best step.
//!
//! The direction is that of gradient descent, −(g + λθ), which every kernel makes again from θ and g: it is never stored.

use super::planner::{Planner, Range};
use super::text::{Access, FOUR, Frame, Vector};
use super::{Home, Place, Stage, UpdateLaunch, UpdatePlan};
use crate::gpu::Profile;
use crate::graph::ParameterInfo;
use crate::optim::{Modifiers, Optimizer};
use crate::plan::ThetaLayout;
use crate::{Error, Result};

/// The rule whose direction is searched along.
const RULE: &str = "sgd";

/// The largest step size of a grid over its smallest: a factor of 16 either way of the last one. Minibatches and
/// curvatures that change more than that from step to step are followed over several.
const WIDTH: f64 = 256.0;

/// The step size, as a part of the first guess, below which the search begins again far above it, at [`MOST`]: the guess
/// itself may be too small.
const LEAST: f64 = 1e-12;

/// The largest, likewise: what doubles for ever ends at infinity, and nothing comes back from there.
const MOST: f64 = 1e12;

/// Floats of `Search` in `shaders/update/search.wgsl`, with padding.
const SEARCH_FLOATS: usize = 8;

const SEARCH: &str = include_str!("../../../shaders/update/search.wgsl");
const POINT: &str = include_str!("../../../shaders/update/search_point.wgsl");
const TRIAL: &str = include_str!("../../../shaders/update/search_trial.wgsl");
const JUDGE: &str = include_str!("../../../shaders/update/search_judge.wgsl");
const STEP: &str = include_str!("../../../shaders/update/search_step.wgsl");

/// The buffers of a line search.
#[derive(Clone, Debug)]
pub(crate) struct SearchPlan {
    /// Of `Search`.
    pub state: usize,
    /// The trial point, a buffer a shard of θ.
    pub trial: Vec<usize>,
    /// What makes the value and slope of a trial, where the host runs the search.
    pub evaluation: Vec<Stage>,
}

impl SearchPlan {
    /// Where in `state` the middle of the next grid, the chosen step size and the loss at θ stand: bytes.
    pub const FACTOR: u64 = 0;
    pub const CHOSEN: u64 = 8;
    pub const LOSS: u64 = 12;
    /// Where the trial's step size is told, and its value and slope stand.
    pub const TRIAL: u64 = 4;
    pub const VALUE: u64 = 20;

    /// The step size around which the next search looks after it found `chosen`.
    pub fn around(chosen: f64) -> f64 {
        chosen.min(MOST)
    }

    /// The step size around which the next search looks after none was found around `factor`.
    pub fn below(factor: f64) -> f64 {
        let smaller = factor / WIDTH;
        if smaller >= LEAST { smaller } else { MOST }
    }
}

impl UpdatePlan {
    /// Gradient descent whose step size is the best of `trials`, at least 2, around the last one.
    ///
    /// Errors: as [`UpdatePlan::new`], and [`Error::Setting`] for other rules and for modifiers but groups.
    pub fn searching(
        optimizer: &Optimizer,
        modifiers: &Modifiers,
        trials: usize,
        parameters: &[ParameterInfo],
        layout: &ThetaLayout,
        profile: &Profile,
    ) -> Result<Self> {
        let mut planner = Planner::new(optimizer, modifiers, parameters, layout, profile)?;
        searchable(&planner.plan.optimizers, modifiers)?;
        planner.search(trials);
        planner.finish()
    }
}

/// Errors for what the search would not look at, or what it has no direction for.
pub(crate) fn searchable(optimizers: &[Optimizer], modifiers: &Modifiers) -> Result<()> {
    let other = optimizers.iter().find(|optimizer| optimizer.rule.name != RULE);
    if let Some(other) = other {
        let message = format!(
            "looks along the gradient, which is the direction of {RULE} and not of {}; use --optimizer {RULE}, or a \
             number for --lr",
            other.rule.name
        );
        return Err(Error::setting("line search", message));
    }
    if optimizers[0].learning_rate() == 0.0 {
        return Err(Error::setting("line search", "begins at the learning rate, which must be above 0"));
    }
    let Modifiers {
        clip_norm,
        clip_value,
        skip_not_finite,
        loss_scale,
        average,
        lookahead,
        groups: _,
        frozen: _,
    } = modifiers;
    let unsearched = [
        ("clip-norm", clip_norm.is_some()),
        ("clip-value", clip_value.is_some()),
        ("skip of steps", *skip_not_finite),
        ("scaled loss (f16)", loss_scale.is_some()),
        ("mean of θ", average.is_some()),
        ("lookahead", lookahead.is_some()),
    ];
    match unsearched.iter().find(|(_, present)| *present) {
        Some((name, _)) => {
            let message = format!("finds the length of its steps itself and does not go with the {name}");
            Err(Error::setting("line search", message))
        }
        None => Ok(()),
    }
}

/// The step sizes that are tried, as factors of the last one: from 1/16 to 16 by equal ratios.
pub(crate) fn grid(trials: usize) -> impl Iterator<Item = f32> {
    let last = trials.max(2) - 1;
    (0..=last).map(move |trial| WIDTH.powf(trial as f64 / last as f64 - 0.5) as f32)
}

/// What the judge is told of a trial, as `shaders/update/search_judge.wgsl` has it.
const MIDDLE: u32 = 0;
const FIRST: u32 = 1;
const LAST: u32 = 2;

impl Planner<'_> {
    /// The whole search: θ itself as the first trial, so that all objectives are rounded alike, then the grid.
    fn search(&mut self, trials: usize) {
        let (state, trial) = (self.search_state(), self.like_theta());
        let ranges = self.ranges.clone();
        let sums: usize = ranges.iter().map(|range| self.parts(range.floats)).sum();
        let partials = self.own("other", sums);
        let points = self.trial_launches(&ranges, state, &trial, partials);
        let judge = self.judge_launch(state, partials, sums);
        let factors = grid(trials).map(Some).chain([None]);
        for (number, next) in factors.enumerate() {
            self.plan.stages.extend(points.iter().cloned().map(Stage::Launch));
            self.plan.stages.push(Stage::Trial);
            let mut judge = judge.clone();
            let place = match (number, next) {
                (0, _) => FIRST,
                (_, Some(_)) => MIDDLE,
                (_, None) => LAST,
            };
            judge.words[2..].copy_from_slice(&[next.unwrap_or(0.0).to_bits(), place]);
            self.then(judge);
        }
        self.steps(&ranges, state);
        self.plan.search = Some(SearchPlan { state, trial, evaluation: Vec::new() });
    }

    /// What writes the trial point and the partial sums of its penalty, a launch a range.
    fn trial_launches(
        &mut self,
        ranges: &[Range],
        state: usize,
        trial: &[usize],
        partials: usize,
    ) -> Vec<UpdateLaunch> {
        let vectors = vec![
            searched(Access::Read),
            Vector::new("gradient", Access::Read, FOUR),
            Vector::new("theta", Access::Read, FOUR),
            Vector::new("trial", Access::ReadWrite, FOUR),
            partial_sums(Access::ReadWrite),
        ];
        let kernel = self.search_kernel("trial", vectors, &[POINT, TRIAL].concat());
        let mut first = 0;
        let mut launches = Vec::with_capacity(ranges.len());
        for range in ranges {
            let places = vec![
                self.whole(state),
                self.gradient(range),
                self.theta(range),
                self.within(trial, range),
                self.whole(partials),
            ];
            let mut launch = self.launch(range.group, kernel, places, self.parts(range.floats));
            launch.words[2..].copy_from_slice(&[(range.floats / 4) as u32, first as u32]);
            launches.push(launch);
            first += self.parts(range.floats);
        }
        launches
    }

    fn judge_launch(&mut self, state: usize, partials: usize, sums: usize) -> UpdateLaunch {
        let vectors = vec![searched(Access::ReadWrite), partial_sums(Access::Read), losses()];
        let constants =
            format!("const WIDTH = {WIDTH:?};\nconst LEAST = {LEAST:?};\nconst MOST = {MOST:?};\n");
        let kernel = self.search_kernel("judge", vectors, &(constants + JUDGE));
        let places = vec![self.whole(state), self.whole(partials), LOSS];
        let mut launch = self.launch(0, kernel, places, 1);
        launch.words[0] = sums as u32;
        launch
    }

    /// What takes the chosen step, a launch a range.
    fn steps(&mut self, ranges: &[Range], state: usize) {
        let vectors = vec![
            searched(Access::Read),
            Vector::new("gradient", Access::Read, FOUR),
            Vector::new("theta", Access::ReadWrite, FOUR),
        ];
        let kernel = self.search_kernel("step", vectors, &[POINT, STEP].concat());
        for range in ranges {
            let places = vec![self.whole(state), self.gradient(range), self.theta(range)];
            let launch = self.over_elements(range.group, kernel, places, range);
            self.then(launch);
        }
    }

    /// Where the search remembers its step size: at first that of the learning rate.
    pub(super) fn search_state(&mut self) -> usize {
        let state = self.own("other", SEARCH_FLOATS);
        self.plan.buffers[state].contents = vec![1f32.to_bits()];
        state
    }

    /// A vector with a buffer a shard of θ.
    pub(super) fn like_theta(&mut self) -> Vec<usize> {
        let shards = self.layout.shards.clone();
        shards.into_iter().map(|floats| self.own("state", floats)).collect()
    }

    pub(super) fn search_kernel(&mut self, label: &str, vectors: Vec<Vector>, body: &str) -> usize {
        let optimizer = self.plan.optimizers[0].clone();
        let modifiers = Modifiers::default();
        let frame = Frame { optimizer: &optimizer, modifiers: &modifiers, element: FOUR, vectors };
        self.kernel(frame.kernel(label, &[SEARCH, body].concat()))
    }
}

pub(super) fn searched(access: Access) -> Vector {
    Vector { name: "search".to_owned(), access, element: "Search" }
}

/// Where the loss of the plan that ran last lies.
pub(super) const LOSS: Place = Place { home: Home::Result, offset: 0, bytes: 4 };

pub(super) fn losses() -> Vector {
    Vector { name: "losses".to_owned(), access: Access::Read, element: "f32" }
}

fn partial_sums(access: Access) -> Vector {
    Vector { name: "partials".to_owned(), access, element: "f32" }
}
