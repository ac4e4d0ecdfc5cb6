//! The picture of a fit: data and what was fitted above, residuals below.

use super::axes::{Axis, Frame};
use super::scene::{Anchor, Colour, Point, Scene, Shape};
use super::{PALETTE, stroke};
use crate::{FitData, FitModel, Fitted};

const WIDTH: u32 = 820;
const MARGIN: f64 = 16.0;
const TITLE: f64 = 26.0;
const FIT_HEIGHT: f64 = 360.0;
const RESIDUAL_HEIGHT: f64 = 190.0;
/// Places at which a curve is computed.
const GRID: usize = 600;
/// Points beyond which not all are drawn.
const MOST_POINTS: usize = 5000;

/// What is drawn.
pub(crate) struct FitPicture {
    pub title: String,
    /// What the axes say, across and up.
    pub names: [String; 2],
    pub data: Vec<Point>,
    /// The fitted value at each point of the data.
    pub fitted: Vec<Point>,
    /// The fitted curve between them, where one column is all that it depends on.
    pub curve: Vec<Point>,
}

impl FitPicture {
    /// The picture of `fitted`, over the first column that the right side reads.
    pub fn new(equation: &str, model: &FitModel, data: &FitData, fitted: &Fitted) -> Self {
        let across = model.right_columns();
        let last = equation.rfind(';').map_or(0, |at| at + 1);
        let left_name = equation[last..].split('=').next().unwrap_or_default().trim();
        let [left, right] = model.sides(&fitted.estimates, data, 0);
        let rows = (0..data.points()).map(|row| row as f64).collect::<Vec<f64>>();
        let x = across.first().and_then(|name| data.values(name, 0)).unwrap_or(&rows);
        let pairs = |y: &[f64]| x.iter().zip(y).map(|(x, y)| [*x, *y]).collect::<Vec<Point>>();
        let curve = match across[..] {
            [name] => curve(model, name, x, &fitted.estimates),
            _ => Vec::new(),
        };
        let name = across.first().map_or("row", |name| name);
        FitPicture {
            title: equation[last..].trim().to_owned(),
            names: [name.to_owned(), left_name.to_owned()],
            data: pairs(&left),
            fitted: pairs(&right),
            curve,
        }
    }
}

fn curve(model: &FitModel, name: &str, x: &[f64], estimates: &[f64]) -> Vec<Point> {
    let (least, most) = x.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
    let grid: Vec<f64> = (0..=GRID).map(|i| least + (most - least) * i as f64 / GRID as f64).collect();
    let Ok(data) = FitData::new(grid.len()).shared(name, grid.clone()) else { return Vec::new() };
    let [_, right] = model.sides(estimates, &data, 0);
    grid.into_iter().zip(right).map(|(x, y)| [x, y]).collect()
}

/// Draws it.
pub(crate) fn fit_picture(picture: &FitPicture) -> Scene {
    let top = MARGIN + TITLE;
    let height = top + FIT_HEIGHT + RESIDUAL_HEIGHT + MARGIN;
    let mut scene = Scene::new(WIDTH, height.ceil() as u32);
    let [left, below] = Frame::ROOM;
    scene.text([MARGIN + left, MARGIN + 14.0], &picture.title, Anchor::Start, 15.0);
    let x = Axis::over(&picture.names[0], picture.data.iter().map(|point| point[0]), 0.03);
    let frame = |top: f64, height: f64, y: Axis| Frame {
        left: MARGIN + left,
        top,
        width: f64::from(WIDTH) - left - 2.0 * MARGIN,
        height: height - below - 12.0,
        x: x.clone(),
        y,
    };
    let values = picture.data.iter().chain(&picture.fitted).map(|point| point[1]);
    let upper = frame(top, FIT_HEIGHT, Axis::over(&picture.names[1], values, 0.06));
    let every = picture.data.len().div_ceil(MOST_POINTS).max(1);
    upper.draw_grid(&mut scene);
    upper.draw(&mut scene);
    dots(&mut scene, &upper, picture.data.iter().step_by(every), PALETTE[0], 3.5);
    if picture.curve.is_empty() {
        dots(&mut scene, &upper, picture.fitted.iter().step_by(every), PALETTE[1], 2.0);
    }
    for points in upper.clipped(picture.curve.iter().copied()) {
        scene.shapes.push(Shape::Line { points, stroke: stroke(1) });
    }
    let residuals: Vec<Point> =
        picture.data.iter().zip(&picture.fitted).map(|([x, y], [_, fitted])| [*x, y - fitted]).collect();
    let values = residuals.iter().map(|point| point[1]).chain([0.0]);
    let lower = frame(top + FIT_HEIGHT, RESIDUAL_HEIGHT, Axis::over("residual", values, 0.1));
    lower.draw_grid(&mut scene);
    lower.draw(&mut scene);
    let level = lower.pixel([0.0, 0.0])[1];
    scene.line(vec![[lower.left, level], [lower.left + lower.width, level]], PALETTE[1], 1.5);
    dots(&mut scene, &lower, residuals.iter().step_by(every), PALETTE[0], 3.0);
    scene
}

fn dots<'a>(
    scene: &mut Scene,
    frame: &Frame,
    points: impl Iterator<Item = &'a Point>,
    fill: Colour,
    radius: f64,
) {
    let at = points.map(|point| frame.pixel(*point)).filter(|at| frame.holds(*at));
    scene.shapes.extend(at.map(|centre| Shape::Disc { centre, radius, fill }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_twice_and_nothing_leaves_the_picture() {
        let data: Vec<Point> = vec![[0.0, 1.0], [1.0, 3.0], [2.0, f64::NAN]];
        let fitted: Vec<Point> = vec![[0.0, 1.5], [1.0, 2.5], [2.0, 3.5]];
        let names = ["x".to_owned(), "log(y)".to_owned()];
        // The curve, and how many discs there are: data and residuals that are finite, and fitted ones.
        for (curve, discs) in [(fitted.clone(), 4), (Vec::new(), 7)] {
            let (data, fitted, names) = (data.clone(), fitted.clone(), names.clone());
            let scene = fit_picture(&FitPicture { title: "a <b".to_owned(), names, data, fitted, curve });
            let count = scene.shapes.iter().filter(|shape| matches!(shape, Shape::Disc { .. })).count();
            assert_eq!(count, discs);
            let svg = scene.to_svg();
            for text in ["a &lt;b", ">x</text>", ">log(y)</text>", ">residual</text>"] {
                assert!(svg.contains(text), "`{text}` is not in {svg}");
            }
            assert!(!svg.contains("NaN"), "{svg}");
        }
    }
}
