//! The picture of batch sizes: memory and speed over the batch size, with the budget as a line and the knee marked.

use std::path::Path;

use plotters::prelude::*;

use super::bench_batch::Measured;
use crate::Result;
use crate::gpu::format_bytes;
use crate::plot::{self, Drawing};

const SIZE: (u32, u32) = (900, 520);
// Okabe and Ito's palette, which colour-blind people tell apart.
const MEMORY: RGBColor = RGBColor(0, 114, 178);
const SPEED: RGBColor = RGBColor(213, 94, 0);
const BUDGET: RGBColor = RGBColor(90, 90, 90);
const KNEE: RGBColor = RGBColor(0, 158, 115);

/// Draws `sizes` to the file at `path`, atomically.
///
/// # Errors
/// [`Error::Write`](crate::Error::Write).
pub(super) fn draw(path: &Path, sizes: &[Measured], budget: u64) -> Result<()> {
    plot::save(path, render(sizes, budget))
}

fn render(sizes: &[Measured], budget: u64) -> Drawing<String> {
    plot::render(SIZE, |root| {
        let bytes =
            || sizes.iter().flat_map(|size| [size.planned_bytes, size.measured_bytes]).chain([budget]);
        let (least, most) = (bytes().min().unwrap_or(1) as f64, bytes().max().unwrap_or(1) as f64);
        let widest = sizes.iter().map(|size| size.batch).max().unwrap_or(1) as f64;
        let narrowest = sizes.iter().map(|size| size.batch).min().unwrap_or(1) as f64;
        let fastest = sizes.iter().map(|size| size.samples_per_second_max).fold(1.0, f64::max);
        let across = || (narrowest / 1.25..widest * 1.25).log_scale().base(2.0);
        let mut chart = ChartBuilder::on(root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .right_y_label_area_size(84)
            .build_cartesian_2d(across(), (least / 1.5..most * 1.5).log_scale().base(2.0))?
            .set_secondary_coord(across(), 0.0..fastest * 1.1);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(16)
            .x_label_formatter(&|batch| format!("{batch:.0}"))
            .y_label_formatter(&|bytes| format_bytes(*bytes as u64))
            .x_desc("batch size")
            .y_desc("GPU memory")
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 13))
            .draw()?;
        chart
            .configure_secondary_axes()
            .y_desc("samples/s")
            .y_label_formatter(&|rate| format!("{rate:.0}"))
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 13))
            .draw()?;

        if let Some(knee) = sizes.iter().find(|size| size.knee) {
            let at = knee.batch as f64;
            let line = [(at, least / 1.5), (at, most * 1.5)];
            chart
                .draw_series(LineSeries::new(line, KNEE.stroke_width(2)))?
                .label("knee")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], KNEE.stroke_width(2)));
        }
        let across_all = [(narrowest / 1.25, budget as f64), (widest * 1.25, budget as f64)];
        chart
            .draw_series(LineSeries::new(across_all, BUDGET.stroke_width(1)))?
            .label(format!("budget, {}", format_bytes(budget)))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BUDGET.stroke_width(1)));
        let planned = sizes.iter().map(|size| (size.batch as f64, size.planned_bytes as f64));
        chart
            .draw_series(LineSeries::new(planned, MEMORY.stroke_width(2)))?
            .label("memory planned")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], MEMORY.stroke_width(2)));
        let measured = sizes.iter().map(|size| (size.batch as f64, size.measured_bytes as f64));
        chart
            .draw_series(measured.map(|point| Circle::new(point, 5, MEMORY.stroke_width(2))))?
            .label("memory measured")
            .legend(|(x, y)| Circle::new((x + 9, y), 5, MEMORY.stroke_width(2)));
        let speed = sizes.iter().map(|size| (size.batch as f64, size.samples_per_second));
        chart
            .draw_secondary_series(LineSeries::new(speed, SPEED.stroke_width(2)))?
            .label("samples/s, least to most")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], SPEED.stroke_width(2)));
        let spread = sizes.iter().map(|size| {
            let (least, most) = (size.samples_per_second_min, size.samples_per_second_max);
            ErrorBar::new_vertical(size.batch as f64, least, size.samples_per_second, most, SPEED.filled(), 8)
        });
        chart.draw_secondary_series(spread)?;
        plot::draw_series_names(&mut chart, SeriesLabelPosition::UpperLeft, 14)?;
        Ok(())
    })
}
