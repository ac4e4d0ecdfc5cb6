//! Every method on every problem with a known minimum that it can take, and what their outcomes mean.

use downhill::{
    Gpu, GpuOptions, METHODS, Method, MethodOptions, Objective, Precision, Status, Tolerances, minimize_by,
};

/// A problem as a scalar, as residuals whose squares sum to it (where there are some), its start, and the values of its
/// minima.
struct Problem {
    name: &'static str,
    scalar: &'static str,
    residuals: Option<&'static str>,
    start: &'static str,
    minima: &'static [f64],
}

/// Of Moré, Garbow and Hillstrom (1981) by their numbers, and quadratics.
const PROBLEMS: [Problem; 7] = [
    Problem {
        name: "Rosenbrock (1)",
        scalar: "(1-x)^2 + 100*(y-x^2)^2",
        residuals: Some("[1-x, 10*(y-x^2)]"),
        start: "x=-1.2; y=1",
        minima: &[0.0],
    },
    Problem {
        name: "Freudenstein and Roth (2)",
        scalar: "(-13+x+((5-y)*y-2)*y)^2 + (-29+x+((y+1)*y-14)*y)^2",
        residuals: Some("[-13+x+((5-y)*y-2)*y, -29+x+((y+1)*y-14)*y]"),
        start: "x=0.5; y=-2",
        minima: &[48.984_253_679_24, 0.0],
    },
    Problem {
        name: "Beale (5)",
        scalar: "(1.5-x*(1-y))^2 + (2.25-x*(1-y^2))^2 + (2.625-x*(1-y^3))^2",
        residuals: Some("[1.5-x*(1-y), 2.25-x*(1-y^2), 2.625-x*(1-y^3)]"),
        start: "x=1; y=1",
        minima: &[0.0],
    },
    Problem {
        name: "Powell's singular function (13)",
        scalar: "(x[0]+10*x[1])^2 + 5*(x[2]-x[3])^2 + (x[1]-2*x[2])^4 + 10*(x[0]-x[3])^4",
        residuals: Some("[x[0]+10*x[1], sqrt(5)*(x[2]-x[3]), (x[1]-2*x[2])^2, sqrt(10)*(x[0]-x[3])^2]"),
        start: "x=[3,-1,0,1]",
        minima: &[0.0],
    },
    Problem {
        name: "Broyden tridiagonal (30), 20 unknowns",
        scalar: "sum(((3-2*x[1:-1])*x[1:-1]-x[:-2]-2*x[2:]+1)^2) + ((3-2*x[0])*x[0]-2*x[1]+1)^2 + \
                 ((3-2*x[-1])*x[-1]-x[-2]+1)^2",
        residuals: None,
        start: "x=-ones(20)",
        minima: &[0.0],
    },
    Problem {
        name: "a quadratic of 257 unknowns, condition 1e3",
        scalar: "sum(10^(3*iota(257)/256)*(x-1)^2)/2",
        residuals: Some("sqrt(10^(3*iota(257)/256)/2)*(x-1)"),
        start: "x=zeros(257)",
        minima: &[0.0],
    },
    Problem {
        name: "logistic regression of four points, with a penalty",
        scalar: "t=[0.5,-1,2,-0.3]; s=[1,-1,1,1]; sum(log(1+exp(-s*(w*t+b)))) + 0.05*(w^2+b^2)",
        residuals: None,
        start: "w=0; b=0",
        // By Newton's method in f64.
        minima: &[1.180_559_488_214_085],
    },
];

fn gpu() -> Gpu {
    Gpu::new(&GpuOptions::default()).unwrap()
}

fn objective(problem: &Problem, method: &Method) -> Option<Objective> {
    match (method.of_residuals(), problem.residuals) {
        (false, _) => Some(Objective::parse(problem.scalar, problem.start).unwrap()),
        (true, Some(residuals)) => Some(Objective::parse_residuals(residuals, problem.start).unwrap()),
        (true, None) => None,
    }
}

