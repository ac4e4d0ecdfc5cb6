//! Axes: what range they show, where their marks are, and how a value comes to its pixel.

use std::ops::Range;

use super::scene::{Anchor, Colour, Point, Scene, Shape};

/// The size of the letters at the marks, and of the axes' names.
const LABEL: f64 = 12.0;
const NAME: f64 = 14.0;
/// Pixels from which on f64 does not hold thousandths of one.
const FAR: f64 = 1e12;

/// A named range of values, by even steps or by powers of ten.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Axis {
    pub name: String,
    range: Range<f64>,
    logarithmic: bool,
}

impl Axis {
    /// An axis on which all the finite of `values` are, with a `margin` at both ends as a part of them.
    pub fn over(name: &str, values: impl Iterator<Item = f64>, margin: f64) -> Self {
        Axis { name: name.to_owned(), range: widened(values, margin), logarithmic: false }
    }

    /// The same by powers of ten where all values are positive and the largest is ten times the least; else by
    /// even steps.
    pub fn logarithmic_over(name: &str, values: impl Iterator<Item = f64> + Clone, margin: f64) -> Self {
        let finite = || values.clone().filter(|value| value.is_finite());
        let (least, most) = ends(finite());
        if !(least > 0.0 && most >= 10.0 * least) {
            return Axis::over(name, values, margin);
        }
        let range = widened(finite().map(f64::log10), margin);
        Axis {
            name: name.to_owned(),
            // What lies below the least normal number cannot be divided by.
            range: 10f64.powf(range.start).max(f64::MIN_POSITIVE)..10f64.powf(range.end),
            logarithmic: true,
        }
    }

    /// From 0 to 1 along the axis, and beyond for values beyond it.
    fn place(&self, value: f64) -> f64 {
        let Range { start, end } = self.range;
        if self.logarithmic {
            (value / start).ln() / (end / start).ln()
        } else {
            (value - start) / (end - start)
        }
    }

    /// The marks, about `wanted` of them, with their texts.
    fn marks(&self, wanted: usize) -> Vec<(f64, String)> {
        let Range { start, end } = self.range;
        if self.logarithmic {
            let (first, last) = (start.log10().floor() as i32, end.log10().floor() as i32);
            // Few decades have marks within them.
            let digits: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let step = (last.abs_diff(first) as usize).div_ceil(wanted).max(1);
            let marks = (first..=last)
                .step_by(step)
                .flat_map(|decade| digits.iter().map(move |digit| (*digit, decade)));
            let marks = marks.map(|(digit, decade)| (digit * 10f64.powi(decade), scientific(digit, decade)));
            return marks.filter(|(mark, _)| self.range.contains(mark)).collect();
        }
        let step = round_step((end - start) / wanted as f64);
        let (first, last) = ((start / step).ceil() as i64, (end / step).floor() as i64);
        let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let text = |value: f64| {
            // Zero has no sign, and long numbers no place.
            let value = if value == 0.0 { 0.0 } else { value };
            if start.abs().max(end.abs()) >= 1e6 || step < 1e-6 {
                format!("{value:.1e}")
            } else {
                format!("{value:.digits$}")
            }
        };
        (first..=last).map(|count| count as f64 * step).map(|value| (value, text(value))).collect()
    }
}

/// A digit times a power of ten.
fn scientific(digit: f64, decade: i32) -> String {
    match decade {
        -3..=3 => format!("{}", digit * 10f64.powi(decade)),
        _ => format!("{digit}e{decade}"),
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power);
    round.into_iter().find(|round| *round >= step * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// The least and the largest of `values`.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
}

/// The range of the finite of `values` with a `margin` at both ends as a part of it; a range about a single value, and
/// from 0 to 1 about none.
pub(crate) fn widened(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (least, most) = ends(values.filter(|value| value.is_finite()));
    if least > most {
        return 0.0..1.0;
    }
    let about = 1e-9 * least.abs().max(most.abs());
    let margin = if most - least > about { (most - least) * margin } else { least.abs().max(1.0) / 2.0 };
    least - margin..most + margin
}

/// A rectangle of pixels with an axis along its lower side and one along its left.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Frame {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
}

