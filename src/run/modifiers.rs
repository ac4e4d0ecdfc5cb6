//! What goes with an update rule, as settings say it and back.

use std::str::FromStr;

use super::config::Stepping;
use super::settings::Settings;
use crate::optim::{Average, Group, Lookahead, Modifiers, Optimizer};
use crate::{Error, Result};

/// How far slow parameters follow unless said: that of the paper.
const LOOKAHEAD_RATE: f64 = 0.5;

/// The modifiers that `settings` ask for.
///
/// # Errors
/// [`Error::Setting`] naming the one that cannot be read.
pub(crate) fn modifiers(settings: &Settings) -> Result<Modifiers> {
    let average = match (settings.ema, &settings.swa) {
        (Some(_), Some(_)) => return Err(Error::setting("swa", "a run has one mean: --ema or --swa")),
        (Some(decay), None) => Some(Average::Exponential { decay }),
        (None, Some(text)) => {
            let (start, every) = pair("swa", text, 1, "START[:EVERY], such as 1000 or 1000:100")?;
            Some(Average::Stochastic { start, every })
        }
        (None, None) => None,
    };
    let lookahead = settings.lookahead.as_ref().map(|text| {
        let (steps, rate) = pair("lookahead", text, LOOKAHEAD_RATE, "STEPS[:RATE], such as 5 or 5:0.8")?;
        Ok(Lookahead { steps, rate })
    });
    let Stepping { optimizer: base, .. } = Stepping::of(settings.optimizer.as_ref())?;
    let modifiers = Modifiers {
        clip_norm: settings.clip_norm,
        clip_value: settings.clip_value,
        skip_not_finite: settings.skip_not_finite.unwrap_or(false),
        loss_scale: settings.loss_scale,
        average,
        lookahead: lookahead.transpose()?,
        frozen: settings.freeze.clone(),
        groups: settings.group.iter().map(|text| group(text, &base)).collect::<Result<_>>()?,
    };
    modifiers.check()?;
    Ok(modifiers)
}

/// The settings that ask for `modifiers`, and nothing else.
pub(super) fn written(modifiers: &Modifiers) -> Settings {
    let (ema, swa) = match modifiers.average {
        None => (None, None),
        Some(Average::Exponential { decay }) => (Some(decay), None),
        Some(Average::Stochastic { start, every }) => (None, Some(format!("{start}:{every}"))),
    };
    let group = |group: &Group| format!("{}: {}", group.pattern, group.optimizer);
    Settings {
        clip_norm: modifiers.clip_norm,
        clip_value: modifiers.clip_value,
        skip_not_finite: modifiers.skip_not_finite.then_some(true),
        loss_scale: modifiers.loss_scale,
        ema,
        swa,
        lookahead: modifiers.lookahead.map(|lookahead| format!("{}:{:?}", lookahead.steps, lookahead.rate)),
        group: modifiers.groups.iter().map(group).collect(),
        freeze: modifiers.frozen.clone(),
        ..Settings::default()
    }
}

/// `FIRST` or `FIRST:SECOND`.
fn pair<A: FromStr, B: FromStr>(name: &str, text: &str, second: B, form: &str) -> Result<(A, B)> {
    let wrong = || Error::setting(name, format!("`{text}` is not of the form {form}"));
    let (first, rest) = match text.split_once(':') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    };
    let first = first.trim().parse().map_err(|_| wrong())?;
    let second = rest.map_or(Ok(second), |rest| rest.trim().parse().map_err(|_| wrong()))?;
    Ok((first, second))
}

/// `NAMES: [RULE] [NAME=VALUE]…`: where no rule is named, the run's own with some settings changed.
fn group(text: &str, base: &Optimizer) -> Result<Group> {
    let Some((pattern, rest)) = text.split_once(':') else {
        let message = format!(
            "`{text}` is not of the form `NAMES: [RULE] [NAME=VALUE]…`, such as `*.bias: weight_decay=0`"
        );
        return Err(Error::setting("group", message));
    };
    if rest.trim().is_empty() {
        return Err(Error::setting("group", format!("`{text}` gives its parameters nothing of their own")));
    }
    let mut words = rest.split_whitespace().peekable();
    let optimizer = match words.next_if(|word| !word.contains('=')) {
        Some(rule) => Optimizer::new(rule)?,
        None => base.clone(),
    };
    let optimizer = words.try_fold(optimizer, Optimizer::assign)?;
    Ok(Group { pattern: pattern.trim().to_owned(), optimizer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Modifiers> {
        modifiers(&Settings::from_toml(toml, "run.toml")?)
    }

    #[test]
    fn modifiers_are_written_as_they_are_read() {
        let rows = [
            "",
            "clip_norm = 1.0\nclip_value = 0.5\nskip_not_finite = true\nloss_scale = 1024.0",
            "ema = 0.999\nlookahead = '5'",
            "swa = '100'\nlookahead = '6:0.8'",
            "swa = 100\nlookahead = 5",
            "swa = '100:10'",
            "group = ['*.bias: weight_decay=0', '0.*: momentum lr=0.5 form=lecture']",
            "freeze = ['0.*', '*.bias']",
        ];
        for text in rows {
            let modifiers = read(text).unwrap();
            let again = super::modifiers(&written(&modifiers)).unwrap();
            assert_eq!(again, modifiers, "{text}");
        }
        let biases = &read("group = ['*.bias: weight_decay=0']\n[optimizer]\nname = 'sgd'\nlr = 0.25")
            .unwrap()
            .groups[0];
        assert_eq!((biases.pattern.as_str(), biases.optimizer.learning_rate()), ("*.bias", 0.25));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let rows = [
            ("ema = 0.9\nswa = '3'", "swa: a run has one mean"),
            ("swa = -3", "swa: `-3` is not of the form"),
            ("ema = 1.0", "ema: must be at least 0 and below 1, not `1.0`"),
            ("swa = 'soon'", "swa: `soon` is not of the form START[:EVERY]"),
            ("swa = '0'", "swa's start: must be at least 1"),
            ("lookahead = '5:2'", "lookahead's rate: must be above 0 and at most 1"),
            ("clip_norm = -1.0", "clip-norm: must be above 0"),
            ("group = ['*.bias: ']", "group: `*.bias: ` gives its parameters nothing of their own"),
            ("group = ['bias']", "group: `bias` is not of the form"),
            ("group = ['*: adma']", "did you mean `adam`?"),
            ("group = ['*: lr=fast']", "lr: must be"),
        ];
        for (text, message) in rows {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
