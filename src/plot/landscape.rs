//! The ways of several racers over a function of two unknowns, on its contour map.

use super::axes::{Axis, Frame};
use super::contour::Grid;
use super::legend::Legend;
use super::scene::{Anchor, Colour, Point, Scene, Shape, Stroke};
use super::stroke;

/// Bands between two contour lines.
const BANDS: usize = 14;
/// The colours of the lowest band and of the highest.
const VALLEY: Colour = Colour(255, 255, 255);
const SUMMIT: Colour = Colour(196, 207, 221);
/// Free pixels at the edges of the picture, and the height of its title.
const MARGIN: f64 = 16.0;
const TITLE: f64 = 26.0;
/// The part of the paths' extent that is shown about them.
const ABOUT: f64 = 0.08;
/// Points of a path nearer than so many pixels to the one before are not worth their place in the file.
const APART: f64 = 0.4;

/// A racer's way.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Path {
    /// What the legend says of it.
    pub name: String,
    /// Steps, losses and places, from step 0.
    pub points: Vec<(u64, f64, Point)>,
}

/// A contour map with paths, ready to be drawn at any step of the race.
pub(crate) struct Landscape {
    background: Scene,
    frame: Frame,
    paths: Vec<Path>,
    title: String,
}

impl Landscape {
    /// The map of `value` around the paths, which begin at one place; as large as asked for, in pixels.
    ///
    /// It shows all places of the paths that are no higher than the start: whoever runs away leaves it.
    pub fn new(
        title: &str,
        unknowns: [String; 2],
        value: impl Fn(Point) -> f64,
        paths: Vec<Path>,
        (width, height): (u32, u32),
    ) -> Self {
        let start = paths.iter().find_map(|path| path.points.first());
        let highest = start.map_or(f64::INFINITY, |(_, loss, _)| *loss);
        let shown = || {
            let points = paths.iter().flat_map(|path| &path.points);
            points.filter(|(step, loss, _)| *step == 0 || *loss <= highest).map(|(.., place)| *place)
        };
        let [name_x, name_y] = unknowns;
        let legend =
            Legend::new(paths.iter().map(|path| path.name.as_str()), f64::from(width) - 2.0 * MARGIN);
        let [left, below] = Frame::ROOM;
        let frame = Frame {
            left: MARGIN + left,
            top: MARGIN + TITLE,
            width: f64::from(width) - left - 2.0 * MARGIN,
            height: f64::from(height) - TITLE - below - legend.height - 2.0 * MARGIN,
            x: Axis::over(&name_x, shown().map(|place| place[0]), ABOUT),
            y: Axis::over(&name_y, shown().map(|place| place[1]), ABOUT),
        };
        let mut background = Scene::new(width, height);
        draw_bands(&mut background, &frame, value);
        frame.draw(&mut background);
        let legend_top = f64::from(height) - MARGIN - legend.height;
        legend.draw(&mut background, [MARGIN, legend_top]);
        Landscape { background, frame, paths, title: title.to_owned() }
    }

    /// What is the same at every step: the map, the axes and the names.
    pub fn background(&self) -> &Scene {
        &self.background
    }

    /// The last step of any path.
    pub fn last_step(&self) -> u64 {
        let last = self.paths.iter().filter_map(|path| path.points.last());
        last.map(|(step, ..)| *step).max().unwrap_or(0)
    }

    /// The whole race.
    pub fn picture(&self) -> Scene {
        let mut scene = self.background.clone();
        let title = [MARGIN + Frame::ROOM[0], MARGIN + 14.0];
        scene.text(title, &self.title, Anchor::Start, 15.0);
        scene.shapes.extend(self.racers(self.last_step()).shapes);
        scene
    }

    /// What is above the background after `step` steps, with their number.
    pub fn moment(&self, step: u64) -> Scene {
        let mut scene = self.racers(step);
        let right = self.frame.left + self.frame.width;
        scene.text([right, MARGIN + 14.0], &format!("step {step}"), Anchor::End, 15.0);
        scene.text([self.frame.left, MARGIN + 14.0], &self.title, Anchor::Start, 15.0);
        scene
    }

