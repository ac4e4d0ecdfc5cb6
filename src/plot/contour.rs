//! Lines of equal value of a function of two numbers, by marching squares.

use super::scene::Point;

/// Nodes of the grid in each direction: fine enough that a curve of a window of some hundred pixels looks smooth.
const NODES: usize = 161;

/// Marks an edge of the grid that no line crosses.
const NONE: usize = usize::MAX;

/// A function's values over a window.
///
/// About the window stands one more row of nodes, at the places of the outermost ones and infinitely high, so that
/// every line of equal value is closed: where it leaves the window it goes along the border.
pub(crate) struct Grid {
    xs: Vec<f64>,
    ys: Vec<f64>,
    /// Row by row, infinite where the function has no finite value.
    values: Vec<f64>,
}

impl Grid {
    /// `value` at the nodes of the window from `least` to `most`.
    pub fn new(value: impl Fn(Point) -> f64, least: Point, most: Point) -> Self {
        let places = |axis: usize| -> Vec<f64> {
            let inner = NODES - 3;
            let place = |i: usize| i.saturating_sub(1).min(inner) as f64 / inner as f64;
            (0..NODES).map(|i| least[axis] + (most[axis] - least[axis]) * place(i)).collect()
        };
        let (xs, ys) = (places(0), places(1));
        let outside = |i: usize| i == 0 || i == NODES - 1;
        let at = |(j, i): (usize, usize)| {
            let value = if outside(i) || outside(j) { f64::INFINITY } else { value([xs[i], ys[j]]) };
            if value.is_finite() { value } else { f64::INFINITY }
        };
        let values = (0..NODES * NODES).map(|node| at((node / NODES, node % NODES))).collect();
        Grid { xs, ys, values }
    }

    /// The finite values, in rising order.
    pub fn sorted_values(&self) -> Vec<f64> {
        let mut finite: Vec<f64> = self.values.iter().copied().filter(|value| value.is_finite()).collect();
        finite.sort_by(f64::total_cmp);
        finite
    }

    /// The closed lines around all places whose value is at most `level`, by linear interpolation along the edges of
    /// the grid; what is lower lies to their left.
    pub fn rings(&self, level: f64) -> Vec<Vec<Point>> {
        let mut next = self.segments(level);
        let mut rings = Vec::new();
        for first in 0..next.len() {
            let mut ring = Vec::new();
            let mut edge = first;
            while next[edge] != NONE {
                ring.push(self.crossing(edge, level));
                edge = std::mem::replace(&mut next[edge], NONE);
            }
            if !ring.is_empty() {
                rings.push(ring);
            }
        }
        rings
    }

    /// For each edge that a line crosses, the edge that it crosses next. Edges have the number of their lower left node
    /// twice, plus one if they go up.
    fn segments(&self, level: f64) -> Vec<usize> {
        let mut next = vec![NONE; 2 * NODES * NODES];
        for node in (0..NODES * (NODES - 1)).filter(|node| node % NODES < NODES - 1) {
            // Counter-clockwise, edge k from corner k to the next.
            let corners = [node, node + 1, node + NODES + 1, node + NODES].map(|node| self.values[node]);
            let edges = [2 * node, 2 * (node + 1) + 1, 2 * (node + NODES), 2 * node + 1];
            let low = corners.map(|value| value <= level);
            let leaves = |k: usize| low[k % 4] && !low[(k + 1) % 4];
            let enters = |k: usize| !low[k % 4] && low[(k + 1) % 4];
            // Where two opposite corners are low, the mean decides whether they belong together.
            let joined = corners.iter().sum::<f64>() / 4.0 <= level;
            let turns = if joined { [1, 2, 3] } else { [3, 2, 1] };
            for from in (0..4).filter(|from| leaves(*from)) {
                if let Some(turn) = turns.into_iter().find(|turn| enters(from + turn)) {
                    next[edges[from]] = edges[(from + turn) % 4];
                }
            }
        }
        next
    }

