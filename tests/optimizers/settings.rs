//! What an optimizer may be asked for, and what is said of the rest.

use downhill::{Error, HyperValue, Optimizer, UPDATE_RULES};

#[test]
fn unset_hyper_parameters_are_those_of_pytorch_or_optax() {
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
        ("adamw", "weight_decay", 1e-2),
        ("adamax", "lr", 2e-3),
        ("amsgrad", "lr", 1e-3),
        ("nadam", "lr", 2e-3),
        ("nadam", "momentum_decay", 4e-3),
        ("radam", "lr", 1e-3),
        ("adagrad", "lr", 1e-2),
        ("adagrad", "lr_decay", 0.0),
        ("adagrad", "initial_accumulator_value", 0.0),
        ("adagrad", "eps", 1e-10),
        ("adadelta", "lr", 1.0),
        ("adadelta", "rho", 0.9),
        ("adadelta", "eps", 1e-6),
        ("rprop", "lr", 1e-2),
        ("rprop", "eta_minus", 0.5),
        ("rprop", "eta_plus", 1.2),
        ("rprop", "step_min", 1e-6),
        ("rprop", "step_max", 50.0),
        ("asgd", "lr", 1e-2),
        ("asgd", "lambd", 1e-4),
        ("asgd", "alpha", 0.75),
        ("asgd", "t0", 1e6),
        // Optax's, and its learning rates are whatever one likes.
        ("lion", "beta2", 0.99),
        ("lion", "weight_decay", 1e-3),
        ("adabelief", "eps", 1e-16),
        ("adabelief", "eps_root", 1e-16),
        ("yogi", "eps", 1e-3),
        ("yogi", "initial_accumulator_value", 1e-6),
        ("adan", "beta1", 0.98),
        ("adan", "beta2", 0.92),
        ("adan", "beta3", 0.99),
        ("adan", "eps_root", 1e-8),
        ("lamb", "lr", 1e-3),
        ("lamb", "eps", 1e-6),
        ("lars", "momentum", 0.9),
        ("lars", "trust_coefficient", 1e-3),
        ("adafactor", "lr", 1e-2),
        ("adafactor", "beta2_decay", -0.8),
        ("adafactor", "eps1", f64::from(f32::EPSILON)),
        ("adafactor", "eps2", 1e-3),
        ("adafactor", "d", 1.0),
        ("muon", "lr", 1e-3),
        ("muon", "weight_decay", 0.1),
        ("muon", "momentum", 0.95),
        ("muon", "ns_steps", 5.0),
        ("muon", "eps", 1e-7),
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
        ("simulated-annealing", "", "known are sgd, momentum, nesterov, rmsprop, adagrad"),
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
        ("rprop", "eta_minus=1", "eta_minus: must be at least 1.2e-38 and below 1, not `1.0`"),
        ("rprop", "eta_plus=1", "eta_plus: must be above 1 and at most 3.4e38, not `1.0`"),
        ("nadam", "form=lecture", "form: unknown name `lecture`; known are pytorch, dozat"),
        ("adam", "beta3=0.9", "optimizer adam: unknown name `beta3`; did you mean `beta"),
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
    let rows: [(&str, &[&str], &[&str]); 13] = [
        ("sgd", &[], &[]),
        ("momentum", &[], &["velocity"]),
        ("momentum", &["momentum=0"], &[]),
        ("nesterov", &["form=lecture"], &["velocity"]),
        ("nesterov", &["form=lecture", "momentum=0"], &[]),
        ("rmsprop", &[], &["square_average"]),
        ("rmsprop", &["momentum=0.5"], &["square_average", "velocity"]),
        ("rmsprop", &["centered=true"], &["square_average", "gradient_average"]),
        ("adam", &[], &["first_moment", "second_moment"]),
        ("lion", &[], &["first_moment"]),
        ("adan", &[], &["first_moment", "change_average", "square_average", "previous_gradient"]),
        ("lars", &["momentum=0"], &[]),
        ("adafactor", &[], &["second_moment"]),
    ];
    for (rule, assignments, slots) in rows {
        let plain = Optimizer::new(rule).unwrap();
        let optimizer = assignments.iter().try_fold(plain, |made, text| made.assign(text)).unwrap();
        assert_eq!(optimizer.state_slots(), slots, "{rule} {assignments:?}");
    }
}

#[test]
fn only_the_look_ahead_form_holds_another_point_than_theta() {
    let reads_as_it_is = |optimizer: &Optimizer| {
        let state = vec![vec![0.5; 6]; optimizer.state_slots().len()];
        optimizer.reference_readout(&[1.0; 6], &state).unwrap() == [1.0; 6]
    };
    for rule in UPDATE_RULES {
        assert!(reads_as_it_is(&Optimizer::new(rule.name).unwrap()), "{}", rule.name);
    }
    let look_ahead = Optimizer::new("nesterov").unwrap().assign("form=lecture").unwrap();
    assert!(!reads_as_it_is(&look_ahead));
    assert!(reads_as_it_is(&look_ahead.with("momentum", 0.0).unwrap()));
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
        let gradient = vec![0.0; gradient];
        let error =
            adam.reference_step(1, 0.1, &[vec![3]], &mut [0.0; 3], &gradient, &mut state).unwrap_err();
        assert!(error.to_string().contains("θ, gradient and state have lengths"), "{error}");
    }
}

#[test]
fn the_reference_of_muon_refuses_vectors() {
    let muon = Optimizer::new("muon").unwrap();
    let error = muon.reference_step(1, 0.1, &[vec![2]], &mut [0.0; 2], &[0.0; 2], &mut [vec![0.0; 2]]);
    assert!(error.unwrap_err().to_string().contains("updates matrices alone"));
}
