//! The names of the racers below a picture, in as many rows as they need.

use super::scene::{Anchor, Point, Scene, Shape};
use super::stroke;

const LETTERS: f64 = 13.0;
/// What a letter takes across, as a part of its size; no common font takes more on average.
const LETTER_WIDTH: f64 = 0.62;
const ROW: f64 = 22.0;
const SAMPLE: f64 = 26.0;
const GAP: f64 = 18.0;

/// Where each name stands, from the left upper corner of the legend.
pub(super) struct Legend<'a> {
    entries: Vec<(&'a str, Point)>,
    pub height: f64,
}

impl<'a> Legend<'a> {
    /// Names in rows of at most `width` pixels; one that is longer has a row of its own.
    pub fn new(names: impl Iterator<Item = &'a str>, width: f64) -> Self {
        let (mut entries, mut x, mut row) = (Vec::new(), 0.0, 0.0);
        for name in names {
            let needed = SAMPLE + GAP + LETTERS * LETTER_WIDTH * name.chars().count() as f64;
            if x > 0.0 && x + needed > width {
                (x, row) = (0.0, row + 1.0);
            }
            entries.push((name, [x, row * ROW]));
            x += needed;
        }
        Legend { entries, height: (row + 1.0) * ROW }
    }

    /// Draws the names with their lines, the first one's at `left` and `top`.
    pub fn draw(&self, scene: &mut Scene, [left, top]: Point) {
        for (number, (name, [x, y])) in self.entries.iter().enumerate() {
            let (x, y) = (left + x, top + y + ROW / 2.0);
            let stroke = super::scene::Stroke { width: 3.0, ..stroke(number) };
            scene.shapes.push(Shape::Line { points: vec![[x, y], [x + SAMPLE - 6.0, y]], stroke });
            scene.text([x + SAMPLE, y + LETTERS / 3.0], name, Anchor::Start, LETTERS);
        }
    }
}
