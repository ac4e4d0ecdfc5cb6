//! How long planning takes: `cargo bench --bench plan`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use downhill::{MemoryModel, Optimizer, Profile, Result, TrainOptions, data};

/// The median of `count` runs.
fn median<T>(count: usize, run: impl Fn() -> Result<T>) -> Result<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        black_box(run()?);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[count / 2])
}

fn main() -> Result<()> {
    let rows = data::load(&"random:2000x784:10".parse()?, None, None, 0)?;
    for layers in [3, 12, 50] {
        let widths = vec!["512"; layers].join(",");
        let options = TrainOptions::new(format!("mlp:{widths}").parse()?, Optimizer::new("adam")?);
        for (name, profile) in [("portable", Profile::portable()), ("desktop", Profile::desktop())] {
            let model = MemoryModel::new(&rows, &options, &profile)?;
            let once = median(101, || MemoryModel::new(&rows, &options, &profile))?;
            let bytes = median(1001, || model.bytes(128))?;
            let fitted = median(21, || model.report(1 << 30, "none"))?;
            println!(
                "{layers:2} layers, {name} limits: {once:.1?} once, {bytes:.1?} for the bytes of one batch, {fitted:.1?} to \
                 fit a budget"
            );
        }
    }
    Ok(())
}