impl Frame {
    /// Pixels that names and marks take to the left of a frame, and below it.
    pub const ROOM: Point = [68.0, 48.0];

    /// The lower ends of both axes, and the upper ones.
    pub fn extent(&self) -> (Point, Point) {
        ([self.x.range.start, self.y.range.start], [self.x.range.end, self.y.range.end])
    }

    /// The pixel of a value of each axis.
    pub fn pixel(&self, [x, y]: Point) -> Point {
        [self.left + self.width * self.x.place(x), self.top + self.height - self.height * self.y.place(y)]
    }

    /// The parts of the way through `points` that are within the frame, in pixels; a place that is not finite, or too
    /// far away to tell where the way crosses the frame, ends a part.
    pub fn clipped(&self, points: impl Iterator<Item = Point>) -> Vec<Vec<Point>> {
        let mut parts: Vec<Vec<Point>> = Vec::new();
        let mut last: Option<Point> = None;
        for point in points {
            let pixel = Some(self.pixel(point)).filter(|pixel| pixel.iter().all(|place| place.abs() < FAR));
            let ends = last.zip(pixel).and_then(|(last, pixel)| self.within(last, pixel));
            last = pixel;
            let Some([from, to]) = ends else { continue };
            match parts.last_mut() {
                Some(part) if part.last() == Some(&from) => part.push(to),
                _ => parts.push(vec![from, to]),
            }
        }
        parts
    }

    /// Whether the pixel is within the frame.
    pub fn holds(&self, [x, y]: Point) -> bool {
        (self.left..=self.left + self.width).contains(&x) && (self.top..=self.top + self.height).contains(&y)
    }

    /// The part of a segment within the frame, by Liang and Barsky (1984).
    fn within(&self, from: Point, to: Point) -> Option<[Point; 2]> {
        let (low, high) = ([self.left, self.top], [self.left + self.width, self.top + self.height]);
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        for axis in 0..2 {
            let way = to[axis] - from[axis];
            let bounds = [low[axis] - from[axis], high[axis] - from[axis]];
            if way == 0.0 {
                if bounds[0] > 0.0 || bounds[1] < 0.0 {
                    return None;
                }
                continue;
            }
            let at = bounds.map(|bound| bound / way);
            enter = enter.max(at[0].min(at[1]));
            leave = leave.min(at[0].max(at[1]));
        }
        let at = |part: f64| [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * part);
        let start = if enter == 0.0 { from } else { at(enter) };
        let end = if leave == 1.0 { to } else { at(leave) };
        (enter <= leave).then_some([start, end])
    }

    /// Draws lines across the frame at every mark.
    pub fn draw_grid(&self, scene: &mut Scene) {
        for (mark, _) in self.x.marks(self.wanted_marks()[0]) {
            let [x, _] = self.pixel([mark, 1.0]);
            scene.line(vec![[x, self.top], [x, self.top + self.height]], Colour::PALE, 1.0);
        }
        for (mark, _) in self.y.marks(self.wanted_marks()[1]) {
            let [_, y] = self.pixel([1.0, mark]);
            scene.line(vec![[self.left, y], [self.left + self.width, y]], Colour::PALE, 1.0);
        }
    }

