//! Methods on flat vectors whose loop the host runs: a *direction* (`direction/`, a file each) times a *search*
//! (`line_search`), brought together by `descend`. Vectors and the scalars between them live on the device (`space`); an
//! objective is whatever is a `Problem`.

mod dense;
mod descend;
mod direction;
mod ending;
mod line_search;
mod memory;
mod method;
mod problem;
mod space;

pub(crate) use dense::check_dense;
pub(crate) use descend::{Descended, Descent};
pub(crate) use ending::Ending;
pub use ending::{Test, Tolerances};
pub(crate) use line_search::{Limits, LineValue, Outcome, backtracking, strong_wolfe};
pub use memory::MethodMemory;
pub use method::{METHODS, Method, MethodRule};
pub(crate) use problem::{Curvature, Problem};
pub(crate) use space::{ONE, Slot, Space, Vector};
