//! A product of matrices as dispatches: operands as they lie, the epilogue behind it, parameters that are cut
//! into pieces because no binding holds them, and summed axes that are split because C alone fills no adapter.

use super::expression::{Expression, IndexFact, Width};
use super::fuse::{MatrixOperand, matrix_operand};
use super::joined::Launch;
use super::kernels::matmul::{
    Epilogue, FIRST_EPILOGUE_BINDING, Former, Layout, MatmulParams, MatmulSpec, Operand, ProductShape,
    ProductText, Tile, Tiling, direct_tile, tiling_for,
};
use super::lower::Lowerer;
use super::{Binding, Precision};
use crate::graph::Var;
use crate::graph::ops::{Extents, MatMul, ReduceKind};
use crate::{Error, Result};

/// One of the three matrices as it lies: rows of `columns` adjacent elements.
struct Matrix {
    tensor: usize,
    columns: usize,
    /// Whether its elements have 16 bits.
    half: bool,
    /// Elements from one batch entry to the next; 0 where all share one matrix.
    stride: usize,
}

/// Part of one of the axes m, n, k, and the piece of a cut parameter that holds it.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    length: usize,
    piece: usize,
}

/// A product with its axes cut into blocks: one dispatch for every combination.
struct Product {
    extents: Extents,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    transposed: [bool; 2],
    /// Which matrix is cut along m, n and k, if one is.
    cut: [Option<Side>; 3],
    /// k of the last batch entry, where the entries are parts of a summed axis.
    last_k: Option<usize>,
    /// The sum of A's rows that is stored beside C.
    sum: Option<Var>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    A,
    B,
    C,
}

const M: usize = 0;
const N: usize = 1;
const K: usize = 2;

