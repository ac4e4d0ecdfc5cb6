//! Where a step's time goes, launch by launch: a table, JSON lines, and a trace that Perfetto and chrome://tracing open.

use std::path::Path;

use serde_json::{Value, json};

use super::output::{Ended, Output};
use crate::atomic::write as write_atomically;
use crate::measure::median;
use crate::train::{LaunchTime, Trainer};
use crate::{Error, Result};

/// Steps that are profiled; medians are told.
const STEPS: usize = 7;

/// Profiles steps of `trainer` and writes the trace of the last one to `file`.
pub(super) fn profile(trainer: &mut Trainer, file: &Path, output: &Output) -> Ended {
    let profiled: Option<Vec<Vec<LaunchTime>>> =
        (0..STEPS).map(|_| trainer.profile_step()).collect::<Result<_>>()?;
    let Some(profiled) = profiled else {
        let message = "this device has no timestamps, so its launches cannot be timed";
        return Err(Error::setting("--profile", message).into());
    };
    let Some(last) = profiled.last() else { return Ok(()) };
    let seconds = |number: usize| {
        let times = profiled.iter().filter_map(|step| step.get(number)).map(|launch| launch.seconds);
        median(times.collect()).unwrap_or(0.0)
    };
    let medians: Vec<f64> = (0..last.len()).map(seconds).collect();
    let all: f64 = medians.iter().sum();
    output.result(&format!("{:>9} {:>6} {:>9} {:>8}  launch", "ms", "share", "GFLOP/s", "GB/s"))?;
    for (launch, &seconds) in last.iter().zip(&medians) {
        let rate = |amount: u64| amount as f64 / seconds.max(1e-12) * 1e-9;
        let gflops = (launch.operations > 0).then(|| rate(launch.operations));
        output.event(
            "launch",
            &json!({
                "launch": launch.name,
                "seconds": seconds,
                "share": seconds / all,
                "gflops": gflops,
                "gbytes_per_second": rate(launch.bytes),
            }),
        )?;
        output.result(&format!(
            "{:9.3} {:4.1} % {:>9} {:8.1}  {}",
            1e3 * seconds,
            100.0 * seconds / all,
            gflops.map_or("–".to_owned(), |gflops| format!("{gflops:.1}")),
            rate(launch.bytes),
            launch.name
        ))?;
    }
    let trace = serde_json::to_vec(&trace(last)).map_err(|error| Error::write(file, error.into()))?;
    write_atomically(file, &trace)?;
    output.result(&format!("trace: {}", file.display()))
}

/// Chrome's trace event format: complete events, in microseconds.
fn trace(launches: &[LaunchTime]) -> Value {
    let events = launches.iter().map(|launch| {
        json!({
            "name": launch.name,
            "cat": "launch",
            "ph": "X",
            "ts": 1e6 * launch.start,
            "dur": 1e6 * launch.seconds,
            "pid": 0,
            "tid": 0,
            "args": { "operations": launch.operations, "bytes": launch.bytes },
        })
    });
    let name = json!({ "name": "process_name", "ph": "M", "pid": 0, "args": { "name": "training step on the device" } });
    json!({ "displayTimeUnit": "ms", "traceEvents": std::iter::once(name).chain(events).collect::<Vec<_>>() })
}
