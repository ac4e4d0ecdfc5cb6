// What a line search remembers, and where its trials lie; src/optim/update/search.rs is its twin. Step sizes are
// factors of the groups' learning rates.
struct Search {
    // The last one that made the objective less: the middle of the next grid.
    factor: f32,
    // Of the trial under way; 0 for the first, which is θ itself.
    trial: f32,
    // The best of this step so far; 0 where none is better than θ.
    chosen: f32,
    // The loss at θ, and the least objective so far.
    loss: f32,
    least: f32,
    // The objective and its slope at the trial point, of a search that the host runs.
    value: f32,
    slope: f32,
}
