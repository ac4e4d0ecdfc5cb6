//! Which part of a product an invocation and a workgroup compute, and how it is shared out, by the kind of adapter
//! and the work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Once;

use crate::gpu::{AdapterClass, Profile, TunedProduct, UNITS};
use crate::plan::cost::filling_workgroups;

/// The part of C that an invocation and a workgroup compute, and the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// Rows per invocation, a multiple of four.
    pub(crate) rows: u32,
    /// Groups of four adjacent columns per invocation.
    pub(crate) column_vectors: u32,
    /// Invocations per workgroup along the columns (neighbouring invocations) and along the rows.
    pub(crate) workgroup: [u32; 2],
    pub(crate) body: Body,
}

/// How operands come to the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    /// Each invocation reads its own from the buffers.
    Direct,
    /// The same, but every lane of a subgroup reads one of each [`SUBGROUP`] rows of A, the others get it by
    /// broadcast. Takes a workgroup of [`SUBGROUP`] × 1 on an adapter whose subgroups have that size and no other, and
    /// rows that are a multiple of it.
    Broadcast,
    /// A workgroup brings [`DEPTH`] positions of the summed axis at a time into its memory. Takes at least 32 rows and
    /// columns a workgroup.
    Staged,
    /// The same for matrix units, which multiply fragments of [`FRAGMENT`] rows and columns: takes operands of 16 bits,
    /// subgroups of [`LANES`], and a workgroup of whole ones along its first axis. [`Tile::rows`] and
    /// [`Tile::column_vectors`] are then those of a lane, which lie in `rows` fragments below one another and half as many
    /// beside one another as there are groups of four columns.
    Units,
}

/// Rows and columns that matrix units multiply at once: those of NVIDIA's, AMD's and Intel's for f16 into f32.
pub(super) const FRAGMENT: u32 = 16;

/// The subgroup size that [`Body::Units`] is made for.
pub(crate) const LANES: u32 = 32;

/// The subgroup size that [`Body::Broadcast`] is made for: llvmpipe's, on vectors of 256 bits.
pub(crate) const SUBGROUP: u32 = 8;

/// Positions of the summed axis that [`Body::Staged`] and [`Body::Units`] bring at a time.
pub(super) const DEPTH: u32 = 16;
pub(super) const UNITS_DEPTH: u32 = 32;

/// Numbers behind each line of a slice of [`Body::Units`].
pub(super) const UNITS_PAD: u32 = 8;

/// Bytes of workgroup memory for a slice of so many rows or columns of C, whichever axis is contiguous.
pub(super) fn units_slice_bytes(kept: u32) -> u32 {
    let [kept_is_line, depth_is_line] = [UNITS_DEPTH * (kept + UNITS_PAD), kept * (UNITS_DEPTH + UNITS_PAD)];
    2 * kept_is_line.max(depth_is_line)
}

const fn broadcast(rows: u32) -> Tile {
    Tile { rows, column_vectors: 1, workgroup: [SUBGROUP, 1], body: Body::Broadcast }
}

const fn staged(rows: u32, column_vectors: u32, workgroup: [u32; 2]) -> Tile {
    Tile { rows, column_vectors, workgroup, body: Body::Staged }
}

/// For llvmpipe, where a read costs as much as many multiplications because each lane is read by itself, and
/// a broadcast next to nothing: about 2.5 times the speed of 8 × 4 without.
pub(super) const BROADCAST: Tile = broadcast(16);

/// For products whose time does not matter beside that of compiling a kernel for them.
pub(super) const BROADCAST_SMALL: Tile = broadcast(8);

/// For products that repay within some ten steps that it takes the driver twice as long to compile (0.3 s): faster by a
/// third.
pub(super) const BROADCAST_LONG: Tile = broadcast(32);

/// Multiply-adds of a product up to which it is small, and from which it is long.
const SMALL: usize = 1 << 20;
const LONG: usize = 1 << 27;

/// For other software adapters: about 1.4 times the speed of 8 × 4, which compiles in 0.12 s against 0.2 s.
pub(super) const SOFTWARE: Tile = Tile { rows: 8, column_vectors: 2, workgroup: [8, 1], body: Body::Direct };

/// What the others are held against on software adapters: the best kernel that takes neither broadcasts nor workgroup memory
/// and four columns an invocation.
const PLAIN: Tile = Tile { rows: 8, column_vectors: 1, workgroup: [8, 8], body: Body::Direct };

