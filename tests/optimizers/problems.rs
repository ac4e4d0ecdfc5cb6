//! The small problems of the golden trajectories, by their closed formulas in f64.

/// A function of a flat θ, as `problems` of `golden/open.json` defines it.
pub struct Problem {
    pub name: &'static str,
    /// The tensors that θ is made of, one after another.
    pub tensors: &'static [(&'static str, &'static [usize])],
    /// Where trajectories begin.
    pub start: fn() -> Vec<f64>,
    /// The value and the gradient at θ.
    pub evaluate: fn(&[f64]) -> (f64, Vec<f64>),
}

impl Problem {
    /// The shapes of its tensors.
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        self.tensors.iter().map(|(_, shape)| shape.to_vec()).collect()
    }
}

pub const PROBLEMS: [Problem; 6] = [
    Problem { name: "rosenbrock", tensors: &[("x", &[2])], start: || vec![-1.2, 1.0], evaluate: rosenbrock },
    Problem { name: "beale", tensors: &[("x", &[2])], start: || vec![1.0, 1.0], evaluate: beale },
    Problem { name: "quad100", tensors: &[("x", &[100])], start: || vec![0.0; 100], evaluate: quad100 },
    Problem {
        name: "mlp",
        tensors: &[
            ("W1", &[HIDDEN, INPUTS]),
            ("b1", &[HIDDEN]),
            ("W2", &[CLASSES, HIDDEN]),
            ("b2", &[CLASSES]),
        ],
        start: || mlp_start().concat(),
        evaluate: mlp,
    },
    Problem {
        name: "mlp_weights",
        tensors: &[("W1", &[HIDDEN, INPUTS]), ("W2", &[CLASSES, HIDDEN])],
        start: || weights(&mlp_start().concat()),
        evaluate: mlp_weights,
    },
    Problem {
        name: "matrix_ls",
        tensors: &[("W", &[ROWS, INNER])],
        start: matrix_ls_start,
        evaluate: matrix_ls,
    },
];

/// The problem called `name`.
pub fn problem(name: &str) -> &'static Problem {
    PROBLEMS.iter().find(|problem| problem.name == name).unwrap_or_else(|| panic!("no problem {name}"))
}

/// (1 − x₀)² + 100 (x₁ − x₀²)²
fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
    let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
    (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
}

/// Σₖ (cₖ − x₀ + x₀ x₁ᵏ)², k = 1, 2, 3
fn beale(x: &[f64]) -> (f64, Vec<f64>) {
    let (mut value, mut gradient) = (0.0, vec![0.0; 2]);
    for (k, c) in [(1, 1.5), (2, 2.25), (3, 2.625)] {
        let residual = c - x[0] + x[0] * x[1].powi(k);
        value += residual * residual;
        gradient[0] += 2.0 * residual * (x[1].powi(k) - 1.0);
        gradient[1] += 2.0 * residual * x[0] * f64::from(k) * x[1].powi(k - 1);
    }
    (value, gradient)
}

