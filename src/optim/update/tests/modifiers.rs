//! What goes with a rule: clipping, skipping, means of θ, slow weights, and what of it cannot be.

use super::*;

#[test]
fn the_gradient_is_clipped_by_norm_and_then_by_value() {
    let gpu = gpu();
    for rule in ["sgd", "lamb", "adafactor", "muon"] {
        // Whole tensors, and shards whose norms add up.
        for max_shard in [1 << 20, 40 << 10] {
            let optimizer = Optimizer::new(rule).unwrap();
            let modifiers =
                Modifiers { clip_norm: Some(3.0), clip_value: Some(0.05), ..Modifiers::default() };
            let mut twin = Twin::new(&gpu, &optimizer, &modifiers, max_shard);
            let mut references = Reference::of(&twin);
            let count = elements(&twin.shapes());
            let (mut theta, gradient) = (noises(1, count), noises(2, count));
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!(norm > 30.0);
            let clipped: Vec<f64> =
                gradient.iter().map(|g| (g * 3.0 / (norm + 1e-6)).clamp(-0.05, 0.05)).collect();
            assert!(clipped.iter().any(|g| g.abs() == 0.05));
            twin.start(&theta);
            twin.step(0.5, &gradient);
            for reference in &mut references {
                let rate = twin.updater.plan().rate_of(&reference.optimizer, 0.5);
                reference.step(1, rate, &mut theta, &clipped);
            }
            let difference = relative(&twin.theta(false), &theta);
            assert!(difference < 1e-5, "{rule}: {difference:e}");
        }
    }
}

#[test]
fn a_step_whose_gradient_is_not_finite_changes_nothing_and_is_counted() {
    let gpu = gpu();
    let modifiers = Modifiers {
        skip_not_finite: true,
        average: Some(Average::Exponential { decay: 0.5 }),
        ..Modifiers::default()
    };
    for rule in UPDATE_RULES {
        let optimizer = Optimizer::new(rule.name).unwrap();
        let mut twin = Twin::new(&gpu, &optimizer, &modifiers, 1 << 20);
        let count = elements(&twin.shapes());
        twin.start(&noises(1, count));
        twin.step(0.01, &noises(2, count));
        let read = |twin: &Twin| {
            let state = twin.updater.plan().buffers.iter().enumerate().filter(|(_, own)| own.role == "state");
            let bytes = state.map(|(number, own)| {
                gpu.read_buffer(twin.updater.buffer(number).raw(), 0..own.bytes).unwrap()
            });
            (twin.theta(false), bytes.collect::<Vec<_>>())
        };
        let before = read(&twin);
        for (at, wrong) in [(0, f64::NAN), (count - 1, f64::INFINITY), (70, f64::NEG_INFINITY)] {
            let mut gradient = noises(3, count);
            gradient[at] = wrong;
            twin.step(0.01, &gradient);
            assert!(read(&twin) == before, "{} {wrong}", rule.name);
        }
        assert_eq!(twin.skipped(), 3, "{}", rule.name);
        twin.step(0.01, &noises(4, count));
        assert!(read(&twin).0 != before.0 && twin.skipped() == 3, "{}", rule.name);
    }
}

#[test]
fn means_and_slow_weights_follow_theta() {
    let gpu = gpu();
    for rule in ["sgd", "lamb", "adafactor", "muon"] {
        let optimizer = Optimizer::new(rule).unwrap();
        let rows = [
            Modifiers { average: Some(Average::Exponential { decay: 0.75 }), ..Modifiers::default() },
            Modifiers { average: Some(Average::Stochastic { start: 2, every: 2 }), ..Modifiers::default() },
            Modifiers { lookahead: Some(Lookahead { steps: 2, rate: 0.5 }), ..Modifiers::default() },
            Modifiers {
                average: Some(Average::Exponential { decay: 0.75 }),
                lookahead: Some(Lookahead { steps: 2, rate: 0.5 }),
                ..Modifiers::default()
            },
        ];
        for modifiers in rows {
            let mut twin = Twin::new(&gpu, &optimizer, &modifiers, 1 << 20);
            let mut references = Reference::of(&twin);
            let count = elements(&twin.shapes());
            let mut theta = noises(1, count);
            let (mut average, mut slow) = (theta.clone(), theta.clone());
            twin.start(&theta);
            for number in 1..=5 {
                let gradient = noises(1 + number, count);
                twin.step(0.1, &gradient);
                for reference in &mut references {
                    let rate = twin.updater.plan().rate_of(&reference.optimizer, 0.1);
                    reference.step(number, rate, &mut theta, &gradient);
                }
                if modifiers.lookahead.is_some() && number % 2 == 0 {
                    slow.iter_mut().zip(&theta).for_each(|(slow, theta)| *slow += 0.5 * (theta - *slow));
                    theta.copy_from_slice(&slow);
                }
                let weight = modifiers.average.map_or(0.0, |average| average.weight(number));
                average.iter_mut().zip(&theta).for_each(|(mean, theta)| *mean += weight * (theta - *mean));
            }
            // The mean is read where there are both.
            let read = if modifiers.average.is_some() { &average } else { &slow };
            for (as_read, expected) in [(false, &theta), (true, read)] {
                let difference = relative(&twin.theta(as_read), expected);
                assert!(difference < 2e-4, "{rule} {modifiers:?} {as_read}: {difference:e}");
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let group = |pattern: &str, rule: &str| Group {
        pattern: pattern.to_owned(),
        optimizer: Optimizer::new(rule).unwrap(),
    };
    let none = Modifiers::default;
    let lookahead = Some(Lookahead { steps: 5, rate: 0.5 });
    let rows = [
        ("sgd", Modifiers { clip_norm: Some(0.0), ..none() }, "clip-norm: must be above 0"),
        ("sgd", Modifiers { clip_value: Some(f64::NAN), ..none() }, "clip-value: must be"),
        (
            "sgd",
            Modifiers { average: Some(Average::Exponential { decay: 1.0 }), ..none() },
            "ema: must be at least 0 and below 1, not `1.0`",
        ),
        (
            "sgd",
            Modifiers { lookahead: Some(Lookahead { steps: 0, rate: 0.5 }), ..none() },
            "lookahead's steps",
        ),
        ("sgd", Modifiers { groups: vec![group("x*", "sgd")], ..none() }, "`x*` fits no parameter"),
        (
            "sgd",
            Modifiers { groups: vec![group("*", "sgd"), group("*.bias", "adam")], ..none() },
            "`*.bias` fits no",
        ),
        ("sgd", Modifiers { groups: vec![group("*.bias", "muon")], ..none() }, "`0.bias` is [65], and muon"),
        ("frozen", Modifiers { groups: vec![group("*.bias", "sgd")], ..none() }, "lr: must be above 0 where"),
        ("lecture", Modifiers { lookahead, ..none() }, "lookahead: looks at θ"),
    ];
    for (rule, modifiers, message) in rows {
        let optimizer = match rule {
            "frozen" => Optimizer::new("sgd").unwrap().with("lr", 0.0).unwrap(),
            "lecture" => Optimizer::new("nesterov").unwrap().with("form", rule).unwrap(),
            _ => Optimizer::new(rule).unwrap(),
        };
        let made = Grouping::new(&optimizer, &modifiers, &plain_parameters())
            .map(|_| ())
            .and_then(|()| plan(&optimizer, &modifiers, &Profile::portable()).map(|_| ()));
        let error = made.expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
}

fn plain_parameters() -> Vec<ParameterInfo> {
    parameters(&Optimizer::new("sgd").unwrap(), &Modifiers::default())
}
