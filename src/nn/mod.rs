//! Layers, losses and models: functions that append to a graph, and the text by which the command line names them.

mod layer;
mod loss;
mod spec;

pub use layer::{Activation, Initialisation, Layer, Mode, linear};
pub use loss::Loss;
pub use spec::{ModelSpec, model_help};
