//! What the derivatives at the solution say of its errors: covariance, and directions that the data leave open.

use crate::linear::norm;

/// Singular values below this part of the largest are none: what rounding leaves of columns that others make up.
const RANK: f64 = 1e-12;

/// A component of a direction that is as good as none.
const NOTHING: f64 = 1e-6;

/// A way in which the unknowns can move together without changing what is fitted.
///
/// ```
/// use downhill::OpenDirection;
///
/// let names = ["b1", "b2"].map(str::to_owned);
/// let open = OpenDirection { components: vec![1.0, -1.0] };
/// assert_eq!(open.describe(&names), "b1 - b2");
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct OpenDirection {
    /// How far each unknown moves, in their order; the largest is 1.
    pub components: Vec<f64>,
}

impl OpenDirection {
    /// `b1 - 5.000e-1·b2` of the unknowns called `names`.
    pub fn describe(&self, names: &[String]) -> String {
        let mut text = String::new();
        for (component, name) in self.components.iter().zip(names) {
            if component.abs() < NOTHING {
                continue;
            }
            let sign = match (text.is_empty(), *component < 0.0) {
                (true, true) => "-",
                (true, false) => "",
                (false, true) => " - ",
                (false, false) => " + ",
            };
            let size = component.abs();
            let factor = if (size - 1.0).abs() < NOTHING { String::new() } else { format!("{size:.3e}·") };
            text += &format!("{sign}{factor}{name}");
        }
        text
    }
}

/// Errors of estimates.
pub(super) struct Errors {
    /// `[unknowns, unknowns]`; NaN where the data say nothing, and for unknowns that are held.
    pub covariance: Vec<Vec<f64>>,
    pub open: Vec<OpenDirection>,
}

/// s²·(JᵀJ)⁻¹ of the columns of J that are `free`, NaN where J is not finite; by singular values of J with its columns scaled to one length.
pub(super) fn errors(jacobian: &[Vec<f64>], free: &[bool], variance: f64) -> Errors {
    let unknowns = jacobian.len();
    if jacobian.iter().flatten().any(|x| !x.is_finite()) {
        return Errors { covariance: vec![vec![f64::NAN; unknowns]; unknowns], open: Vec::new() };
    }
    let norms: Vec<f64> = jacobian.iter().map(|column| norm(column)).collect();
    let places: Vec<usize> = (0..unknowns).filter(|&j| free[j]).collect();
    let length = |j: usize| if norms[j] > 0.0 { norms[j] } else { 1.0 };
    let mut columns: Vec<Vec<f64>> =
        places.iter().map(|&j| jacobian[j].iter().map(|x| x / length(j)).collect()).collect();
    let right = singular_vectors(&mut columns);
    let values: Vec<f64> = columns.iter().map(|column| norm(column)).collect();
    let largest = values.iter().fold(0.0, |a: f64, b| a.max(*b));
    let mut covariance = vec![vec![f64::NAN; unknowns]; unknowns];
    let mut open = Vec::new();
    let mut known = vec![true; places.len()];
    for (value, vector) in values.iter().zip(&right) {
        if *value > RANK * largest {
            continue;
        }
        vector.iter().zip(&mut known).for_each(|(x, known)| *known &= x.abs() < NOTHING);
        let mut components = vec![0.0; unknowns];
        places.iter().zip(vector).for_each(|(&j, x)| components[j] = x / length(j));
        let most = components.iter().fold(0.0, |a: f64, b: &f64| if b.abs() > a.abs() { *b } else { a });
        components.iter_mut().for_each(|x| *x /= most);
        open.push(OpenDirection { components });
    }
    for (a, &i) in places.iter().enumerate() {
        for (b, &j) in places.iter().enumerate().filter(|(b, _)| known[a] && known[*b]) {
            let seen = values.iter().zip(&right).filter(|(value, _)| **value > RANK * largest);
            let sum: f64 = seen.map(|(value, vector)| vector[a] * vector[b] / (value * value)).sum();
            covariance[i][j] = variance * sum / (length(i) * length(j));
        }
    }
    Errors { covariance, open }
}

/// Turns `columns` by rotations into orthogonal ones, whose norms are their singular values, and gives the right
/// singular vectors: one-sided Jacobi (Hestenes, 1958), which finds small singular values to their own digits.
fn singular_vectors(columns: &mut [Vec<f64>]) -> Vec<Vec<f64>> {
    let count = columns.len();
    let mut right: Vec<Vec<f64>> =
        (0..count).map(|i| (0..count).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    // Columns are orthogonal after ten sweeps or so; the limit only ends what rounding keeps going.
    for _ in 0..60 {
        let mut turned = false;
        for i in 0..count {
            for j in i + 1..count {
                let [a, b] =
                    [&columns[i], &columns[j]].map(|column| column.iter().map(|x| x * x).sum::<f64>());
                let product: f64 = columns[i].iter().zip(&columns[j]).map(|(x, y)| x * y).sum();
                if product == 0.0 || product.abs() <= f64::EPSILON * (a * b).sqrt() {
                    continue;
                }
                turned = true;
                let slope = (b - a) / (2.0 * product);
                let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
                let cosine = tangent.hypot(1.0).recip();
                rotate(columns, i, j, cosine, cosine * tangent);
                rotate(&mut right, i, j, cosine, cosine * tangent);
            }
        }
        if !turned {
            break;
        }
    }
    right
}

fn rotate(columns: &mut [Vec<f64>], i: usize, j: usize, cosine: f64, sine: f64) {
    let (before, after) = columns.split_at_mut(j);
    for (x, y) in before[i].iter_mut().zip(&mut after[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}