impl Lowerer<'_> {
    pub(super) fn matmul(&mut self, matmul: &MatMul, anchor: Var, root: Var) -> Result<()> {
        let mut product = self.product(matmul, anchor, root)?;
        let Extents { m, n, k, .. } = product.extents;
        let Tiling { tile, parts } = self.tiling(&product, [m, n, k]);
        let chunk = product.chunk(parts);
        if let Some(sum) = self.sums.remove(&root) {
            let whole = chunk.is_none() && product.cut == [None; 3];
            match whole && self.takes_sum(tile, k) {
                true => product.sum = Some(sum.root),
                false => self.group(&sum)?,
            }
        }
        if let Some(chunk) = chunk {
            // Room for as many parts as are asked for, though rounding may leave fewer: then bytes follow from the tiling alone.
            self.plan.products.insert(product.shape([m, n, k]));
            let sums = self.scratch("products of parts".to_owned(), parts * m * n)?;
            return self.split(&product, tile, chunk, sums, (anchor, root));
        }
        let blocks = [M, N, K].map(|axis| self.blocks(&product, axis));
        let first = match (self.accumulates(root), anchor == root, blocks[K].len()) {
            (false, ..) => Former::Lost,
            (true, true, _) => Former::ContinuedByStep,
            (true, false, 1) => Former::AddedByStep,
            (true, false, _) => {
                return Err(Error::DoesNotFit(format!(
                    "{} is summed in pieces that this adapter can bind, with operations behind the sum, and cannot be \
                     accumulated over micro-batches; use a batch of one micro-batch",
                    self.plan.tensors[product.c.tensor].label
                )));
            }
        };
        for m in &blocks[M] {
            for n in &blocks[N] {
                for (number, k) in blocks[K].iter().enumerate() {
                    let last = number + 1 == blocks[K].len();
                    let epilogue = (last && anchor != root).then_some((anchor, root));
                    let former = if number > 0 { Former::Continued } else { first };
                    let lengths = [m.length, n.length, k.length];
                    self.plan.products.insert(product.shape(lengths));
                    let tile = self.tiling(&product, lengths).tile;
                    self.block(&product, [*m, *n, *k], tile, former, epilogue)?;
                }
            }
        }
        Ok(())
    }

    fn product(&mut self, matmul: &MatMul, anchor: Var, root: Var) -> Result<Product> {
        let graph = self.scope.graph;
        let inputs = &graph.node(anchor).inputs;
        let shape = |var: Var| graph.shape(var).resolve(self.scope.batch);
        let extents = matmul.extents(&shape(inputs[0]), &shape(anchor));
        let Extents { m, n, k, .. } = extents;
        let operands = [
            matrix_operand(graph, inputs[0], matmul.transpose_a),
            matrix_operand(graph, inputs[1], matmul.transpose_b),
        ];
        let mut matrix = |operand: &MatrixOperand, rows: usize, columns: usize| -> Result<Matrix> {
            let (rows, columns) = if operand.transposed { (columns, rows) } else { (rows, columns) };
            let stride = if operand.shared { 0 } else { rows * columns };
            let (tensor, half) = self.matrix_tensor(operand.stored)?;
            Ok(Matrix { tensor, columns, half, stride })
        };
        let (a, b) = (matrix(&operands[0], m, k)?, matrix(&operands[1], k, n)?);
        let half = self.scope.half.contains(&root);
        let c = Matrix { tensor: self.tensor(root)?, columns: n, half, stride: m * n };
        let transposed = operands.map(|operand| operand.transposed);
        let mut cut = [None; 3];
        let cut_axes = [
            (Side::A, &a, if transposed[0] { K } else { M }),
            (Side::B, &b, if transposed[1] { N } else { K }),
            (Side::C, &c, M),
        ];
        for (side, matrix, axis) in cut_axes {
            if self.pieces(matrix.tensor) > 1 {
                if cut[axis].is_some() || extents.batches > 1 {
                    let label = &self.plan.tensors[matrix.tensor].label;
                    return Err(Error::DoesNotFit(format!(
                        "{label} is cut into pieces that this adapter can bind, and this matmul cannot follow the cut"
                    )));
                }
                cut[axis] = Some(side);
            }
        }
        Ok(Product { extents, a, b, c, transposed, cut, last_k: None, sum: None })
    }

    /// A product split along the summed axis: its parts are batch entries of one dispatch, each `chunk` long, which writes
    /// `sums`, and a second one joins those in their order.
    fn split(
        &mut self,
        product: &Product,
        tile: Tile,
        chunk: usize,
        sums: Binding,
        nodes: (Var, Var),
    ) -> Result<()> {
        let Extents { m, n, k, .. } = product.extents;
        let parts = k.div_ceil(chunk);
        let part_of = |matrix: &Matrix, along_rows: bool| {
            let stride = if along_rows { chunk * matrix.columns } else { chunk };
            Matrix { stride, ..*matrix }
        };
        let split = Product {
            extents: Extents { batches: parts, m, n, k: chunk },
            a: part_of(&product.a, product.transposed[0]),
            b: part_of(&product.b, !product.transposed[1]),
            c: Matrix { tensor: sums.tensor, columns: n, half: false, stride: m * n },
            last_k: Some(k - (parts - 1) * chunk),
            ..*product
        };
        let blocks = [M, N, K].map(|axis| split.whole(axis));
        self.block(&split, blocks, tile, Former::Lost, None)?;
        self.join_parts(ReduceKind::Sum, sums, [1, parts, m * n], nodes)
    }

    /// What is chosen for a block of a product, or else what suits the adapter.
    fn tiling(&self, product: &Product, [m, n, k]: [usize; 3]) -> Tiling {
        if self.scope.precision == Precision::F64 {
            return Tiling { tile: direct_tile(self.profile), parts: 1 };
        }
        let shape = product.shape([m, n, k]);
        let chosen = self.tilings.get(&shape).copied();
        // Matrix units take nothing but 16 bits.
        let chosen = chosen.filter(|tiling| !tiling.tile.on_units() || shape.half == [true, true]);
        chosen.unwrap_or_else(|| tiling_for(self.profile, m, n, k))
    }

    /// The blocks of one axis: the pieces of the matrix that is cut along it, or the whole.
    fn blocks(&self, product: &Product, axis: usize) -> Vec<Block> {
        let Some(side) = product.cut[axis] else { return vec![product.whole(axis)] };
        let matrix = product.matrix(side);
        let (super::Home::Parameter(number) | super::Home::Gradient(number)) =
            self.plan.tensors[matrix.tensor].home
        else {
            return Vec::new();
        };
        let pieces = self.plan.theta.pieces[number].iter().enumerate();
        pieces
            .map(|(number, piece)| Block {
                start: piece.start / matrix.columns,
                length: piece.elements / matrix.columns,
                piece: number,
            })
            .collect()
    }

    fn block(
        &mut self,
        product: &Product,
        blocks: [Block; 3],
        tile: Tile,
        former: Former,
        epilogue: Option<(Var, Var)>,
    ) -> Result<()> {
        let Extents { batches, .. } = product.extents;
        let [m, n, k] = blocks;
        let offset = |side: Side, rows: Block, columns: Block| product.offset(side, rows, columns);
        let (a_rows, a_columns) = if product.transposed[0] { (k, m) } else { (m, k) };
        let (b_rows, b_columns) = if product.transposed[1] { (n, k) } else { (k, n) };
        let (a_offset, b_offset) = (offset(Side::A, a_rows, a_columns), offset(Side::B, b_rows, b_columns));
        // The kernel counts C's elements from the whole matrix's first; a piece begins later.
        let c_skipped = if product.cut[M] == Some(Side::C) { m.start * product.c.columns } else { 0 };
        let operand = |kept: bool, matrix: &Matrix, offset: usize, length: usize| Operand {
            layout: if kept { Layout::Kept } else { Layout::Summed },
            vec4: [matrix.columns, matrix.stride, offset, length]
                .iter()
                .all(|number| number.is_multiple_of(4)),
            half: matrix.half,
        };
        let a = operand(product.transposed[0], &product.a, a_offset, a_columns.length);
        let b = operand(!product.transposed[1], &product.b, b_offset, b_columns.length);
        let four =
            [product.c.columns, n.start, n.length, c_skipped].iter().all(|number| number.is_multiple_of(4));
        let epilogue = self.epilogue(product, epilogue, four)?;
        let last_k = product.last_k.unwrap_or(k.length);
        let store_half = product.c.half;
        let sums_rows = product.sum.is_some();
        let spec = MatmulSpec { a, b, tile, store_vec4: epilogue.four, store_half, former, sums_rows };
        let tiles_m = m.length.div_ceil(tile.workgroup_rows() as usize);
        let tiles_n = n.length.div_ceil(tile.workgroup_columns() as usize);
        let params = MatmulParams {
            m: m.length as u32,
            n: n.length as u32,
            k: k.length as u32,
            last_k: last_k as u32,
            batch: batches as u32,
            lda: product.a.columns as u32,
            ldb: product.b.columns as u32,
            ldc: product.c.columns as u32,
            a_stride: product.a.stride as u32,
            b_stride: product.b.stride as u32,
            c_stride: product.c.stride as u32,
            a_offset: a_offset as u32,
            b_offset: b_offset as u32,
            c_offset: 0u32.wrapping_sub(c_skipped as u32),
            first_row: m.start as u32,
            first_column: n.start as u32,
            tiles_m: tiles_m as u32,
            tiles_n: tiles_n as u32,
            // Follows from what else is launched with it.
            fold: 0,
        };
        let binding = |side: Side, matrix: &Matrix| {
            let axis = (0..3).find(|&axis| product.cut[axis] == Some(side));
            Binding { tensor: matrix.tensor, piece: axis.map_or(0, |axis| blocks[axis].piece) }
        };
        let mut reads = vec![binding(Side::A, &product.a), binding(Side::B, &product.b)];
        reads.extend(epilogue.reads);
        let mut writes = vec![binding(Side::C, &product.c)];
        if let Some(sum) = product.sum {
            writes.push(self.bind_result(sum)?);
        }
        let summed = (batches - 1) * k.length + last_k;
        let operations = [m.length, n.length, summed].iter().fold(2, |all, &part| all * part as u64);
        let text = ProductText { spec, epilogue: epilogue.text, reads: reads.len() };
        self.launch(Launch {
            text,
            params,
            reads,
            writes,
            workgroups: tiles_m * tiles_n * batches,
            operations,
        })
    }

    /// The elementwise operations behind the product, four columns at a time where that can be.
    fn epilogue(
        &mut self,
        product: &Product,
        nodes: Option<(Var, Var)>,
        four: bool,
    ) -> Result<BoundEpilogue> {
        let Some((anchor, root)) = nodes else {
            return Ok(BoundEpilogue { text: Epilogue::default(), reads: Vec::new(), four });
        };
        let widths = if four { &[Width::Four, Width::One][..] } else { &[Width::One][..] };
        for &width in widths {
            let mut expression = Expression::new(self.scope, width, FIRST_EPILOGUE_BINDING as usize)
                .storing(root)
                .with_anchor(anchor, "value");
            if product.extents.batches == 1 {
                let size = product.c.columns;
                let fact = IndexFact { name: "index", size, quotient: "row", remainder: "col" };
                expression = expression.with_facts(vec![fact]);
            }
            let Some(value) = expression.value(root, "index") else { continue };
            // Two are the operands' own. A tensor that is read both by fours and one by one takes two bindings.
            if width == Width::Four && 2 + expression.loads.len() > self.max_reads() {
                continue;
            }
            let text = Epilogue {
                statements: expression.take_statements(),
                declarations: expression.declarations(),
                expression: value,
            };
            let reads = self.bind_loads(&expression.loads)?;
            return Ok(BoundEpilogue { text, reads, four: width == Width::Four });
        }
        Err(Error::shape("matmul", "the operations behind it cannot be computed in the kernel"))
    }
}

