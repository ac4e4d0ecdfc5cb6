//! What a matmul kernel is written from, and the uniform that it is launched with: plain data.

use super::tile::Tile;
use crate::plan::expression::float_type;

/// Which axis of an operand has stride one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// The summed axis: A stored M×K, B stored N×K (PyTorch's weights).
    Summed,
    /// The axis that C keeps: A stored K×M, B stored K×N.
    Kept,
}

/// How one operand is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operand {
    /// The axis with stride one.
    pub(crate) layout: Layout,
    /// Read as vectors of four: the length of the contiguous axis, the leading dimension, the batch stride and
    /// the offset must all be multiples of four.
    pub(crate) vec4: bool,
    /// Stored in 16 bits.
    pub(crate) half: bool,
}

impl Operand {
    pub(super) fn element(self) -> &'static str {
        float_type(self.half, self.vec4)
    }

    /// What the array holds at `place`, in f32.
    pub(super) fn value(self, name: char, place: &str) -> String {
        match self.half {
            true => format!("{}({name}[{place}])", float_type(false, self.vec4)),
            false => format!("{name}[{place}]"),
        }
    }
}

/// All that distinguishes one kernel of the family from another, but the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MatmulSpec {
    pub(crate) a: Operand,
    pub(crate) b: Operand,
    pub(crate) tile: Tile,
    /// C is an array of vectors of four: n, its leading dimension, batch stride and offset are multiples of four.
    pub(crate) store_vec4: bool,
    /// C is stored in 16 bits.
    pub(crate) store_half: bool,
    pub(crate) former: Former,
    /// The sums of op(A)'s rows over k, each in the order of k too, are stored behind C, and like C where the step
    /// accumulates: with a gradient of outputs as A, C is that of a weight and these are that of a bias. Takes an A that is
    /// stored K×M, no batch, and no matrix units.
    pub(crate) sums_rows: bool,
}

/// What becomes of what C held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Former {
    /// It is overwritten.
    Lost,
    /// Sums go on from it, in the same order: K split over dispatches gives the bits of one.
    Continued,
    /// The same where the step accumulates, else it is overwritten: a batch split over steps is K split over them.
    ContinuedByStep,
    /// Where the step accumulates, it is added behind the epilogue, through which it must not go again; else it is
    /// overwritten.
    AddedByStep,
}

/// What happens to a sum before it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Epilogue {
    /// Bindings (from [`FIRST_EPILOGUE_BINDING`] on) and helper functions.
    pub(crate) declarations: String,
    /// Statements before the expression.
    pub(crate) statements: String,
    /// An expression of type `T` in `value: T`, `row`, `col` and `index: u32`; `T` is `vec4<f32>` where
    /// [`MatmulSpec::store_vec4`] is set, for the four columns from `col` on, else `f32`. `row` and `col`
    /// count within the batch entry's whole matrix; `index` is batch·stride + row·ldc + col, without C's
    /// offset. Empty stores the sum itself.
    pub(crate) expression: String,
}

/// The binding of the first extra operand; C takes the binding after the last of them, where a product has its kernel to
/// itself.
pub(crate) const FIRST_EPILOGUE_BINDING: u32 = 4;

/// All that a kernel's text for one product is written from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProductText {
    pub(crate) spec: MatmulSpec,
    pub(crate) epilogue: Epilogue,
    /// Buffers that it reads: both operands, and what the epilogue declares.
    pub(crate) reads: usize,
}

impl ProductText {
    /// Buffers that it writes.
    pub(crate) fn writes(&self) -> usize {
        1 + usize::from(self.spec.sums_rows)
    }
}

/// A product's part of the uniform at binding 1. Offsets, strides and leading dimensions count floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct MatmulParams {
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) k: u32,
    /// k of the last batch entry: parts of a summed axis are batch entries, and the last may be shorter.
    pub(crate) last_k: u32,
    pub(crate) batch: u32,
    pub(crate) lda: u32,
    pub(crate) ldb: u32,
    pub(crate) ldc: u32,
    pub(crate) a_stride: u32,
    pub(crate) b_stride: u32,
    pub(crate) c_stride: u32,
    pub(crate) a_offset: u32,
    pub(crate) b_offset: u32,
    /// Added to an element's index in the whole C; wraps, so that it can be negative.
    pub(crate) c_offset: u32,
    /// Where the block that is computed begins in the whole C.
    pub(crate) first_row: u32,
    pub(crate) first_column: u32,
    /// Workgroups along m and along n.
    pub(crate) tiles_m: u32,
    pub(crate) tiles_n: u32,
    /// Workgroups along x of a dispatch folded to two dimensions.
    pub(crate) fold: u32,
}

pub(super) const PARAMS: &str = "\
struct Matmul {
    m: u32, n: u32, k: u32, last_k: u32, batch: u32,
    lda: u32, ldb: u32, ldc: u32,
    a_stride: u32, b_stride: u32, c_stride: u32,
    a_offset: u32, b_offset: u32, c_offset: u32,
    first_row: u32, first_column: u32,
    tiles_m: u32, tiles_n: u32, fold: u32,
}
";
