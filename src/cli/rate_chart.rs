//! The picture of a range test: the loss over the learning rate, with the suggestion as a line.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::plot::{self, Drawing, widened};
use crate::train::RateCurve;

const SIZE: (u32, u32) = (800, 440);
// Okabe and Ito's palette, which colour-blind people tell apart.
const LOSS: RGBColor = RGBColor(0, 114, 178);
const SUGGESTED: RGBColor = RGBColor(213, 94, 0);

/// Draws `curve` to the file at `path`, atomically.
///
/// # Errors
/// [`Error::Write`](crate::Error::Write).
pub(super) fn draw(path: &Path, curve: &RateCurve) -> Result<()> {
    plot::save(path, render(curve))
}

fn render(curve: &RateCurve) -> Drawing<String> {
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let rates = widened(curve.points.iter().map(|point| point.lr.log10()), 0.5, 0.02);
        let rates = 10f64.powf(rates.start)..10f64.powf(rates.end);
        // All losses but those of steps that went far above the curve.
        let highest = curve.smoothed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let below = curve.points.iter().map(|point| point.loss).filter(|loss| *loss < highest);
        let losses = widened(curve.smoothed.iter().copied().chain(below), 1e-3, 0.05);
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(rates.log_scale(), losses.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|rate| format!("{rate:.0e}"))
            .x_desc("learning rate")
            .y_desc("loss")
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 13))
            .draw()?;
        let steps = curve.points.iter().filter(|point| losses.contains(&point.loss));
        chart
            .draw_series(steps.map(|point| Circle::new((point.lr, point.loss), 2, LOSS.mix(0.4).filled())))?
            .label("of a step")
            .legend(|(x, y)| Circle::new((x + 9, y), 2, LOSS.mix(0.4).filled()));
        let smoothed = curve.points.iter().zip(&curve.smoothed).map(|(point, loss)| (point.lr, *loss));
        chart
            .draw_series(LineSeries::new(smoothed, LOSS.stroke_width(2)))?
            .label("smoothed")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], LOSS.stroke_width(2)));
        if let Some(rate) = curve.suggested {
            let line = [(rate, losses.start), (rate, losses.end)];
            chart
                .draw_series(LineSeries::new(line, SUGGESTED.stroke_width(2)))?
                .label(format!("suggested, {rate:.1e}"))
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], SUGGESTED.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .draw()?;
        root.present()?;
    }
    Ok(picture)
}
