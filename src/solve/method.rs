//! The methods by name: each a direction and a search, with the hyper-parameters that both take.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::dense::MATRIX_VECTORS;
use super::descend::{Descent, DescentOptions, OF_DIRECTIONS, Search};
use super::direction::{
    Bfgs, Conjugate, ConjugateForm, Damped, Damping, DenseNewton, Direction, Dogleg, Lbfgs, NewtonCg,
    Scaling, Steepest,
};
use super::ending::Tolerances;
use super::line_search::Limits;
use super::problem::Curvature;
use super::space::Slot;
use crate::error::did_you_mean;
use crate::optim::hyper::{Hyper, HyperKind, HyperRange, HyperValue, NON_NEGATIVE, POSITIVE, Values, number};
use crate::{Error, Result};

/// Most pairs of L-BFGS: what the block of scalars has room for.
const MOST_HISTORY: f64 = 80.0;

const HISTORY: HyperRange = HyperRange {
    says: "a whole number from 1 to 80",
    holds: |x| x.fract() == 0.0 && (1.0..=MOST_HISTORY).contains(&x),
};
const COUNT: HyperRange = HyperRange {
    says: "a whole number from 1 to 1e6",
    holds: |x| x.fract() == 0.0 && (1.0..=1e6).contains(&x),
};
const SHARE: HyperRange = HyperRange { says: "above 0 and below 1", holds: |x| x > 0.0 && x < 1.0 };

const LR: Hyper = number("lr", 1.0, NON_NEGATIVE, "what the step that is tried first is multiplied by");
const C1: Hyper = number("c1", 1e-4, SHARE, "c₁ of the Armijo condition");
const C2: Hyper = number("c2", 0.9, SHARE, "c₂ of the strong curvature condition");
/// As [`C2`], for directions whose lengths say nothing and whose searches must be more exact.
const C2_EXACT: Hyper = number("c2", 0.1, SHARE, "c₂ of the strong curvature condition");
const MOST_INNER: Hyper = number("inner", 250.0, COUNT, "inner iterations of a step at most");

const UPDATE: Hyper = Hyper {
    name: "update",
    kind: HyperKind::Word(&["nielsen", "classical"]),
    doc: "how λ follows: smoothly, or by tenths and tenfold",
};
const LAMBDA: Hyper = number("lambda", 1e-3, POSITIVE, "λ at the start, as a share of the diagonal of JᵀJ");
const RADIUS: Hyper = number("radius", 1.0, POSITIVE, "radius Δ at the start");

const fn search(words: &'static [&'static str]) -> Hyper {
    Hyper { name: "search", kind: HyperKind::Word(words), doc: "how far: strong Wolfe, Armijo, or always lr" }
}

const WOLFE: Hyper = search(&["wolfe", "backtracking", "fixed"]);
const BACKTRACKING: Hyper = search(&["backtracking", "wolfe", "fixed"]);

/// A method that walks along directions.
///
/// ```
/// use downhill::{METHODS, MethodRule};
///
/// let of_residuals: Vec<&MethodRule> = METHODS.iter().filter(|method| method.of_residuals).collect();
/// assert!(of_residuals.iter().any(|method| method.name == "lm"));
/// ```
pub struct MethodRule {
    /// The name that users write.
    pub name: &'static str,
    /// One line on what it does, with its source.
    pub doc: &'static str,
    /// Its hyper-parameters.
    pub hyper: &'static [Hyper],
    /// Whether it works on residuals, whose squares are summed; in training, on the model's outputs behind the loss.
    pub of_residuals: bool,
    /// Whether it keeps a whole matrix of second derivatives on the host.
    pub(crate) dense: bool,
    /// Which second derivatives it multiplies with.
    pub(crate) curvature: Option<Curvature>,
    /// Vectors as long as θ that its direction keeps on the device.
    vectors: fn(&Values) -> usize,
    direction: fn(&Values) -> Box<dyn Direction>,
}

