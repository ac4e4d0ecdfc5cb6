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
