//! Which part of a product an invocation and a workgroup compute, by the kind of adapter and the work.

use crate::gpu::{AdapterClass, Profile};

/// The part of C that an invocation and a workgroup compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// Rows per invocation, a multiple of four.
    pub(crate) rows: u32,
    /// Groups of four adjacent columns per invocation.
    pub(crate) column_vectors: u32,
    /// Invocations per workgroup along the columns (neighbouring invocations) and along the rows.
    pub(crate) workgroup: [u32; 2],
    /// Every lane of a subgroup reads one of each [`SUBGROUP`] rows of A, the others get it by broadcast.
    /// Takes a workgroup of [`SUBGROUP`] × 1 on an adapter whose subgroups have that size and no other, and
    /// rows that are a multiple of it.
    pub(crate) broadcast: bool,
}

/// The subgroup size that [`Tile::broadcast`] is made for: llvmpipe's, on vectors of 256 bits.
pub(crate) const SUBGROUP: u32 = 8;

/// For llvmpipe, where a read costs as much as many multiplications because each lane is read by itself, and
/// a broadcast next to nothing: about 2.5 times the speed of 8 × 4 without.
pub(super) const BROADCAST: Tile =
    Tile { rows: 16, column_vectors: 1, workgroup: [SUBGROUP, 1], broadcast: true };

/// For products whose time does not matter beside that of compiling a kernel for them.
pub(super) const BROADCAST_SMALL: Tile =
    Tile { rows: 8, column_vectors: 1, workgroup: [SUBGROUP, 1], broadcast: true };

/// For products that repay within some ten steps that it takes the driver twice as long to compile (0.3 s): faster by a
/// third.
pub(super) const BROADCAST_LONG: Tile =
    Tile { rows: 32, column_vectors: 1, workgroup: [SUBGROUP, 1], broadcast: true };

/// Multiply-adds of a product up to which it is small, and from which it is long.
const SMALL: usize = 1 << 20;
const LONG: usize = 1 << 27;

/// For other software adapters: about 1.4 times the speed of 8 × 4, which compiles in 0.12 s against 0.2 s.
pub(super) const SOFTWARE: Tile = Tile { rows: 8, column_vectors: 2, workgroup: [8, 1], broadcast: false };

/// For GPUs, not measured: 64 × 64 elements a workgroup, which shares its reads through the L1 cache.
pub(super) const GPU_LARGE: Tile = Tile { rows: 4, column_vectors: 1, workgroup: [16, 16], broadcast: false };

/// For GPUs where C has too few large tiles to occupy one: 32 × 32 elements a workgroup.
pub(super) const GPU_SMALL: Tile = Tile { rows: 4, column_vectors: 1, workgroup: [8, 8], broadcast: false };

/// Elements of C from which on [`GPU_LARGE`] gives at least 64 workgroups.
const LARGE: usize = 64 * 64 * 64;

/// Whether the adapter's subgroups are those that broadcasts are made for.
pub(crate) fn broadcasts(profile: &Profile) -> bool {
    let sizes = [profile.min_subgroup_size, profile.max_subgroup_size];
    profile.class == AdapterClass::Software && profile.subgroups && sizes == [SUBGROUP; 2]
}

/// The tile for an adapter and an m × n block of C.
pub(crate) fn tile_for(profile: &Profile, m: usize, n: usize, k: usize) -> Tile {
    let subgroups_fit = broadcasts(profile);
    match profile.class {
        AdapterClass::Software if subgroups_fit && m * n * k <= SMALL => BROADCAST_SMALL,
        AdapterClass::Software if subgroups_fit && m * n * k >= LONG => BROADCAST_LONG,
        AdapterClass::Software if subgroups_fit => BROADCAST,
        AdapterClass::Software => SOFTWARE,
        _ if m * n >= LARGE => GPU_LARGE,
        _ => GPU_SMALL,
    }
}

impl Tile {
    /// Rows of C that a workgroup computes.
    pub(crate) fn workgroup_rows(&self) -> u32 {
        self.rows * self.workgroup[1]
    }

    /// Columns of C that a workgroup computes.
    pub(crate) fn workgroup_columns(&self) -> u32 {
        4 * self.column_vectors * self.workgroup[0]
    }
}
