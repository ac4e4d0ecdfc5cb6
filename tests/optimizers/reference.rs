//! The f64 reference of every update rule follows PyTorch's and Optax's trajectories.

use crate::golden::{self, Case};
use crate::largest_difference;
use crate::problems::{PROBLEMS, problem};

#[test]
fn problems_have_the_recorded_value_and_gradient_at_their_start() {
    for golden in golden::trajectories() {
        for (problem, start) in PROBLEMS.iter().filter_map(|p| Some((p, golden.problems.get(p.name)?))) {
            let difference = largest_difference(&(problem.start)(), &start.theta0);
            assert!(difference <= 1e-15, "{}: start off by {difference:e}", problem.name);
            let (loss, gradient) = (problem.evaluate)(&start.theta0);
            // The formulas are sums of at most a few hundred terms: rounding alone.
            assert!((loss - start.loss0).abs() <= 1e-13 * start.loss0, "{}: {loss}", problem.name);
            let difference = largest_difference(&gradient, &start.grad0);
            let scale = start.grad0.iter().fold(0.0_f64, |most, g| most.max(g.abs()));
            assert!(difference <= 1e-13 * scale, "{}: gradient off by {difference:e}", problem.name);
        }
    }
}

#[test]
fn the_reference_follows_the_golden_trajectories() {
    for case in golden::trajectories().iter().flat_map(|golden| &golden.cases) {
        follow(case);
    }
}

fn follow(case: &Case) {
    let (optimizer, problem) = (case.optimizer(f64::EPSILON), problem(&case.problem));
    let shapes = problem.shapes();
    let mut theta = (problem.start)();
    let kept: usize = shapes.iter().map(|shape| optimizer.state_shape(shape).iter().product::<usize>()).sum();
    let mut state = vec![vec![0.0; kept]; optimizer.state_slots().len()];
    let mut checkpoints = 0;
    for step in 1..=*case.step.last().unwrap() {
        let (_, gradient) = (problem.evaluate)(&theta);
        let rate = optimizer.learning_rate();
        optimizer.reference_step(step, rate, &shapes, &mut theta, &gradient, &mut state).unwrap();
        let Some(at) = case.step.iter().position(|recorded| *recorded == step) else { continue };
        let reported = optimizer.reference_readout(&theta, &state).unwrap();
        let difference = largest_difference(&reported, &case.theta[at]);
        // What the file's README asks: rounding, magnified as the iteration magnifies it.
        let tolerance = 1e-9 + 100.0 * case.formula_max_abs_diff.as_ref().unwrap()[at];
        assert!(difference <= tolerance, "{} step {step}: off by {difference:e} > {tolerance:e}", case.id);
        if let Some(averages) = &case.averaged_theta {
            let difference = largest_difference(&state[0], &averages[at]);
            assert!(difference <= tolerance, "{} step {step}: average off by {difference:e}", case.id);
        }
        let (loss, _) = (problem.evaluate)(&reported);
        assert!((loss - case.loss[at]).abs() <= 1e-7, "{} step {step}: loss {loss}", case.id);
        checkpoints += 1;
    }
    assert_eq!(checkpoints, case.step.len());
}
