//! Levenberg's and Marquardt's steps: (B + λ·D)·δ = −g with B the Gauss-Newton matrix. λ leads from Gauss-Newton (λ → 0) to
//! a short step of steepest descent (λ → ∞), and follows from how well the model foretold the last trial.
//!
//! Levenberg (1944) has D = I; Marquardt (1963) D = diag B, which makes steps the same in whatever units θ is measured; as in
//! MINPACK (Moré 1978) an element of it never shrinks.

use super::{Direction, Here, TrustModel};
use crate::Result;
use crate::plan::ThetaLayout;
use crate::solve::dense::{Symmetric, dot, matrix};
use crate::solve::memory::MethodMemory;
use crate::solve::problem::Curvature;
use crate::solve::space::Space;

/// Trials are taken from this share of what was foretold on.
const LEAST_RATIO: f64 = 1e-4;
/// Beside the largest diagonal element, what is taken for an unknown that no residual depends on.
const LEAST_SCALE: f64 = 1e-12;

/// What λ is multiplied by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scaling {
    /// The identity.
    Identity,
    /// The diagonal of B.
    Diagonal,
}

/// How λ follows from the ratio of what a trial brought to what was foretold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damping {
    /// Smoothly down, and up ever faster (Nielsen 1999, "Damping Parameter in Marquardt's Method", equation 2.5).
    Nielsen,
    /// A tenth after a good trial, tenfold after a bad one (Marquardt 1963).
    Classical,
}

/// Levenberg's and Marquardt's methods.
pub(crate) struct Damped {
    scaling: Scaling,
    damping: Damping,
    /// λ, in units of D's largest element before there was a step where D is the identity.
    lambda: f64,
    /// What λ grows by at the next bad trial.
    growth: f64,
    /// D.
    scale: Option<Vec<f64>>,
    model: Option<Model>,
    products: u64,
}

struct Model {
    matrix: Symmetric,
    gradient: Vec<f64>,
}

impl Damped {
    /// With λ at its start.
    pub fn new(scaling: Scaling, damping: Damping, lambda: f64) -> Self {
        Damped { scaling, damping, lambda, growth: 2.0, scale: None, model: None, products: 0 }
    }
}

impl Direction for Damped {
    fn record(&mut self, here: &mut Here) -> Result<()> {
        let layout = here.problem.layout().clone();
        let matrix = matrix(here.problem, here.space, Curvature::GaussNewton)?;
        self.products += matrix.order as u64;
        let gradient = here.space.read_vector(here.gradient, &layout)?;
        let diagonal = matrix.diagonal();
        let largest = diagonal.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let scale = match (self.scaling, self.scale.take()) {
            (Scaling::Diagonal, before) => {
                let floor = before.unwrap_or_else(|| vec![LEAST_SCALE * largest; matrix.order]);
                diagonal.iter().zip(floor).map(|(now, before)| now.max(before)).collect()
            }
            (Scaling::Identity, Some(before)) => before,
            (Scaling::Identity, None) => vec![largest; matrix.order],
        };
        self.scale = Some(scale);
        self.model = Some(Model { matrix, gradient });
        Ok(())
    }

    fn products(&self) -> u64 {
        self.products
    }

    fn remember(&self, _: &Space, _: &ThetaLayout, memory: &mut MethodMemory) -> Result<()> {
        memory.put("damping", [self.lambda, self.growth]);
        if let Some(scale) = &self.scale {
            memory.put("scale", &**scale);
        }
        Ok(())
    }

    fn recall(&mut self, _: &mut Space, layout: &ThetaLayout, memory: &MethodMemory) -> Result<()> {
        [self.lambda, self.growth] = memory.numbers("damping")?;
        if memory.has("scale") {
            self.scale = Some(memory.list("scale", layout.elements())?.to_vec());
        }
        Ok(())
    }

    fn trust(&mut self) -> Option<&mut dyn TrustModel> {
        Some(self)
    }
}

impl TrustModel for Damped {
    fn step(&mut self, here: &mut Here) -> Result<f64> {
        let (Some(Model { matrix, gradient }), Some(scale)) = (&self.model, &self.scale) else {
            return Ok(0.0);
        };
        let added: Vec<f64> = scale.iter().map(|scale| self.lambda * scale).collect();
        let descent: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let step = matrix.plus_diagonal(&added).solve_modified(&descent, here.roundoff());
        let layout = here.problem.layout().clone();
        here.space.write_vector(here.direction, &layout, &step)?;
        Ok(foretold(matrix, gradient, &step))
    }

    fn judge(&mut self, ratio: f64) -> bool {
        let good = ratio > LEAST_RATIO;
        match (self.damping, good) {
            (Damping::Nielsen, true) => {
                self.lambda *= (1.0 - (2.0 * ratio - 1.0).powi(3)).max(1.0 / 3.0);
                self.growth = 2.0;
            }
            (Damping::Nielsen, false) => {
                self.lambda *= self.growth;
                self.growth *= 2.0;
            }
            (Damping::Classical, true) => self.lambda /= 10.0,
            (Damping::Classical, false) => self.lambda *= 10.0,
        }
        good
    }
}

/// By how much the model g·δ + ½·δᵀBδ is lowered.
pub(super) fn foretold(matrix: &Symmetric, gradient: &[f64], step: &[f64]) -> f64 {
    -(dot(gradient, step) + 0.5 * dot(step, &matrix.times(step)))
}