/// For GPUs where a tuning finds it: 64 × 64 elements a workgroup, which shares its reads through the L1 cache.
pub(super) const DIRECT_64: Tile =
    Tile { rows: 4, column_vectors: 1, workgroup: [16, 16], body: Body::Direct };

/// For floats of 64 bits and GPUs without workgroup memory: 32 × 32 elements a workgroup.
pub(super) const DIRECT_32: Tile = Tile { rows: 4, column_vectors: 1, workgroup: [8, 8], body: Body::Direct };

/// 128 × 128 elements by few invocations of 16 × 8, which read workgroup memory least: 60 % of an H200's multiply-adds on
/// 4,096³. It takes all of the 16 KiB of workgroup memory that WebGPU promises, and 128 registers for sums alone.
pub(super) const STAGED_128_TALL: Tile = staged(16, 2, [16, 8]);

/// 128 × 128 elements by invocations of 8 × 8: 45 % of the same, where registers are few.
pub(super) const STAGED_128: Tile = staged(8, 2, [16, 16]);

/// 64 × 64 elements by invocations of 8 × 8: 54 % of the same.
pub(super) const STAGED_64: Tile = staged(8, 2, [8, 8]);

/// 32 × 32 elements a workgroup, for small C; an invocation beyond C costs little, so this is the tile of narrow products too.
pub(super) const STAGED_32: Tile = staged(4, 1, [8, 8]);

/// For matrix units: 64 × 64 elements by four subgroups, in some 14 KiB of workgroup memory.
pub(super) const UNITS_64: Tile = Tile { rows: 2, column_vectors: 4, workgroup: [64, 2], body: Body::Units };

/// For matrix units: 128 × 128 elements by eight subgroups of 64 × 32, in some 28 KiB of workgroup memory.
pub(super) const UNITS_128: Tile =
    Tile { rows: 4, column_vectors: 4, workgroup: [128, 2], body: Body::Units };

/// For matrix units: 128 × 128 elements by four subgroups of 64 × 64.
pub(super) const UNITS_128_WIDE: Tile =
    Tile { rows: 4, column_vectors: 8, workgroup: [64, 2], body: Body::Units };

/// For matrix units: 128 × 256 elements by eight subgroups of 64 × 64, in some 38 KiB of workgroup memory.
pub(super) const UNITS_256: Tile =
    Tile { rows: 4, column_vectors: 8, workgroup: [128, 2], body: Body::Units };

const TILES: [Tile; 15] = [
    BROADCAST_SMALL,
    BROADCAST,
    BROADCAST_LONG,
    SOFTWARE,
    PLAIN,
    DIRECT_32,
    DIRECT_64,
    STAGED_32,
    STAGED_64,
    STAGED_128,
    STAGED_128_TALL,
    UNITS_64,
    UNITS_128,
    UNITS_128_WIDE,
    UNITS_256,
];

/// When a tile is taken for a product on a GPU.
struct Preference {
    tile: Tile,
    /// Workgroups that parts are to make, as times those that fill the adapter: few invocations each take more.
    wanted: usize,
    /// Positions of a part of the summed axis at least, where parts of it are to fill the adapter; shorter ones do not
    /// repay the way of their sums through memory.
    shortest_part: usize,
    /// Parts that repay a second launch.
    fewest_parts: usize,
}

/// The larger tiles first. Numbers are those of an H200, with an MLP 784-512-512-10 at batches of 128 to 16,384 and one of
/// eight layers of 2,048: parts of less than 512 of the larger tiles lose what sharing dispatches saves.
const LARGE_GPU: [Preference; 3] = [
    Preference { tile: STAGED_128_TALL, wanted: 1, shortest_part: 512, fewest_parts: 2 },
    Preference { tile: STAGED_64, wanted: 2, shortest_part: 512, fewest_parts: 2 },
    Preference { tile: STAGED_32, wanted: 1, shortest_part: 128, fewest_parts: 4 },
];

/// Not measured.
const SMALL_GPU: [Preference; 3] = [
    Preference { tile: STAGED_128, wanted: 1, shortest_part: usize::MAX, fewest_parts: 1 },
    Preference { tile: STAGED_64, wanted: 1, shortest_part: usize::MAX, fewest_parts: 1 },
    Preference { tile: STAGED_32, wanted: 1, shortest_part: 512, fewest_parts: 2 },
];

/// How a product is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    pub(crate) tile: Tile,
    /// Parts of the summed axis that are summed side by side, and their sums by a dispatch of their own (split-K), at
    /// most. Only whole matrices without a batch are split.
    pub(crate) parts: usize,
}

