//! The update rules: their f64 references against PyTorch's and Optax's trajectories, at work on a GPU against both.

mod documentation;
mod golden;
mod kernels;
mod lbfgs;
mod minimize;
mod problems;
mod reference;
mod settings;

/// max |aᵢ − bᵢ|; NaN where there is one, which `f64::max` would lose.
fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst, x| if x > worst || x.is_nan() { x } else { worst })
}
