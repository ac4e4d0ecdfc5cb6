// What kernels of a panel share: 32 columns of a row-major matrix from `first` on, a matrix of a batch for each workgroup. Leading
// dimensions are multiples of 32; rows and columns that only fill them up are those of a unit matrix.
struct Params {
    fold: u32,
    rows: u32,
    // Leading dimension.
    ld: u32,
    // The first row and column.
    first: u32,
    // Numbers of a matrix of the batch, of a vector, and of what is copied for products.
    stride: u32,
    vector_stride: u32,
    copy_stride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

const BLOCK: u32 = 32u;
