//! `downhill devices`: every adapter, or the one asked for: what it can do, and whether downhill runs on it.

use super::output::{Ended, Output};
use crate::gpu::{format_bytes, listed_adapters};
use crate::{AdapterReport, Gpu, GpuOptions};

pub(super) fn devices(adapter: Option<&str>, output: &Output) -> Ended {
    let reports = listed_adapters(adapter)?;
    if reports.is_empty() {
        // Opening one says how to get one.
        Gpu::new(&GpuOptions::default())?;
    }
    for report in &reports {
        output.event("device", report)?;
        output.result(&text(report))?;
    }
    output.event("done", &serde_json::json!({ "devices": reports.len() }))
}

fn text(report: &AdapterReport) -> String {
    let AdapterReport { index, name, kind, backend, driver, driver_info, limits, features, .. } = report;
    let runs = match &report.why_not {
        None => "yes".to_owned(),
        Some(why_not) => format!("no: {why_not}"),
    };
    let heaps: Vec<String> = report
        .heaps
        .iter()
        .map(|heap| {
            let place = if heap.device_local { "device" } else { "host" };
            let told = |name, bytes: Option<u64>| {
                bytes.map_or_else(String::new, |bytes| format!(", {name} {}", format_bytes(bytes)))
            };
            let (budget, used) = (told("budget", heap.budget), told("used", heap.used));
            format!("{} ({place}{budget}{used})", format_bytes(heap.bytes))
        })
        .collect();
    let shapes: Vec<String> = features
        .matrix_shapes
        .iter()
        .map(|shape| format!("{}x{}x{} {} to {}", shape.m, shape.n, shape.k, shape.factors, shape.sum))
        .collect();
    let flags = [
        ("f16", features.f16),
        ("f64", features.f64),
        ("int64", features.int64),
        ("subgroups", features.subgroups),
        ("timestamps", features.timestamps),
        ("mappable storage", features.mappable_storage),
    ];
    let has: Vec<&str> = flags.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    let rows = [
        ("driver", format!("{driver} {driver_info}")),
        ("memory", listed(&heaps, "not told by the backend")),
        ("budget", format!("{} ({})", format_bytes(report.budget), report.budget_source)),
        ("largest buffer", format_bytes(limits.max_buffer_size)),
        ("largest binding", format_bytes(limits.max_binding_size)),
        ("storage buffers", format!("{} per dispatch", limits.max_storage_buffers)),
        (
            "workgroups",
            format!(
                "{} per dimension, {} invocations, {} of memory",
                limits.max_workgroups_per_dimension,
                limits.max_workgroup_invocations,
                format_bytes(limits.max_workgroup_memory.into()),
            ),
        ),
        ("subgroups", format!("{} to {} invocations", limits.min_subgroup_size, limits.max_subgroup_size)),
        ("features", listed(&has, "none")),
        ("matrix units", listed(&shapes, "none")),
        ("runs downhill", runs),
    ];
    let rows = rows.map(|(name, value)| format!("\n   {name:16} {value}"));
    format!("{index}: {name} ({kind}, {backend}){}", rows.concat())
}

fn listed(items: &[impl AsRef<str>], none: &str) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}