    /// Draws the frame, its marks and the names of its axes.
    pub fn draw(&self, scene: &mut Scene) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        let corners = [[self.left, self.top], [right, self.top], [right, bottom], [self.left, bottom]];
        let outline = corners.into_iter().chain([corners[0]]).collect();
        scene.line(outline, Colour::GREY, 1.0);
        for (mark, text) in self.x.marks(self.wanted_marks()[0]) {
            let [x, _] = self.pixel([mark, 1.0]);
            scene.line(vec![[x, bottom], [x, bottom + 4.0]], Colour::GREY, 1.0);
            scene.text([x, bottom + 18.0], &text, Anchor::Middle, LABEL);
        }
        for (mark, text) in self.y.marks(self.wanted_marks()[1]) {
            let [_, y] = self.pixel([1.0, mark]);
            scene.line(vec![[self.left - 4.0, y], [self.left, y]], Colour::GREY, 1.0);
            scene.text([self.left - 8.0, y + 4.0], &text, Anchor::End, LABEL);
        }
        scene.text([self.left + self.width / 2.0, bottom + 40.0], &self.x.name, Anchor::Middle, NAME);
        scene.shapes.push(Shape::Text {
            at: [self.left - 52.0, self.top + self.height / 2.0],
            text: self.y.name.clone(),
            anchor: Anchor::Middle,
            size: NAME,
            colour: Colour::BLACK,
            upwards: true,
        });
    }

    /// As many as have room.
    fn wanted_marks(&self) -> [usize; 2] {
        [self.width / 75.0, self.height / 50.0].map(|count| (count as usize).max(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.marks(5).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn marks_are_round_numbers_within_the_axis() {
        // Values, the texts of the marks.
        let rows: [(&[f64], &[&str]); 6] = [
            (&[0.0, 10.0], &["0", "2", "4", "6", "8", "10"]),
            (&[-1.2, 1.3], &["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
            (&[0.0, 0.004], &["0.000", "0.001", "0.002", "0.003", "0.004"]),
            (&[5.0, 5.0], &["3", "4", "5", "6", "7"]),
            (&[0.0, 3e7], &["0.0e0", "1.0e7", "2.0e7", "3.0e7"]),
            (&[f64::NAN, f64::INFINITY], &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ];
        for (values, expected) in rows {
            assert_eq!(texts(&Axis::over("x", values.iter().copied(), 0.0)), expected, "{values:?}");
        }
        let rows: [(&[f64], &[&str]); 5] = [
            (&[0.19, 30.0], &["0.2", "0.5", "1", "2", "5", "10", "20"]),
            (&[2e-3, 300.0], &["0.01", "0.1", "1", "10", "100"]),
            (&[2e-9, 0.7], &["1e-7", "1e-5", "0.001", "0.1"]),
            (&[1.0, 2.0], &["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"]),
            (&[-1.0, 1e9], &["0.0e0", "2.0e8", "4.0e8", "6.0e8", "8.0e8", "1.0e9"]),
        ];
        for (values, expected) in rows {
            assert_eq!(
                texts(&Axis::logarithmic_over("x", values.iter().copied(), 0.0)),
                expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn lines_are_cut_at_the_frame() {
        let axis = |name| Axis::over(name, [0.0, 10.0].into_iter(), 0.0);
        let frame = Frame { left: 0.0, top: 0.0, width: 10.0, height: 10.0, x: axis("x"), y: axis("y") };
        // Upwards in values is downwards in pixels.
        let rows: [(&[Point], &[&[Point]]); 6] = [
            (&[[1.0, 9.0], [2.0, 8.0], [3.0, 8.0]], &[&[[1.0, 1.0], [2.0, 2.0], [3.0, 2.0]]]),
            (
                &[[5.0, 5.0], [15.0, 5.0], [15.0, 6.0], [5.0, 6.0]],
                &[&[[5.0, 5.0], [10.0, 5.0]], &[[10.0, 4.0], [5.0, 4.0]]],
            ),
            (&[[-5.0, 5.0], [15.0, 5.0]], &[&[[0.0, 5.0], [10.0, 5.0]]]),
            (&[[-5.0, 11.0], [15.0, 11.0]], &[]),
            (&[[1.0, 1.0], [f64::NAN, 1.0], [3.0, 1.0]], &[]),
            (&[[1.0, 1.0]], &[]),
        ];
        for (points, expected) in rows {
            assert_eq!(frame.clipped(points.iter().copied()), expected, "{points:?}");
        }
    }
}
