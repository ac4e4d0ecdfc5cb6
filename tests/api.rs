//! What apps rely on without running anything: what may go to another thread, and what several may look at.

use downhill::{
    Error, Event, Gpu, Graph, Inference, Objective, Predictor, Run, Snapshot, Stepper, TrainOptions, Trainer,
    data,
};

fn goes_to_another_thread<T: Send>() {}
fn is_shared_among_threads<T: Send + Sync>() {}

#[test]
fn a_training_may_run_on_a_thread_of_its_own_and_its_data_be_shared() {
    goes_to_another_thread::<Trainer>();
    goes_to_another_thread::<Run>();
    goes_to_another_thread::<Predictor>();
    goes_to_another_thread::<Inference>();
    goes_to_another_thread::<Stepper>();
    is_shared_among_threads::<Gpu>();
    is_shared_among_threads::<Graph>();
    is_shared_among_threads::<Objective>();
    is_shared_among_threads::<data::Dataset>();
    is_shared_among_threads::<TrainOptions>();
    is_shared_among_threads::<Snapshot>();
    is_shared_among_threads::<Event>();
    is_shared_among_threads::<Error>();
}
