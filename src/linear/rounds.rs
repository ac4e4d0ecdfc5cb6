//! Rounds of a method: each solves for the residual that the one before left, which is computed in f64 on the host.
//!
//! For a factorisation this is iterative refinement. An iteration mostly takes one round; where what the device took for the
//! residual had drifted from the true one, it takes another.

use super::matrix::norm;
use super::report::{Failure, Outcome, SolveStatus, relative_gradient};
use super::system::System;
use crate::Result;

/// What is asked of a round: A·x ≈ `rhs`, of norm 1, to a residual of `target`, in at most `iterations`.
pub(super) struct Round {
    pub rhs: Vec<f64>,
    pub target: f64,
    pub iterations: u64,
}

/// What came of it.
pub(super) struct RoundEnd {
    pub x: Vec<f64>,
    pub iterations: u64,
    /// Why there is no sense in another round, if so.
    pub failed: Option<Failure>,
}

/// A round that does not make the residual less than this share of what it was is the last.
const PROGRESS: f64 = 0.5;

/// A system on its way through rounds.
pub(super) struct Rounds<'a> {
    system: &'a System,
    tolerance: f64,
    limit: u64,
    /// The best so far.
    pub outcome: Outcome,
    residual: Vec<f64>,
    /// Its norm.
    size: f64,
    is_done: bool,
}

impl<'a> Rounds<'a> {
    /// Starts at zero; it is done within `tolerance`, after `limit` iterations, or when rounds do not help.
    pub fn new(system: &'a System, tolerance: f64, limit: u64) -> Self {
        let outcome = Outcome::none(system.matrix.columns(), SolveStatus::MaxIterations);
        let residual = system.rhs.clone();
        let size = norm(&residual);
        Rounds { system, tolerance, limit, outcome, residual, size, is_done: false }
    }

    fn whole(&self) -> f64 {
        norm(&self.system.rhs)
    }

    /// The next round; none where it is done.
    pub fn next(&self) -> Option<Round> {
        (!self.is_done).then(|| Round {
            rhs: self.residual.iter().map(|value| value / self.size).collect(),
            // A little below, so that the last rounding does not cost a round.
            target: 0.99 * self.tolerance * self.whole() / self.size,
            iterations: self.limit - self.outcome.iterations,
        })
    }

    /// Takes what came of the last one.
    pub fn take(&mut self, end: RoundEnd) {
        self.outcome.iterations += end.iterations;
        let x: Vec<f64> = self.outcome.x.iter().zip(&end.x).map(|(x, step)| x + self.size * step).collect();
        let after = self.system.residual(&x);
        let (before, now) = (self.size, norm(&after));
        let is_better = now.is_finite() && now < before;
        if is_better {
            (self.outcome.x, self.residual, self.size) = (x, after, now);
        }
        let relative = self.size / self.whole();
        if relative <= self.tolerance || self.is_least() {
            (self.outcome.status, self.is_done) = (SolveStatus::Converged, true);
            return;
        }
        if let Some(lost) = self.lost_in_rounding() {
            (self.outcome.status, self.outcome.reason, self.is_done) =
                (SolveStatus::Singular, Some(lost), true);
            return;
        }
        let has_helped = is_better && now <= PROGRESS * before;
        let limited = || (self.outcome.iterations >= self.limit).then(|| out_of(self.limit, relative));
        let stalled = || (!has_helped).then(|| stalled(relative));
        if let Some((status, reason)) = end.failed.or_else(limited).or_else(stalled) {
            (self.outcome.status, self.outcome.reason, self.is_done) = (status, Some(reason), true);
        }
    }

    /// What is told where x is so large that even f64 loses the residual: the matrix takes its direction to nearly 0.
    fn lost_in_rounding(&self) -> Option<String> {
        let rounding = f64::EPSILON * norm(&self.system.matrix.product_of_sizes(&self.outcome.x));
        let size = norm(&self.outcome.x);
        (rounding > self.tolerance * self.whole()).then(|| {
            format!("x has grown to a size of {size:.0e}, where the residual is lost in rounding: the matrix is nearly singular")
        })
    }

    /// Whether the least squares are found of a system that has more equations than unknowns.
    fn is_least(&self) -> bool {
        let matrix = &self.system.matrix;
        matrix.rows() > matrix.columns() && relative_gradient(self.system, &self.residual) <= self.tolerance
    }
}

/// Solves one system in rounds.
pub(super) fn solve_in_rounds(
    system: &System,
    tolerance: f64,
    limit: u64,
    mut round: impl FnMut(&Round) -> Result<RoundEnd>,
) -> Result<Outcome> {
    let mut rounds = Rounds::new(system, tolerance, limit);
    while let Some(next) = rounds.next() {
        rounds.take(round(&next)?);
    }
    Ok(rounds.outcome)
}

fn stalled(residual: f64) -> Failure {
    let reason =
        format!("rounding keeps the relative residual at {residual:.1e}; `--precision f64` may go below");
    (SolveStatus::MaxIterations, reason)
}

fn out_of(limit: u64, residual: f64) -> Failure {
    (SolveStatus::MaxIterations, format!("{limit} iterations left a relative residual of {residual:.1e}"))
}
