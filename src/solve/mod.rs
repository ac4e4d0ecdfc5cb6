//! Methods on flat vectors that a loop on the host runs: line searches.

mod line_search;

pub(crate) use line_search::{Limits, LineValue, Outcome, backtracking, strong_wolfe};
