//! How the step size of gradient descent is searched for, step by step.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::options::{BatchSize, TrainOptions};
use crate::error::did_you_mean;
use crate::optim::Schedule;
use crate::{Error, Result};

/// The word that stands for a learning rate which is searched for.
const WORD: &str = "line-search";

/// Trials of a batched search.
const TRIALS: RangeInclusive<usize> = 8..=32;
const USUAL_TRIALS: usize = 16;

/// How the step size of gradient descent is found at every step, along the gradient of the batch's objective: its loss
/// and the L2 penalties of the optimizer's groups.
///
/// It is written `line-search batched 16`, or `line-search` for short, `line-search backtracking` or `line-search wolfe`.
///
/// ```
/// use downhill::LineSearch;
///
/// assert_eq!("line-search".parse::<LineSearch>()?, LineSearch::Batched { trials: 16 });
/// assert_eq!("line-search wolfe".parse::<LineSearch>()?, LineSearch::StrongWolfe);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LineSearch {
    /// The best of so many step sizes, 8 to 32, from 1/16 to 16 times the last one, all tried on the device with nothing
    /// read back. Where none makes the objective less, θ stays and the next search begins below.
    Batched {
        /// Step sizes that are tried.
        trials: usize,
    },
    /// The first of ever smaller steps, from twice the last one on, that fulfils the Armijo condition. A forward pass and
    /// a readback a trial: the host waits for each.
    Backtracking,
    /// A step that fulfils the strong Wolfe conditions, with c₂ = 0.9, from twice the last one on. A forward and a backward pass and a readback a trial.
    StrongWolfe,
}

impl LineSearch {
    /// Whether `text` speaks of a search and not of a number.
    #[cfg(feature = "cli")]
    pub(crate) fn is_meant(text: &str) -> bool {
        text.split_whitespace().next() == Some(WORD)
    }

    /// Errors for what does not go with a search.
    pub(super) fn check(self, options: &TrainOptions) -> Result<()> {
        let fail = |message: String| Err(Error::setting(WORD, message));
        if let LineSearch::Batched { trials } = self
            && !TRIALS.contains(&trials)
        {
            return fail(format!("tries {} to {} step sizes, not {trials}", TRIALS.start(), TRIALS.end()));
        }
        if options.schedule != Schedule::default() {
            let message =
                "finds every step's size itself; leave the schedule away, or give a number for --lr";
            return fail(message.to_owned());
        }
        match (options.batch, options.micro_batch) {
            (_, BatchSize::Auto) => Ok(()),
            (batch, micro_batch) if batch == micro_batch => Ok(()),
            _ => fail(
                "looks at a whole batch at once; leave the micro-batch away, and make the batch as small"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for LineSearch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineSearch::Batched { trials } => write!(out, "{WORD} batched {trials}"),
            LineSearch::Backtracking => write!(out, "{WORD} backtracking"),
            LineSearch::StrongWolfe => write!(out, "{WORD} wolfe"),
        }
    }
}

impl FromStr for LineSearch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [WORD] | [WORD, "batched"] => Ok(LineSearch::Batched { trials: USUAL_TRIALS }),
            [WORD, "batched", trials] => {
                let number = trials.parse().map_err(|_| {
                    let (least, most) = TRIALS.into_inner();
                    Error::setting(WORD, format!("tries {least} to {most} step sizes, not `{trials}`"))
                })?;
                Ok(LineSearch::Batched { trials: number })
            }
            [WORD, "backtracking"] => Ok(LineSearch::Backtracking),
            [WORD, "wolfe"] => Ok(LineSearch::StrongWolfe),
            [WORD, known @ ("batched" | "backtracking" | "wolfe"), ..] => {
                Err(Error::setting(WORD, format!("`{text}` has words too many after `{known}`")))
            }
            [WORD, other, ..] => {
                Err(Error::setting(WORD, did_you_mean(other, &["batched", "backtracking", "wolfe"])))
            }
            _ => Err(Error::setting(WORD, format!("`{text}` does not begin with `{WORD}`"))),
        }
    }
}
