//! Pictures: of races as scenes of our own, which can be SVG and pixels, and what the charts of runs share.

mod animation;
mod axes;
mod canvas;
mod chart;
mod contour;
mod curves;
mod fit;
mod landscape;
mod legend;
mod scene;

pub(crate) use animation::gif;
pub(crate) use chart::{Drawing, draw_series_names, render, save, widened};
pub(crate) use curves::{Curve, Panel, curves};
pub(crate) use fit::{FitPicture, fit_picture};
pub(crate) use landscape::{Landscape, Path};

pub(crate) use scene::Scene;

use scene::{Colour, Stroke};

/// Okabe and Ito's palette (2008), which colour-blind people tell apart, without its yellow, which is too pale for lines
/// on white.
const PALETTE: [Colour; 7] = [
    Colour(0, 114, 178),
    Colour(213, 94, 0),
    Colour(0, 158, 115),
    Colour(204, 121, 167),
    Colour(230, 159, 0),
    Colour(86, 180, 233),
    Colour(40, 40, 40),
];

/// When the colours are used up, lines are broken, in more and more ways.
const DASHES: [Option<[f64; 2]>; 4] = [None, Some([7.0, 5.0]), Some([1.0, 4.5]), Some([14.0, 5.0])];

/// How the line of the racer with this number looks.
fn stroke(number: usize) -> Stroke {
    let dash = DASHES[number / PALETTE.len() % DASHES.len()];
    Stroke { colour: PALETTE[number % PALETTE.len()], width: 2.0, dash }
}
