//! What an optimizer may be asked for, and what is said of the rest.

use downhill::{Error, HyperValue, Optimizer, UPDATE_RULES};

#[test]
fn unset_hyper_parameters_are_those_of_pytorch() {
    let rows = [
        ("sgd", "lr", 1e-3),
        ("sgd", "weight_decay", 0.0),
        ("momentum", "dampening", 0.0),
        ("rmsprop", "lr", 1e-2),
        ("rmsprop", "alpha", 0.99),
        ("rmsprop", "eps", 1e-8),
        ("rmsprop", "momentum", 0.0),
        ("adam", "lr", 1e-3),
        ("adam", "beta1", 0.9),
        ("adam", "beta2", 0.999),
        ("adam", "eps", 1e-8),
        ("adam", "weight_decay", 0.0),
    ];
    for (rule, name, default) in rows {
        let optimizer = Optimizer::new(rule).unwrap();
        assert_eq!(optimizer.value(name), Some(&HyperValue::Number(default)), "{rule} {name}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_name_and_range() {
    let rows = [
        ("adma", "", "optimizer: unknown name `adma`; did you mean `adam`?"),
        ("simulated-annealing", "", "known are sgd, momentum, nesterov, rmsprop, adam"),
        ("adam", "beta_1=0.9", "optimizer adam: unknown name `beta_1`; did you mean `beta1`?"),
        ("sgd", "momentum=0.9", "optimizer sgd: unknown name `momentum`; known are lr, weight_decay"),
        ("adam", "lr=-1", "lr: must be at least 0 and at most 3.4e38, not `-1.0`"),
        ("adam", "lr=nan", "lr: must be"),
        ("adam", "lr=inf", "lr: must be"),
        ("adam", "lr=1e300", "lr: must be"),
        ("adam", "lr=fast", "lr: must be at least 0 and at most 3.4e38, not `fast`"),
        ("adam", "lr=", "lr: must be"),
        ("adam", "lr=true", "lr: must be"),
        ("adam", "beta2=1", "beta2: must be at least 0 and below 1, not `1.0`"),
        ("adam", "eps=0", "eps: must be at least 1.2e-38"),
        ("adam", "weight_decay=-0.1", "weight_decay: must be at least 0"),
        ("momentum", "momentum=1.5", "momentum: must be at least 0 and below 1"),
        ("momentum", "form=lectrue", "form: unknown name `lectrue`; did you mean `lecture`?"),
        ("momentum", "form=1", "form: unknown name `1.0`; known are pytorch, lecture"),
        ("rmsprop", "centered=1", "centered: must be true or false, not `1.0`"),
        ("adam", "beta1", "hyper-parameter: `beta1` is not of the form NAME=VALUE"),
    ];
    for (rule, assignment, message) in rows {
        let made = Optimizer::new(rule).and_then(|optimizer| optimizer.assign(assignment));
        let error = made.expect_err(assignment);
        assert!(matches!(error, Error::Setting { .. }) && error.exit_code() == 2, "{rule} {assignment}");
        assert!(error.to_string().contains(message), "{rule} {assignment}: {error}");
    }
}

#[test]
fn variants_keep_only_the_state_that_they_need() {
    let rows: [(&str, &[&str], &[&str]); 9] = [
        ("sgd", &[], &[]),
        ("momentum", &[], &["velocity"]),
        ("momentum", &["momentum=0"], &[]),
        ("nesterov", &["form=lecture"], &["velocity"]),
        ("nesterov", &["form=lecture", "momentum=0"], &[]),
        ("rmsprop", &[], &["square_average"]),
        ("rmsprop", &["momentum=0.5"], &["square_average", "velocity"]),
        ("rmsprop", &["centered=true"], &["square_average", "gradient_average"]),
        ("adam", &[], &["first_moment", "second_moment"]),
    ];
    for (rule, assignments, slots) in rows {
        let plain = Optimizer::new(rule).unwrap();
        let optimizer = assignments.iter().try_fold(plain, |made, text| made.assign(text)).unwrap();
        assert_eq!(optimizer.state_slots(), slots, "{rule} {assignments:?}");
        let bound = optimizer.wgsl().matches("read_write").count();
        assert_eq!(bound, 1 + slots.len(), "θ and each state vector: {rule} {assignments:?}");
    }
}

#[test]
fn only_the_look_ahead_form_holds_another_point_than_theta() {
    for rule in UPDATE_RULES {
        assert!(Optimizer::new(rule.name).unwrap().readout_wgsl().is_none(), "{}", rule.name);
    }
    let look_ahead = Optimizer::new("nesterov").unwrap().assign("form=lecture").unwrap();
    assert!(look_ahead.readout_wgsl().is_some());
    assert!(look_ahead.with("momentum", 0.0).unwrap().readout_wgsl().is_none());
}

#[test]
fn an_optimizer_stands_in_a_file_and_comes_back_equal() {
    let optimizer =
        Optimizer::new("rmsprop").unwrap().with("lr", 0.1).unwrap().with("centered", true).unwrap();
    let text = serde_json::to_string(&optimizer).unwrap();
    assert_eq!(serde_json::from_str::<Optimizer>(&text).unwrap(), optimizer);
    assert_ne!(serde_json::from_str::<Optimizer>(r#"{"name": "rmsprop"}"#).unwrap(), optimizer);
    // Whole numbers are numbers too.
    let whole: Optimizer = serde_json::from_str(r#"{"name": "sgd", "lr": 1}"#).unwrap();
    assert_eq!(whole.learning_rate(), 1.0);
    for wrong in [r#"{"name": "adam", "lr": -1}"#, r#"{"name": "adam", "rl": 1}"#, r#"{"name": "adma"}"#] {
        serde_json::from_str::<Optimizer>(wrong).expect_err(wrong);
    }
}

#[cfg(feature = "cli")]
#[test]
fn an_optimizer_stands_in_a_run_file() {
    let text = "name = \"rmsprop\"\nlr = 1\neps = 1e-6\ncentered = true\n";
    let optimizer: Optimizer = toml::from_str(text).unwrap();
    assert_eq!(
        optimizer.to_string(),
        "rmsprop lr=1.0 alpha=0.99 eps=1e-6 weight_decay=0.0 momentum=0.0 centered=true eps_in_sqrt=false"
    );
    assert_eq!(toml::from_str::<Optimizer>(&toml::to_string(&optimizer).unwrap()).unwrap(), optimizer);
}

#[test]
fn bias_corrections_keep_their_digits() {
    // 1 − β₂ = 1e-6 and 1 − β₂ᵗ hold one or two digits when β₂ is rounded to f32 first.
    let adam = Optimizer::new("adam").unwrap().with("beta2", 1.0 - 1e-6).unwrap();
    let root_correction = f64::from(adam.scalars(1, 1e-3)[3]);
    assert!((root_correction * 1e-3 - 1.0).abs() < 1e-6, "{root_correction}");
}

#[test]
fn the_reference_refuses_vectors_of_other_lengths() {
    let adam = Optimizer::new("adam").unwrap();
    let rows: [(usize, &[usize]); 3] = [(2, &[3, 3]), (3, &[3]), (3, &[3, 2])];
    for (gradient, state) in rows {
        let mut state: Vec<Vec<f64>> = state.iter().map(|length| vec![0.0; *length]).collect();
        let error = adam.reference_step(1, 0.1, &mut [0.0; 3], &vec![0.0; gradient], &mut state).unwrap_err();
        assert!(error.to_string().starts_with("adam: gradient and state have lengths"), "{error}");
    }
}
