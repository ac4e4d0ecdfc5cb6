//! Adafactor: rows, columns and their mean, sums over each tensor, its rate, and the step; six launches a range.

use super::planner::{Planner, Range};
use super::text::{Access, Frame, ONE, Vector};
use super::{Place, StatePiece};
use crate::optim::Optimizer;
use crate::{Error, Result};

/// A pass: its name, its text, and the vectors behind the gradient, θ and the state, of which it has those named.
struct Pass {
    label: &'static str,
    text: &'static str,
    gradient: bool,
    theta: Option<Access>,
    state: Access,
    vectors: &'static [(&'static str, Access, &'static str)],
}

/// The text that passes over elements share.
macro_rules! with_element {
    ($file:literal) => {
        concat!(include_str!("../../../shaders/update/factored_element.wgsl"), include_str!($file))
    };
}

use Access::{Read, ReadWrite};

const ROWS: Pass = Pass {
    label: "rows",
    text: include_str!("../../../shaders/update/factored_rows.wgsl"),
    gradient: true,
    theta: None,
    state: ReadWrite,
    vectors: &[("rows", Read, "vec4<u32>")],
};

const COLUMNS: Pass = Pass {
    label: "columns",
    text: include_str!("../../../shaders/update/factored_columns.wgsl"),
    vectors: &[("columns", Read, "vec4<u32>")],
    ..ROWS
};

const MEANS: Pass = Pass {
    label: "means",
    text: include_str!("../../../shaders/update/factored_means.wgsl"),
    gradient: false,
    theta: None,
    state: Read,
    vectors: &[("spans", Read, "vec4<u32>"), ("means", ReadWrite, "f32")],
};

const SUMS: Pass = Pass {
    label: "sums",
    text: with_element!("../../../shaders/update/factored_sums.wgsl"),
    gradient: true,
    theta: Some(Read),
    state: ReadWrite,
    vectors: &[("blocks", Read, "vec4<u32>"), ("means", Read, "f32"), ("partials", ReadWrite, "vec2<f32>")],
};

const RATES: Pass = Pass {
    label: "rates",
    text: include_str!("../../../shaders/update/factored_rates.wgsl"),
    gradient: false,
    theta: None,
    state: Read,
    vectors: &[("spans", Read, "vec4<u32>"), ("partials", Read, "vec2<f32>"), ("rates", ReadWrite, "f32")],
};

const STEPS: Pass = Pass {
    label: "steps",
    text: with_element!("../../../shaders/update/factored_steps.wgsl"),
    gradient: true,
    theta: Some(ReadWrite),
    state: Read,
    vectors: &[("blocks", Read, "vec4<u32>"), ("means", Read, "f32"), ("rates", Read, "f32")],
};

/// Columns that a workgroup of the pass over columns takes.
const STRIP: usize = 32;

/// Rows that a workgroup of the pass over rows takes: so many that its entry in a table is small beside rows of few
/// columns.
const ROWS_TOGETHER: usize = 256;

/// The tables of a range, as the passes' texts describe them.
#[derive(Default)]
struct Tables {
    rows: Vec<[u32; 4]>,
    columns: Vec<[u32; 4]>,
    spans: Vec<[u32; 4]>,
    blocks: Vec<[u32; 4]>,
    /// Floats of state.
    state: usize,
}

