//! The picture of a plan's memory: the arenas over a step, each tensor a rectangle of its life by its place.

use std::path::Path;

use plotters::prelude::*;

use crate::gpu::format_bytes;
use crate::plot::{self, Drawing};
use crate::{MemoryMap, PlacedTensor, PlanReport, Result};

const SIZE: (u32, u32) = (900, 600);
const MARGIN: u32 = 16;
const AXIS_WIDTH: u32 = 84;
const AXIS_HEIGHT: u32 = 44;
/// Pixels that a letter of a label takes across, and a line down.
const LETTER: (f64, f64) = (5.6, 12.0);

/// Colours that are told apart by most colour-blind readers (Okabe and Ito, 2008), lightened to carry black text: by
/// how much of the step a tensor outlives.
const LIVES: [(f64, &str, RGBColor); 3] = [
    (0.5, "held for more than half of the step", RGBColor(240, 178, 122)),
    (0.1, "more than a tenth", RGBColor(142, 202, 230)),
    (0.0, "shorter", RGBColor(168, 218, 190)),
];

/// The part of the arenas' height that is left above them for the legend.
const HEADROOM: f64 = 0.16;
/// What the axis counts in, the largest first.
const UNITS: [(u64, &str); 4] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes")];

/// Draws who holds which memory over a step of the run that `report` is of, atomically.
///
/// # Errors
/// [`Error::Write`](crate::Error::Write).
pub(crate) fn draw_memory(path: &Path, map: &MemoryMap, report: &PlanReport) -> Result<()> {
    let title = format!(
        "activations over a step of {} rows: {} of {}",
        report.micro_batch,
        format_bytes(report.bytes.activations),
        format_bytes(report.bytes.total),
    );
    draw(path, map, &title)
}

fn draw(path: &Path, map: &MemoryMap, title: &str) -> Result<()> {
    plot::save(path, render(map, title))
}

