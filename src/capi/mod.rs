//! The C interface (Cargo feature `capi`): opaque handles, a status from every call, and a message to fetch.
//!
//! `include/downhill.h` is made from these files by cbindgen and checked in; the words of each function stand there too, so they
//! are written for whoever reads C. No panic crosses the border, and no handle is a pointer: a handle that was freed, or was never
//! given out, is told from one that is alive (`handles`).

#![allow(non_camel_case_types)]

mod data;
mod events;
mod gpu;
mod handles;
mod model;
mod options;
mod status;
mod trainer;

pub use data::*;
pub use events::*;
pub use gpu::*;
pub use model::*;
pub use options::*;
pub use status::*;
pub use trainer::*;

#[cfg(test)]
mod tests;
