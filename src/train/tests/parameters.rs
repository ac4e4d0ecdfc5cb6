//! Parameters from elsewhere: what may be set, and when.

use super::*;

#[test]
fn a_model_that_was_trained_before_is_trained_on_with_a_new_head() {
    let rows = || Split { train: classes(333), test: None };
    let options = |model: &str| TrainOptions { model: model.parse().unwrap(), ..options(Length::Epochs(1)) };
    let (_, trained) = self::trained(&gpu(), rows(), options("mlp:16,8"));
    let mut other = Trainer::new(&gpu(), rows(), options("mlp:16,9")).unwrap();
    let before = other.parameters().unwrap();
    // Its own names, and another size of what comes behind the first layer.
    let refused = other.set_parameters(&trained).unwrap_err().to_string();
    assert!(refused.contains("[9, 16], not [8, 16]"), "{refused}");
    let unknown = NamedTensor { name: "head".to_owned(), ..trained[0].clone() };
    let error = other.set_parameters(&[trained[1].clone(), unknown]).unwrap_err().to_string();
    assert!(error.contains("there is no `head`; the parameters are 0.weight, 0.bias"), "{error}");
    assert_eq!(other.parameters().unwrap(), before);
    other.set_parameters(&trained[..2]).unwrap();
    let after = other.parameters().unwrap();
    assert!(after[..2] == trained[..2] && after[2..] == before[2..] && after[..2] != before[..2]);
    // A whole model goes on as it would; after a step nothing is set.
    let mut same = Trainer::new(&gpu(), rows(), options("mlp:16,8")).unwrap();
    same.set_parameters(&trained).unwrap();
    assert_eq!(same.parameters().unwrap(), trained);
    same.run_steps(1).unwrap();
    assert!(same.set_parameters(&trained).unwrap_err().to_string().contains("1 steps were made already"));
}

#[test]
fn frozen_parameters_keep_their_bits_and_the_others_learn_as_before() {
    let gpu = gpu();
    let averaged = Modifiers { average: Some(Average::Exponential { decay: 0.5 }), ..Modifiers::default() };
    let looking = Modifiers { lookahead: Some(Lookahead { steps: 2, rate: 0.5 }), ..Modifiers::default() };
    let clipped = Modifiers { clip_norm: Some(1e3), skip_not_finite: true, ..Modifiers::default() };
    let search = TrainOptions {
        search: Some("line-search".parse().unwrap()),
        optimizer: Optimizer::new("sgd").unwrap(),
        ..options(Length::Steps(3))
    };
    let by_method = |name: &str| {
        let method = crate::Method::new(name).unwrap();
        TrainOptions {
            length: Length::Steps(3),
            ..TrainOptions::by_method("mlp:16,12:tanh".parse().unwrap(), method).unwrap()
        }
    };
    let mut cases: Vec<(String, TrainOptions)> = vec![
        ("a mean".into(), TrainOptions { modifiers: averaged, ..options(Length::Steps(3)) }),
        ("lookahead".into(), TrainOptions { modifiers: looking, ..options(Length::Steps(3)) }),
        ("clipping".into(), TrainOptions { modifiers: clipped, ..options(Length::Steps(3)) }),
        ("parts".into(), TrainOptions { micro_batch: BatchSize::Rows(5), ..options(Length::Steps(3)) }),
        ("line search".into(), search),
        ("lbfgs".into(), by_method("lbfgs")),
        ("newton-cg".into(), by_method("newton-cg")),
    ];
    cases.extend(UPDATE_RULES.iter().map(|rule| {
        let optimizer = Optimizer::new(rule.name).unwrap();
        (rule.name.to_owned(), TrainOptions { optimizer, ..options(Length::Steps(3)) })
    }));
    for (label, options) in cases {
        let mut frozen = options.clone();
        frozen.modifiers.frozen = vec!["0.*".to_owned(), "*.bias".to_owned()];
        let mut trainer = Trainer::new(&gpu, split(333), frozen).unwrap();
        let mut whole = Trainer::new(&gpu, split(333), options).unwrap();
        let before = trainer.parameters().unwrap();
        let launches = |trainer: &mut Trainer| trainer.memory_map().unwrap().steps.len();
        assert!(launches(&mut trainer) <= launches(&mut whole), "{label}");
        finish(&mut trainer).unwrap();
        finish(&mut whole).unwrap();
        for (now, before) in trainer.parameters().unwrap().iter().zip(&before) {
            let is_frozen = now.name.starts_with("0.") || now.name.ends_with(".bias");
            assert_eq!(now == before, is_frozen, "{label}: {}", now.name);
        }
        assert_ne!(trainer.parameters().unwrap(), whole.parameters().unwrap(), "{label}");
    }
    // Of the same gradient at the same point comes the same first step.
    let one = |frozen: &[&str]| {
        let optimizer = Optimizer::new("sgd").unwrap().with("lr", 0.1).unwrap();
        let mut options = TrainOptions { optimizer, ..options(Length::Steps(1)) };
        options.modifiers.frozen = frozen.iter().map(|name| (*name).to_owned()).collect();
        trained(&gpu, split(333), options).1
    };
    let (some, all) = (one(&["0.*"]), one(&[]));
    assert!(some[2..] == all[2..] && some[..2] != all[..2]);
    for (frozen, part) in
        [(vec!["7.*"], "`7.*` fits no parameter; they are 0.weight"), (vec!["*"], "no parameter to learn")]
    {
        let mut options = options(Length::Steps(1));
        options.modifiers.frozen = frozen.into_iter().map(str::to_owned).collect();
        let error = Trainer::new(&gpu, split(333), options).err().unwrap().to_string();
        assert!(error.starts_with("freeze: ") && error.contains(part), "{error}");
    }
}
