//! What the charts that plotters draws have in common: a white SVG picture, its legend, and the way to its file.

use std::ops::Range;
use std::path::Path;

use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;

use crate::atomic::write as write_atomically;
use crate::{Error, Result};

/// What drawing gives; nothing but a number that plotters cannot place makes it fail.
pub(crate) type Drawing<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// An SVG picture of this size in pixels, white where `draw` draws nothing.
pub(crate) fn render(
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Drawing<()>,
) -> Drawing<String> {
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root)?;
        root.present()?;
    }
    Ok(picture)
}

/// Puts a picture in the file at `path`, atomically.
///
/// # Errors
/// [`Error::Write`], also where the picture could not be drawn.
pub(crate) fn save(path: &Path, picture: Drawing<String>) -> Result<()> {
    let picture = picture.map_err(|error| Error::write(path, std::io::Error::other(error.to_string())))?;
    write_atomically(path, picture.as_bytes())
}

/// Draws the names of a chart's series in a corner of it, in letters of `size`.
pub(crate) fn draw_series_names<'a, 'picture: 'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'picture>, C>,
    position: SeriesLabelPosition,
    size: u32,
) -> Drawing<()> {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", size))
        .draw()?;
    Ok(())
}

/// The range of `values` with a `margin` at both ends as a part of it, and `least` about a single value.
pub(crate) fn widened(values: impl Iterator<Item = f64>, least: f64, margin: f64) -> Range<f64> {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let margin = if high > low { (high - low) * margin } else { least.max(high.abs() * 1e-2) };
    low - margin..high + margin
}
