//! The kernels of a narrow network as one: workgroup w takes rows w·R to w·R + R of the micro-batch through all of
//! them, forward and backward, and keeps what lies between in workgroup memory. What is summed over the batch leaves it
//! as one part a workgroup; a second kernel adds the parts in their order.
//!
//! A step of a small network is launches more than arithmetic: this makes three of fourteen.

mod find;
mod lower;
mod schedule;

pub(crate) use find::{Member, RowRun, Work, find};
pub(crate) use schedule::{Block, Part};
