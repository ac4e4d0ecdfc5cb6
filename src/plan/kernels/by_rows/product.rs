//! Products of a block of rows with matrices of θ, and their sums over the rows, tile by tile in registers.

use std::fmt::Write;

use super::Writer;
use crate::graph::Var;
use crate::plan::expression::{Expression, IndexFact};
use crate::plan::kernels::matmul::SUBGROUP;

/// Rows and columns that one invocation keeps in registers, from the most to the least: as many as leave none idle.
const TILES: [[usize; 2]; 4] = [[4, 4], [4, 1], [2, 1], [1, 1]];

/// Multiply-adds of a product in one block up to which a tile of half the rows, which compiles in half the time, is as good.
const SMALL: usize = 1 << 16;

/// A product as its tiles see it: element (row, column) of the result is Σ a(row, s)·b(column, s).
pub(super) struct Tiled {
    /// As WGSL, and at most.
    rows: (String, usize),
    columns: usize,
    /// The summed length as WGSL, and at most.
    summed: (String, usize),
    /// Each operand, and what an index into it adds for each row or column and for each position of the summed axis.
    a: (Var, [usize; 2]),
    b: (Var, [usize; 2]),
}

/// What one invocation computes at a time.
struct Tile {
    rows: usize,
    columns: usize,
    /// Lanes share the rows and lie along the columns; each reads its own of every [`SUBGROUP`] rows, for all.
    broadcast: bool,
}

impl Tile {
    /// Columns from one tile of a loop's counter to the next.
    fn across(&self) -> usize {
        if self.broadcast { self.columns * SUBGROUP as usize } else { self.columns }
    }
}

impl Tiled {
    /// [rows·lines, k] · op(B) [k, n] in a block of at most `most` rows.
    pub fn rows([a, b]: [Var; 2], transposed: bool, [lines, n, k]: [usize; 3], most: usize) -> Self {
        Tiled {
            rows: (format!("rows * {lines}u"), most * lines),
            columns: n,
            summed: (format!("{k}u"), k),
            a: (a, [k, 1]),
            b: (b, if transposed { [k, 1] } else { [1, n] }),
        }
    }

    /// Aᵀ [m, rows·lines] · B [rows·lines, n]; of both as [`Tiled::rows`].
    pub fn sum([a, b]: [Var; 2], [lines, m, n]: [usize; 3], most: usize) -> Self {
        Tiled {
            rows: (format!("{m}u"), m),
            columns: n,
            summed: (format!("rows * {lines}u"), most * lines),
            a: (a, [1, m]),
            b: (b, [1, n]),
        }
    }
}

impl<'a> Writer<'a> {
    /// The product itself, and what stands behind it on each of the invocation's own elements.
    pub fn product(&mut self, tiled: &Tiled, anchor: Var, root: Var) -> Option<String> {
        let offset = self.block.places.get(&root)?;
        let target = |place: &str| format!("floats[{offset}u + {place}]");
        if anchor == root {
            return Some(self.tiles(tiled, target, ""));
        }
        let columns = tiled.columns;
        let mut expression =
            self.begin(Some(root)).with_anchor(anchor, "value").with_facts(vec![IndexFact {
                name: "index",
                size: columns,
                quotient: "row",
                remainder: "column",
            }]);
        let value = expression.value(root, "index")?;
        let statements = expression.take_statements();
        self.end(expression);
        let behind = format!(
            "        for (var row = row_first; row < row_end; row++) {{\n        \
             for (var column = column_first; column < column_end; column++) {{\n        \
             let index = row * {columns}u + column;\n        let value = {stored};\n{statements}        \
             {stored} = {value};\n        }}\n        }}\n",
            stored = target("index")
        );
        Some(self.tiles(tiled, target, &behind))
    }

    /// The sums of a product by tiles, stored at `target`, and `behind` run over `row_first .. row_end` and
    /// `column_first .. column_end`. Past an edge the last row or column is computed and stored again.
    pub fn tiles(&mut self, tiled: &Tiled, target: impl Fn(&str) -> String, behind: &str) -> String {
        let tile = self.tile(tiled);
        self.sums += tile.rows * tile.columns;
        let (rows, columns) = (&tiled.rows.0, tiled.columns);
        let across = columns.div_ceil(tile.across());
        let mut text = begin(tiled, &tile, across);
        let mut stores = String::new();
        for (row, column) in (0..tile.rows).flat_map(|row| (0..tile.columns).map(move |column| (row, column)))
        {
            let _ = writeln!(text, "        var sum{row}_{column} = 0.0;");
            let place = target(&format!("row_{row} * {columns}u + column_{column}"));
            let _ = writeln!(stores, "        {place} = sum{row}_{column};");
        }
        let mut expression = self.begin(None);
        let step = multiply(&mut expression, tiled, &tile);
        self.end(expression);
        let _ = writeln!(text, "        for (var s = 0u; s < {}; s++) {{\n{step}        }}", tiled.summed.0);
        let count = format!("(({rows}) + {}u) / {}u * {across}u", tile.rows - 1, tile.rows);
        if tile.broadcast {
            // All lanes stay in the loop, to hand round their rows.
            return format!(
                "    for (var tile = 0u; tile < {count}; tile++) {{\n{text}        \
                     if (column_first < {columns}u) {{\n{stores}{behind}        }}\n    }}\n"
            );
        }
        self.each("tile", &count, &format!("{text}{stores}{behind}"))
    }

