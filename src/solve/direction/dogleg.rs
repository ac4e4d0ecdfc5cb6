//! Powell's dogleg (1970; Nocedal and Wright, section 4.1): within a radius Δ, along steepest descent to the model's
//! minimum there, and on from it straight towards the Gauss-Newton step.

use super::damped::foretold;
use super::{Direction, Here, TrustModel};
use crate::Result;
use crate::linear::norm;
use crate::plan::ThetaLayout;
use crate::solve::dense::{Symmetric, dot, matrix};
use crate::solve::memory::MethodMemory;
use crate::solve::problem::Curvature;
use crate::solve::space::Space;

/// Trials are taken from this share of what was foretold on; below the second Δ shrinks, above the third it may grow
/// (Nocedal and Wright, algorithm 4.1).
const LEAST_RATIO: f64 = 1e-4;
const POOR: f64 = 0.25;
const GOOD: f64 = 0.75;

/// Powell's dogleg.
pub(crate) struct Dogleg {
    radius: f64,
    model: Option<Model>,
    /// The length of the step that was tried last, and whether the radius bounded it.
    last: (f64, bool),
    products: u64,
}

struct Model {
    matrix: Symmetric,
    gradient: Vec<f64>,
    /// The model's minima along steepest descent and everywhere.
    cauchy: Vec<f64>,
    newton: Vec<f64>,
}

impl Dogleg {
    /// With Δ at its start.
    pub fn new(radius: f64) -> Self {
        Dogleg { radius, model: None, last: (0.0, false), products: 0 }
    }
}

impl Direction for Dogleg {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        let layout = here.problem.layout().clone();
        let matrix = matrix(here.problem, here.space, Curvature::GaussNewton)?;
        self.products += matrix.order as u64;
        let gradient = here.space.read_vector(here.gradient, &layout)?;
        let descent: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let along = dot(&gradient, &gradient) / dot(&gradient, &matrix.times(&gradient));
        let along = if along.is_finite() { along } else { 1.0 };
        let cauchy = descent.iter().map(|d| along * d).collect();
        let newton = matrix.solve_modified(&descent, here.roundoff());
        self.model = Some(Model { matrix, gradient, cauchy, newton });
        Ok(())
    }

    fn products(&self) -> u64 {
        self.products
    }

    fn remember(&self, _: &Space, _: &ThetaLayout, memory: &mut MethodMemory) -> Result<()> {
        memory.put("radius", [self.radius]);
        Ok(())
    }

    fn recall(&mut self, _: &mut Space, _: &ThetaLayout, memory: &MethodMemory) -> Result<()> {
        [self.radius] = memory.numbers("radius")?;
        Ok(())
    }

    fn trust(&mut self) -> Option<&mut dyn TrustModel> {
        Some(self)
    }
}

impl TrustModel for Dogleg {
    fn step(&mut self, here: &mut Here) -> Result<f64> {
        let Some(Model { matrix, gradient, cauchy, newton }) = &self.model else { return Ok(0.0) };
        let step = bend(cauchy, newton, self.radius);
        let length = norm(&step);
        self.last = (length, length >= 0.999 * self.radius);
        let layout = here.problem.layout().clone();
        here.space.write_vector(here.direction, &layout, &step)?;
        Ok(foretold(matrix, gradient, &step))
    }

    fn judge(&mut self, ratio: f64) -> bool {
        let (length, bounded) = self.last;
        if ratio.is_nan() || ratio < POOR {
            self.radius = 0.25 * length;
        } else if ratio > GOOD && bounded {
            self.radius *= 2.0;
        }
        ratio > LEAST_RATIO
    }
}

/// The point of the path 0 → `cauchy` → `newton` that is `radius` from 0, or its end.
fn bend(cauchy: &[f64], newton: &[f64], radius: f64) -> Vec<f64> {
    let [short, long] = [cauchy, newton].map(norm);
    if long <= radius {
        return newton.to_vec();
    }
    if short >= radius {
        return cauchy.iter().map(|c| c * radius / short).collect();
    }
    // ‖cauchy + t·leg‖ = radius, t in (0, 1).
    let leg: Vec<f64> = newton.iter().zip(cauchy).map(|(n, c)| n - c).collect();
    let (a, b, c) = (dot(&leg, &leg), dot(cauchy, &leg), radius * radius - short * short);
    let t = c / (b + (b * b + a * c).sqrt());
    cauchy.iter().zip(&leg).map(|(c, leg)| c + t * leg).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_bends_where_the_model_along_the_gradient_is_least() {
        let (cauchy, newton) = ([1.0, 0.0], [2.0, 2.0]);
        // The radius, and the point.
        let rows = [
            (0.5, [0.5, 0.0]),
            (1.0, [1.0, 0.0]),
            // 1 + t, 2t with (1 + t)² + 4t² = 2.
            (2f64.sqrt(), [1.289_897_948_556_636, 0.579_795_897_113_271]),
            (3.0, newton),
        ];
        for (radius, point) in rows {
            let found = bend(&cauchy, &newton, radius);
            let apart = found.iter().zip(point).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // A few roundings of numbers near 1.
            assert!(apart < 1e-14, "{radius}: {found:?}");
        }
    }
}
