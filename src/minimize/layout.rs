//! How the unknowns lie in the kernel that does whole steps: in groups of four, as update rules take them.

use std::ops::Range;

use super::{MinimizeOptions, Objective};

/// The groups of four.
pub(super) struct Layout {
    /// The group and the lane of each number of θ.
    pub places: Vec<(usize, usize)>,
    /// The groups of each unknown, where the rule looks at whole unknowns; then none is in two of them.
    pub tensors: Vec<Tensor>,
    /// How many groups there are.
    pub quads: usize,
}

/// An unknown.
pub(super) struct Tensor {
    pub quads: Range<usize>,
    pub elements: usize,
}

impl Layout {
    pub fn new(objective: &Objective, options: &MinimizeOptions) -> Self {
        let lengths = objective.unknowns().map(|(_, length)| length);
        if options.optimizer.passes().is_none() {
            let numbers = lengths.sum::<usize>();
            let places = (0..numbers).map(|number| (number / 4, number % 4)).collect();
            return Layout { places, tensors: Vec::new(), quads: numbers.div_ceil(4) };
        }
        let mut layout = Layout { places: Vec::new(), tensors: Vec::new(), quads: 0 };
        for elements in lengths {
            let first = layout.quads;
            layout.quads += elements.div_ceil(4);
            layout.places.extend((0..elements).map(|number| (first + number / 4, number % 4)));
            layout.tensors.push(Tensor { quads: first..layout.quads, elements });
        }
        layout
    }

    /// The vectors of a group behind one another, with zeros where there is no number.
    pub fn spread(&self, theta: &[f32]) -> Vec<f32> {
        let mut vector = vec![0.0; 4 * self.quads];
        for (&(quad, lane), value) in self.places.iter().zip(theta) {
            vector[4 * quad + lane] = *value;
        }
        vector
    }

    /// θ from such a vector.
    pub fn gather(&self, vector: &[f32]) -> Vec<f64> {
        self.places.iter().map(|&(quad, lane)| f64::from(vector[4 * quad + lane])).collect()
    }
}
