//! Curves of several racers in panels beside and below each other, with one legend.

use super::axes::{Axis, Frame};
use super::legend::Legend;
use super::scene::{Anchor, Point, Scene, Shape};
use super::stroke;

const WIDTH: u32 = 960;
const PANEL_HEIGHT: f64 = 340.0;
const MARGIN: f64 = 16.0;
const TITLE: f64 = 26.0;
/// A curve of no more points than this shows each.
const DOTS: usize = 30;
/// Losses above so many times what racers begin with are not shown.
const CLIMB: f64 = 3.0;

/// A racer's line in one panel.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Curve {
    /// Its place in the legend.
    pub racer: usize,
    pub points: Vec<Point>,
}

/// Curves over the same axes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Panel {
    /// What the axes say, across and up.
    pub names: [&'static str; 2],
    pub curves: Vec<Curve>,
    /// Whether the values are losses: those are shown by powers of ten where they span some, and whoever climbs far
    /// above where the racers began leaves the panel.
    pub losses: bool,
}

/// A picture of `panels` in so many columns, with the names of all racers below.
pub(crate) fn curves(title: &str, names: &[String], panels: &[Panel], columns: usize) -> Scene {
    let legend = Legend::new(names.iter().map(String::as_str), f64::from(WIDTH) - 2.0 * MARGIN);
    let rows = panels.len().div_ceil(columns) as f64;
    let top = MARGIN + TITLE;
    let height = top + rows * PANEL_HEIGHT + legend.height + MARGIN;
    let mut scene = Scene::new(WIDTH, height.ceil() as u32);
    scene.text([MARGIN + Frame::ROOM[0], MARGIN + 14.0], title, Anchor::Start, 15.0);
    let [left, below] = Frame::ROOM;
    let across = (f64::from(WIDTH) - MARGIN) / columns as f64;
    for (number, panel) in panels.iter().enumerate() {
        let (column, row) = ((number % columns) as f64, (number / columns) as f64);
        let points = || panel.curves.iter().flat_map(|curve| curve.points.iter());
        let highest = if panel.losses { CLIMB * median_start(panel) } else { f64::INFINITY };
        let values = points().map(|point| point[1]).filter(|value| *value <= highest);
        let up = if panel.losses { Axis::logarithmic_over } else { Axis::over };
        let frame = Frame {
            left: MARGIN + column * across + left,
            top: top + row * PANEL_HEIGHT + 8.0,
            width: across - left - MARGIN,
            height: PANEL_HEIGHT - below - 16.0,
            x: Axis::over(panel.names[0], points().map(|point| point[0]), 0.02),
            y: up(panel.names[1], values, 0.05),
        };
        draw_panel(&mut scene, &frame, panel);
    }
    legend.draw(&mut scene, [MARGIN, height - MARGIN - legend.height]);
    scene
}

/// What the racer in the middle begins with; infinite where that is not above 0, and has no multiples.
fn median_start(panel: &Panel) -> f64 {
    let mut starts: Vec<f64> =
        panel.curves.iter().filter_map(|curve| Some(curve.points.first()?[1])).collect();
    starts.sort_by(f64::total_cmp);
    starts.get(starts.len() / 2).copied().filter(|start| *start > 0.0).unwrap_or(f64::INFINITY)
}

fn draw_panel(scene: &mut Scene, frame: &Frame, panel: &Panel) {
    frame.draw_grid(scene);
    frame.draw(scene);
    for curve in &panel.curves {
        let stroke = stroke(curve.racer);
        for points in frame.clipped(curve.points.iter().copied()) {
            scene.shapes.push(Shape::Line { points, stroke });
        }
        if curve.points.len() <= DOTS {
            let at = curve.points.iter().map(|point| frame.pixel(*point)).filter(|at| frame.holds(*at));
            scene.shapes.extend(at.map(|centre| Shape::Disc { centre, radius: 3.0, fill: stroke.colour }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(losses: bool, points: &[&[Point]]) -> Panel {
        let curve = |(racer, points): (usize, &&[Point])| Curve { racer, points: points.to_vec() };
        Panel { names: ["step", "loss"], curves: points.iter().enumerate().map(curve).collect(), losses }
    }

    #[test]
    fn every_racer_is_named_and_what_climbs_away_leaves_the_panel() {
        let names = ["sgd lr=0.1".to_owned(), "adam <b>".to_owned()];
        let (slow, away): (&[Point], &[Point]) =
            (&[[0.0, 2.0], [1.0, 1.5]], &[[0.0, 2.0], [1.0, 1e30], [2.0, f64::NAN]]);
        // Panels, columns, marks that must be there.
        let rows = [
            (vec![panel(true, &[slow, away])], 1, ">1.8</text>"),
            (vec![panel(true, &[slow, &[[1.0, 1e-4]]]); 3], 2, ">0.001</text>"),
            (vec![panel(false, &[slow, away]); 2], 2, ">1.0e30</text>"),
            (vec![panel(true, &[&[], &[]])], 1, ">0.4</text>"),
            (Vec::new(), 2, "sgd lr=0.1"),
        ];
        for (panels, columns, mark) in rows {
            let scene = curves("a title", &names, &panels, columns);
            let svg = scene.to_svg();
            for text in ["a title", "sgd lr=0.1", "adam &lt;b&gt;", mark] {
                assert!(svg.contains(text), "`{text}` is not in {svg}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let (width, height) = (f64::from(scene.width), f64::from(scene.height));
            for shape in &scene.shapes {
                let Shape::Line { points, .. } = shape else { continue };
                let inside = |[x, y]: &Point| (0.0..width).contains(x) && (0.0..height).contains(y);
                assert!(points.iter().all(inside), "{points:?}");
            }
        }
    }
}
