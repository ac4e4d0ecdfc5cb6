//! Schedules against PyTorch's closed forms, at the borders of their pieces, and as text.

use proptest::prelude::*;

use super::*;

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

/// A run of 100 steps, 10 of them an epoch, with the learning rate 0.5.
fn rate(schedule: &Schedule, step: u64) -> f64 {
    schedule.rate(0.5, step, 100, 10)
}

/// The values are PyTorch's closed forms, in Python's f64.
#[test]
fn rates_are_those_of_pytorch() {
    let rows: &[(&str, &[(u64, f64)])] = &[
        ("constant", &[(1, 0.5), (100, 0.5)]),
        ("constant 0.2", &[(1, 0.1), (100, 0.1)]),
        // StepLR
        ("step 0.1 every 3 epochs", &[(1, 0.5), (30, 0.5), (31, 0.05), (61, 0.005), (100, 0.0005)]),
        ("step 0.5 every 25%", &[(25, 0.5), (26, 0.25), (76, 0.0625)]),
        // ExponentialLR, by step and by part of an epoch
        ("exponential 0.95", &[(1, 0.5), (2, 0.475), (100, 0.003116068010702104)]),
        ("exponential 0.95 every epoch", &[(1, 0.5), (11, 0.475), (100, 0.30090797406080416)]),
        ("geometric from 0.02 to 2", &[(1, 0.01), (100, 1.0)]),
        ("geometric to 0.01", &[(1, 0.5), (50, 0.051176551094951304), (100, 0.005)]),
        // PolynomialLR
        ("polynomial", &[(1, 0.5), (51, 0.25), (100, 0.005)]),
        ("polynomial 2", &[(1, 0.5), (51, 0.125), (100, 5e-5)]),
        ("polynomial 2 to 0.1", &[(1, 0.5), (51, 0.1625), (100, 0.050045)]),
        // CosineAnnealingLR
        ("cosine", &[(1, 0.5), (51, 0.25), (100, 0.0001233599085671)]),
        ("cosine to 0.1", &[(1, 0.5), (26, 0.4340990257669732), (100, 0.05011102391771039)]),
        // CosineAnnealingWarmRestarts
        ("restarts epoch", &[(1, 0.5), (6, 0.25), (10, 0.012235870926211617), (11, 0.5), (91, 0.5)]),
        (
            "restarts 10 times 2 to 0.01",
            &[
                (10, 0.0171135122169495),
                (11, 0.5),
                (21, 0.2525),
                (30, 0.008047135702703429),
                (31, 0.5),
                (70, 0.005762959901050829),
                (71, 0.5),
                (100, 0.35611828504051346),
            ],
        ),
        // OneCycleLR
        (
            "one-cycle",
            &[
                (1, 0.02),
                (15, 0.24700666193949977),
                (30, 0.5),
                (31, 0.49974826764226216),
                (65, 0.250001),
                (100, 2e-6),
            ],
        ),
        // LinearLR
        ("warmup 5", &[(1, 0.1), (2, 0.2), (5, 0.5), (6, 0.5), (100, 0.5)]),
        ("warmup 5 from 0.1", &[(1, 0.05), (2, 0.1625), (5, 0.5)]),
        ("1/n", &[(1, 0.5), (2, 0.25), (100, 0.005)]),
        ("1/n every epoch", &[(1, 0.5), (11, 0.25), (91, 0.05)]),
        ("plateau", &[(1, 0.5), (100, 0.5)]),
    ];
    for (text, rates) in rows {
        for (step, expected) in *rates {
            let found = rate(&schedule(text), *step);
            // Two roundings more than Python's, relative to the largest term.
            assert!((found - expected).abs() < 4e-16, "{text}, step {step}: {found}, not {expected}");
        }
    }
}

