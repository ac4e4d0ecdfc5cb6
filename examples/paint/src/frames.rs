//! How long frames took, and how far apart they began.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use plotters::prelude::*;

use crate::Outcome;

/// Frames at first that are not counted: the window opens, and what launches cost is learnt.
const FIRST: usize = 60;

/// Bars of the histogram, and the milliseconds of the last.
const BARS: usize = 60;
const MOST: f64 = 30.0;

#[derive(Default)]
pub struct Frames {
    began: Vec<Instant>,
    took: Vec<Duration>,
}

impl Frames {
    pub fn add(&mut self, began: Instant, took: Duration) {
        self.began.push(began);
        self.took.push(took);
    }

    /// Milliseconds of each frame's own work, and from the beginning of each to that of the next.
    fn milliseconds(&self) -> [Vec<f64>; 2] {
        let own = self.took.iter().skip(FIRST).map(|time| time.as_secs_f64() * 1e3).collect();
        let apart =
            self.began.windows(2).skip(FIRST).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect();
        [own, apart]
    }

    /// Draws both as histograms.
    pub fn draw(&self, path: &Path) -> Outcome {
        let area = SVGBackend::new(path, (720, 300)).into_drawing_area();
        area.fill(&WHITE)?;
        let [own, apart] = self.milliseconds();
        let titles = [
            "work of a frame on the window's thread, ms",
            "from one frame to the next, ms (60 a second: 16.7)",
        ];
        for ((times, title), area) in [own, apart].iter().zip(titles).zip(area.split_evenly((2, 1))) {
            let mut counts = [0u32; BARS];
            for time in times {
                counts[((time / MOST * BARS as f64) as usize).min(BARS - 1)] += 1;
            }
            let highest = counts.iter().copied().max().unwrap_or(0).max(1);
            let mut chart = ChartBuilder::on(&area)
                .margin(6)
                .x_label_area_size(34)
                .y_label_area_size(44)
                .build_cartesian_2d(0.0..MOST, 0..highest)?;
            chart.configure_mesh().disable_x_mesh().x_desc(title).y_desc("frames").y_labels(4).draw()?;
            let width = MOST / BARS as f64;
            chart.draw_series(counts.iter().enumerate().map(|(bar, count)| {
                let from = bar as f64 * width;
                Rectangle::new([(from, 0), (from + 0.9 * width, *count)], BLUE.filled())
            }))?;
        }
        area.present()?;
        Ok(())
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["work of a frame", "from one to the next"];
        write!(out, "{} frames", self.took.len().saturating_sub(FIRST))?;
        for (name, mut times) in names.into_iter().zip(self.milliseconds()) {
            times.sort_by(f64::total_cmp);
            let at = |part: f64| {
                times.get((part * times.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0.0)
            };
            write!(
                out,
                "; {name}: {:.1} ms in the median, {:.1} at 99 %, {:.1} at most",
                at(0.5),
                at(0.99),
                at(1.0)
            )?;
        }
        Ok(())
    }
}