    fn crossing(&self, edge: usize, level: f64) -> Point {
        let (node, upwards) = (edge / 2, edge % 2 == 1);
        let end = if upwards { node + NODES } else { node + 1 };
        let (from, to) = (self.values[node], self.values[end]);
        // From the finite end: an infinite one is as far away as can be.
        let part =
            if from.is_finite() { (level - from) / (to - from) } else { 1.0 - (level - to) / (from - to) };
        let [x, y] = [self.xs[node % NODES], self.ys[node / NODES]];
        let [to_x, to_y] = [self.xs[end % NODES], self.ys[end / NODES]];
        [x + (to_x - x) * part, y + (to_y - y) * part]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The area inside of the ring, positive where it goes counter-clockwise.
    fn area(ring: &[Point]) -> f64 {
        let ends = ring.iter().zip(ring.iter().cycle().skip(1));
        ends.map(|([x, y], [to_x, to_y])| (x * to_y - to_x * y) / 2.0).sum()
    }

    #[test]
    fn the_lines_of_a_plane_are_exact() {
        // Of a plane, linear interpolation makes no error: the part of a window of 4 by 2 below a level is known.
        for (slope, level, below) in [([1.0, 0.0], 1.3, 2.6), ([0.0, 2.0], 3.0, 6.0), ([1.0, 1.0], 1.0, 0.5)]
        {
            let grid = Grid::new(|[x, y]| slope[0] * x + slope[1] * y, [0.0, 0.0], [4.0, 2.0]);
            let rings = grid.rings(level);
            assert_eq!(rings.len(), 1, "{slope:?}");
            assert!((area(&rings[0]) - below).abs() < 1e-12, "{slope:?}: {}", area(&rings[0]));
            for [x, y] in &rings[0] {
                let value = slope[0] * x + slope[1] * y;
                let on_border = *x == 0.0 || *y == 0.0 || *x == 4.0 || *y == 2.0;
                assert!((value - level).abs() < 1e-12 || on_border && value < level, "{x}, {y}");
            }
        }
    }

    #[test]
    fn a_circle_is_one_ring_and_what_is_outside_of_it_has_a_hole() {
        let square = |[x, y]: Point| x * x + y * y;
        let inside = Grid::new(square, [-2.0, -2.0], [2.0, 2.0]).rings(1.0);
        assert_eq!(inside.len(), 1);
        // Between nodes 4/158 apart, x² differs from its chord by at most (4/158)²/4.
        assert!(inside[0].iter().all(|point| (square(*point) - 1.0).abs() < 1.7e-4));
        assert!((area(&inside[0]) - std::f64::consts::PI).abs() < 2e-3);
        let outside = Grid::new(|point| -square(point), [-2.0, -2.0], [2.0, 2.0]).rings(-1.0);
        let areas: f64 = outside.iter().map(|ring| area(ring)).sum();
        assert_eq!(outside.len(), 2);
        assert!((areas - (16.0 - std::f64::consts::PI)).abs() < 2e-3, "{areas}");
    }

    #[test]
    fn at_a_saddle_lines_do_not_cross_and_values_that_are_none_are_left_out() {
        let saddle = Grid::new(|[x, y]| x * y, [-1.0, -1.0], [1.0, 1.0]);
        for (level, pieces) in [(-0.1, 2), (0.1, 1)] {
            assert_eq!(saddle.rings(level).len(), pieces, "{level}");
        }
        let logarithm = Grid::new(|[x, y]| x.ln() + y * y, [-1.0, -1.0], [1.0, 1.0]);
        let rings = logarithm.rings(0.0);
        assert_eq!(rings.len(), 1);
        assert!(rings[0].iter().all(|[x, y]| x.is_finite() && y.is_finite() && *x > 0.0));
        assert_eq!(logarithm.rings(-1e9), Vec::<Vec<Point>>::new());
    }
}
