//! The matmul kernel family: C[batch, m, n] = Σₖ A[batch, m, k] · B[batch, k, n] in f32, as WGSL text.
//!
//! Each invocation keeps a tile of C in registers and reads both operands as they lie in their buffers,
//! without workgroup memory. Shapes and strides come from a uniform, so that layers share pipelines;
//! what is specialised is how the operands lie, whether they can be read four floats at a time, the tile,
//! and the epilogue that fusion hangs on.

use std::fmt::Write;

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
    /// Read as `vec4<f32>`: the length of the contiguous axis, the leading dimension, the batch stride and
    /// the offset must all be multiples of four.
    pub(crate) vec4: bool,
}

/// The part of C that an invocation and a workgroup compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// Rows per invocation, a multiple of four.
    pub(crate) rows: u32,
    /// Groups of four adjacent columns per invocation.
    pub(crate) column_vectors: u32,
    /// Invocations per workgroup along the columns and along the rows.
    pub(crate) workgroup: [u32; 2],
    /// Neighbouring invocations take neighbouring rows, not columns.
    pub(crate) lanes_along_rows: bool,
    pub(crate) fma: bool,
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

/// All that distinguishes one kernel of the family from another, but the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MatmulSpec {
    pub(crate) a: Operand,
    pub(crate) b: Operand,
    pub(crate) tile: Tile,
    /// C is an `array<vec4<f32>>`: n, its leading dimension, batch stride and offset are multiples of four.
    pub(crate) store_vec4: bool,
    /// Sums go on from what C holds, in the same order: K split over dispatches gives the bits of one.
    pub(crate) accumulate: bool,
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

/// The binding of the first extra operand; C takes the binding after the last of them.
pub(crate) const FIRST_EPILOGUE_BINDING: u32 = 4;

/// The uniform at binding 1. Offsets, strides and leading dimensions count floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct MatmulParams {
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) k: u32,
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

const PARAMS: &str = "\
struct Matmul {
    m: u32, n: u32, k: u32, batch: u32,
    lda: u32, ldb: u32, ldc: u32,
    a_stride: u32, b_stride: u32, c_stride: u32,
    a_offset: u32, b_offset: u32, c_offset: u32,
    first_row: u32, first_column: u32,
    tiles_m: u32, tiles_n: u32, fold: u32,
}
@group(0) @binding(1) var<uniform> p: Matmul;
";

const COMPONENTS: [char; 4] = ['x', 'y', 'z', 'w'];

/// One operand as the generated text names it.
struct Reader {
    /// `a` or `b`, the prefix of every name.
    name: char,
    operand: Operand,
    /// Rows of A or columns of B that an invocation reads.
    count: u32,
}

impl Reader {
    /// Reads that one position along the summed axis takes (or four, where they are summed-axis vectors).
    fn lines(&self) -> u32 {
        if self.grouped() { self.count / 4 } else { self.count }
    }

    fn grouped(&self) -> bool {
        self.operand.vec4 && self.operand.layout == Layout::Kept
    }

    /// Vectors along the summed axis, which then has a length divisible by four.
    fn spans_four(&self) -> bool {
        self.operand.vec4 && self.operand.layout == Layout::Summed
    }

    /// Where each line begins, in units of the array; lines past the edge repeat the last one.
    fn bases(&self, text: &mut String, first: &str, limit: &str) {
        let name = self.name;
        let shift = if self.operand.vec4 { " >> 2u" } else { "" };
        let _ = writeln!(text, "    let {name}_start = ({name}_base){shift};");
        let _ = writeln!(text, "    let {name}_ld = p.ld{name}{shift};");
        for line in 0..self.lines() {
            let place = match (self.operand.layout, self.operand.vec4) {
                (Layout::Summed, _) => format!("min({first} + {line}u, {limit} - 1u) * {name}_ld"),
                (Layout::Kept, false) => format!("min({first} + {line}u, {limit} - 1u)"),
                (Layout::Kept, true) => format!("min(({first} >> 2u) + {line}u, ({limit} >> 2u) - 1u)"),
            };
            let _ = writeln!(text, "    let {name}_line{line} = {name}_start + {place};");
        }
    }