/// Every method.
///
/// ```
/// use downhill::METHODS;
///
/// for method in METHODS {
///     println!("{}: {}", method.name, method.doc);
/// }
/// assert!(METHODS.iter().any(|method| method.name == "lbfgs"));
/// ```
pub const METHODS: &[MethodRule] = &[
    MethodRule {
        name: "steepest",
        doc: "steepest descent, d = −g (Cauchy 1847)",
        hyper: &[LR, WOLFE, C1, C2],
        of_residuals: false,
        dense: false,
        curvature: None,
        vectors: |_| 0,
        direction: |_| Box::new(Steepest),
    },
    MethodRule {
        name: "cg",
        doc: "nonlinear conjugate gradients, Polak-Ribière+ or Hager-Zhang",
        hyper: &[
            Hyper {
                name: "form",
                kind: HyperKind::Word(&["polak-ribiere", "hager-zhang"]),
                doc: "β of Polak and Ribière, not below 0, or of Hager and Zhang",
            },
            LR,
            WOLFE,
            C1,
            C2_EXACT,
        ],
        of_residuals: false,
        dense: false,
        curvature: None,
        vectors: |_| 0,
        direction: |values| {
            let form = match values.is("form", "hager-zhang") {
                true => ConjugateForm::HagerZhang,
                false => ConjugateForm::PolakRibiere,
            };
            Box::new(Conjugate { form, beta: Slot(OF_DIRECTIONS) })
        },
    },
    MethodRule {
        name: "bfgs",
        doc: "BFGS with a whole inverse Hessian, O(n²)",
        hyper: &[LR, WOLFE, C1, C2],
        of_residuals: false,
        dense: true,
        curvature: None,
        vectors: |_| 3,
        direction: |_| Box::new(Bfgs::default()),
    },
    MethodRule {
        name: "lbfgs",
        doc: "limited-memory BFGS, O(n) (Nocedal 1980)",
        hyper: &[number("history", 10.0, HISTORY, "steps that it learns from"), LR, WOLFE, C1, C2],
        of_residuals: false,
        dense: false,
        curvature: None,
        vectors: |values| 2 * values.number("history") as usize,
        direction: |values| Box::new(Lbfgs::new(values.number("history") as usize, OF_DIRECTIONS)),
    },
    MethodRule {
        name: "newton",
        doc: "Newton's method with the whole Hessian and a modified Cholesky factorisation",
        hyper: &[LR, BACKTRACKING, C1, C2],
        of_residuals: false,
        dense: true,
        curvature: Some(Curvature::Hessian),
        vectors: |_| MATRIX_VECTORS,
        direction: |_| Box::new(DenseNewton { curvature: Curvature::Hessian, products: 0 }),
    },
    MethodRule {
        name: "newton-cg",
        doc: "Newton's method, truncated and without a matrix",
        hyper: &[MOST_INNER, LR, BACKTRACKING, C1, C2],
        of_residuals: false,
        dense: false,
        curvature: Some(Curvature::Hessian),
        vectors: |_| NewtonCg::VECTORS,
        direction: |values| inner(Curvature::Hessian, values),
    },
    MethodRule {
        name: "gauss-newton",
        doc: "Gauss-Newton with the whole matrix JᵀJ",
        hyper: &[LR, BACKTRACKING, C1, C2],
        of_residuals: true,
        dense: true,
        curvature: Some(Curvature::GaussNewton),
        vectors: |_| MATRIX_VECTORS,
        direction: |_| Box::new(DenseNewton { curvature: Curvature::GaussNewton, products: 0 }),
    },
    MethodRule {
        name: "gauss-newton-cg",
        doc: "Gauss-Newton, truncated and without a matrix",
        hyper: &[MOST_INNER, LR, BACKTRACKING, C1, C2],
        of_residuals: true,
        dense: false,
        curvature: Some(Curvature::GaussNewton),
        vectors: |_| NewtonCg::VECTORS,
        direction: |values| inner(Curvature::GaussNewton, values),
    },
    MethodRule {
        name: "levenberg",
        doc: "Gauss-Newton damped by λI (Levenberg 1944)",
        hyper: &[LAMBDA, UPDATE],
        of_residuals: true,
        dense: true,
        curvature: Some(Curvature::GaussNewton),
        vectors: |_| MATRIX_VECTORS,
        direction: |values| damped(Scaling::Identity, values),
    },
    MethodRule {
        name: "lm",
        doc: "Levenberg-Marquardt: Gauss-Newton damped by λ diag JᵀJ (Marquardt 1963)",
        hyper: &[LAMBDA, UPDATE],
        of_residuals: true,
        dense: true,
        curvature: Some(Curvature::GaussNewton),
        vectors: |_| MATRIX_VECTORS,
        direction: |values| damped(Scaling::Diagonal, values),
    },
    MethodRule {
        name: "dogleg",
        doc: "Gauss-Newton within a radius, bent towards steepest descent (Powell 1970)",
        hyper: &[RADIUS],
        of_residuals: true,
        dense: true,
        curvature: Some(Curvature::GaussNewton),
        vectors: |_| MATRIX_VECTORS,
        direction: |values| Box::new(Dogleg::new(values.number("radius"))),
    },
];

