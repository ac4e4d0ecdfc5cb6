//! Colours of the unknowns such that no two of one colour are coupled: those of a colour can be changed at once.

use crate::linear::matrix::SparseMatrix;

/// The colour of each unknown, from 0: the least that none of its neighbours has, in their order (greedily). A coupling counts
/// whichever way it goes.
pub(super) fn colours(matrix: &SparseMatrix) -> Vec<u32> {
    let mirror = matrix.transposed();
    let mut colours = vec![u32::MAX; matrix.rows()];
    let mut taken = Vec::new();
    for row in 0..matrix.rows() {
        taken.clear();
        let neighbours = matrix.row(row).chain(mirror.row(row)).map(|(column, _)| colours[column]);
        taken.extend(neighbours.filter(|colour| *colour != u32::MAX));
        taken.sort_unstable();
        taken.dedup();
        // The first place where the sorted colours leave a gap.
        let free = taken.iter().zip(0..).position(|(colour, place)| *colour != place);
        colours[row] = free.unwrap_or(taken.len()) as u32;
    }
    colours
}

/// The unknowns colour by colour, in each by their number.
pub(super) fn by_colour(colours: &[u32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..colours.len()).collect();
    order.sort_by_key(|&unknown| colours[unknown]);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::tests::poisson;

    #[test]
    fn neighbours_never_share_a_colour_and_a_grid_has_two() {
        for side in [1, 3, 8] {
            let matrix = poisson(side);
            let colours = colours(&matrix);
            let coupled = matrix.entries().filter(|(i, j, _)| i != j);
            assert!(coupled.into_iter().all(|(i, j, _)| colours[i] != colours[j]));
            assert_eq!(colours.iter().max().unwrap() + 1, 2.min(side as u32));
        }
        let one_way = SparseMatrix::from_dense(2, 2, &[1.0, 0.0, 5.0, 1.0]).unwrap();
        assert_eq!((colours(&one_way), by_colour(&[1, 0, 1])), (vec![0, 1], vec![1, 0, 2]));
    }
}