/// ½ zᵀ A z with z = x − x*, A = H diag(d) H, and H = I − 2vvᵀ/vᵀv its own inverse.
fn quad100(x: &[f64]) -> (f64, Vec<f64>) {
    let index = |i: usize, factor: usize, plus: usize, modulus: usize| ((factor * i + plus) % modulus) as f64;
    let v: Vec<f64> = (0..100).map(|i| index(i, 7, 3, 11) - 4.5).collect();
    let reflect = |z: &[f64]| -> Vec<f64> {
        let scale = 2.0 * dot(&v, z) / dot(&v, &v);
        z.iter().zip(&v).map(|(z, v)| z - scale * v).collect()
    };
    let z: Vec<f64> = x.iter().enumerate().map(|(i, x)| x - (index(i, 13, 5, 17) - 8.0) / 8.0).collect();
    let y = reflect(&z);
    let dy: Vec<f64> =
        y.iter().enumerate().map(|(i, y)| y / (1.0 + 999.0 * (i as f64 / 99.0).powi(2))).collect();
    (dot(&y, &dy) / 2.0, reflect(&dy))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

// The network: θ = W1 [8, 4], b1 [8], W2 [3, 8], b2 [3].
const INPUTS: usize = 4;
const HIDDEN: usize = 8;
const CLASSES: usize = 3;
const SAMPLES: usize = 12;

/// (n mod 97 − 48) / scale
fn mod97(n: usize, scale: f64) -> f64 {
    ((n % 97) as f64 - 48.0) / scale
}

fn mlp_start() -> [Vec<f64>; 4] {
    let w1 =
        (0..HIDDEN).flat_map(|h| (0..INPUTS).map(move |j| mod97(23 * h + 41 * j + 5 * h * j + 11, 96.0)));
    let b1 = (0..HIDDEN).map(|h| ((19 * h % 13) as f64 - 6.0) / 60.0);
    let w2 =
        (0..CLASSES).flat_map(|k| (0..HIDDEN).map(move |h| mod97(29 * k + 13 * h + 11 * k * h + 7, 96.0)));
    let b2 = (0..CLASSES).map(|k| (k as f64 - 1.0) / 10.0);
    [w1.collect(), b1.collect(), w2.collect(), b2.collect()]
}

/// Mean softmax cross-entropy of W2 tanh(W1 x + b1) + b2 over 12 samples of label s mod 3.
fn mlp(theta: &[f64]) -> (f64, Vec<f64>) {
    let (w1, rest) = theta.split_at(HIDDEN * INPUTS);
    let (b1, rest) = rest.split_at(HIDDEN);
    let (w2, b2) = rest.split_at(CLASSES * HIDDEN);
    let mut loss = 0.0;
    let (mut dw1, mut db1) = (vec![0.0; w1.len()], vec![0.0; HIDDEN]);
    let (mut dw2, mut db2) = (vec![0.0; w2.len()], vec![0.0; CLASSES]);
    for s in 0..SAMPLES {
        let x: Vec<f64> = (0..INPUTS).map(|j| mod97(31 * s + 17 * j + 7 * s * j + 3 * s * s, 48.0)).collect();
        let a: Vec<f64> =
            (0..HIDDEN).map(|h| (dot(&w1[h * INPUTS..][..INPUTS], &x) + b1[h]).tanh()).collect();
        let z: Vec<f64> = (0..CLASSES).map(|k| dot(&w2[k * HIDDEN..][..HIDDEN], &a) + b2[k]).collect();
        let total: f64 = z.iter().map(|z| z.exp()).sum();
        loss += total.ln() - z[s % CLASSES];
        let dz: Vec<f64> =
            (0..CLASSES).map(|k| z[k].exp() / total - f64::from(u8::from(k == s % CLASSES))).collect();
        for h in 0..HIDDEN {
            let mut da = 0.0;
            for k in 0..CLASSES {
                dw2[k * HIDDEN + h] += dz[k] * a[h];
                da += dz[k] * w2[k * HIDDEN + h];
            }
            let dh = da * (1.0 - a[h] * a[h]);
            db1[h] += dh;
            for j in 0..INPUTS {
                dw1[h * INPUTS + j] += dh * x[j];
            }
        }
        for k in 0..CLASSES {
            db2[k] += dz[k];
        }
    }
    let gradient = [dw1, db1, dw2, db2].concat();
    (loss / SAMPLES as f64, gradient.iter().map(|g| g / SAMPLES as f64).collect())
}

/// W1 and W2 of a θ of the network.
fn weights(theta: &[f64]) -> Vec<f64> {
    let (w1, rest) = theta.split_at(HIDDEN * INPUTS);
    [w1, &rest[HIDDEN..][..CLASSES * HIDDEN]].concat()
}

/// The network, whose b1 and b2 stay where they begin.
fn mlp_weights(theta: &[f64]) -> (f64, Vec<f64>) {
    let (w1, w2) = theta.split_at(HIDDEN * INPUTS);
    let [_, b1, _, b2] = mlp_start();
    let (loss, gradient) = mlp(&[w1, &b1, w2, &b2].concat());
    (loss, weights(&gradient))
}

// The matrices: W [6, 5], C [5, 7], B [6, 7].
const ROWS: usize = 6;
const INNER: usize = 5;
const COLUMNS: usize = 7;

/// (n mod 89 − 44) / scale
fn mod89(n: usize, scale: f64) -> f64 {
    ((n % 89) as f64 - 44.0) / scale
}

fn matrix_ls_start() -> Vec<f64> {
    (0..ROWS).flat_map(|q| (0..INNER).map(move |w| mod89(23 * q + 31 * w + 5 * q * w, 88.0))).collect()
}

/// The mean of (WC − B)² over all entries.
fn matrix_ls(theta: &[f64]) -> (f64, Vec<f64>) {
    let factor = |r: usize, c: usize| mod89(37 * r + 13 * c + 11 * r * c + 5 * c * c, 44.0);
    let (mut loss, mut gradient) = (0.0, vec![0.0; theta.len()]);
    let entries = (ROWS * COLUMNS) as f64;
    for (q, row) in theta.chunks(INNER).enumerate() {
        for c in 0..COLUMNS {
            let wanted = mod89(17 * q + 29 * c + 7 * q * c + 3 * q * q, 44.0);
            let residual = row.iter().enumerate().map(|(r, w)| w * factor(r, c)).sum::<f64>() - wanted;
            loss += residual * residual / entries;
            for r in 0..INNER {
                gradient[q * INNER + r] += 2.0 * residual * factor(r, c) / entries;
            }
        }
    }
    (loss, gradient)
}
