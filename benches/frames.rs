//! How well a frame's share is used and kept: `cargo bench --bench frames`.
//!
//! A loop of 60 frames a second grants each frame 4 ms. Told is how many steps that makes of those that a trainer by itself
//! makes in the time granted, and how long the device worked in each frame, by its own timestamps. Both ways take turns, for
//! machines are not equally fast all the time. With `FRAMES_SVG=file.svg` the times of frames are drawn.

use std::thread::sleep;
use std::time::{Duration, Instant};

use downhill::{
    BatchSize, Error, Gpu, GpuOptions, Length, Optimizer, Result, Stopped, TrainOptions, Trainer, data,
};
use plotters::prelude::*;

const FRAME: Duration = Duration::from_micros(16_667);
const GRANTED: Duration = Duration::from_millis(4);
const ROUNDS: usize = 9;
const FRAMES: usize = 120;

/// Data, model and batch: steps far shorter than a share, of about one, and of several.
const RUNS: [(&str, &str, usize); 4] = [
    ("digits", "mlp:64", 32),
    ("random:8192x784:10", "mlp:64,64", 128),
    ("random:8192x784:10", "mlp:512,512", 128),
    ("random:8192x784:10", "mlp:512,512", 1024),
];

fn main() -> Result<()> {
    // A test run only sees whether it runs.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, frames) = if is_measured { (ROUNDS, FRAMES) } else { (1, 3) };
    let gpu = Gpu::new(&GpuOptions::default())?;
    println!("{}, {GRANTED:?} granted in frames of {FRAME:?}", gpu.adapter_info().name);
    let mut drawn = Vec::new();
    for (rows, model, batch) in RUNS {
        let options = TrainOptions {
            batch: BatchSize::Rows(batch),
            length: Length::Steps(u64::MAX),
            eval_every: u64::MAX,
            ..TrainOptions::new(model.parse()?, Optimizer::new("adam")?)
        };
        let mut trainer = Trainer::new(&gpu, data::load(&rows.parse()?, None, None, 0)?, options)?;
        let label = format!("{rows}, {model}, batch {batch}");
        let times = measure(&mut trainer, &label, rounds, frames)?;
        drawn.push((label, times));
    }
    match std::env::var("FRAMES_SVG") {
        Ok(path) => draw(&path, &drawn),
        Err(_) => Ok(()),
    }
}

/// Prints what a trainer does in frames; the milliseconds that the device worked in each.
fn measure(trainer: &mut Trainer, label: &str, rounds: usize, frames: usize) -> Result<Vec<f64>> {
    trainer.run_steps(4)?;
    let launches = trainer.profile_step()?.unwrap_or_default();
    let longest = launches.iter().map(|launch| launch.seconds).fold(0.0, f64::max);
    // What the launches cost is learnt once.
    let (learning, ..) = in_frames(trainer, 2 * frames)?;
    let (mut shares, mut times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // As many steps as two such stretches of frames made: about as long a time.
        let free = alone(trainer, learning.max(1))?;
        let (steps, granted, took) = in_frames(trainer, frames)?;
        shares.push(steps as f64 / (free * granted));
        times.extend(took);
    }
    shares.sort_by(f64::total_cmp);
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get((part * (times.len() as f64 - 1.0)) as usize).copied().unwrap_or(0.0);
    let limit = GRANTED.as_secs_f64() * 1e3 + longest * 1e3;
    let beyond = times.iter().filter(|time| **time > limit).count();
    println!(
        "{label}: {} launches a step, the longest {:.2} ms; {:.0} % of the steps of a loop by itself ({:.0} to {:.0}); \
         frames took {:.1} ms in the median, {:.1} at 99 %, {beyond} of {} above the share and a launch",
        launches.len(),
        longest * 1e3,
        100.0 * shares[shares.len() / 2],
        100.0 * shares[0],
        100.0 * shares[shares.len() - 1],
        at(0.5),
        at(0.99),
        times.len(),
    );
    Ok(times)
}

/// Steps a second of a trainer that has the device to itself.
fn alone(trainer: &mut Trainer, steps: u64) -> Result<f64> {
    let began = Instant::now();
    trainer.run_steps(steps)?;
    Ok(steps as f64 / began.elapsed().as_secs_f64())
}

/// Steps in so many frames, the seconds granted, and the milliseconds that the device worked in each frame.
fn in_frames(trainer: &mut Trainer, frames: usize) -> Result<(u64, f64, Vec<f64>)> {
    let (steps, mut times) = (trainer.steps(), Vec::new());
    let mut next = Instant::now();
    for _ in 0..frames {
        let advanced = trainer.advance(GRANTED)?;
        if matches!(advanced.stopped, Stopped::Finished | Stopped::Replanned) {
            return Err(Error::DoesNotFit("the memory changed while the frames were timed".to_owned()));
        }
        times.extend(advanced.took.map(|time| time.as_secs_f64() * 1e3));
        while trainer.poll()?.is_some() {}
        next += FRAME;
        sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok((trainer.steps() - steps, frames as f64 * GRANTED.as_secs_f64(), times))
}

/// A histogram a run.
fn draw(path: &str, runs: &[(String, Vec<f64>)]) -> Result<()> {
    let failed = |why: String| Error::Write { path: path.into(), source: std::io::Error::other(why) };
    let drawing = SVGBackend::new(path, (720, 150 * runs.len() as u32)).into_drawing_area();
    drawing.fill(&WHITE).map_err(|why| failed(why.to_string()))?;
    for ((label, times), area) in runs.iter().zip(drawing.split_evenly((runs.len(), 1))) {
        histogram(&area, label, times).map_err(failed)?;
    }
    drawing.present().map_err(|why| failed(why.to_string()))
}

fn histogram(
    area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    label: &str,
    times: &[f64],
) -> Result<(), String> {
    const BINS: usize = 40;
    const MOST: f64 = 10.0;
    let mut counts = [0u32; BINS];
    for time in times {
        counts[((time / MOST * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let highest = counts.iter().max().copied().unwrap_or(0).max(1);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .caption(label, ("sans-serif", 14))
        .x_label_area_size(28)
        .y_label_area_size(40)
        .build_cartesian_2d(0.0..MOST, 0..highest)
        .map_err(|why| why.to_string())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("ms of the device in a frame (4 granted; the last bar is 10 and more)")
        .y_desc("frames")
        .y_labels(4)
        .draw()
        .map_err(|why| why.to_string())?;
    let width = MOST / BINS as f64;
    let bar = |(bin, count): (usize, &u32)| {
        let from = bin as f64 * width;
        Rectangle::new([(from, 0), (from + 0.9 * width, *count)], BLUE.filled())
    };
    chart.draw_series(counts.iter().enumerate().map(bar)).map_err(|why| why.to_string())?;
    let granted = GRANTED.as_secs_f64() * 1e3;
    let line = LineSeries::new([(granted, 0), (granted, highest)], RED);
    chart.draw_series(line).map(drop).map_err(|why| why.to_string())
}
