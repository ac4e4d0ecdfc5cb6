//! The picture of a run: losses over epochs, and below them the metric on the test set.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::metrics::EpochMetrics;
use crate::Result;
use crate::plot::{self, Drawing, widened};

const WIDTH: u32 = 800;
const PANEL_HEIGHT: u32 = 400;
const TRAIN: RGBColor = RGBColor(31, 119, 180);
const TEST: RGBColor = RGBColor(214, 39, 40);
/// A line with no more points than this shows each as a dot, so that a run of one epoch shows something.
const DOTS: usize = 40;

/// A line of a panel: its name, its colour, and its points as epoch and value.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(
        name: &'static str,
        colour: RGBColor,
        epochs: &[EpochMetrics],
        value: impl Fn(&EpochMetrics) -> Option<f64>,
    ) -> Self {
        let point = |epoch: &EpochMetrics| value(epoch).map(|value| (epoch.epoch as f64, value));
        let points = epochs.iter().filter_map(point).filter(|(_, value)| value.is_finite());
        Line { name, colour, points: points.collect() }
    }
}

/// Draws `epochs` to the file at `path`, atomically; without epochs there is no picture.
///
/// # Errors
/// [`Error::Write`](crate::Error::Write).
pub(super) fn draw(path: &Path, epochs: &[EpochMetrics]) -> Result<()> {
    if epochs.is_empty() {
        return Ok(());
    }
    plot::save(path, render(epochs))
}

fn render(epochs: &[EpochMetrics]) -> Drawing<String> {
    let losses = [
        Line::new("train", TRAIN, epochs, |epoch| Some(epoch.train_loss)),
        Line::new("test", TEST, epochs, |epoch| epoch.test_loss),
    ];
    let metrics = [
        ("accuracy", Line::new("test", TEST, epochs, |epoch| epoch.test_accuracy)),
        ("root mean squared error", Line::new("test", TEST, epochs, |epoch| epoch.test_rmse)),
    ];
    let mut panels = vec![("loss", losses.into_iter().collect::<Vec<_>>())];
    panels.extend(metrics.into_iter().map(|(name, line)| (name, vec![line])));
    panels.retain(|(_, lines)| lines.iter().any(|line| !line.points.is_empty()));

    let size = (WIDTH, PANEL_HEIGHT * panels.len().max(1) as u32);
    plot::render(size, |root| {
        for (area, (name, lines)) in root.split_evenly((panels.len().max(1), 1)).iter().zip(&panels) {
            panel(area, name, lines)?;
        }
        Ok(())
    })
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, name: &str, lines: &[Line]) -> Drawing<()> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let epochs = widened(all().map(|point| point.0), 0.5, 0.0);
    let values = widened(all().map(|point| point.1), 1e-3, 0.05);
    // As many digits as tell two labels of the axis apart.
    let digits = (2.0 - (values.end - values.start).log10()).clamp(0.0, 6.0) as usize;
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(epochs.clone(), values)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(((epochs.end - epochs.start).ceil() as usize + 1).clamp(2, 10))
        .x_label_formatter(&|epoch| if epoch.fract() == 0.0 { format!("{epoch}") } else { String::new() })
        .y_label_formatter(&|value| format!("{value:.digits$}"))
        .x_desc("epoch")
        .y_desc(name)
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 13))
        .draw()?;
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let style = line.colour.stroke_width(2);
        let colour = line.colour;
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        if line.points.len() <= DOTS {
            chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        }
    }
    plot::draw_series_names(
        &mut chart,
        if rises(lines) { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight },
        14,
    )?;
    Ok(())
}

/// Whether the lines end higher than they begin, so that the upper right corner is theirs.
fn rises(lines: &[Line]) -> bool {
    let climb = |line: &Line| Some(line.points.last()?.1 - line.points.first()?.1);
    lines.iter().filter_map(climb).sum::<f64>() > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(
        epoch: u64,
        train_loss: f64,
        test_loss: Option<f64>,
        test_accuracy: Option<f64>,
    ) -> EpochMetrics {
        EpochMetrics {
            epoch,
            skipped: 0,
            step: 10 * epoch,
            train_loss,
            test_loss,
            test_accuracy,
            test_rmse: None,
            samples_per_second: 1.0,
            bound: None,
            seconds: 1.0,
        }
    }

    #[test]
    fn every_history_has_a_picture_with_its_lines() {
        let long: Vec<_> = (1..=1000).map(|i| epoch(i, 1.0 / i as f64, Some(2.0), Some(0.5))).collect();
        // Epochs, panels, lines.
        let rows = [
            (vec![epoch(1, 2.0, None, None)], 1, 1),
            (vec![epoch(1, 2.0, Some(2.5), Some(0.25))], 2, 3),
            (vec![epoch(1, 0.0, None, None), epoch(2, 0.0, None, None)], 1, 1),
            (vec![epoch(7, 1e30, Some(f64::INFINITY), None), epoch(8, 1e-30, Some(1.0), None)], 1, 2),
            (long, 2, 3),
        ];
        for (epochs, panels, lines) in rows {
            let picture = render(&epochs).unwrap();
            assert_eq!(picture.matches(">\nepoch\n").count(), panels, "{picture}");
            let coloured = |line: &&str| ["#1F77B4", "#D62728"].iter().any(|colour| line.contains(colour));
            let drawn: Vec<_> =
                picture.lines().filter(|line| line.starts_with("<polyline")).filter(coloured).collect();
            assert_eq!(drawn.len(), 2 * lines, "each is drawn, and stands in a legend: {picture}");
            let points = drawn.iter().flat_map(|line| line.split('"').find(|text| text.contains(',')));
            for point in points.flat_map(str::split_whitespace) {
                let (x, y) = point.split_once(',').expect("x,y");
                let inside = |text: &str, size: u32| text.parse().is_ok_and(|at: u32| at < size);
                assert!(inside(x, WIDTH) && inside(y, PANEL_HEIGHT * panels as u32), "{point} is cut off");
            }
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        }
    }
}