    fn tile(&self, tiled: &Tiled) -> Tile {
        let (rows, lanes) = (tiled.rows.1, self.block.lanes);
        if self.block.broadcast {
            // As many columns as leave no lane without one.
            let columns = (tiled.columns / SUBGROUP as usize).clamp(1, 4);
            let small = rows <= 8 || rows * tiled.columns * tiled.summed.1 <= SMALL;
            return Tile { rows: if small { 8 } else { 16 }, columns, broadcast: true };
        }
        let tiles = |[r, c]: &[usize; 2]| rows.div_ceil(*r) * tiled.columns.div_ceil(*c);
        let enough = TILES.iter().find(|tile| tiles(tile) >= lanes);
        let [rows, columns] = *enough.unwrap_or(&TILES[TILES.len() - 1]);
        Tile { rows, columns, broadcast: false }
    }
}

/// The places of a tile's rows and columns, and where the lines begin that this invocation reads.
fn begin(tiled: &Tiled, tile: &Tile, across: usize) -> String {
    let (rows, columns) = (&tiled.rows.0, tiled.columns);
    let (own_columns, lane) = match tile.broadcast {
        true => (tile.across(), format!(" + lane * {}u", tile.columns)),
        false => (tile.columns, String::new()),
    };
    let mut text = format!(
        "        let row_first = tile / {across}u * {r}u;\n        \
         let column_first = tile % {across}u * {own_columns}u{lane};\n        \
         let row_end = min(row_first + {r}u, {rows});\n        \
         let column_end = min(column_first + {c}u, {columns}u);\n",
        r = tile.rows,
        c = tile.columns,
    );
    for row in 0..tile.rows {
        let _ = writeln!(text, "        let row_{row} = min(row_first + {row}u, row_end - 1u);");
    }
    for column in 0..tile.columns {
        let _ =
            writeln!(text, "        let column_{column} = min(column_first + {column}u, {columns}u - 1u);");
        let _ = writeln!(text, "        let column_line{column} = column_{column} * {}u;", tiled.b.1[0]);
    }
    for line in 0..lines(tile) {
        let row = match tile.broadcast {
            true => format!("min(row_first + own + {}u, row_end - 1u)", SUBGROUP as usize * line),
            false => format!("row_{line}"),
        };
        let _ = writeln!(text, "        let row_line{line} = {row} * {}u;", tiled.a.1[0]);
    }
    text
}

/// Rows that an invocation reads itself.
fn lines(tile: &Tile) -> usize {
    if tile.broadcast { tile.rows / SUBGROUP as usize } else { tile.rows }
}

/// Adds the products of one position `s` of the summed axis to all sums.
fn multiply(expression: &mut Expression, tiled: &Tiled, tile: &Tile) -> String {
    let mut text = String::new();
    let operands = [("a", &tiled.a, "row_line", lines(tile)), ("b", &tiled.b, "column_line", tile.columns)];
    for (name, (var, strides), line, count) in operands {
        for item in 0..count {
            let value = expression.stored(*var, &format!("{line}{item} + s * {}u", strides[1]));
            let statements = expression.take_statements();
            let _ = writeln!(text, "{statements}        let of_{name}{item} = {value};");
        }
    }
    for row in 0..tile.rows {
        let factor = match tile.broadcast {
            true => {
                let (line, lane) = (row / SUBGROUP as usize, row % SUBGROUP as usize);
                let _ = writeln!(text, "        let factor{row} = subgroupBroadcast(of_a{line}, {lane}u);");
                format!("factor{row}")
            }
            false => format!("of_a{row}"),
        };
        for column in 0..tile.columns {
            let sum = format!("sum{row}_{column}");
            let _ = writeln!(text, "        {sum} = fma({factor}, of_b{column}, {sum});");
        }
    }
    text
}