fn render(map: &MemoryMap, title: &str) -> Drawing<String> {
    let total: u64 = map.arenas.iter().sum();
    let (steps, height) = (map.steps.len().max(1) as f64, total.max(1) as f64);
    plot::render(SIZE, |root| {
        let caption = format!("{title}; arenas: {}", map.arenas.len());
        let (unit, unit_name) = *UNITS.iter().find(|(unit, _)| total >= *unit).unwrap_or(&UNITS[3]);
        let mut chart = ChartBuilder::on(root)
            .margin(MARGIN)
            .caption(caption, ("sans-serif", 16))
            .x_label_area_size(AXIS_HEIGHT)
            .y_label_area_size(AXIS_WIDTH)
            .build_cartesian_2d(0.0..steps, 0.0..height * (1.0 + HEADROOM) / unit as f64)?
            .set_secondary_coord(0.0..steps, 0.0..height * (1.0 + HEADROOM));
        chart
            .configure_mesh()
            .disable_mesh()
            .x_label_formatter(&|step| format!("{step:.0}"))
            .x_desc("dispatch of the step")
            .y_desc(unit_name)
            .axis_desc_style(("sans-serif", 15))
            .label_style(("sans-serif", 12))
            .draw()?;
        for (least, name, colour) in LIVES {
            let held = map.tensors.iter().filter(|tensor| life(tensor, steps).0 == least);
            let corners = held.map(|tensor| corners(map, tensor)).collect::<Vec<_>>();
            let filled = corners.iter().map(|corners| Rectangle::new(*corners, colour.filled()));
            chart
                .draw_secondary_series(filled)?
                .label(name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
            let framed = corners.iter().map(|corners| Rectangle::new(*corners, BLACK.mix(0.35)));
            chart.draw_secondary_series(framed)?;
        }
        let pixels = chart.plotting_area().dim_in_pixel();
        let scale = (f64::from(pixels.0) / steps, f64::from(pixels.1) / (height * (1.0 + HEADROOM)));
        let labels = map.tensors.iter().filter_map(|tensor| label(map, tensor, scale));
        chart.draw_secondary_series(labels)?;
        let ends = map.arenas.iter().scan(0, |end, bytes| {
            *end += bytes;
            Some(*end as f64)
        });
        let lines = ends.map(|end| PathElement::new([(0.0, end), (steps, end)], BLACK.stroke_width(1)));
        chart.draw_secondary_series(lines)?;
        plot::draw_series_names(&mut chart, SeriesLabelPosition::UpperRight, 12)?;
        Ok(())
    })
}

/// The row of [`LIVES`] for a tensor of a step of so many dispatches.
fn life(tensor: &PlacedTensor, steps: f64) -> (f64, &'static str, RGBColor) {
    let part = (tensor.last + 1 - tensor.first) as f64 / steps;
    LIVES.into_iter().find(|(least, ..)| part > *least).unwrap_or(LIVES[LIVES.len() - 1])
}

/// Two corners, in dispatches and bytes; the arenas stand on each other.
fn corners(map: &MemoryMap, tensor: &PlacedTensor) -> [(f64, f64); 2] {
    let below: u64 = map.arenas[..tensor.arena].iter().sum();
    let bottom = below + tensor.offset;
    [(tensor.first as f64, bottom as f64), ((tensor.last + 1) as f64, (bottom + tensor.bytes) as f64)]
}

/// A tensor's label where its rectangle holds it, at a scale of pixels by dispatch and by byte.
fn label(
    map: &MemoryMap,
    tensor: &PlacedTensor,
    scale: (f64, f64),
) -> Option<Text<'static, (f64, f64), String>> {
    let [left_bottom, right_top] = corners(map, tensor);
    let width = (right_top.0 - left_bottom.0) * scale.0;
    let height = (right_top.1 - left_bottom.1) * scale.1;
    let fits = width > LETTER.0 * tensor.label.chars().count() as f64 + 8.0 && height > LETTER.1 + 2.0;
    let at = (left_bottom.0 + 4.0 / scale.0, (left_bottom.1 + right_top.1) / 2.0 + LETTER.1 / 2.0 / scale.1);
    fits.then(|| Text::new(tensor.label.clone(), at, ("sans-serif", 11)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Profile;
    use crate::graph::Dim;
    use crate::plan::recompute::variants;
    use crate::plan::tests::gpu;
    use crate::plan::{Destination, Plan, Program};
    use crate::{Graph, Mode, ModelSpec};

    /// The mean of a model's outputs on rows of 64 floats, and its gradient.
    fn training(model: &str) -> Program {
        let mut graph = Graph::new();
        let x = graph.input("x", [Dim::BATCH, Dim::Fixed(64)]).unwrap();
        let y = model.parse::<ModelSpec>().unwrap().build(&mut graph, x, 10, Mode::Train).unwrap();
        let loss = graph.mean(y, &[0, 1]).unwrap();
        let parameters = graph.parameter_vars().to_vec();
        let gradients = graph.gradient(loss, &parameters).unwrap().into_iter().enumerate();
        let gradients = gradients.map(|(number, var)| (var, Destination::Gradient(number)));
        let outputs = [(loss, Destination::Result(0))].into_iter().chain(gradients).collect();
        Program { graph, outputs }
    }

    fn map(program: &Program, profile: &Profile) -> MemoryMap {
        Plan::new(program, profile, 256).unwrap().memory_map()
    }

    #[test]
    fn every_tensor_has_its_rectangle_and_equal_maps_equal_pictures() {
        let deep = format!("mlp:{}", ["64"; 12].join(","));
        let profile = gpu().profile();
        let mut maps = vec![(String::from("3 layers"), map(&training("mlp:96,48"), profile))];
        let program = training(&deep);
        maps.push(("12 layers".to_owned(), map(&program, profile)));
        for variant in variants(&program, profile).unwrap() {
            maps.push((format!("{} made again", variant.recomputed), map(&variant.program, profile)));
        }
        maps.push(("nothing".to_owned(), MemoryMap::default()));
        let folder = tempfile::tempdir().unwrap();
        for (number, (title, map)) in maps.iter().enumerate() {
            let path = folder.path().join(format!("memory-{number}.svg"));
            draw(&path, map, title).unwrap();
            let picture = std::fs::read_to_string(&path).unwrap();
            let frames =
                picture.lines().filter(|line| line.contains(r#"fill="none""#) && line.contains("<rect"));
            assert_eq!(frames.count(), map.tensors.len() + 1, "{title}: one each, and the legend's");
            assert!(picture == render(map, title).unwrap());
            assert!(!picture.contains("NaN"), "{title}");
        }
    }
}