/// An epilogue and what it reads.
struct BoundEpilogue {
    text: Epilogue,
    reads: Vec<Binding>,
    four: bool,
}

impl Product {
    /// An axis that is not cut.
    fn whole(&self, axis: usize) -> Block {
        let Extents { m, n, k, .. } = self.extents;
        Block { start: 0, length: [m, n, k][axis], piece: 0 }
    }

    fn matrix(&self, side: Side) -> &Matrix {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
            Side::C => &self.c,
        }
    }

    /// How long the parts are that the summed axis is split into, where there are several: whole vectors, and whole slices
    /// of the staged tiles.
    fn chunk(&self, parts: usize) -> Option<usize> {
        let k = self.extents.k;
        let chunk = k.div_ceil(parts).next_multiple_of(16);
        let is_plain = self.extents.batches == 1 && self.cut == [None; 3];
        (is_plain && chunk < k).then_some(chunk)
    }

    fn shape(&self, [m, n, k]: [usize; 3]) -> ProductShape {
        let half = [self.a.half, self.b.half];
        ProductShape { m, n, k, transposed: self.transposed, half }
    }

    /// Elements before the block in what is bound of an operand: a piece is bound alone, from its own first row.
    fn offset(&self, side: Side, rows: Block, columns: Block) -> usize {
        let own_rows = self.cut.contains(&Some(side));
        let skipped_rows = if own_rows { 0 } else { rows.start };
        skipped_rows * self.matrix(side).columns + columns.start
    }
}
