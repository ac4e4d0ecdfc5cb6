//! What the device does for a line search that the host runs: the direction of a step, and the objective and slope at a
//! trial point along it.

use super::planner::{Planner, Range};
use super::search::{LOSS, losses, searchable, searched};
use super::text::{Access, FOUR, Vector};
use super::{Place, SearchPlan, Stage, UpdateLaunch, UpdatePlan};
use crate::Result;
use crate::gpu::Profile;
use crate::graph::ParameterInfo;
use crate::optim::{Modifiers, Optimizer};
use crate::plan::ThetaLayout;

const DIRECTION: &str = include_str!("../../../shaders/update/search_direction.wgsl");
const ALONG: &str = include_str!("../../../shaders/update/search_along.wgsl");
const SLOPES: &str = include_str!("../../../shaders/update/search_slopes.wgsl");
const VALUE: &str = include_str!("../../../shaders/update/search_value.wgsl");

/// The vectors of a search.
struct Vectors {
    state: usize,
    trial: Vec<usize>,
    direction: Vec<usize>,
    partials: usize,
}

impl UpdatePlan {
    /// Gradient descent whose step sizes the host finds. The stages store the direction and give value and slope at θ;
    /// those of [`SearchPlan::evaluation`] at a trial point, whose slope is right where [`Stage::Trial`] writes the
    /// gradient there.
    ///
    /// Errors: as [`UpdatePlan::searching`].
    pub fn searched_by_host(
        optimizer: &Optimizer,
        modifiers: &Modifiers,
        parameters: &[ParameterInfo],
        layout: &ThetaLayout,
        profile: &Profile,
    ) -> Result<Self> {
        let mut planner = Planner::new(optimizer, modifiers, parameters, layout, profile)?;
        searchable(&planner.plan.optimizers, modifiers)?;
        let ranges = planner.ranges.clone();
        let sums: usize = ranges.iter().map(|range| planner.parts(range.floats)).sum();
        let vectors = Vectors {
            state: planner.search_state(),
            trial: planner.like_theta(),
            direction: planner.like_theta(),
            partials: planner.own("other", 2 * sums),
        };
        let direction = planner.directions(&ranges, &vectors);
        let along = planner.along(&ranges, &vectors);
        let mut value = planner.slopes(&ranges, &vectors);
        value.push(Stage::Launch(planner.value(&vectors, sums)));
        planner.plan.stages = [direction, along.clone(), value.clone()].concat();
        let evaluation = [along, vec![Stage::Trial], value].concat();
        planner.plan.search = Some(SearchPlan { state: vectors.state, trial: vectors.trial, evaluation });
        planner.finish()
    }
}

impl Planner<'_> {
    fn directions(&mut self, ranges: &[Range], vectors: &Vectors) -> Vec<Stage> {
        let bound = vec![
            Vector::new("gradient", Access::Read, FOUR),
            Vector::new("theta", Access::Read, FOUR),
            Vector::new("direction", Access::ReadWrite, FOUR),
        ];
        let kernel = self.search_kernel("direction", bound, DIRECTION);
        self.elementwise_stages(ranges, kernel, |planner, range| {
            vec![planner.gradient(range), planner.theta(range), planner.within(&vectors.direction, range)]
        })
    }

    fn along(&mut self, ranges: &[Range], vectors: &Vectors) -> Vec<Stage> {
        let bound = vec![
            searched(Access::Read),
            Vector::new("theta", Access::Read, FOUR),
            Vector::new("direction", Access::Read, FOUR),
            Vector::new("trial", Access::ReadWrite, FOUR),
        ];
        let kernel = self.search_kernel("along", bound, ALONG);
        self.elementwise_stages(ranges, kernel, |planner, range| {
            vec![
                planner.whole(vectors.state),
                planner.theta(range),
                planner.within(&vectors.direction, range),
                planner.within(&vectors.trial, range),
            ]
        })
    }

    /// A launch of `kernel` a range.
    fn elementwise_stages(
        &self,
        ranges: &[Range],
        kernel: usize,
        places: impl Fn(&Self, &Range) -> Vec<Place>,
    ) -> Vec<Stage> {
        let launch = |range: &Range| self.over_elements(range.group, kernel, places(self, range), range);
        ranges.iter().map(|range| Stage::Launch(launch(range))).collect()
    }

    fn slopes(&mut self, ranges: &[Range], vectors: &Vectors) -> Vec<Stage> {
        let bound = vec![
            Vector::new("gradient", Access::Read, FOUR),
            Vector::new("direction", Access::Read, FOUR),
            Vector::new("trial", Access::Read, FOUR),
            pairs(Access::ReadWrite),
        ];
        let kernel = self.search_kernel("slopes", bound, SLOPES);
        let mut first = 0;
        let stage = |range: &Range| {
            let places = vec![
                self.gradient(range),
                self.within(&vectors.direction, range),
                self.within(&vectors.trial, range),
                self.whole(vectors.partials),
            ];
            let mut launch = self.launch(range.group, kernel, places, self.parts(range.floats));
            launch.words[2..].copy_from_slice(&[(range.floats / 4) as u32, first as u32]);
            first += self.parts(range.floats);
            Stage::Launch(launch)
        };
        ranges.iter().map(stage).collect()
    }

    fn value(&mut self, vectors: &Vectors, sums: usize) -> UpdateLaunch {
        let bound = vec![searched(Access::ReadWrite), pairs(Access::Read), losses()];
        let kernel = self.search_kernel("value", bound, VALUE);
        let places = vec![self.whole(vectors.state), self.whole(vectors.partials), LOSS];
        let mut launch = self.launch(0, kernel, places, 1);
        launch.words[0] = sums as u32;
        launch
    }
}

/// Sums of the penalty and of the slope.
fn pairs(access: Access) -> Vector {
    Vector { name: "partials".to_owned(), access, element: "vec2<f32>" }
}
