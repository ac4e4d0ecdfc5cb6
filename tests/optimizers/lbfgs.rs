//! L-BFGS beside PyTorch's: with a fixed step the very trajectory, with a search the same quality, for where a search stops
//! is its own affair.

use downhill::{Gpu, GpuOptions, Method, MethodOptions, minimize_by};

use crate::golden::{self, Case};
use crate::largest_difference;
use crate::minimize::objective;

/// The method of a case: PyTorch's names for its hyper-parameters, and ours.
fn method(case: &Case) -> Method {
    let search = if case.optimizer == "lbfgs_fixed_step" { "fixed" } else { "wolfe" };
    let number = |name: &str| case.hyper[name].as_f64().unwrap();
    let method = Method::new("lbfgs").unwrap().with("search", search).unwrap();
    method.with("history", number("history_size")).unwrap().with("lr", number("lr")).unwrap()
}

#[test]
fn a_fixed_step_follows_pytorch() {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap();
    let mut followed = 0;
    for case in golden::lbfgs().iter().filter(|case| case.optimizer == "lbfgs_fixed_step") {
        let Some(objective) = objective(&case.problem) else { continue };
        let steps = *case.step.last().unwrap();
        let options = MethodOptions { steps, trace: 1, ..MethodOptions::new(method(case)) };
        let minimum = minimize_by(&gpu, &objective, &options).unwrap().minimum;
        assert_eq!(minimum.steps, steps, "{}: {:?}", case.id, minimum.status);
        for (at, &step) in case.step.iter().enumerate() {
            let deviation = case.f32_max_abs_dev.as_ref().unwrap()[at];
            // What the file's README asks: f32 rounding, magnified as the iteration magnifies it.
            let tolerance = 1e-5 + 10.0 * deviation;
            let difference = largest_difference(&minimum.trace[step as usize].theta, &case.theta[at]);
            assert!(difference <= tolerance, "{} step {step}: {difference:e} > {tolerance:e}", case.id);
        }
        followed += 1;
    }
    assert!(followed >= 2, "only {followed} cases");
}

#[test]
fn a_search_is_done_when_pytorchs_is() {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap();
    let mut compared = 0;
    for case in golden::lbfgs().iter().filter(|case| case.optimizer == "lbfgs_strong_wolfe") {
        let Some(objective) = objective(&case.problem) else { continue };
        let steps = *case.step.last().unwrap();
        let options = MethodOptions { steps, ..MethodOptions::new(method(case)) };
        let minimum = minimize_by(&gpu, &objective, &options).unwrap().minimum;
        // θ of 24 bits near a minimum of curvature up to 1e3 leaves a loss of this size.
        let wanted = case.loss.last().unwrap() + 2e-6;
        assert!(minimum.loss <= wanted, "{}: {:e} > {wanted:e}", case.id, minimum.loss);
        // A search of other details takes other steps, not many more.
        let theirs = case.step.iter().zip(&case.loss).find(|(_, loss)| **loss <= wanted).unwrap().0;
        let tried = MethodOptions { steps: 2 * theirs, ..MethodOptions::new(method(case)) };
        let half = minimize_by(&gpu, &objective, &tried).unwrap().minimum;
        assert!(half.loss <= wanted, "{}: {:e} after {} steps", case.id, half.loss, half.steps);
        compared += 1;
    }
    assert!(compared >= 2, "only {compared} cases");
}