#[test]
fn a_piece_counts_its_steps_from_where_the_one_before_ended() {
    // Each with the piece that it is at a step, and that piece's own step.
    let rows = [
        ("warmup 5 then cosine for 95", "warmup 5", 5, 5),
        ("warmup 5% then cosine for 95", "cosine for 95", 6, 1),
        ("warmup 5% then cosine", "cosine for 95", 7, 2),
        ("warmup 5 then cosine", "cosine for 95", 100, 95),
        ("constant for epoch then 1/n for 2 epochs then constant 0.1", "1/n", 11, 1),
        ("constant for epoch then 1/n for 2 epochs then constant 0.1", "1/n", 30, 20),
        ("constant for epoch then 1/n for 2 epochs then constant 0.1", "constant 0.1", 31, 1),
        // The last piece is over before the run is.
        ("cosine to 0.1 for 50", "constant 0.1", 51, 1),
        ("cosine to 0.1 for 50", "constant 0.1", 100, 1),
        ("restarts 10 to 0.1 for 50", "constant 0.1", 51, 1),
        // A hundredth of 10 steps is none.
        ("warmup 1% then cosine", "cosine for 99", 2, 1),
    ];
    for (whole, piece, step, of_piece) in rows {
        let (found, expected) = (rate(&schedule(whole), step), rate(&schedule(piece), of_piece));
        assert!((found - expected).abs() < 4e-16, "{whole} at {step}: {found}, not {expected}");
    }
    assert_eq!(schedule("warmup 1% then cosine").rate(0.5, 1, 10, 10), 0.5);
}

#[test]
fn a_schedule_that_follows_from_the_length_of_the_run_says_so() {
    let rows = [
        ("constant", false),
        ("cosine", true),
        ("cosine for 10 epochs", false),
        ("cosine for 50%", true),
        ("warmup 5 then one-cycle", true),
        ("warmup 5% then constant", true),
        ("warmup 5 then restarts 2 epochs", false),
        ("step 0.1 every 30%", true),
        ("geometric to 0.1 for 3 then plateau", false),
    ];
    for (text, expected) in rows {
        assert_eq!(schedule(text).depends_on_length(), expected, "{text}");
        let differs = (1..50).any(|step| {
            let rate = |total| schedule(text).rate(0.5, step, total, 5);
            rate(50) != rate(80)
        });
        assert_eq!(differs, expected, "{text}");
    }
}

/// The losses of ReduceLROnPlateau(factor=0.5, patience=1, threshold=0.1), and its factor after each.
#[test]
fn a_plateau_lowers_the_rate_after_losses_that_are_no_better() {
    let rows = [(1.0, 1.0), (0.95, 1.0), (0.91, 0.5), (0.89, 0.5), (2.0, 0.5), (0.88, 0.25), (0.9, 0.25)];
    let schedule = schedule("warmup 5 then plateau 0.5 patience 1 threshold 0.1 to 0.2");
    let mut state = PlateauState::default();
    schedule.observe(&mut state, 0.001, 5, 100, 10);
    assert_eq!(state, PlateauState::default(), "the warm-up does not look at losses");
    for (place, (loss, factor)) in rows.into_iter().enumerate() {
        schedule.observe(&mut state, loss, 10 + place as u64, 100, 10);
        assert_eq!(state.factor, factor, "loss {place}: {state:?}");
    }
    for step in 20..40 {
        schedule.observe(&mut state, 3.0, step, 100, 10);
    }
    assert_eq!(state.factor, 0.2, "it ends at `to`");
}

#[test]
fn text_comes_back_in_its_shortest_form() {
    let rows = [
        ("constant", "constant"),
        ("  warmup   500 steps then cosine to 0", "warmup 500 steps then cosine"),
        ("step 0.1 every 1 epoch", "step 0.1 every epoch"),
        ("cosine for 1.5 epochs to 1e-2", "cosine to 0.01 for 1.5 epochs"),
        ("one-cycle to 0.001 peak 0.25", "one-cycle peak 0.25 to 0.001"),
        ("restarts 10% times 1", "restarts 10%"),
        ("exponential 0.9 every step", "exponential 0.9"),
        ("1/n", "1/n"),
        ("plateau 0.1 patience 3", "plateau patience 3"),
    ];
    for (text, shortest) in rows {
        assert_eq!(schedule(text).to_string(), shortest);
        assert_eq!(schedule(shortest), schedule(text));
    }
    for shape in SHAPES {
        schedule(shape.example);
        let forms = schedule_help();
        assert_eq!(forms.iter().filter(|(form, _)| form.split(' ').next() == Some(shape.name)).count(), 1);
    }
    assert_eq!(Schedule::default(), schedule("constant"));
}