/// What a tiling may be chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProductShape {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Whether A and B are read transposed.
    pub(crate) transposed: [bool; 2],
    /// Whether A and B have 16 bits.
    pub(crate) half: [bool; 2],
}

/// Tilings that are chosen for products of these very shapes, over those of [`tiling_for`].
pub(crate) type Tilings = BTreeMap<ProductShape, Tiling>;

/// All tiles that run on an adapter, if not all of them well: llvmpipe compiles the larger staged ones for seconds.
pub(crate) fn tiles(profile: &Profile) -> impl Iterator<Item = Tile> {
    TILES.into_iter().filter(|tile| tile.runs_on(profile))
}

/// What does not run is told once, though every plan looks.
static UNUSABLE: Once = Once::new();

/// The tilings that were measured to be fast on an adapter. One whose tile does not run there any more is left out: what it
/// was measured for goes by the built-in table.
pub(crate) fn tuned(profile: &Profile) -> Tilings {
    let tilings = profile.tuning.products.iter().filter_map(|product| {
        let TunedProduct { m, n, k, transposed, half, parts, .. } = *product;
        let tile = tiles(profile).find(|tile| tile.to_string() == product.tile);
        let elements = [m, n, parts].iter().try_fold(4, |all: u64, part| all.checked_mul(*part as u64));
        let fits = (1..=k).contains(&parts) && elements.is_some_and(|bytes| bytes <= profile.max_binding_size);
        let tile = tile.filter(|_| fits);
        if tile.is_none() {
            UNUSABLE.call_once(|| {
                log::warn!(
                    "the tuning of {m} x {n} x {k} (`{}` in {parts} parts) does not run here and is not used; \
                     `downhill tune` makes it anew",
                    product.tile
                );
            });
        }
        Some((ProductShape { m, n, k, transposed, half }, Tiling { tile: tile?, parts: parts.max(1) }))
    });
    tilings.collect()
}

/// The tiling for an adapter and an m × n block of C.
pub(crate) fn tiling_for(profile: &Profile, m: usize, n: usize, k: usize) -> Tiling {
    if profile.class == AdapterClass::Software {
        return Tiling { tile: software_tile(profile, m * n * k), parts: 1 };
    }
    let preferences = if profile.class == AdapterClass::Discrete { &LARGE_GPU } else { &SMALL_GPU };
    let [larger @ .., smallest] = preferences;
    let mut tilings = larger.iter().filter_map(|preference| preference.tiling(profile, [m, n, k]));
    let smallest = || smallest.parts(profile, [m, n, k]);
    match STAGED_32.runs_on(profile) {
        true => tilings.next().unwrap_or_else(smallest),
        false => Tiling { tile: DIRECT_32, ..smallest() },
    }
}

impl Preference {
    /// The tile, in parts where C has not enough of it to fill the adapter: as many as do, none short, and as a binding
    /// holds the sums of.
    fn parts(&self, profile: &Profile, [m, n, k]: [usize; 3]) -> Tiling {
        let (filling, workgroups) = (filling_workgroups(profile.class), self.tile.workgroups(m, n).max(1));
        let wanted = if workgroups < filling { self.wanted * filling / workgroups } else { 1 };
        let fitting = profile.max_binding_size as usize / (4 * m * n).max(1);
        let parts = wanted.min(k / self.shortest_part).min(fitting);
        Tiling { tile: self.tile, parts: if parts < self.fewest_parts { 1 } else { parts } }
    }

    /// The same where that fills the adapter and C the tiles.
    fn tiling(&self, profile: &Profile, [m, n, k]: [usize; 3]) -> Option<Tiling> {
        let tiling = self.parts(profile, [m, n, k]);
        let workgroups = self.tile.workgroups(m, n);
        let computed = workgroups * (self.tile.workgroup_rows() * self.tile.workgroup_columns()) as usize;
        let fills = workgroups * tiling.parts >= filling_workgroups(profile.class);
        // A fifth of the work may fall beyond C.
        (fills && self.tile.runs_on(profile) && 4 * computed <= 5 * m * n).then_some(tiling)
    }
}

/// The tile for floats of 64 bits: neither broadcasts nor workgroup memory are made for them.
pub(crate) fn direct_tile(profile: &Profile) -> Tile {
    if profile.class == AdapterClass::Software { SOFTWARE } else { DIRECT_32 }
}