impl Planner<'_> {
    pub(super) fn factored(&mut self, group: usize) -> Result<()> {
        self.whole_parameters(group)?;
        let optimizer = self.plan.optimizers[group].clone();
        let slot = optimizer.state_slots()[0];
        for range in self.ranges_of(group) {
            let state = self.plan.buffers.len();
            self.own("state", 0);
            let mut tables = Tables::default();
            for &(parameter, piece) in &range.pieces {
                let shape = optimizer.state_shape(&self.parameters[parameter].shape);
                let elements = shape.iter().product();
                let piece_of_state = StatePiece { buffer: state, offset: tables.state, elements };
                self.remember(slot, parameter, shape, piece_of_state);
                self.tabulate(&mut tables, &range, parameter, piece)?;
            }
            self.plan.buffers[state].bytes = 4 * tables.state as u64;
            self.factored_range(group, &optimizer, &range, state, &tables);
        }
        Ok(())
    }

    fn tabulate(&self, tables: &mut Tables, range: &Range, parameter: usize, piece: usize) -> Result<()> {
        let info = &self.parameters[parameter];
        let (rows, columns) = match info.shape[..] {
            [rows, columns] => (rows, columns),
            [] | [_] => (0, 0),
            _ => {
                let message = format!(
                    "adafactor knows vectors and matrices, and `{}` is {:?}; give it another rule by a group",
                    info.name, info.shape
                );
                return Err(Error::setting("optimizer", message));
            }
        };
        let first = self.layout.pieces[parameter][piece].offset - range.offset;
        let (by_row, by_column) = (tables.state, tables.state + rows);
        let floats = if rows > 0 { rows + columns } else { info.elements() };
        tables.state += floats.next_multiple_of(4);
        let words = |values: [usize; 4]| values.map(|value| value as u32);
        for start in (0..rows).step_by(ROWS_TOGETHER) {
            let count = ROWS_TOGETHER.min(rows - start);
            tables.rows.push(words([first + start * columns, columns, by_row + start, count]));
        }
        for start in (0..columns).step_by(STRIP) {
            let width = STRIP.min(columns - start);
            tables.columns.push(words([first + start, rows, columns, by_column + start]));
            tables.columns.push(words([width, 0, 0, 0]));
        }
        let (tensor, before) = (tables.spans.len() / 2, tables.blocks.len() / 2);
        for (at, elements) in self.blocks(range, parameter, piece) {
            tables.blocks.push(words([at, elements, tensor, tables.blocks.len() / 2]));
            tables.blocks.push(words([first, columns, by_row, by_column]));
        }
        tables.spans.push(words([by_row, rows, 0, 0]));
        tables.spans.push(words([before, tables.blocks.len() / 2 - before, info.elements(), 0]));
        Ok(())
    }

    fn factored_range(
        &mut self,
        group: usize,
        optimizer: &Optimizer,
        range: &Range,
        state: usize,
        tables: &Tables,
    ) {
        let (tensors, blocks) = (tables.spans.len() / 2, tables.blocks.len() / 2);
        let floats = [("means", tensors), ("rates", tensors), ("partials", 2 * blocks)];
        let mut own: Vec<(&str, Place)> = Vec::new();
        for (name, floats) in floats {
            let buffer = self.own("other", floats);
            own.push((name, self.whole(buffer)));
        }
        let named = [
            ("rows", &tables.rows),
            ("columns", &tables.columns),
            ("spans", &tables.spans),
            ("blocks", &tables.blocks),
        ];
        own.extend(named.map(|(name, rows)| (name, self.table(rows))));
        let passes: [(Pass, usize); 6] = [
            (ROWS, tables.rows.len()),
            (COLUMNS, tables.columns.len() / 2),
            (MEANS, tensors),
            (SUMS, blocks),
            (RATES, tensors),
            (STEPS, blocks),
        ];
        for (pass, workgroups) in passes.into_iter().filter(|(_, workgroups)| *workgroups > 0) {
            let shadows = match pass.theta {
                Some(ReadWrite) => self.shadow_places(range),
                _ => Vec::new(),
            };
            let names: Vec<&str> = shadows.iter().map(|(name, _)| *name).collect();
            let kernel = pass.kernel(optimizer, &self.plan.modifiers, &names);
            let kernel = self.kernel(kernel);
            let mut places = Vec::new();
            places.extend(pass.gradient.then(|| self.gradient(range)));
            places.extend(pass.theta.map(|_| self.theta(range)));
            places.push(self.whole(state));
            for (name, _, _) in pass.vectors {
                places.extend(own.iter().filter(|(own, _)| own == name).map(|(_, place)| *place));
            }
            places.extend(shadows.into_iter().map(|(_, place)| place));
            let launch = self.launch(group, kernel, places, workgroups);
            self.then(launch);
        }
    }
}

impl Pass {
    fn kernel(
        &self,
        optimizer: &Optimizer,
        modifiers: &crate::optim::Modifiers,
        shadows: &[&str],
    ) -> super::UpdateKernel {
        let mut vectors = Vec::new();
        vectors.extend(self.gradient.then(|| Vector::new("gradient", Read, ONE)));
        vectors.extend(self.theta.map(|access| Vector::new("theta", access, ONE)));
        vectors.push(Vector::new("second_moment", self.state, ONE));
        vectors.extend(self.vectors.iter().map(|(name, access, element)| Vector {
            name: (*name).to_owned(),
            access: *access,
            element,
        }));
        vectors.extend(shadows.iter().map(|name| Vector::new(name, ReadWrite, ONE)));
        Frame { optimizer, modifiers, element: ONE, vectors }.kernel(self.label, self.text)
    }
}
