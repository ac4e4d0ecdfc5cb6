//! Shapes with a symbolic batch dimension: what a graph knows of a tensor before a micro-batch size is chosen.

use std::fmt;

/// One dimension: a fixed number of elements, or a multiple of the micro-batch size.
///
/// ```
/// use downhill::Dim;
///
/// assert_eq!((Dim::BATCH.resolve(32), Dim::Fixed(10).resolve(32)), (32, 10));
/// assert_eq!(Dim::from(10), Dim::Fixed(10));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// So many elements.
    Fixed(usize),
    /// So many elements for every row of the micro-batch.
    Batch(usize),
}

impl Dim {
    /// The micro-batch itself: one element a row.
    pub const BATCH: Dim = Dim::Batch(1);

    /// The number of elements when the micro-batch has `batch` rows.
    pub fn resolve(self, batch: usize) -> usize {
        match self {
            Dim::Fixed(size) => size,
            Dim::Batch(per_row) => per_row * batch,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::Fixed(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(out, "{size}"),
            Dim::Batch(1) => write!(out, "batch"),
            Dim::Batch(per_row) => write!(out, "{per_row}·batch"),
        }
    }
}

/// The dimensions of a tensor, outermost first; elements lie in row-major order.
///
/// ```
/// use downhill::{Dim, Shape};
///
/// let rows = Shape::from([Dim::BATCH, Dim::Fixed(3)]);
/// assert_eq!((rows.to_string().as_str(), rows.elements(32)), ("[batch, 3]", 96));
/// assert_eq!(rows.broadcast(&Shape::from([3])), Some(rows));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// The shape of a scalar: no dimensions, one element.
    pub fn scalar() -> Self {
        Shape(Vec::new())
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The sizes when the micro-batch has `batch` rows.
    pub fn resolve(&self, batch: usize) -> Vec<usize> {
        self.0.iter().map(|dim| dim.resolve(batch)).collect()
    }

    /// The number of elements when the micro-batch has `batch` rows.
    pub fn elements(&self, batch: usize) -> usize {
        self.resolve(batch).iter().product()
    }

    /// As [`Shape::elements`], or none where they cannot be counted.
    pub(crate) fn checked_elements(&self, batch: usize) -> Option<usize> {
        let size = |dim: &Dim| match *dim {
            Dim::Fixed(size) => Some(size),
            Dim::Batch(per_row) => per_row.checked_mul(batch),
        };
        self.0.iter().try_fold(1usize, |count, dim| count.checked_mul(size(dim)?))
    }

    /// Whether both have the same number of elements for every batch size.
    pub fn same_count(&self, other: &Shape) -> bool {
        self.count() == other.count()
    }

    /// The number of elements as coefficient · batchᵖᵒʷᵉʳ.
    fn count(&self) -> (usize, u32) {
        let (mut coefficient, mut power) = (1, 0);
        for dim in &self.0 {
            match dim {
                Dim::Fixed(size) => coefficient = size.saturating_mul(coefficient),
                Dim::Batch(per_row) => {
                    coefficient = per_row.saturating_mul(coefficient);
                    power += 1;
                }
            }
        }
        (coefficient, power)
    }

    /// The shape that both broadcast to by NumPy's rule: aligned at the last dimension, a dimension of 1 stretches.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let dim = |shape: &Shape, axis: usize| {
            let missing = rank - shape.rank();
            if axis < missing { Dim::Fixed(1) } else { shape.0[axis - missing] }
        };
        let joined = (0..rank).map(|axis| match (dim(self, axis), dim(other, axis)) {
            (a, b) if a == b => Some(a),
            (Dim::Fixed(1), b) => Some(b),
            (a, Dim::Fixed(1)) => Some(a),
            _ => None,
        });
        joined.collect::<Option<Vec<_>>>().map(Shape)
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Shape(sizes.iter().map(|&size| Dim::Fixed(size)).collect())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Shape::from(&sizes[..])
    }
}

impl<const N: usize> From<[Dim; N]> for Shape {
    fn from(dims: [Dim; N]) -> Self {
        Shape(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(Dim::to_string).collect();
        write!(out, "[{}]", dims.join(", "))
    }
}

/// How an element is stored on the GPU.
///
/// ```
/// use downhill::Element;
///
/// assert_eq!((Element::F32.bytes(3), Element::U8.bytes(3)), (12, 4));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Element {
    /// 32-bit float: everything that is differentiated.
    F32,
    /// 32-bit unsigned integer: labels and row indices.
    U32,
    /// A byte, four to a 32-bit word: pixels as they lie in the file.
    U8,
}

impl Element {
    /// Bytes of `count` elements on the GPU; bytes fill up the last word.
    pub fn bytes(self, count: usize) -> u64 {
        match self {
            Element::F32 | Element::U32 => 4 * count as u64,
            Element::U8 => (count as u64).next_multiple_of(4),
        }
    }
}

/// The shape and element of a graph's node.
///
/// ```
/// use downhill::{Dim, Element, Graph, Shape, TensorType};
///
/// let mut graph = Graph::new();
/// let ty = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
/// let labels = graph.input_of("labels", ty)?;
/// assert_eq!(graph.element(labels), Element::U32);
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Its dimensions.
    pub shape: Shape,
    /// How its elements are stored.
    pub element: Element,
}

impl TensorType {
    /// A tensor of 32-bit floats.
    pub fn f32(shape: Shape) -> Self {
        TensorType { shape, element: Element::F32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let batch = Dim::BATCH;
        let rows: [(Shape, Shape, Option<Shape>); 5] = [
            (
                Shape::from([batch, Dim::Fixed(3)]),
                Shape::from([3]),
                Some(Shape::from([batch, Dim::Fixed(3)])),
            ),
            (Shape::from([4, 1]), Shape::from([1, 5]), Some(Shape::from([4, 5]))),
            (Shape::scalar(), Shape::from([2]), Some(Shape::from([2]))),
            (Shape::from([2]), Shape::from([3]), None),
            (Shape::from([batch]), Shape::from([3]), None),
        ];
        for (a, b, expected) in rows {
            assert_eq!(a.broadcast(&b), expected, "{a} with {b}");
        }
    }

    #[test]
    fn counts_are_compared_for_every_batch_size() {
        let merged = Shape::from([Dim::Batch(6)]);
        assert!(merged.same_count(&Shape::from([Dim::BATCH, Dim::Fixed(6)])));
        assert!(!merged.same_count(&Shape::from([6])));
        assert_eq!(merged.elements(7), 42);
    }
}
