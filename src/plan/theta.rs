//! Where every parameter lies in θ, and so in the gradient and in each state vector of the optimizer, which have
//! the same layout.
//!
//! θ is one vector, cut into shards that one buffer and one binding can hold. A parameter begins at a multiple of
//! 64 floats, so that it can be bound alone; one that is larger than a shard is cut between its rows.

use crate::graph::ParameterInfo;
use crate::{Error, Result};

/// Floats to which every piece is aligned: 256 bytes, the largest offset alignment that adapters ask for.
const ALIGNMENT: usize = 64;

/// Rows of a parameter that lie together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub shard: usize,
    /// Floats before it in the shard.
    pub offset: usize,
    /// Floats of the parameter before it.
    pub start: usize,
    /// Floats in it.
    pub elements: usize,
}

/// The places of all parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ThetaLayout {
    /// The pieces of each parameter, in its own order; nearly always one.
    pub pieces: Vec<Vec<Piece>>,
    /// Floats in each shard.
    pub shards: Vec<usize>,
}

impl ThetaLayout {
    /// Lays out `parameters` in shards of at most `max_bytes`, group by group.
    pub fn new(parameters: &[ParameterInfo], max_bytes: u64) -> Result<Self> {
        let capacity = (max_bytes / 4) as usize / ALIGNMENT * ALIGNMENT;
        let mut layout = ThetaLayout { pieces: Vec::new(), shards: Vec::new() };
        layout.pieces.resize(parameters.len(), Vec::new());
        let mut order: Vec<usize> = (0..parameters.len()).collect();
        order.sort_by_key(|&number| parameters[number].group);
        for number in order {
            layout.pieces[number] = layout.place(&parameters[number], capacity)?;
        }
        Ok(layout)
    }

    /// Floats that a piece of `elements` takes.
    pub fn padded(elements: usize) -> usize {
        elements.next_multiple_of(ALIGNMENT)
    }

    fn place(&mut self, parameter: &ParameterInfo, capacity: usize) -> Result<Vec<Piece>> {
        let total = parameter.elements();
        let row: usize = parameter.shape.iter().skip(1).product();
        let rows_per_piece = if total <= capacity { total / row } else { capacity / row };
        // Whole groups of four rows keep every piece readable four floats at a time.
        let rows_per_piece =
            if rows_per_piece * row < total { rows_per_piece / 4 * 4 } else { rows_per_piece };
        if rows_per_piece == 0 {
            return Err(Error::DoesNotFit(format!(
                "parameter `{}`: four of its rows are {} numbers, but this adapter binds at most {capacity} at once; make \
                 its last dimension smaller",
                parameter.name,
                4 * row
            )));
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        while start < total {
            let elements = (rows_per_piece * row).min(total - start);
            let (shard, offset) = self.reserve(elements, capacity);
            pieces.push(Piece { shard, offset, start, elements });
            start += elements;
        }
        Ok(pieces)
    }

    /// Room in the last shard, or in a new one.
    fn reserve(&mut self, elements: usize, capacity: usize) -> (usize, usize) {
        let padded = Self::padded(elements);
        match self.shards.last_mut() {
            Some(used) if *used + padded <= capacity => {
                let offset = *used;
                *used += padded;
                (self.shards.len() - 1, offset)
            }
            _ => {
                self.shards.push(padded);
                (self.shards.len() - 1, 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Initial;

    fn parameter(name: &str, shape: &[usize]) -> ParameterInfo {
        ParameterInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            initial: Initial::Constant(0.0),
            group: 0,
        }
    }

    #[test]
    fn every_parameter_lies_whole_and_apart() {
        let shapes: [&[usize]; 6] = [&[10, 784], &[10], &[], &[65, 63], &[1], &[300, 7]];
        let parameters: Vec<_> =
            shapes.iter().enumerate().map(|(i, s)| parameter(&i.to_string(), s)).collect();
        for max_bytes in [4 * 64 * 128, 1 << 14, 1 << 20] {
            let layout = ThetaLayout::new(&parameters, max_bytes).unwrap();
            let mut taken: Vec<(usize, usize, usize)> = Vec::new();
            for (pieces, parameter) in layout.pieces.iter().zip(&parameters) {
                assert_eq!(pieces.iter().map(|piece| piece.elements).sum::<usize>(), parameter.elements());
                for piece in pieces {
                    assert_eq!(piece.offset % ALIGNMENT, 0);
                    assert!(piece.offset + piece.elements <= layout.shards[piece.shard]);
                    taken.push((piece.shard, piece.offset, piece.offset + piece.elements));
                }
            }
            assert!(layout.shards.iter().all(|floats| 4 * *floats as u64 <= max_bytes));
            taken.sort_unstable();
            assert!(taken.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1));
        }
    }

    #[test]
    fn a_row_larger_than_a_shard_is_an_error_that_names_the_parameter() {
        let error = ThetaLayout::new(&[parameter("0.weight", &[8, 1000])], 4096).unwrap_err();
        assert!(error.to_string().contains("0.weight"), "{error}");
    }
}