#[test]
fn every_method_finds_every_minimum() {
    let gpu = gpu();
    let mut rows = 0;
    for problem in &PROBLEMS {
        let scale = Objective::parse(problem.scalar, problem.start).unwrap();
        let start = scale.evaluate(scale.start());
        for rule in METHODS {
            let method = Method::new(rule.name).unwrap();
            let Some(objective) = objective(problem, &method) else { continue };
            // Steepest descent takes as many steps as the condition number.
            let steps = if rule.name == "steepest" { 20_000 } else { 2_000 };
            let gradient = Some(1e-6 * (1.0 + start));
            let tolerances = Tolerances { gradient, ..Tolerances::default() };
            let options = MethodOptions { steps, tolerances, ..MethodOptions::new(method) };
            let solved = minimize_by(&gpu, &objective, &options).unwrap();
            let found = &solved.minimum;
            // A gradient of that size leaves, at curvatures of 1e-3 and more but along Powell's flat valley, no more.
            let within = 1e-4 * (1.0 + start);
            let what = format!("{} by {}: {:?} {found:?}", problem.name, rule.name, solved.test);
            assert!(matches!(found.status, Status::Converged | Status::Stalled), "{what}");
            assert!(problem.minima.iter().any(|least| (found.loss - least).abs() <= within), "{what}");
            rows += 1;
        }
    }
    assert!(rows >= 60, "{rows}");
}

/// In f64 a method comes as near to the minimum as f64 has it, and Newton's method in one step where it is a quadratic.
#[test]
fn f64_brings_its_digits() {
    let gpu = gpu();
    let quadratic = "sum(10^(6*iota(65)/64)*(x-1)^2)/2 + x[0]*x[1]/4";
    // Method, expression, start, steps at most, the gradient's norm that is reached.
    let rows = [
        ("newton", quadratic, "x=zeros(65)", 2, 1e-9),
        ("lbfgs", "(1-x)^2 + 100*(y-x^2)^2", "x=-1.2; y=1", 60, 1e-10),
        ("bfgs", "(1-x)^2 + 100*(y-x^2)^2", "x=-1.2; y=1", 60, 1e-10),
        ("newton-cg", "sum(exp(x) - x) + dot(x,x)*sin(x[0])/9", "x=ones(17)/2", 20, 1e-10),
    ];
    for (name, text, start, steps, within) in rows {
        let objective = Objective::parse(text, start).unwrap();
        let tolerances = Tolerances { gradient: Some(within), ..Tolerances::default() };
        let method = Method::new(name).unwrap();
        let options =
            MethodOptions { steps, tolerances, precision: Precision::F64, ..MethodOptions::new(method) };
        let solved = minimize_by(&gpu, &objective, &options).unwrap();
        assert_eq!(solved.minimum.status, Status::Converged, "{name}: {solved:?}");
    }
}

/// Curvatures of 2e6 and 0.02, as unknowns in other units have them.
#[test]
fn matrices_are_solved_in_whatever_units_the_unknowns_are() {
    let gpu = gpu();
    for name in ["newton", "gauss-newton", "lm", "dogleg"] {
        let method = Method::new(name).unwrap();
        let read = if method.of_residuals() { Objective::parse_residuals } else { Objective::parse };
        let text = if method.of_residuals() { "[1000*x-1, 0.1*y-1]" } else { "(1000*x-1)^2 + (0.1*y-1)^2" };
        let objective = read(text, "x=1; y=1").unwrap();
        let options = MethodOptions { steps: 50, ..MethodOptions::new(method) };
        let found = minimize_by(&gpu, &objective, &options).unwrap().minimum;
        let [x, y] = found.theta[..] else { panic!("{found:?}") };
        // Values near 1 are known to 1e-7, and y's part of them to 1e-3.5 of y.
        assert!((x - 1e-3).abs() <= 1e-6 && (y - 10.0).abs() <= 1e-2, "{name}: {found:?}");
    }
}

#[test]
fn a_fixed_step_that_rounding_swallows_is_a_stall() {
    let objective = Objective::parse("(x-0.3)^2", "x=5").unwrap();
    let method = Method::new("steepest").unwrap().with("search", "fixed").unwrap().with("lr", 0.1).unwrap();
    let found = minimize_by(&gpu(), &objective, &MethodOptions::new(method)).unwrap().minimum;
    assert!(matches!(found.status, Status::Stalled | Status::Converged), "{found:?}");
    assert!((found.theta[0] - 0.3).abs() < 1e-6, "{found:?}");
}
