//! Listing and choosing adapters, as an app or the command line does.

use downhill::{AdapterChoice, Error, Gpu, GpuOptions, LimitOverrides, MemoryLimit, adapters};

#[test]
fn the_list_has_an_adapter_that_runs_and_tells_its_memory() {
    let list = adapters();
    let report = list.iter().find(|report| report.can_run).expect(
        "tests need an adapter: install the vendor's driver or, on Debian, mesa-vulkan-drivers libvulkan1",
    );
    assert!(!report.name.is_empty() && report.why_not.is_none());
    assert!(report.budget > 0 && !report.budget_source.is_empty());
    if report.backend == "vulkan" {
        assert!(report.heaps.iter().any(|heap| heap.device_local && heap.bytes > 0), "{report:?}");
    }
    let json = serde_json::to_value(report).unwrap();
    for key in ["name", "type", "backend", "driver", "heaps", "budget", "limits", "features", "can_run"] {
        assert!(json.get(key).is_some(), "{key} is missing in {json}");
    }
}

#[test]
fn an_adapter_opens_by_index_and_by_part_of_its_name() {
    let list = adapters();
    let report = list.iter().find(|report| report.can_run).expect("the list has one");
    for wish in [report.index.to_string(), report.name.to_uppercase()] {
        let options = GpuOptions { adapter: AdapterChoice::Matching(wish), ..GpuOptions::default() };
        assert_eq!(Gpu::new(&options).unwrap().adapter_info().name, report.name);
    }
}

#[test]
fn an_unknown_adapter_is_one_line_that_lists_those_there_are() {
    let adapter = "no such card".parse::<AdapterChoice>().unwrap();
    let error = Gpu::new(&GpuOptions { adapter, ..GpuOptions::default() }).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Setting { .. }), "{message}");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("`no such card`"), "{message}");
    for report in adapters() {
        assert!(message.contains(&report.name), "{message}");
    }
}

#[test]
fn a_memory_limit_outranks_what_is_free() {
    let open = |limit: &str| {
        let memory_limit = Some(limit.parse::<MemoryLimit>().unwrap());
        Gpu::new(&GpuOptions { memory_limit, ..GpuOptions::default() })
    };
    let budget = open("64MiB").unwrap().budget();
    assert_eq!(budget.bytes, 64 << 20);
    assert!(budget.source.contains("64.00 MiB"), "{}", budget.source);
    match budget.total {
        Some(total) => assert_eq!(open("50%").unwrap().budget().bytes, total / 2),
        None => assert!(matches!(open("50%"), Err(Error::Setting { .. }))),
    }
}

#[test]
fn limits_can_be_lowered_but_not_raised() {
    let open = |overrides| Gpu::new(&GpuOptions { overrides, ..GpuOptions::default() }).unwrap();
    let real = open(LimitOverrides::default());
    let raised = open(LimitOverrides { max_buffer_size: Some(u64::MAX), ..LimitOverrides::default() });
    let lowered = open(LimitOverrides { max_buffer_size: Some(1 << 20), ..LimitOverrides::default() });
    assert_eq!(raised.profile(), real.profile());
    assert_eq!(lowered.profile().max_buffer_size, 1 << 20);
    assert_eq!(lowered.profile().max_binding_size, 1 << 20, "a binding lies inside one buffer");
    assert_eq!(lowered.device().limits().max_buffer_size, 1 << 20);
}