#[test]
fn what_is_wrong_with_a_schedule_is_said() {
    let rows = [
        ("", "there is a piece missing"),
        ("cosine for 5 then", "there is a piece missing"),
        ("cosin", "unknown name `cosin`; did you mean `cosine`?"),
        ("cosine 0.1", "`cosine 0.1`: unknown name `0.1`; known are to, for, then"),
        ("polynomial two", "`polynomial two`: unknown name `two`"),
        ("cosine too 0.1", "did you mean `to`?"),
        ("cosine to", "to must be a number of at least 0, not `nothing`"),
        ("cosine to -1", "to must be a number of at least 0, not `-1`"),
        ("cosine to inf", "not `inf`"),
        ("cosine to 0.1 to 0.2", "`to` is said twice"),
        ("cosine then constant", "`cosine` has no end before the run's; say one before `then`"),
        ("plateau then constant", "`plateau` goes on to the end of the run"),
        ("plateau for 5", "unknown name `for`"),
        ("plateau patience 1.5", "patience must be a whole number of at least 0, not `1.5`"),
        ("warmup", "`length` is missing, as in `warmup 500 then cosine`"),
        ("warmup 0", "length must be a length such as"),
        ("warmup 1.5 steps", "not `1.5`"),
        ("warmup 150%", "not `150%`"),
        ("warmup -5", "not `-5`"),
        ("step 0.1", "`every` is missing, as in `step 0.1 every 30 epochs`"),
        ("step every 5", "`factor` is missing"),
        ("step 1.1 every 5", "factor must be a number above 0 and of at most 1"),
        ("restarts 5 times 0", "times must be a whole number of at least 1"),
        ("one-cycle peak 30%", "peak must be a number from 0 to below 1, not `30%`"),
    ];
    for (text, fragment) in rows {
        let message = text.parse::<Schedule>().expect_err(text).to_string();
        assert!(message.starts_with("schedule: ") && message.contains(fragment), "`{text}`: {message}");
    }
}

/// Any piece, with an end unless it takes none.
fn any_piece() -> impl Strategy<Value = String> {
    let span = prop_oneof![
        (1u64..300).prop_map(|steps| format!("{steps} steps")),
        (1u64..40).prop_map(|tenths| format!("{} epochs", tenths as f64 / 10.0)),
        (1u64..=100).prop_map(|percent| format!("{percent}%")),
    ];
    let number = prop_oneof![Just(1e-9), Just(0.05), Just(0.5), Just(1.0)];
    (0usize..9, span.clone(), span, number, 1u32..4).prop_map(|(shape, a, b, x, m)| match shape {
        0 => format!("constant {x} for {a}"),
        1 => format!("warmup {a} from {x}"),
        2 => format!("step {x} every {b} for {a}"),
        3 => format!("exponential {x} every {b} for {a}"),
        4 => format!("polynomial {m} to {x} for {a}"),
        5 => format!("cosine to {x} for {a}"),
        6 => format!("restarts {b} times {m} to {x} for {a}"),
        7 => format!("one-cycle peak {} from {x} for {a}", x * 0.9),
        _ => format!("geometric from 0.3 to {x} for {a}"),
    })
}

proptest! {
    /// Also beyond the end, where a measurement of speed goes.
    #[test]
    fn every_rate_is_finite_and_not_negative(
        pieces in prop::collection::vec(any_piece(), 1..4), total in 1u64..400, per_epoch in 1u64..60,
    ) {
        let schedule = schedule(&pieces.join(" then "));
        for step in 1..=total + 20 {
            let rate = schedule.rate(0.5, step, total, per_epoch);
            prop_assert!(rate.is_finite() && (0.0..=0.5 + 1e-12).contains(&rate), "step {step}: {rate}");
        }
        prop_assert_eq!(schedule.to_string().parse::<Schedule>().unwrap(), schedule);
    }

    /// Each piece gives the rates that it gives alone, from its first step to its last, and the next begins right after.
    #[test]
    fn no_step_is_lost_or_double_between_pieces(
        lengths in prop::collection::vec(1u64..50, 1..5), per_epoch in 1u64..60,
    ) {
        let pieces: Vec<String> = lengths.iter().map(|length| format!("geometric to 0.01 for {length}")).collect();
        let whole = schedule(&pieces.join(" then "));
        let total = lengths.iter().sum();
        let expected = lengths.iter().zip(&pieces).flat_map(|(length, piece)| {
            let alone = schedule(piece);
            (1..=*length).map(move |step| alone.rate(0.5, step, total, per_epoch))
        });
        let found = (1..=total).map(|step| whole.rate(0.5, step, total, per_epoch));
        prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