fn software_tile(profile: &Profile, multiply_adds: usize) -> Tile {
    match broadcasts(profile) {
        true if multiply_adds <= SMALL => BROADCAST_SMALL,
        true if multiply_adds >= LONG => BROADCAST_LONG,
        true => BROADCAST,
        false => SOFTWARE,
    }
}

/// Whether the adapter's subgroups are those that broadcasts are made for.
pub(crate) fn broadcasts(profile: &Profile) -> bool {
    let sizes = [profile.min_subgroup_size, profile.max_subgroup_size];
    profile.class == AdapterClass::Software && profile.subgroups && sizes == [SUBGROUP; 2]
}

/// The elements of a workgroup and of an invocation.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = match self.body {
            Body::Direct => "direct",
            Body::Broadcast => "broadcast",
            Body::Staged => "staged",
            Body::Units => UNITS,
        };
        let (rows, columns) = (self.workgroup_rows(), self.workgroup_columns());
        write!(f, "{body} {rows}x{columns}/{}x{}", self.rows, 4 * self.column_vectors)
    }
}

impl Tile {
    /// Rows of C that a workgroup computes.
    pub(crate) fn workgroup_rows(&self) -> u32 {
        let apart = if self.on_units() { FRAGMENT } else { 1 };
        apart * self.rows * self.workgroup[1]
    }

    /// Columns of C that a workgroup computes.
    pub(crate) fn workgroup_columns(&self) -> u32 {
        match self.on_units() {
            true => FRAGMENT / 2 * self.column_vectors * self.workgroup[0] / LANES,
            false => 4 * self.column_vectors * self.workgroup[0],
        }
    }

    /// Whether it takes operands of 16 bits and matrix units.
    pub(crate) fn on_units(&self) -> bool {
        self.body == Body::Units
    }

    /// Whether its operands go through workgroup memory.
    pub(crate) fn is_staged(&self) -> bool {
        self.body == Body::Staged
    }

    pub(super) fn invocations(&self) -> u32 {
        self.workgroup[0] * self.workgroup[1]
    }

    /// Workgroups that an m × n block of C takes.
    pub(crate) fn workgroups(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.workgroup_rows() as usize) * n.div_ceil(self.workgroup_columns() as usize)
    }

    /// Where an invocation's first row and column lie within the workgroup's, as WGSL.
    pub(super) fn first_place(&self) -> [String; 2] {
        let Tile { rows, column_vectors, .. } = self;
        let columns = match self.body {
            Body::Direct | Body::Broadcast => 4 * column_vectors,
            Body::Staged => 4,
            Body::Units => {
                let own = [FRAGMENT * rows, FRAGMENT / 2 * column_vectors];
                return [
                    format!("local.y * {}u + local.x % {LANES}u / 2u", own[0]),
                    format!("local.x / {LANES}u * {}u + local.x % 2u * {}u", own[1], FRAGMENT / 2),
                ];
            }
        };
        [format!("local.y * {rows}u"), format!("local.x * {columns}u")]
    }

    /// How far below an invocation's first row its row of this number lies.
    pub(super) fn row_offset(&self, row: u32) -> u32 {
        if self.on_units() { FRAGMENT * row } else { row }
    }

    /// How far beside an invocation's first column its group of four columns of this number lies. Staged, neighbours take
    /// neighbouring groups: were a group of each two theirs, the reads of eight lanes would meet in half of the banks of
    /// workgroup memory.
    pub(super) fn column_offset(&self, vector: u32) -> u32 {
        match self.body {
            Body::Direct | Body::Broadcast => 4 * vector,
            Body::Staged => 4 * self.workgroup[0] * vector,
            Body::Units => FRAGMENT * (vector / 2) + 4 * (vector % 2),
        }
    }

    /// Bytes of workgroup memory.
    pub(crate) fn workgroup_memory(&self) -> u32 {
        match self.body {
            Body::Direct | Body::Broadcast => 0,
            Body::Staged => 4 * DEPTH * (self.workgroup_rows() + self.workgroup_columns()),
            Body::Units => {
                let lines = [self.workgroup_rows(), self.workgroup_columns()];
                let slices: u32 = lines.map(units_slice_bytes).iter().sum();
                slices + 4 * FRAGMENT * FRAGMENT * self.invocations() / LANES
            }
        }
    }

    fn runs_on(&self, profile: &Profile) -> bool {
        (self.body != Body::Broadcast || broadcasts(profile))
            && (profile.matrix_units || !self.on_units())
            && self.invocations() <= profile.max_workgroup_invocations
            && self.workgroup_memory() <= profile.max_workgroup_memory
    }
}
