//! Preconditioners: the inverse of a diagonal, or of L·Lᵀ with a sparse factor L solved level by level.

use std::collections::BTreeMap;
use std::ops::Range;

use super::colouring::{by_colour, colours};
use super::{BLOCK, DeviceMatrix};
use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, LaunchList, Shader};
use crate::linear::matrix::SparseMatrix;

pub(super) static SCALE: Shader = Shader {
    label: "diagonal",
    before: &[BLOCK],
    text: include_str!("../../../shaders/linear/scale.wgsl"),
    reads: 3,
    writes: 1,
};

pub(super) static TRIANGULAR: Shader = Shader {
    label: "triangular level",
    before: &[],
    text: include_str!("../../../shaders/linear/triangular.wgsl"),
    reads: 6,
    writes: 1,
};

/// M⁻¹ of a preconditioner M, on the host.
pub(in crate::linear) enum Preconditioner {
    /// z = d·r element by element.
    Diagonal(Vec<f64>),
    /// M = L·Lᵀ.
    Factor(Box<Factor>),
}

impl Preconditioner {
    /// What is to be said of it, if anything.
    pub fn note(&self) -> Option<String> {
        match self {
            Preconditioner::Diagonal(_) => None,
            Preconditioner::Factor(factor) => Some(factor.note()),
        }
    }
}

/// L of M = L·Lᵀ, as the two triangular systems that M⁻¹ takes.
pub(in crate::linear) struct Factor {
    forward: Triangle,
    backward: Triangle,
    /// The share of A's diagonal that was added before L existed.
    pub shift: f64,
}

impl Factor {
    /// A factor of these entries off the diagonal, of that diagonal. Each row must need only rows before it in `order`.
    pub(super) fn new(strict: SparseMatrix, diagonal: &[f64], order: &[usize], shift: f64) -> Self {
        let inverses: Vec<f64> = diagonal.iter().map(|value| 1.0 / value).collect();
        let mirror = strict.transposed();
        let reversed: Vec<usize> = order.iter().rev().copied().collect();
        Factor {
            forward: Triangle::new(strict, inverses.clone(), order),
            backward: Triangle::new(mirror, inverses, &reversed),
            shift,
        }
    }

    /// Dispatches of a solution, there and back.
    pub fn levels(&self) -> usize {
        self.forward.levels.len() + self.backward.levels.len()
    }

    pub fn rows(&self) -> usize {
        self.forward.inverses.len()
    }

    /// What is to be said of it.
    fn note(&self) -> String {
        let (levels, rows) = (self.levels(), self.rows());
        let shift = match self.shift {
            0.0 => String::new(),
            shift => format!("; the factor broke down, so it is that of A + {shift}·diag(A)"),
        };
        let many = if 4 * levels > rows { ", which are many: the device does few rows at once" } else { "" };
        format!("a triangular solution takes {levels} dispatches for {rows} rows{many}{shift}")
    }
}

/// A triangular matrix in an order of its rows.
struct Triangle {
    /// Without the diagonal.
    strict: SparseMatrix,
    /// Of the diagonal.
    inverses: Vec<f64>,
    /// The rows level by level.
    order: Vec<u32>,
    /// The places of each level in the order: its rows need only rows of levels before.
    levels: Vec<Range<usize>>,
}

impl Triangle {
    fn new(strict: SparseMatrix, inverses: Vec<f64>, order: &[usize]) -> Self {
        let mut level = vec![0; strict.rows()];
        let mut rows: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for &row in order {
            level[row] = strict.row(row).map(|(column, _)| level[column] + 1).max().unwrap_or(0);
            rows.entry(level[row]).or_default().push(row as u32);
        }
        let mut end = 0;
        let mut range = |rows: &Vec<u32>| {
            let first = end;
            end += rows.len();
            first..end
        };
        Triangle {
            strict,
            inverses,
            levels: rows.values().map(&mut range).collect(),
            order: rows.into_values().flatten().collect(),
        }
    }
}

/// The factor of a symmetric Gauss-Seidel sweep (SSOR with ω = 1), colour by colour: M = (D + L)·D⁻¹·(D + Lᵀ), so that its factor
/// is (D + L)·D^−½, L being A below the diagonal in the order of colours. D must be positive.
pub(in crate::linear) fn symmetric_sweep(matrix: &SparseMatrix) -> Factor {
    let colours = colours(matrix);
    let roots: Vec<f64> = matrix.diagonal().into_iter().map(f64::sqrt).collect();
    let strict = matrix.kept(|row, column| colours[column] < colours[row]);
    let strict = strict.map(|_, column, value| value / roots[column]);
    Factor::new(strict, &roots, &by_colour(&colours), 0.0)
}

/// A preconditioner on a device.
pub(super) enum DevicePreconditioner {
    Diagonal(Buffer),
    Factor(Box<DeviceFactor>),
}

impl DevicePreconditioner {
    pub fn new(device: &Device, made: &Preconditioner) -> Result<Self> {
        Ok(match made {
            Preconditioner::Diagonal(inverses) => Self::Diagonal(device.vector(inverses)?),
            Preconditioner::Factor(factor) => Self::Factor(Box::new(DeviceFactor {
                forward: DeviceTriangle::new(device, &factor.forward)?,
                backward: DeviceTriangle::new(device, &factor.backward)?,
                between: device.zeros(factor.rows())?,
            })),
        })
    }

    /// Adds z = M⁻¹r.
    pub fn apply<'a>(
        &'a self,
        list: &mut LaunchList<'a>,
        residual: &'a Buffer,
        block: &'a Buffer,
        z: &'a Buffer,
    ) {
        match self {
            Self::Diagonal(inverses) => {
                let count = z.bytes() / list.device().number.bytes();
                list.each(&SCALE, count as usize, &[count as u32], &[inverses, residual, block, z]);
            }
            Self::Factor(factor) => {
                factor.forward.solve(list, residual, &factor.between);
                factor.backward.solve(list, &factor.between, z);
            }
        }
    }
}

/// A factor on a device, and what lies between its two solutions.
pub(super) struct DeviceFactor {
    forward: DeviceTriangle,
    backward: DeviceTriangle,
    between: Buffer,
}

/// A triangle on a device.
pub(super) struct DeviceTriangle {
    strict: DeviceMatrix,
    order: Buffer,
    inverses: Buffer,
    levels: Vec<Range<usize>>,
}

impl DeviceTriangle {
    fn new(device: &Device, triangle: &Triangle) -> Result<Self> {
        Ok(DeviceTriangle {
            strict: DeviceMatrix::new(device, &triangle.strict)?,
            order: device.indices(&triangle.order)?,
            inverses: device.vector(&triangle.inverses)?,
            levels: triangle.levels.clone(),
        })
    }

    fn solve<'a>(&'a self, list: &mut LaunchList<'a>, x: &'a Buffer, result: &'a Buffer) {
        let [starts, columns, values] = self.strict.buffers();
        for level in &self.levels {
            let parameters = [level.start as u32, level.len() as u32];
            let buffers = [starts, columns, values, &self.order, &self.inverses, x, result];
            list.each(&TRIANGULAR, level.len(), &parameters, &buffers);
        }
    }
}