fn damped(scaling: Scaling, values: &Values) -> Box<dyn Direction> {
    let damping = if values.is("update", "classical") { Damping::Classical } else { Damping::Nielsen };
    Box::new(Damped::new(scaling, damping, values.number("lambda")))
}

fn inner(curvature: Curvature, values: &Values) -> Box<dyn Direction> {
    Box::new(NewtonCg::new(curvature, values.number("inner") as usize, OF_DIRECTIONS))
}

/// A method and its hyper-parameters.
///
/// ```
/// use downhill::Method;
/// let method = Method::new("lbfgs")?.with("history", 20.0)?;
/// assert_eq!(method.name(), "lbfgs");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Method {
    rule: &'static MethodRule,
    values: Values,
}

impl PartialEq for MethodRule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Method {
    /// The method `name` with its default hyper-parameters.
    ///
    /// # Errors
    /// [`Error::Setting`] where there is no such method.
    pub fn new(name: &str) -> Result<Self> {
        let Some(rule) = METHODS.iter().find(|rule| rule.name == name) else {
            let known: Vec<&str> = METHODS.iter().map(|rule| rule.name).collect();
            return Err(Error::setting("method", did_you_mean(name, &known)));
        };
        Ok(Method { rule, values: Values::defaults(rule.hyper) })
    }

    /// The same with the hyper-parameter `name` set to a number or text as the command line reads it.
    ///
    /// # Errors
    /// [`Error::Setting`] where the method has no such hyper-parameter or the value is out of its range.
    pub fn with(mut self, name: &str, value: impl Into<HyperValue>) -> Result<Self> {
        self.values.set(self.rule.name, name, value.into())?;
        let Limits { decrease, curvature, .. } = self.limits();
        if decrease >= curvature {
            let message = format!("must be above c1, and {curvature:?} is not above {decrease:?}");
            return Err(Error::setting("c2", message));
        }
        Ok(self)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.rule.name
    }

    /// Whether it works on residuals, whose squares are summed.
    pub fn of_residuals(&self) -> bool {
        self.rule.of_residuals
    }

    /// Which second derivatives it multiplies with.
    pub(crate) fn curvature(&self) -> Option<Curvature> {
        self.rule.curvature
    }

    /// Whether it keeps a whole matrix of second derivatives.
    pub(crate) fn is_dense(&self) -> bool {
        self.rule.dense
    }

    /// Vectors as long as θ that it keeps on the device, those of its descent included.
    pub(crate) fn vectors(&self) -> usize {
        Descent::VECTORS + (self.rule.vectors)(&self.values)
    }

    pub(crate) fn direction(&self) -> Box<dyn Direction> {
        (self.rule.direction)(&self.values)
    }

    /// Up to `steps` steps of it, on numbers that are known to `noise`.
    pub(crate) fn options(&self, steps: u64, tolerances: Tolerances, noise: f64) -> DescentOptions {
        let search = match self.values.get("search") {
            Some(HyperValue::Word(word)) if word == "fixed" => Search::Fixed,
            Some(HyperValue::Word(word)) if word == "backtracking" => Search::Backtracking,
            _ => Search::Wolfe,
        };
        let rate = self.number("lr").unwrap_or(1.0);
        DescentOptions { search, limits: self.limits(), noise, rate, steps, tolerances }
    }

    fn limits(&self) -> Limits {
        let Limits { decrease, curvature, .. } = Limits::default();
        let (decrease, curvature) =
            (self.number("c1").unwrap_or(decrease), self.number("c2").unwrap_or(curvature));
        Limits { decrease, curvature, ..Limits::default() }
    }

    /// A hyper-parameter, where the method has it.
    fn number(&self, name: &str) -> Option<f64> {
        match self.values.get(name) {
            Some(HyperValue::Number(number)) => Some(*number),
            _ => None,
        }
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hyper = self.values.iter();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name())?;
        hyper.into_iter().try_for_each(|(hyper, value)| map.serialize_entry(hyper.name, value))?;
        map.end()
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.rule.name)?;
        self.values.iter().try_for_each(|(hyper, value)| write!(formatter, " {}={value}", hyper.name))
    }
}