    /// The paths as far as they are after `step` steps, the start and the lowest place that any racer ever found.
    fn racers(&self, step: u64) -> Scene {
        let mut scene = Scene::new(self.background.width, self.background.height);
        let so_far = |path: &Path| path.points.iter().take_while(|point| point.0 <= step).count();
        for (number, path) in self.paths.iter().enumerate() {
            let points = path.points[..so_far(path)].iter().map(|point| point.2);
            for points in self.frame.clipped(points) {
                scene.shapes.push(Shape::Line { points: thinned(points), stroke: stroke(number) });
            }
        }
        let marked = |place: Option<Point>| {
            place.map(|place| self.frame.pixel(place)).filter(|at| self.frame.holds(*at))
        };
        let points = || self.paths.iter().flat_map(|path| &path.points);
        let lowest = points().filter(|point| point.1.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some(at) = marked(lowest.map(|point| point.2)) {
            star(&mut scene, at);
        }
        for (number, path) in self.paths.iter().enumerate() {
            if let Some(at) = marked(path.points[..so_far(path)].last().map(|point| point.2)) {
                scene.dot(at, 5.0, stroke(number).colour);
            }
        }
        if let Some([x, y]) = marked(points().next().map(|point| point.2)) {
            scene.shapes.push(Shape::Disc { centre: [x, y], radius: 5.0, fill: Colour::BLACK });
            scene.shapes.push(Shape::Disc { centre: [x, y], radius: 3.0, fill: Colour::WHITE });
            scene.text([x + 9.0, y - 7.0], "start", Anchor::Start, 13.0);
        }
        scene
    }
}

/// Draws bands between lines of equal height, from the highest to the lowest: each covers all that is below its line.
fn draw_bands(scene: &mut Scene, frame: &Frame, value: impl Fn(Point) -> f64) {
    let (least, most) = frame.extent();
    let grid = Grid::new(value, least, most);
    let colour = |band: usize| VALLEY.towards(SUMMIT, band as f64 / BANDS as f64);
    let corners = [[frame.left, frame.top], [frame.left + frame.width, frame.top + frame.height]];
    let [[left, top], [right, bottom]] = corners;
    let ring = vec![[left, top], [right, top], [right, bottom], [left, bottom]];
    scene.shapes.push(Shape::Area { rings: vec![ring], fill: colour(BANDS), outline: None });
    for (band, level) in levels(&grid.sorted_values()).into_iter().enumerate().rev() {
        let pixels = |ring: Vec<Point>| ring.into_iter().map(|point| frame.pixel(point)).collect::<Vec<_>>();
        let rings: Vec<Vec<Point>> = grid.rings(level).into_iter().map(pixels).collect();
        let line = Stroke { colour: colour(band + 1).towards(Colour::BLACK, 0.12), width: 0.8, dash: None };
        scene.shapes.push(Shape::Area { rings, fill: colour(band), outline: Some(line) });
    }
}

/// Heights above the lowest that rise by one factor, so that the floor of a valley has lines as its walls have.
fn levels(sorted: &[f64]) -> Vec<f64> {
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    // A hundredth of the window lies below the first line.
    let first = (sorted[sorted.len() / 100] - least).max(1e-5 * (most - least));
    if first <= 0.0 {
        return Vec::new();
    }
    let factor = ((most - least) / first).powf(1.0 / BANDS as f64);
    (0..BANDS).map(|band| least + first * factor.powi(band as i32)).collect()
}

/// A star of five rays, and what it means.
fn star(scene: &mut Scene, [x, y]: Point) {
    let ring = |size: f64| {
        let corner = |k: usize| {
            let (sine, cosine) = (std::f64::consts::PI * k as f64 / 5.0).sin_cos();
            let radius = if k.is_multiple_of(2) { size } else { 0.42 * size };
            [x + radius * sine, y - radius * cosine]
        };
        (0..10).map(corner).collect::<Vec<_>>()
    };
    let outline = Some(Stroke { colour: Colour::WHITE, width: 2.0, dash: None });
    scene.shapes.push(Shape::Area { rings: vec![ring(9.0)], fill: Colour::BLACK, outline });
    scene.text([x, y + 24.0], "lowest reached", Anchor::Middle, 13.0);
}

/// The points but for those that are too near to the one kept before them; the last one is kept.
fn thinned(points: Vec<Point>) -> Vec<Point> {
    let last = points.last().copied();
    let mut kept: Vec<Point> = Vec::new();
    for point in points {
        let far = |kept: &Point| (kept[0] - point[0]).hypot(kept[1] - point[1]) >= APART;
        if kept.last().is_none_or(far) {
            kept.push(point);
        }
    }
    kept.extend(last.filter(|last| kept.last() != Some(last)));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Optimizer;

    fn bowl([x, y]: Point) -> f64 {
        x * x + 10.0 * y * y
    }

    /// So many steps of a rule on the bowl from (2, 1), in f64.
    fn path(name: &str, rate: f64, steps: u64) -> Path {
        let rule = Optimizer::new(name).unwrap();
        let mut theta = [2.0, 1.0];
        let mut state = vec![vec![0.0; 2]; rule.state_slots().len()];
        let mut points = vec![(0, bowl(theta), theta)];
        for step in 1..=steps {
            let gradient = [2.0 * theta[0], 20.0 * theta[1]];
            rule.reference_step(step, rate, &[vec![2]], &mut theta, &gradient, &mut state).unwrap();
            points.push((step, bowl(theta), theta));
        }
        Path { name: format!("{name} & {rate}"), points }
    }

    fn lines(scene: &Scene) -> Vec<Vec<Point>> {
        let line = |shape: &Shape| match shape {
            Shape::Line { points, .. } => Some(points.clone()),
            _ => None,
        };
        scene.shapes.iter().filter_map(line).collect()
    }

    #[test]
    fn racers_stay_on_the_map_and_who_runs_away_leaves_it() {
        let paths = vec![path("sgd", 0.04, 30), path("adam", 0.1, 30), path("sgd", 0.2, 400)];
        let map = Landscape::new("a race", ["x", "y"].map(str::to_owned), bowl, paths.clone(), (600, 400));
        let (least, most) = map.frame.extent();
        // The steepest stable racer swings from y = 1 down to -0.2 and no further.
        assert!(
            least[0] > -1.0 && most[0] < 3.0 && least[1] > -1.5 && most[1] < 1.5,
            "{least:?} to {most:?}"
        );
        let picture = map.picture();
        for points in lines(&picture) {
            let inside = |[x, y]: &Point| (0.0..600.0).contains(x) && (0.0..400.0).contains(y);
            assert!(points.iter().all(inside), "{points:?}");
        }
        let svg = picture.to_svg();
        for text in [
            "a race",
            "start",
            "lowest reached",
            "sgd &amp; 0.04",
            "adam &amp; 0.1",
            "sgd &amp; 0.2",
            ">x<",
            ">y<",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let again = Landscape::new("a race", ["x", "y"].map(str::to_owned), bowl, paths, (600, 400));
        assert!(again.picture().to_svg() == svg, "the same race makes the same picture");
        assert_eq!(map.last_step(), 400);
    }

    #[test]
    fn a_moment_shows_paths_as_far_as_they_are() {
        let map =
            Landscape::new("", ["x", "y"].map(str::to_owned), bowl, vec![path("sgd", 0.04, 30)], (600, 400));
        let length = |step: u64| lines(&map.moment(step)).iter().map(|line| line.len()).sum::<usize>();
        assert_eq!([0, 1, 2].map(length), [0, 2, 3]);
        assert!(length(30) > length(10));
    }

    #[test]
    fn odd_races_have_a_picture() {
        let unmoved = Path { name: "still".to_owned(), points: vec![(0, 0.0, [0.0, 0.0]); 5] };
        let lost = Path {
            name: "lost".to_owned(),
            points: vec![(0, 1.0, [1.0, 1.0]), (1, f64::NAN, [f64::NAN, f64::INFINITY])],
        };
        let flat: fn(Point) -> f64 = |_| 1.0;
        let nowhere: fn(Point) -> f64 = |_| f64::NAN;
        for (value, paths) in [(flat, vec![unmoved]), (nowhere, vec![lost]), (flat, Vec::new())] {
            let svg = Landscape::new("", ["x", "y"].map(str::to_owned), value, paths, (300, 300))
                .picture()
                .to_svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
