//! A scene as pixels, with smooth edges.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::scene::{Anchor, Colour, Point, Scene, Shape, Stroke};

/// Lines of samples in a pixel's height, where areas are filled.
const SAMPLES: usize = 4;
const WEIGHT: FontWeight = FontWeight::Regular;
/// The one size that texts have as pixels, whatever a scene says: near those of all our pictures.
const LETTERS: RasterHeight = RasterHeight::Size16;
/// Pixels of a letter above its baseline.
const ASCENT: i32 = 12;

/// A picture of pixels, row by row from the top.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<Colour>,
}

impl Canvas {
    /// The scene on white.
    pub fn of(scene: &Scene) -> Self {
        let (width, height) = (scene.width as usize, scene.height as usize);
        let mut canvas = Canvas { width, height, pixels: vec![Colour::WHITE; width * height] };
        canvas.draw(scene);
        canvas
    }

    /// Draws the scene's shapes above what is there.
    pub fn draw(&mut self, scene: &Scene) {
        for shape in &scene.shapes {
            match shape {
                Shape::Area { rings, fill, outline } => {
                    self.fill(rings, *fill);
                    if let Some(stroke) = outline {
                        rings.iter().for_each(|ring| self.stroke(&closed(ring), *stroke));
                    }
                }
                Shape::Line { points, stroke } => self.stroke(points, *stroke),
                Shape::Disc { centre, radius, fill } => self.capsule(*centre, *centre, *radius, *fill),
                Shape::Text { at, text, anchor, colour, upwards, .. } => {
                    self.text(*at, text, *anchor, *colour, *upwards)
                }
            }
        }
    }

    fn stroke(&mut self, points: &[Point], stroke: Stroke) {
        let segments: Vec<[Point; 2]> = match stroke.dash {
            None => points.windows(2).map(|ends| [ends[0], ends[1]]).collect(),
            Some(dash) => dashes(points, dash),
        };
        for [from, to] in segments {
            self.capsule(from, to, stroke.width / 2.0, stroke.colour);
        }
    }

    /// Colours all within `radius` of the segment, in part where it is within a pixel of the edge.
    fn capsule(&mut self, from: Point, to: Point, radius: f64, colour: Colour) {
        let reach = radius + 1.0;
        let range = |axis: usize, size: usize| {
            let (low, high) = (from[axis].min(to[axis]) - reach, from[axis].max(to[axis]) + reach);
            (low.floor().max(0.0) as usize)..(high.ceil().clamp(0.0, size as f64) as usize)
        };
        let way = [to[0] - from[0], to[1] - from[1]];
        let length_squared = way[0] * way[0] + way[1] * way[1];
        for y in range(1, self.height) {
            for x in range(0, self.width) {
                let [dx, dy] = [x as f64 + 0.5 - from[0], y as f64 + 0.5 - from[1]];
                let along = (dx * way[0] + dy * way[1]) / length_squared;
                // Of a point, every place along it is its start.
                let along = if along.is_finite() { along.clamp(0.0, 1.0) } else { 0.0 };
                let distance = (dx - along * way[0]).hypot(dy - along * way[1]);
                self.blend(x, y, colour, radius + 0.5 - distance);
            }
        }
    }

    /// Colours what an odd number of the rings is around: by the crossings of each line of samples with them.
    fn fill(&mut self, rings: &[Vec<Point>], colour: Colour) {
        let mut crossings: Vec<Vec<f64>> = vec![Vec::new(); self.height * SAMPLES];
        for ring in rings {
            for (from, to) in ring.iter().zip(ring.iter().cycle().skip(1)) {
                let (above, below) = if from[1] < to[1] { (from, to) } else { (to, from) };
                let line =
                    |y: f64| (y * SAMPLES as f64 - 0.5).ceil().clamp(0.0, crossings.len() as f64) as usize;
                let (first, end) = (line(above[1]), line(below[1]));
                for (number, crossed) in crossings.iter_mut().enumerate().take(end).skip(first) {
                    let y = (number as f64 + 0.5) / SAMPLES as f64;
                    let part = (y - above[1]) / (below[1] - above[1]);
                    crossed.push(above[0] + (below[0] - above[0]) * part);
                }
            }
        }
        for (y, lines) in crossings.chunks_mut(SAMPLES).enumerate() {
            let mut covered = vec![0.0; self.width];
            for line in lines {
                line.sort_by(f64::total_cmp);
                line.chunks_exact(2).for_each(|span| cover(&mut covered, span[0], span[1]));
            }
            for (x, part) in covered.into_iter().enumerate() {
                self.blend(x, y, colour, part / SAMPLES as f64);
            }
        }
    }

    fn text(&mut self, at: Point, text: &str, anchor: Anchor, colour: Colour, upwards: bool) {
        let advance = get_raster_width(WEIGHT, LETTERS) as i32;
        let width = advance * text.chars().count() as i32;
        let start = match anchor {
            Anchor::Start => 0,
            Anchor::Middle => -width / 2,
            Anchor::End => -width,
        };
        let [left, baseline] = at.map(|place| place.round() as i32);
        for (number, letter) in text.chars().enumerate() {
            let Some(raster) =
                get_raster(letter, WEIGHT, LETTERS).or_else(|| get_raster('?', WEIGHT, LETTERS))
            else {
                continue;
            };
            for (row, line) in raster.rows().enumerate() {
                for (column, part) in line.iter().enumerate() {
                    let along = start + advance * number as i32 + column as i32;
                    let down = row as i32 - ASCENT;
                    let (x, y) = if upwards {
                        (left + down, baseline - along)
                    } else {
                        (left + along, baseline + down)
                    };
                    if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) {
                        self.blend(x, y, colour, f64::from(*part) / 255.0);
                    }
                }
            }
        }
    }

    /// Colours a part of a pixel; beyond the picture, nothing.
    fn blend(&mut self, x: usize, y: usize, colour: Colour, part: f64) {
        if part > 0.0 && x < self.width && y < self.height {
            let pixel = &mut self.pixels[y * self.width + x];
            *pixel = pixel.towards(colour, part.min(1.0));
        }
    }
}

