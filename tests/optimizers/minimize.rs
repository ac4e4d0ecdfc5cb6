//! The golden trajectories once more, with loss, gradient and update on the device: `minimize` on expressions.

use downhill::{Gpu, GpuOptions, MinimizeOptions, Objective, minimize};

use crate::golden;
use crate::largest_difference;
use crate::problems::problem;

/// Problems of the golden file as expressions, with their start: one tensor each, as rules for whole tensors see it.
const EXPRESSIONS: [(&str, &str, &str); 3] = [
    ("rosenbrock", "(1-x[0])^2 + 100*(x[1]-x[0]^2)^2", "x=[-1.2,1]"),
    ("beale", "sum(([1.5,2.25,2.625] - x[0] + x[0]*x[1]^[1,2,3])^2)", "x=[1,1]"),
    (
        "quad100",
        "i=iota(100); v=mod(7*i+3,11)-4.5; s=(mod(13*i+5,17)-8)/8; d=1/(1+999*(i/99)^2);
         z=x-s; y=z-2*v*dot(v,z)/dot(v,v); sum(d*y^2)/2",
        "x=zeros(100)",
    ),
];

pub fn objective(name: &str) -> Option<Objective> {
    let (_, text, start) = EXPRESSIONS.iter().find(|(known, ..)| *known == name)?;
    Some(Objective::parse(text, start).unwrap())
}

#[test]
fn expressions_are_the_golden_problems() {
    for (name, ..) in EXPRESSIONS {
        let (objective, problem) = (objective(name).unwrap(), problem(name));
        assert_eq!(objective.start(), (problem.start)());
        let theta: Vec<f64> =
            objective.start().iter().enumerate().map(|(i, x)| x + 0.1 * (i as f64).cos()).collect();
        let (loss, gradient) = (problem.evaluate)(&theta);
        // The same sums of a few hundred terms in another order.
        assert!((objective.evaluate(&theta) - loss).abs() <= 1e-12 * loss, "{name}");
        let scale = gradient.iter().fold(1.0_f64, |most, g| most.max(g.abs()));
        let difference = largest_difference(&objective.gradient(&theta), &gradient);
        assert!(difference <= 1e-12 * scale, "{name}: {difference:e}");
    }
}

#[test]
fn minimize_follows_the_golden_trajectories() {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap();
    let mut followed = 0;
    for case in golden::trajectories().iter().flat_map(|golden| &golden.cases) {
        let Some(objective) = objective(&case.problem) else { continue };
        let steps = *case.step.last().unwrap();
        let options =
            MinimizeOptions { steps, trace: 1, ..MinimizeOptions::new(case.optimizer(f32::EPSILON.into())) };
        let minimum = minimize(&gpu, &objective, &options).unwrap();
        assert_eq!((minimum.steps, minimum.trace.len() as u64), (steps, steps + 1), "{}", case.id);
        for (at, &step) in case.step.iter().enumerate() {
            let point = &minimum.trace[step as usize];
            let deviation = case.f32_max_abs_dev.as_ref().map_or(0.0, |deviations| deviations[at]);
            // Where the iteration magnifies rounding past 1e-2, two f32 programs part; their losses, near the same
            // minimum, less so.
            if deviation > 1e-2 {
                let difference = (point.loss - case.loss[at]).abs();
                assert!(difference <= 5e-3, "{} step {step}: loss off by {difference:e}", case.id);
                continue;
            }
            // What the file's README asks: f32 rounding, magnified as the iteration magnifies it.
            let (difference, tolerance) =
                (largest_difference(&point.theta, &case.theta[at]), 1e-5 + 10.0 * deviation);
            assert!(difference <= tolerance, "{} step {step}: {difference:e} > {tolerance:e}", case.id);
        }
        followed += 1;
    }
    assert!(followed >= 20, "only {followed} cases");
}
