//! Data sets: rows of features with a target each, read from files or made, and streamed as minibatches.
//!
//! [`load`] reads what a [`DataSpec`] names; [`Dataset::from_f32`] and [`Dataset::from_bytes`] take rows that an
//! application holds already. A [`Schema`] says what the rows mean and is kept with a trained run, so that
//! [`load_for_evaluation`] and [`load_for_prediction`] can check that other data fits it.

mod array;
mod columns;
mod csv;
mod dataset;
mod digits;
mod element;
mod files;
mod idx;
mod labelled;
mod npy;
#[cfg(feature = "npz")]
mod npz;
#[cfg(feature = "parquet")]
mod parquet;
mod random;
mod schema;
mod source;
mod store;
mod stream;
mod table;
mod target;

#[cfg(test)]
mod tests;

pub use dataset::{Dataset, Targets};
pub use npy::{array_bytes, read_array};
pub use schema::{Encoding, Schema, TargetKind, Task};
pub use source::{DataSpec, Split, TestSpec, load, load_as, load_for_evaluation, load_for_prediction};
pub(crate) use stream::{Batch, Contents, Order, Position, Stream, StreamOptions, batches_per_epoch};
pub use table::Table;