    /// Reads everything that positions `4 * block` to `4 * block + 3`, or the one position `tail`, take.
    fn loads(&self, text: &mut String, steps: u32) {
        let name = self.name;
        if self.spans_four() {
            for line in 0..self.lines() {
                let _ = writeln!(text, "        let {name}{line} = {name}[{name}_line{line} + block];");
            }
            return;
        }
        for step in 0..steps {
            let position = if steps == 1 { "tail".to_owned() } else { format!("(4u * block + {step}u)") };
            let along = match self.operand.layout {
                Layout::Summed => position,
                Layout::Kept => format!("{position} * {name}_ld"),
            };
            for line in 0..self.lines() {
                let _ =
                    writeln!(text, "        let {name}{line}_{step} = {name}[{name}_line{line} + {along}];");
            }
        }
    }

    /// The float of row or column `item` at step `step` of a block.
    fn scalar(&self, item: u32, step: u32) -> String {
        let name = self.name;
        if self.spans_four() {
            format!("{name}{item}.{}", COMPONENTS[step as usize])
        } else if self.grouped() {
            format!("{name}{}_{step}.{}", item / 4, COMPONENTS[item as usize % 4])
        } else {
            format!("{name}{item}_{step}")
        }
    }

    /// Items `4 * group` to `4 * group + 3` at step `step` as a vector.
    fn vector(&self, group: u32, step: u32) -> String {
        if self.grouped() {
            return format!("{}{group}_{step}", self.name);
        }
        let items: Vec<String> = (0..4).map(|lane| self.scalar(4 * group + lane, step)).collect();
        format!("vec4({})", items.join(", "))
    }
}