/// The ring with its first point at its end too.
fn closed(ring: &[Point]) -> Vec<Point> {
    ring.iter().chain(ring.first()).copied().collect()
}

/// Adds to each pixel of a row the part of it that lies between `from` and `to`.
fn cover(row: &mut [f64], from: f64, to: f64) {
    let end = row.len() as f64;
    let (from, to) = (from.clamp(0.0, end), to.clamp(0.0, end));
    for (x, covered) in row.iter_mut().enumerate().take(to.ceil() as usize).skip(from as usize) {
        let x = x as f64;
        *covered += to.min(x + 1.0) - from.max(x);
    }
}

/// Pixels that count as none.
const SHORTEST: f64 = 1e-6;

/// The dashes of a line, as segments.
fn dashes(points: &[Point], [dash, gap]: [f64; 2]) -> Vec<[Point; 2]> {
    let (mut segments, mut drawn, mut left) = (Vec::new(), true, dash);
    for ends in points.windows(2) {
        let [from, to] = [ends[0], ends[1]];
        let length = (to[0] - from[0]).hypot(to[1] - from[1]);
        let at = |done: f64| [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * done / length);
        let mut done = 0.0;
        while done < length {
            let end = (done + left).min(length);
            if drawn {
                segments.push([at(done), at(end)]);
            }
            left -= end - done;
            done = end;
            // What rounding leaves of a dash may be too short to move on by.
            if left <= SHORTEST {
                drawn = !drawn;
                left = if drawn { dash } else { gap };
            }
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Colour = Colour(255, 0, 0);

    /// Along lines of any length, rounding leaves dashes that are too short to move on by.
    #[test]
    fn dashes_come_to_an_end_and_cover_their_part_of_the_line() {
        for step in 1..2000 {
            let step = f64::from(step) * 0.001_37;
            let points: Vec<Point> = (0..60).map(|i| [f64::from(i) * step + 0.1, 0.3 * step]).collect();
            let length = 59.0 * step;
            let drawn: f64 = dashes(&points, [7.0, 5.0]).iter().map(|[from, to]| to[0] - from[0]).sum();
            let whole = (length / 12.0).floor();
            let expected = 7.0 * whole + (length - 12.0 * whole).min(7.0);
            assert!((drawn - expected).abs() < 1e-3, "{step}: {drawn} {expected}");
        }
    }

    /// What the shape covers of a picture of 40 by 40 pixels, in pixels.
    fn covered(shape: Shape) -> f64 {
        let canvas = Canvas::of(&Scene { width: 40, height: 40, shapes: vec![shape] });
        canvas.pixels.iter().map(|pixel| f64::from(255 - pixel.1) / 255.0).sum()
    }

    #[test]
    fn shapes_cover_what_they_should() {
        let square = |low: f64, high: f64| vec![[low, low], [high, low], [high, high], [low, high]];
        let stroke = |dash| Stroke { colour: RED, width: 2.0, dash };
        let line = |dash| Shape::Line { points: vec![[5.0, 20.0], [35.0, 20.0]], stroke: stroke(dash) };
        let text = |upwards, x| Shape::Text {
            at: [x, 20.0],
            text: "step".to_owned(),
            anchor: Anchor::Middle,
            size: 13.0,
            colour: RED,
            upwards,
        };
        let letters = covered(text(false, 20.0));
        assert!(letters > 40.0, "{letters}");
        // Shape, pixels that it covers, by how much that may be off: its smooth edge is made of few samples.
        let rows = [
            (Shape::Area { rings: vec![square(5.0, 15.5)], fill: RED, outline: None }, 10.5 * 10.5, 0.5),
            (
                Shape::Area { rings: vec![square(5.0, 15.0), square(7.0, 9.0)], fill: RED, outline: None },
                96.0,
                0.5,
            ),
            (Shape::Area { rings: vec![square(-50.0, 50.0)], fill: RED, outline: None }, 1600.0, 0.5),
            (
                Shape::Area { rings: vec![square(5.0, 15.0)], fill: RED, outline: Some(stroke(None)) },
                100.0 + 43.1,
                1.5,
            ),
            (Shape::Disc { centre: [20.0, 20.0], radius: 10.0, fill: RED }, 314.0, 2.0),
            (Shape::Disc { centre: [-20.0, 20.0], radius: 10.0, fill: RED }, 0.0, 0.0),
            (line(None), 30.0 * 2.0 + 3.1, 1.5),
            (line(Some([4.0, 6.0])), 3.0 * (4.0 * 2.0 + 3.1), 2.0),
            (text(true, 20.0), letters, 0.1),
            (text(false, 200.0), 0.0, 0.0),
        ];
        for (shape, expected, tolerance) in rows {
            let found = covered(shape.clone());
            assert!((found - expected).abs() <= tolerance, "{found} for {expected}: {shape:?}");
        }
    }
}
