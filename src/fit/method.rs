//! The methods of nonlinear least squares, a row each: how the step that solves the linear model is held back.

use std::fmt;
use std::str::FromStr;

use crate::error::did_you_mean;
use crate::{Error, Result};

/// A method; [`FIT_METHODS`] lists them.
///
/// ```
/// use downhill::{FitMethod, FitOptions};
///
/// let options = FitOptions { method: FitMethod::named("dogleg")?, ..FitOptions::default() };
/// println!("{}: {}", options.method.name, options.method.about);
/// # assert_eq!(options.method.name, "dogleg");
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Debug)]
pub struct FitMethod {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Whether steps are measured by the norms of the Jacobian's columns, so that units do not matter.
    pub(super) scaled: bool,
    /// Its WGSL: `begin`, `damping`, `limit` and `adapt`.
    pub(super) wgsl: &'static [&'static str],
}

const DAMPED: &str = include_str!("../../shaders/fit/damped.wgsl");
const NIELSEN: &str = include_str!("../../shaders/fit/nielsen.wgsl");
const MARQUARDT: &str = include_str!("../../shaders/fit/marquardt.wgsl");
const BACKTRACKING: &str = include_str!("../../shaders/fit/backtracking.wgsl");
const DOGLEG: &str = include_str!("../../shaders/fit/dogleg.wgsl");

/// Every method; the first is the default.
///
/// ```
/// use downhill::FIT_METHODS;
///
/// for method in FIT_METHODS {
///     println!("{}: {}", method.name, method.about);
/// }
/// assert_eq!(FIT_METHODS[0].name, "lm");
/// ```
pub static FIT_METHODS: &[FitMethod] = &[
    FitMethod {
        name: "lm",
        about: "Levenberg-Marquardt: λ·diag(JᵀJ), λ after Nielsen",
        scaled: true,
        wgsl: &[DAMPED, NIELSEN],
    },
    FitMethod {
        name: "marquardt",
        about: "the same, λ a tenth or ten times",
        scaled: true,
        wgsl: &[DAMPED, MARQUARDT],
    },
    FitMethod {
        name: "levenberg",
        about: "λ·I, in units of the start, λ after Nielsen",
        scaled: false,
        wgsl: &[DAMPED, NIELSEN],
    },
    FitMethod {
        name: "gauss-newton",
        about: "the undamped step, halved until it helps",
        scaled: true,
        wgsl: &[BACKTRACKING],
    },
    FitMethod {
        name: "dogleg",
        about: "Powell's, within a length by diag(JᵀJ)",
        scaled: true,
        wgsl: &[DOGLEG],
    },
];

impl FitMethod {
    /// The method called `name`.
    ///
    /// # Errors
    /// [`Error::Setting`] for another name.
    pub fn named(name: &str) -> Result<&'static Self> {
        let known: Vec<&str> = FIT_METHODS.iter().map(|method| method.name).collect();
        let found = FIT_METHODS.iter().find(|method| method.name == name);
        found.ok_or_else(|| Error::setting("method", did_you_mean(name, &known)))
    }
}

impl Default for &'static FitMethod {
    fn default() -> Self {
        &FIT_METHODS[0]
    }
}

/// ρ of a residual r at z = (r/δ)²: δ²·ρ(z) is what it adds to the sum. `ρ` and its derivatives ρ′ and ρ″ are those of
/// SciPy's `least_squares`, so that δ and results are comparable.
#[derive(Debug)]
pub(super) struct LossRule {
    pub name: &'static str,
    /// `fn rho(z: T) -> vec3<T>`
    wgsl: &'static str,
    reference: fn(f64) -> [f64; 3],
}

static LOSSES: &[LossRule] = &[
    LossRule {
        name: "huber",
        wgsl: "    let root = sqrt(max(z, 1.0));
    return select(vec3<T>(z, 1.0, 0.0), vec3<T>(2.0 * root - 1.0, 1.0 / root, -0.5 / (root * max(z, 1.0))), z > 1.0);",
        reference: |z| match z > 1.0 {
            true => [2.0 * z.sqrt() - 1.0, z.sqrt().recip(), -0.5 / (z * z.sqrt())],
            false => [z, 1.0, 0.0],
        },
    },
    LossRule {
        name: "soft-l1",
        wgsl: "    let root = sqrt(1.0 + z);
    return vec3<T>(2.0 * z / (1.0 + root), 1.0 / root, -0.5 / (root * (1.0 + z)));",
        reference: |z| {
            let root = (1.0 + z).sqrt();
            [2.0 * z / (1.0 + root), root.recip(), -0.5 / (root * (1.0 + z))]
        },
    },
    LossRule {
        name: "cauchy",
        wgsl: "    let slope = 1.0 / (1.0 + z);
    return vec3<T>(log(1.0 + z), slope, -slope * slope);",
        reference: |z| [z.ln_1p(), (1.0 + z).recip(), -(1.0 + z).powi(-2)],
    },
];

/// A loss that grows slower than the square for residuals beyond about `scale`.
///
/// ```
/// use downhill::{FitOptions, RobustLoss};
///
/// let loss: RobustLoss = "huber:1.5".parse()?;
/// assert_eq!(loss.scale, 1.5);
/// let options = FitOptions { robust: Some(loss), ..FitOptions::default() };
/// assert!(RobustLoss::names().any(|name| name == "cauchy"));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct RobustLoss {
    pub(super) rule: &'static LossRule,
    /// δ, in the residuals' unit (weighted residuals where there are weights).
    pub scale: f64,
}

impl FromStr for RobustLoss {
    type Err = Error;

    /// Reads `huber:1.5`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, scale) = text.split_once(':').unwrap_or((text, "1"));
        let known: Vec<&str> = LOSSES.iter().map(|rule| rule.name).collect();
        let rule = LOSSES.iter().find(|rule| rule.name == name);
        let rule = rule.ok_or_else(|| Error::setting("robust", did_you_mean(name, &known)))?;
        let number = scale
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|scale| (*scale as f32) > 0.0 && (*scale as f32).is_finite());
        let scale = number.ok_or_else(|| {
            Error::setting(
                "robust",
                format!("the scale is a number above 0, not `{scale}`, as in `{name}:1.5`"),
            )
        })?;
        Ok(RobustLoss { rule, scale })
    }
}

impl fmt::Debug for RobustLoss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.rule.name, self.scale)
    }
}

impl RobustLoss {
    /// The names of the losses.
    pub fn names() -> impl Iterator<Item = &'static str> {
        LOSSES.iter().map(|rule| rule.name)
    }

    /// The function `rho` in WGSL.
    pub(super) fn wgsl(&self) -> String {
        format!("fn rho(z: T) -> vec3<T> {{\n{}\n}}\n", self.rule.wgsl)
    }

    /// What a residual adds to the sum, and what its derivatives are multiplied by so that the sum's curvature is that of
    /// squares (Triggs et al., "Bundle adjustment", 2000, section 4.3): the kernel's twin.
    pub(super) fn rescaled(&self, residual: f64) -> (f64, f64) {
        let square = (residual / self.scale).powi(2);
        let [value, slope, bend] = (self.rule.reference)(square);
        let scale = (slope + 2.0 * bend * square).max(f64::EPSILON).sqrt();
        (self.scale * self.scale * value, scale)
    }
}