/// The whole WGSL module of one kernel, entry point `main`.
///
/// `step` declares what binding 0 holds. Bindings: 0 step, 1 [`MatmulParams`], 2 A, 3 B, then what the
/// epilogue declares, and C at `output_binding`.
pub(crate) fn matmul_wgsl(spec: &MatmulSpec, step: &str, epilogue: &Epilogue, output_binding: u32) -> String {
    let tile = spec.tile;
    let a = Reader { name: 'a', operand: spec.a, count: tile.rows };
    let b = Reader { name: 'b', operand: spec.b, count: 4 * tile.column_vectors };
    let element = |vec4: bool| if vec4 { "vec4<f32>" } else { "f32" };
    let mut text = String::from(step);
    text += PARAMS;
    let _ = writeln!(text, "alias T = {};", element(spec.store_vec4));
    let _ = writeln!(text, "@group(0) @binding(2) var<storage, read> a: array<{}>;", element(spec.a.vec4));
    let _ = writeln!(text, "@group(0) @binding(3) var<storage, read> b: array<{}>;", element(spec.b.vec4));
    let _ = writeln!(text, "@group(0) @binding({output_binding}) var<storage, read_write> c: array<T>;");
    text += &epilogue.declarations;
    let expression = if epilogue.expression.is_empty() { "value" } else { &epilogue.expression };
    let _ = writeln!(
        text,
        "fn epilogue(value: T, row: u32, col: u32, index: u32) -> T {{\n{}    return {expression};\n}}",
        epilogue.statements
    );

    let [columns, rows] = tile.workgroup;
    let (size, along_m, along_n) =
        if tile.lanes_along_rows { ([rows, columns], "x", "y") } else { ([columns, rows], "y", "x") };
    let _ = write!(
        text,
        "
@compute @workgroup_size({}, {})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {{
    let place = group.x + group.y * p.fold;
    let tiles = p.tiles_m * p.tiles_n;
    let entry = place / tiles;
    if entry >= p.batch {{ return; }}
    let row0 = ((place % tiles) / p.tiles_n * {rows}u + local.{along_m}) * {}u;
    let col0 = (place % p.tiles_n * {columns}u + local.{along_n}) * {}u;
    if row0 >= p.m || col0 >= p.n {{ return; }}
    let a_base = p.a_offset + entry * p.a_stride;
    let b_base = p.b_offset + entry * p.b_stride;
    let index0 = entry * p.c_stride + p.first_row * p.ldc + p.first_column;
",
        size[0],
        size[1],
        tile.rows,
        4 * tile.column_vectors,
    );
    a.bases(&mut text, "row0", "p.m");
    b.bases(&mut text, "col0", "p.n");
    for row in 0..tile.rows {
        for vector in 0..tile.column_vectors {
            let start = if spec.accumulate { initial(spec, row, vector) } else { "vec4(0.0)".to_owned() };
            let _ = writeln!(text, "    var sum{row}_{vector} = {start};");
        }
    }
    text += "    for (var block = 0u; block < (p.k >> 2u); block++) {\n";
    products(&mut text, spec, &a, &b, 4);
    text += "    }\n";
    if !a.spans_four() && !b.spans_four() {
        text += "    for (var tail = p.k & ~3u; tail < p.k; tail++) {\n";
        products(&mut text, spec, &a, &b, 1);
        text += "    }\n";
    }
    for row in 0..tile.rows {
        let _ = writeln!(text, "    if row0 + {row}u < p.m {{");
        for vector in 0..tile.column_vectors {
            stores(&mut text, spec, row, vector);
        }
        text += "    }\n";
    }
    text += "}\n";
    text
}

/// Multiplies and adds `steps` positions of the summed axis, one after the other for every element of C.
fn products(text: &mut String, spec: &MatmulSpec, a: &Reader, b: &Reader, steps: u32) {
    a.loads(text, steps);
    b.loads(text, steps);
    for step in 0..steps {
        for vector in 0..spec.tile.column_vectors {
            let _ = writeln!(text, "        let w{step}_{vector} = {};", b.vector(vector, step));
        }
        for row in 0..spec.tile.rows {
            for vector in 0..spec.tile.column_vectors {
                let factor = a.scalar(row, step);
                let _ = if spec.tile.fma {
                    writeln!(
                        text,
                        "        sum{row}_{vector} = fma(vec4({factor}), w{step}_{vector}, sum{row}_{vector});"
                    )
                } else {
                    writeln!(text, "        sum{row}_{vector} += {factor} * w{step}_{vector};")
                };
            }
        }
    }
}

/// What C holds for a row and four columns; past an edge anything, for it is not stored.
fn initial(spec: &MatmulSpec, row: u32, vector: u32) -> String {
    let line = format!("p.c_offset + index0 + min(row0 + {row}u, p.m - 1u) * p.ldc");
    if spec.store_vec4 {
        return format!("c[({line} + min(col0 + {}u, p.n - 4u)) >> 2u]", 4 * vector);
    }
    let lanes: Vec<String> =
        (0..4).map(|lane| format!("c[{line} + min(col0 + {}u, p.n - 1u)]", 4 * vector + lane)).collect();
    format!("vec4({})", lanes.join(", "))
}

fn stores(text: &mut String, spec: &MatmulSpec, row: u32, vector: u32) {
    let width = if spec.store_vec4 { 4 } else { 1 };
    for lane in (0..4).step_by(width) {
        let column = 4 * vector + lane as u32;
        let (value, shift) = match spec.store_vec4 {
            true => (format!("sum{row}_{vector}"), " >> 2u"),
            false => (format!("sum{row}_{vector}.{}", COMPONENTS[lane]), ""),
        };
        let _ = writeln!(
            text,
            "        if col0 + {column}u < p.n {{
            let index = index0 + (row0 + {row}u) * p.ldc + col0 + {column}u;
            c[(p.c_offset + index){shift}] = epilogue({value}, p.first_row + row0 + {row}u, p.first_column + col0 + {column}u, index);
        }}"
        );
    }
}

/// The tile for an adapter class and operand layouts.
pub(crate) fn tile_for(
    _class: crate::gpu::AdapterClass,
    _a: Layout,
    _b: Layout,
    _m: usize,
    _n: usize,
) -> Tile {
    Tile { rows: 8, column_vectors: 1, workgroup: [8, 1], lanes_along_rows: false, fma: true }
}
