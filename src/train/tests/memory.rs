//! What a run takes of memory: planned, allocated, measured, and where there is too little.

use super::*;
use crate::gpu::MemoryLimit;
use crate::plan::Precision;
use crate::plan::memory::WGPU_BYTES;

#[test]
fn steps_make_no_buffer_bind_group_or_pipeline() {
    let gpu = gpu();
    let mut trainer =
        Trainer::new(&gpu, split(333), TrainOptions { log_every: 50, ..options(Length::Steps(200)) })
            .unwrap();
    let counts = |gpu: &Gpu| {
        let counters = gpu.device().get_internal_counters().hal;
        (
            counters.buffers.read(),
            counters.bind_groups.read(),
            counters.compute_pipelines.read(),
            counters.shader_modules.read(),
            gpu.account(),
        )
    };
    let mut seen = Vec::new();
    // Only steps between two logs: an epoch's end evaluates, which is not a step.
    while let Event::Epoch(_) | Event::Step(_) = trainer.next_event(&NEVER).unwrap() {
        seen.push(counts(&gpu));
    }
    assert!(seen.len() > 10 && seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    assert!(seen[0].0 > 0, "wgpu counts");
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_allocated() {
    let limit: MemoryLimit = "64KiB".parse().unwrap();
    let small = Gpu::new(&GpuOptions { memory_limit: Some(limit), ..GpuOptions::default() }).unwrap();
    let before = small.account();
    let options = TrainOptions { model: "mlp:512,512".parse().unwrap(), ..options(Length::Epochs(1)) };
    let error = Trainer::new(&small, split(333), options).err().unwrap();
    assert!(
        matches!(error, Error::DoesNotFit(_)) && error.to_string().contains("optimizer state"),
        "{error}"
    );
    assert_eq!(small.account(), before);
}

#[test]
fn planned_bytes_are_the_bytes_that_are_allocated() {
    for resident in [Choice::Yes, Choice::No] {
        for name in ["sgd", "adam"] {
            let gpu = gpu();
            let optimizer = Optimizer::new(name).unwrap();
            let trainer = Trainer::new(
                &gpu,
                split(333),
                TrainOptions { resident, optimizer, ..options(Length::Epochs(1)) },
            );
            let trainer = trainer.unwrap();
            let planned = trainer.report().bytes;
            let allocated: u64 = gpu.account().values().sum();
            let ours = planned.total - WGPU_BYTES;
            assert_eq!(ours, allocated, "{name} {resident}: {planned:?} {:?}", gpu.account());
            // With wgpu's own buffers: never less than is measured, and more only by its rounding.
            if let Some(measured) = gpu.allocator_total() {
                let spare = planned.total.checked_sub(measured.allocated);
                assert!(
                    spare.is_some_and(|spare| spare < 64 << 10),
                    "{name} {resident}: {planned:?} {measured:?}"
                );
            }
        }
    }
}

#[test]
fn prediction_keeps_to_the_memory_limit_with_fewer_rows_at_a_time() {
    let options = TrainOptions { model: "mlp:512,512".parse().unwrap(), ..options(Length::Epochs(1)) };
    let model = options.model.clone();
    let (_, parameters) = trained(&gpu(), split(333), options);
    let data = classes(333);
    let predict = |limit: &str| {
        let memory_limit = Some(limit.parse::<MemoryLimit>().unwrap());
        let gpu = Gpu::new(&GpuOptions { memory_limit, ..GpuOptions::default() })?;
        let loss = crate::nn::Loss::CrossEntropy;
        let mut predictor = Predictor::new(&gpu, &model, data.schema(), loss, parameters.clone())?;
        match predictor.predict(&data)? {
            Predictions::Classes { labels, .. } => Ok(labels),
            Predictions::Values { .. } => panic!("classes are predicted"),
        }
    };
    // Parameters, transfers and wgpu's own take 2.6 MB, the activations of 256 rows another 1.
    assert_eq!(predict("3MiB").unwrap(), predict("1GiB").unwrap());
    let error = predict("1MiB").unwrap_err();
    assert!(matches!(&error, Error::DoesNotFit(message) if message.contains("1.00 MiB")), "{error}");
}

/// Over sizes, optimizers, residency, parts and recomputation: never less than is allocated, and at most 1 % more.
#[test]
fn planned_bytes_are_measured_bytes_in_many_configurations() {
    let sizes =
        [("mlp:16", 5, 7), ("mlp:70,33,9:tanh", 65, 9), ("linear 40, relu, dropout 0.5, linear 3", 257, 64)];
    let ways = [(Choice::Yes, Choice::No), (Choice::No, Choice::No), (Choice::No, Choice::Yes)];
    let mut configurations = 0;
    for (model, batch, part) in sizes {
        for name in ["sgd", "momentum", "rmsprop", "adam"] {
            for (resident, recompute) in ways {
                for micro_batch in [BatchSize::Auto, BatchSize::Rows(part.min(batch))] {
                    let gpu = gpu();
                    let optimizer = Optimizer::new(name).unwrap();
                    let model = model.parse().unwrap();
                    let batch = BatchSize::Rows(batch);
                    let options = TrainOptions {
                        model,
                        optimizer,
                        batch,
                        micro_batch,
                        resident,
                        recompute,
                        ..options(Length::Steps(3))
                    };
                    let mut trainer = Trainer::new(&gpu, split(333), options).unwrap();
                    finish(&mut trainer).unwrap();
                    trainer.snapshot().unwrap();
                    let (planned, measured) = (trainer.report().bytes.total, trainer.measured_bytes());
                    let spare = planned.checked_sub(measured);
                    assert!(spare.is_some_and(|spare| 100 * spare <= planned), "{planned} {measured}");
                    configurations += 1;
                }
            }
        }
    }
    assert!(configurations >= 30);
}

/// What goes with a rule, passes over whole tensors and searches: all that they allocate is in the plan.
#[test]
fn planned_bytes_are_allocated_bytes_whatever_goes_with_the_rule() {
    let group = |rule: &str| Group { pattern: "*.bias".to_owned(), optimizer: Optimizer::new(rule).unwrap() };
    let all = Modifiers {
        clip_norm: Some(1.0),
        clip_value: Some(1.0),
        skip_not_finite: true,
        loss_scale: Some(256.0),
        average: Some(Average::Exponential { decay: 0.9 }),
        lookahead: Some(Lookahead { steps: 2, rate: 0.5 }),
        groups: vec![group("adam")],
        frozen: vec!["0.*".to_owned()],
    };
    let none = Modifiers::default;
    let rows = [
        ("adan", all.clone(), None),
        ("lamb", all.clone(), None),
        ("adafactor", all.clone(), None),
        ("muon", all, None),
        ("muon", none(), None),
        ("adam", none(), None),
        ("sgd", Modifiers { groups: vec![group("sgd")], ..none() }, Some("line-search")),
        ("sgd", none(), Some("line-search backtracking")),
        ("sgd", none(), Some("line-search wolfe")),
    ];
    for (rule, modifiers, search) in rows {
        for micro_batch in [BatchSize::Auto, BatchSize::Rows(9)] {
            if search.is_some() && micro_batch != BatchSize::Auto {
                continue;
            }
            let gpu = gpu();
            let options = TrainOptions {
                optimizer: Optimizer::new(rule).unwrap(),
                modifiers: modifiers.clone(),
                search: search.map(|search| search.parse().unwrap()),
                precision: if rule == "adam" { Precision::F16 } else { Precision::F32 },
                micro_batch,
                ..options(Length::Steps(3))
            };
            let mut trainer = Trainer::new(&gpu, split(333), options).unwrap();
            finish(&mut trainer).unwrap();
            trainer.snapshot().unwrap();
            let planned = trainer.report().bytes;
            let allocated: u64 = gpu.account().values().sum();
            let label = format!("{rule} {search:?} {micro_batch}");
            assert_eq!(planned.total - WGPU_BYTES, allocated, "{label}: {planned:?} {:?}", gpu.account());
            let spare = planned.total.checked_sub(trainer.measured_bytes());
            assert!(spare.is_some_and(|spare| 100 * spare <= planned.total), "{label}: {spare:?}");
        }
    }
}

/// A smaller plan takes over all that steps remember: state of every form, means, slow weights.
#[test]
fn a_smaller_plan_takes_over_all_state() {
    let biases = Group { pattern: "*.bias".to_owned(), optimizer: Optimizer::new("adam").unwrap() };
    let modifiers = Modifiers {
        loss_scale: Some(256.0),
        average: Some(Average::Exponential { decay: 0.9 }),
        lookahead: Some(Lookahead { steps: 2, rate: 0.5 }),
        groups: vec![biases],
        ..Modifiers::default()
    };
    for rule in ["adafactor", "muon"] {
        let gpu = gpu();
        let options = TrainOptions {
            model: "mlp:64,64:tanh".parse().unwrap(),
            optimizer: Optimizer::new(rule).unwrap(),
            modifiers: modifiers.clone(),
            batch: BatchSize::Rows(2048),
            log_every: 1,
            ..options(Length::Steps(6))
        };
        let data = Split { train: classes(2048), test: None };
        let mut trainer = Trainer::new(&gpu, data, options).unwrap();
        until_step(&mut trainer, 3);
        let before = trainer.snapshot().unwrap();
        let readout = trainer.parameters().unwrap();
        gpu.set_memory_limit(trainer.report().bytes.total / 3 * 2);
        assert!(gpu.over_limit().is_some(), "{rule}");
        loop {
            match trainer.next_event(&NEVER).unwrap() {
                Event::Replanned(_) => break,
                Event::Finished => panic!("{rule}: it was not planned again"),
                _ => {}
            }
        }
        assert!(trainer.snapshot().unwrap() == before, "{rule}");
        assert!(trainer.parameters().unwrap() == readout, "{rule}");
        finish(&mut trainer).unwrap();
    }
}

/// The limit drops while a run goes on, as it does where another program takes the memory.
#[test]
fn a_run_goes_on_in_less_memory_when_the_limit_drops() {
    let data = || Split { train: classes(2048), test: Some(classes(37)) };
    let options = || TrainOptions {
        model: "mlp:256,256:tanh".parse().unwrap(),
        batch: BatchSize::Rows(1024),
        micro_batch: BatchSize::Rows(1024),
        log_every: 1,
        ..options(Length::Steps(9))
    };
    let (expected, _) = trained(&gpu(), data(), options());
    let gpu = gpu();
    let mut trainer = Trainer::new(&gpu, data(), options()).unwrap();
    let before = trainer.report().clone();
    until_step(&mut trainer, 5);
    let limit = before.bytes.total / 3 * 2;
    gpu.set_memory_limit(limit);
    let events = finish(&mut trainer).unwrap();
    let replans: Vec<&Replan> = events
        .iter()
        .filter_map(|event| if let Event::Replanned(replan) = event { Some(replan) } else { None })
        .collect();
    let [replan] = replans[..] else { panic!("{replans:?}") };
    assert!(
        replan.step >= 5 && replan.report.bytes.total <= limit && replan.report.accumulate > 1,
        "{replan:?}"
    );
    assert_eq!((replan.report.batch, before.accumulate), (1024, 1));
    assert!(trainer.measured_bytes() <= limit);
    let steps = events.iter().filter(|event| matches!(event, Event::Step(_))).count();
    assert_eq!(steps, 4, "no step is done twice or left out");
    let found = last_epoch(&events);
    assert!((found.train_loss - expected.train_loss).abs() < 1e-5, "{found:?} {expected:?}");
}

/// Where nothing fits any more, the last step is still there to be saved.
#[test]
fn a_run_that_cannot_go_on_keeps_its_last_step() {
    let gpu = gpu();
    let mut trainer =
        Trainer::new(&gpu, split(333), TrainOptions { log_every: 1, ..options(Length::Steps(9)) }).unwrap();
    until_step(&mut trainer, 5);
    gpu.set_memory_limit(64 << 10);
    let error = finish(&mut trainer).unwrap_err();
    assert!(matches!(&error, Error::OutOfMemory(message) if message.contains("64.00 KiB")), "{error}");
    let snapshot = trainer.snapshot().unwrap();
    assert!(snapshot.step >= 5);
    let mut second = Trainer::new(&self::gpu(), split(333), options(Length::Steps(9))).unwrap();
    second.restore(&snapshot).unwrap();
    finish(&mut second).unwrap();
    let (_, expected) = trained(&self::gpu(), split(333), options(Length::Steps(9)));
    assert_eq!(second.parameters().unwrap(), expected);
}

/// The error for what cannot fit names the largest tensors and what would help.
#[test]
fn what_cannot_fit_names_the_largest_tensors() {
    let limit = Some(MemoryLimit::Bytes(4 << 20));
    let gpu = Gpu::new(&GpuOptions { memory_limit: limit, ..GpuOptions::default() }).unwrap();
    let options = TrainOptions { model: "mlp:1024,1024".parse().unwrap(), ..options(Length::Epochs(1)) };
    let message = Trainer::new(&gpu, split(333), options).err().unwrap().to_string();
    for part in
        ["2.weight [1024, 1024] 4.00 MiB", "micro-batch of 1 ", "raise the memory limit", "sgd keeps nothing"]
    {
        assert!(message.contains(part), "`{part}` is not in `{message}`");
    }
}

/// More memory never means a smaller batch: rows give their place up where they would leave little.
#[test]
fn a_larger_budget_never_fits_fewer_rows_at_once() {
    let data = Split { train: classes(20_000), test: None };
    let model = "mlp:64,64".parse().unwrap();
    let options =
        TrainOptions { batch: BatchSize::Auto, ..TrainOptions::new(model, Optimizer::new("adam").unwrap()) };
    let model = MemoryModel::new(&data, &options, &crate::gpu::Profile::desktop()).unwrap();
    let fitted = |kibibytes: u64| model.report(kibibytes << 10, "none").map(|(report, _)| report);
    let reports: Vec<PlanReport> = (1..80).filter_map(|step| fitted(1700 + 128 * step).ok()).collect();
    assert!(reports.len() > 60 && reports.iter().any(|report| report.resident));
    for pair in reports.windows(2) {
        // As fast may be fewer rows, but not by much: sizes are powers of two and the largest.
        assert!(2 * pair[1].micro_batch >= pair[0].micro_batch, "{pair:?}");
        assert!(pair[0].bytes.total <= pair[0].budget);
    }
}

#[test]
fn recomputation_that_is_asked_for_saves_memory_and_changes_no_bit() {
    let options = |recompute| TrainOptions {
        model: "mlp:24,24,24,24,24,24,24,24:tanh".parse().unwrap(),
        batch: BatchSize::Rows(300),
        recompute,
        ..options(Length::Epochs(2))
    };
    let run = |recompute| {
        // By rows there is nothing to make again.
        let gpu = Gpu::new(&GpuOptions { row_runs: RowRuns::Never, ..GpuOptions::default() }).unwrap();
        let mut trainer = Trainer::new(&gpu, split(333), options(recompute)).unwrap();
        finish(&mut trainer).unwrap();
        (trainer.report().clone(), trainer.parameters().unwrap())
    };
    let ((kept, expected), (again, found)) = (run(Choice::No), run(Choice::Yes));
    assert_eq!(expected, found);
    assert!(again.recomputed_tensors > 0 && kept.recomputed_tensors == 0);
    assert!(3 * again.bytes.activations < 2 * kept.bytes.activations, "{again:?} {kept:?}");
}
